//! Against a server that does what it is told: slow, huge, endless, wrong, gone.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration as StdDuration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::signing_key::SigningKey;
use vestibule_crds::snapshot::Egress;

use super::fetch::{BODY_BYTES_MAX, REDIRECTS_MAX};
use super::*;
use crate::refusal::Unavailable;
use crate::testing::{self, NOW};

type Answer = Response<Full<Bytes>>;
type Answering = Box<dyn Fn(&str) -> Answer + Send>;

/// An HTTP server on loopback whose answers a test decides.
struct Endpoint {
    address: SocketAddr,
    hits: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answering>>,
}

impl Endpoint {
    async fn start(answer: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let hits = Arc::new(AtomicUsize::new(0));
        let answer: Arc<Mutex<Answering>> = Arc::new(Mutex::new(Box::new(answer)));
        let (counted, answers) = (Arc::clone(&hits), Arc::clone(&answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counted, answers) = (Arc::clone(&counted), Arc::clone(&answers));
                let service = service_fn(move |request: Request<Incoming>| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let answer = answers.lock().expect("no panic")(request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            address,
            hits,
            answer,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    fn now_answer(&self, answer: impl Fn(&str) -> Answer + Send + 'static) {
        *self.answer.lock().expect("no panic") = Box::new(answer);
    }
}

fn json_answer(body: &Value) -> Answer {
    Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("an answer")
}

fn status_answer(status: u16) -> Answer {
    Response::builder()
        .status(status)
        .body(Full::default())
        .expect("an answer")
}

fn jwks_of(key: &SigningKey) -> Value {
    json!({"keys": [key.jwk]})
}

fn settings(source: KeySource) -> Settings {
    let mut provider = testing::provider(json!({}));
    provider.keys = source;
    Settings::of(&provider, HttpIssuers::LoopbackAndCluster).expect("a remote source")
}

fn keys_at(url: String, clock: &Clock) -> Arc<RemoteKeys> {
    RemoteKeys::new(
        settings(KeySource::JwksUri { url }),
        clock.clone(),
        &Changes::default(),
    )
}

async fn find(keys: &Arc<RemoteKeys>, kid: &str) -> Result<(), KeyError> {
    keys.with_key(Some(kid), Algorithm::ES256, |_| ()).await
}

fn code(result: &Result<(), KeyError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(KeyError::Refused(refused)) => refused.reason.as_str(),
        Err(KeyError::Unavailable(_)) => "provider_unavailable",
    }
}

#[tokio::test]
async fn keys_are_fetched_once_for_many_callers() {
    let key = testing::key(SigningAlgorithm::ES256);
    let jwks = jwks_of(&key);
    let endpoint = Endpoint::start(move |_| json_answer(&jwks)).await;
    let clock = Clock::set_to(NOW);
    let keys = keys_at(endpoint.url("/jwks"), &clock);
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (keys, kid) = (Arc::clone(&keys), key.kid.clone());
            tokio::spawn(async move { find(&keys, &kid).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), Ok(()));
    }
    assert_eq!(endpoint.hits(), 1);
}

#[tokio::test]
async fn discovery_leads_to_the_keys_of_its_own_issuer_only() {
    let key = testing::key(SigningAlgorithm::ES256);
    let jwks = jwks_of(&key);
    let endpoint = Endpoint::start(|_| status_answer(500)).await;
    let jwks_uri = endpoint.url("/jwks");
    endpoint.now_answer(move |path| match path {
        "/discovery" => json_answer(&json!({"issuer": testing::ISSUER, "jwks_uri": jwks_uri})),
        "/other" => json_answer(&json!({"issuer": "https://evil.example", "jwks_uri": jwks_uri})),
        _ => json_answer(&jwks),
    });
    let clock = Clock::set_to(NOW);
    let url = endpoint.url("/discovery");
    let keys = RemoteKeys::new(
        settings(KeySource::Discovery { url }),
        clock.clone(),
        &Changes::default(),
    );
    assert_eq!(find(&keys, &key.kid).await, Ok(()));
    let url = endpoint.url("/other");
    let keys = RemoteKeys::new(
        settings(KeySource::Discovery { url }),
        clock,
        &Changes::default(),
    );
    assert_eq!(code(&find(&keys, &key.kid).await), "provider_unavailable");
    assert_eq!(
        keys.last_error(),
        Some(KeysError::IssuerMismatch("https://evil.example".to_owned()))
    );
}

#[tokio::test]
async fn a_thousand_unknown_kids_cause_one_fetch_a_window_and_known_keys_keep_working() {
    let key = testing::key(SigningAlgorithm::ES256);
    let jwks = jwks_of(&key);
    let endpoint = Endpoint::start(move |_| json_answer(&jwks)).await;
    let clock = Clock::set_to(NOW);
    let keys = keys_at(endpoint.url("/jwks"), &clock);
    assert_eq!(find(&keys, &key.kid).await, Ok(()));
    for round in 1..=3 {
        for number in 0..1000 {
            let kid = format!("../../etc/passwd?{round}-{number}");
            let expected = if number == 0 {
                "token_key_unknown"
            } else {
                "provider_unavailable"
            };
            assert_eq!(code(&find(&keys, &kid).await), expected, "{number}");
        }
        assert_eq!(endpoint.hits(), 1 + round, "one fetch in each window");
        assert_eq!(find(&keys, &key.kid).await, Ok(()));
        clock.advance(UNKNOWN_KEY_WINDOW_SECONDS);
    }
}

#[tokio::test]
async fn an_uncommon_kid_just_before_a_rotation_makes_no_good_token_refused() {
    let (old, new) = (
        testing::key(SigningAlgorithm::ES256),
        testing::key(SigningAlgorithm::ES256),
    );
    let jwks = jwks_of(&old);
    let endpoint = Endpoint::start(move |_| json_answer(&jwks)).await;
    let clock = Clock::set_to(NOW);
    let keys = keys_at(endpoint.url("/jwks"), &clock);
    assert_eq!(find(&keys, &old.kid).await, Ok(()));
    assert_eq!(code(&find(&keys, "junk").await), "token_key_unknown");
    let jwks = jwks_of(&new);
    endpoint.now_answer(move |_| json_answer(&jwks));
    clock.advance(3);
    let Err(KeyError::Unavailable(again)) = find(&keys, &new.kid).await else {
        panic!("it is asked to come again, and not refused");
    };
    assert_eq!(again.cause, UnavailableCause::KeyNotSeen);
    assert_eq!(again.retry_after_seconds, 7);
    clock.advance(7);
    assert_eq!(find(&keys, &new.kid).await, Ok(()));
}

#[tokio::test]
async fn a_rotated_key_is_found_at_its_first_token() {
    let (old, new) = (
        testing::key(SigningAlgorithm::ES256),
        testing::key(SigningAlgorithm::ES256),
    );
    let jwks = jwks_of(&old);
    let endpoint = Endpoint::start(move |_| json_answer(&jwks)).await;
    let clock = Clock::set_to(NOW);
    let keys = keys_at(endpoint.url("/jwks"), &clock);
    assert_eq!(find(&keys, &old.kid).await, Ok(()));
    let jwks = jwks_of(&new);
    endpoint.now_answer(move |_| json_answer(&jwks));
    assert_eq!(find(&keys, &new.kid).await, Ok(()));
    clock.advance(UNKNOWN_KEY_WINDOW_SECONDS);
    assert_eq!(code(&find(&keys, &old.kid).await), "token_key_unknown");
}

#[tokio::test]
async fn stale_keys_serve_through_an_outage_until_max_stale() {
    let key = testing::key(SigningAlgorithm::ES256);
    let jwks = jwks_of(&key);
    let endpoint = Endpoint::start(move |_| json_answer(&jwks)).await;
    let clock = Clock::set_to(NOW);
    let keys = keys_at(endpoint.url("/jwks"), &clock);
    assert_eq!(find(&keys, &key.kid).await, Ok(()));
    endpoint.now_answer(|_| status_answer(500));
    clock.advance(86_399);
    assert_eq!(find(&keys, &key.kid).await, Ok(()), "stale, and served");
    clock.advance(1);
    let gone = find(&keys, &key.kid).await;
    assert_eq!(code(&gone), "provider_unavailable");
    // An outage is never a 401, whatever the kid.
    assert_eq!(code(&find(&keys, "unknown").await), "provider_unavailable");
}

#[tokio::test]
async fn an_unknown_kid_in_an_outage_is_not_the_callers_fault() {
    let key = testing::key(SigningAlgorithm::ES256);
    let jwks = jwks_of(&key);
    let endpoint = Endpoint::start(move |_| json_answer(&jwks)).await;
    let clock = Clock::set_to(NOW);
    let keys = keys_at(endpoint.url("/jwks"), &clock);
    assert_eq!(find(&keys, &key.kid).await, Ok(()));
    endpoint.now_answer(|_| status_answer(503));
    assert_eq!(code(&find(&keys, "new").await), "provider_unavailable");
    assert_eq!(find(&keys, &key.kid).await, Ok(()));
}

#[tokio::test]
async fn retry_after_is_respected_and_bounded() {
    for (header, expected) in [("7", 7), ("86400", 60), ("soon", 1)] {
        let endpoint = Endpoint::start(move |_| {
            let mut answer = status_answer(503);
            let value = header.parse().expect("a header value");
            answer.headers_mut().insert("retry-after", value);
            answer
        })
        .await;
        let clock = Clock::set_to(NOW);
        let keys = keys_at(endpoint.url("/jwks"), &clock);
        let Err(KeyError::Unavailable(Unavailable {
            retry_after_seconds,
            ..
        })) = find(&keys, "k").await
        else {
            panic!("it is an outage");
        };
        assert_eq!(retry_after_seconds, expected, "{header}");
        assert_eq!(code(&find(&keys, "k").await), "provider_unavailable");
        assert_eq!(endpoint.hits(), 1, "no fetch before Retry-After");
        clock.advance(i64::from(expected));
        assert_eq!(code(&find(&keys, "k").await), "provider_unavailable");
        assert_eq!(endpoint.hits(), 2);
    }
}

#[tokio::test]
async fn documents_that_are_no_key_set_are_refused() {
    let endpoint = Endpoint::start(|path| match path {
        "/html" => Response::builder()
            .header("content-type", "text/html")
            .body(Full::new(Bytes::from_static(b"{\"keys\":[]}")))
            .expect("an answer"),
        "/gzip" => Response::builder()
            .header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .body(Full::new(Bytes::from_static(b"\x1f\x8b")))
            .expect("an answer"),
        "/huge" => Response::builder()
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(vec![b' '; BODY_BYTES_MAX + 1])))
            .expect("an answer"),
        "/notjson" => Response::builder()
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(b"{")))
            .expect("an answer"),
        "/list" => json_answer(&json!([])),
        "/empty" => json_answer(&json!({"keys": []})),
        "/oct" => json_answer(&json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k"}]})),
        _ => status_answer(404),
    })
    .await;
    for (path, expected) in [
        (
            "/html",
            KeysError::Jwks(FetchError::ContentType("text/html".to_owned())),
        ),
        ("/gzip", KeysError::Jwks(FetchError::ContentEncoding)),
        ("/huge", KeysError::Jwks(FetchError::TooLarge)),
        ("/notjson", KeysError::Jwks(FetchError::NotJson)),
        ("/list", KeysError::NotAKeySet),
        ("/empty", KeysError::NoUsableKey),
        ("/oct", KeysError::NoUsableKey),
        (
            "/missing",
            KeysError::Jwks(FetchError::Status {
                status: 404,
                retry_after_seconds: None,
            }),
        ),
    ] {
        let keys = keys_at(endpoint.url(path), &Clock::set_to(NOW));
        assert_eq!(
            code(&find(&keys, "k").await),
            "provider_unavailable",
            "{path}"
        );
        assert_eq!(keys.last_error(), Some(expected), "{path}");
    }
}

#[tokio::test]
async fn redirects_are_followed_so_far_and_checked_each() {
    let key = testing::key(SigningAlgorithm::ES256);
    let jwks = jwks_of(&key);
    let endpoint = Endpoint::start(move |path| {
        let to = |location: &str| {
            Response::builder()
                .status(302)
                .header("location", location)
                .body(Full::default())
                .expect("an answer")
        };
        match path {
            "/1" => to("/2"),
            "/2" => to("/3"),
            "/3" => to("/jwks"),
            "/loop" => to("/loop"),
            "/away" => to("http://192.0.2.1/jwks"),
            "/file" => to("file:///etc/passwd"),
            "/nowhere" => status_answer(302),
            _ => json_answer(&jwks),
        }
    })
    .await;
    let clock = Clock::set_to(NOW);
    assert_eq!(REDIRECTS_MAX, 3);
    let keys = keys_at(endpoint.url("/1"), &clock);
    assert_eq!(find(&keys, &key.kid).await, Ok(()));
    for path in ["/loop", "/away", "/file", "/nowhere"] {
        let keys = keys_at(endpoint.url(path), &clock);
        assert_eq!(
            code(&find(&keys, &key.kid).await),
            "provider_unavailable",
            "{path}"
        );
    }
}

#[tokio::test]
async fn public_egress_refuses_loopback_before_any_connection() {
    let endpoint = Endpoint::start(|_| status_answer(500)).await;
    let port = endpoint.address.port();
    for url in [
        endpoint.url("/jwks"),
        format!("http://localhost:{port}/jwks"),
    ] {
        let mut settings = settings(KeySource::JwksUri { url });
        settings.egress = Egress::Public;
        let keys = RemoteKeys::new(settings, Clock::set_to(NOW), &Changes::default());
        assert_eq!(code(&find(&keys, "k").await), "provider_unavailable");
        let error = keys.last_error();
        assert!(
            matches!(error, Some(KeysError::Jwks(FetchError::NotPublic(_)))),
            "{error:?}"
        );
    }
    assert_eq!(endpoint.hits(), 0);
}

/// Accepts connections and hands each to `talk`.
async fn raw_endpoint<F>(talk: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    address
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_is_given_up_in_time() {
    let address = raw_endpoint(|mut stream| async move {
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let keys = keys_at(format!("http://{address}/jwks"), &Clock::set_to(NOW));
    assert_eq!(code(&find(&keys, "k").await), "provider_unavailable");
    assert_eq!(
        keys.last_error(),
        Some(KeysError::Jwks(FetchError::TimedOut))
    );
}

#[tokio::test]
async fn an_endless_body_is_cut_off_at_the_limit() {
    let address = raw_endpoint(|mut stream| async move {
        let mut head = [0; 2048];
        let _request = stream.read(&mut head).await;
        let begin = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let _sent = stream.write_all(begin).await;
        let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let keys = keys_at(format!("http://{address}/jwks"), &Clock::set_to(NOW));
    let found = tokio::time::timeout(StdDuration::from_secs(30), find(&keys, "k")).await;
    assert_eq!(code(&found.expect("it ends")), "provider_unavailable");
    assert_eq!(
        keys.last_error(),
        Some(KeysError::Jwks(FetchError::TooLarge))
    );
}

fn seed_of(key: &SigningKey, fetched_at: i64) -> Seed {
    Seed {
        source: testing::provider(json!({})).key_source_revision(),
        jwks: jwks_of(key),
        fetched_at,
    }
}

#[tokio::test]
async fn seeded_keys_sign_people_in_while_the_provider_is_down() {
    let key = testing::key(SigningAlgorithm::ES256);
    let endpoint = Endpoint::start(|_| status_answer(503)).await;
    let clock = Clock::set_to(NOW);
    let keys = keys_at(endpoint.url("/jwks"), &clock);
    keys.seed(&seed_of(&key, NOW - 3600));
    assert_eq!(find(&keys, &key.kid).await, Ok(()));
    let too_old = keys_at(endpoint.url("/jwks"), &clock);
    too_old.seed(&seed_of(&key, NOW - 86_400));
    assert_eq!(
        code(&find(&too_old, &key.kid).await),
        "provider_unavailable"
    );
}

#[tokio::test]
async fn a_seed_never_replaces_what_was_fetched_later() {
    let (fetched, seeded) = (
        testing::key(SigningAlgorithm::ES256),
        testing::key(SigningAlgorithm::ES256),
    );
    let jwks = jwks_of(&fetched);
    let endpoint = Endpoint::start(move |_| json_answer(&jwks)).await;
    let clock = Clock::set_to(NOW);
    let keys = keys_at(endpoint.url("/jwks"), &clock);
    keys.prefetch().await;
    // A clock that runs ahead elsewhere makes no key newer than now.
    for at in [NOW - 1, NOW, NOW + 3600] {
        keys.seed(&seed_of(&seeded, at));
        assert_eq!(find(&keys, &fetched.kid).await, Ok(()), "{at}");
    }
    clock.advance(60);
    keys.seed(&seed_of(&seeded, NOW + 30));
    assert_eq!(find(&keys, &seeded.kid).await, Ok(()));
}

#[tokio::test]
async fn what_is_known_follows_the_provider_and_each_change_has_a_number_of_its_own() {
    let key = testing::key(SigningAlgorithm::ES256);
    let (jwks, up) = (jwks_of(&key), Arc::new(AtomicUsize::new(0)));
    let state = Arc::clone(&up);
    let endpoint = Endpoint::start(move |_| match state.load(Ordering::SeqCst) {
        0 => status_answer(503),
        _ => json_answer(&jwks),
    })
    .await;
    let clock = Clock::set_to(NOW);
    let changes = Changes::default();
    let settings = settings(KeySource::JwksUri {
        url: endpoint.url("/jwks"),
    });
    let keys = RemoteKeys::new(settings, clock.clone(), &changes);
    let mut seen = vec![(keys.known().state, keys.known().changed)];
    let mut look = || seen.push((keys.known().state, keys.known().changed));

    assert!(keys.is_due());
    keys.prefetch().await;
    assert!(!keys.is_due(), "after a failure there is a pause");
    look();
    clock.advance(BACKOFF_SECONDS_MAX);
    up.store(1, Ordering::SeqCst);
    assert!(keys.is_due());
    keys.prefetch().await;
    assert!(!keys.is_due());
    look();
    clock.advance(600);
    up.store(0, Ordering::SeqCst);
    assert!(keys.is_due(), "they are as old as refreshInterval");
    keys.prefetch().await;
    look();
    clock.advance(86_400);
    look();

    let states: Vec<KeysState> = seen.iter().map(|(state, _)| *state).collect();
    assert_eq!(
        states,
        [
            KeysState::NotYet,
            KeysState::Unreachable,
            KeysState::Fresh,
            KeysState::ServingStale,
            KeysState::Unreachable
        ]
    );
    let numbers: Vec<u64> = seen.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 4]);
    assert_eq!(changes.last(), 4);
}
