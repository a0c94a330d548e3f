//! A webhook that checks signatures with a library of Standard Webhooks, and webhooks that do not work.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vestibule_crds::secret::Secret;

use super::*;

const KEY: &str = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIy";

type Heard = Arc<Mutex<Vec<(HeaderMap, Vec<u8>)>>>;

/// Answers each request with `status` and `location`, and keeps what it was sent.
async fn webhook(status: u16) -> (String, Heard) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let heard = Heard::default();
    let ears = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let ears = Arc::clone(&ears);
            let answer = service_fn(move |request: Request<Incoming>| {
                let ears = Arc::clone(&ears);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes().to_vec();
                    ears.lock().expect("no panic").push((head.headers, body));
                    let answer = Response::builder()
                        .status(status)
                        .header("location", "/elsewhere")
                        .body(Empty::<Bytes>::new());
                    Ok::<_, hyper::Error>(answer.expect("an answer"))
                }
            });
            let runtime_config = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(runtime_config);
        }
    });
    (format!("http://{address}/send"), heard)
}

fn sms(url: &str, key: &str) -> Sms {
    Sms {
        url: url.to_owned(),
        key: Secret::new(key),
        ca_bundle: None,
    }
}

async fn send_to(url: &str, key: &str, signed_at: i64) -> Result<(), SendError> {
    let to = PhoneNumber::parse("+49 (151) 234-567.89").expect("a number");
    let message = Message {
        to: &to,
        text: "012345 is your code",
        code: "012345",
        expires_in: 300,
        language: "en",
        id: Uuid::from_u128(7),
        signed_at,
    };
    let webhook = Webhook::new(
        &sms(url, key),
        HttpIssuers::LoopbackAndCluster,
        Egress::Cluster,
    );
    webhook.send(&message).await
}

fn now() -> i64 {
    crate::clock::Clock::System.now()
}

#[tokio::test]
async fn a_webhook_believes_what_is_signed_and_learns_what_to_send() {
    let (url, heard) = webhook(204).await;
    assert_eq!(send_to(&url, KEY, now()).await, Ok(()));
    let (headers, body) = heard.lock().expect("no panic").pop().expect("a request");
    let verifier = standardwebhooks::Webhook::new(KEY).expect("a key");
    verifier.verify(&body, &headers).expect("it is signed");
    assert_eq!(headers["idempotency-key"], Uuid::from_u128(7).to_string());
    assert_eq!(headers["idempotency-key"], headers["webhook-id"]);
    assert_eq!(headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        body,
        json!({
            "to": "+4915123456789",
            "text": "012345 is your code",
            "code": "012345",
            "expires_in": 300,
            "language": "en",
        })
    );
}

#[tokio::test]
async fn a_webhook_can_refuse_what_is_altered_old_or_signed_with_another_key() {
    let (url, heard) = webhook(200).await;
    let verifier = standardwebhooks::Webhook::new(KEY).expect("a key");
    let hear = || heard.lock().expect("no panic").pop().expect("a request");
    send_to(&url, KEY, now()).await.expect("it is sent");
    let (headers, mut body) = hear();
    body[8] ^= 1;
    assert!(verifier.verify(&body, &headers).is_err(), "altered");
    send_to(&url, KEY, now() - 3600).await.expect("it is sent");
    let (headers, body) = hear();
    assert!(verifier.verify(&body, &headers).is_err(), "an hour old");
    send_to(&url, "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXI=", now())
        .await
        .expect("it is sent");
    let (headers, body) = hear();
    assert!(verifier.verify(&body, &headers).is_err(), "another key");
}

#[tokio::test]
async fn a_key_that_is_not_in_base64_is_taken_as_it_is() {
    let (url, heard) = webhook(200).await;
    send_to(&url, "hunter2 hunter2 hunter2", now())
        .await
        .expect("it is sent");
    let (headers, body) = heard.lock().expect("no panic").pop().expect("a request");
    let verifier = standardwebhooks::Webhook::from_bytes(b"hunter2 hunter2 hunter2".to_vec());
    verifier
        .expect("a key")
        .verify(&body, &headers)
        .expect("it is signed");
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_an_error_and_a_redirect_is_not_followed() {
    for (status, error) in [
        (302, SendError::Redirects),
        (307, SendError::Redirects),
        (400, SendError::Refused(400)),
        (503, SendError::Refused(503)),
    ] {
        let (url, heard) = webhook(status).await;
        assert_eq!(send_to(&url, KEY, now()).await, Err(error));
        assert_eq!(heard.lock().expect("no panic").len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_webhook_that_is_not_there_is_unreachable() {
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}/", gone.local_addr().expect("an address"));
    drop(gone);
    let error = send_to(&url, KEY, now()).await;
    assert!(matches!(error, Err(SendError::Unreachable(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    assert_eq!(send_to(&url, KEY, now()).await, Err(SendError::TimedOut));
}

#[tokio::test]
async fn a_webhook_in_clear_is_not_asked_unless_the_process_allows_it() {
    let (url, heard) = webhook(200).await;
    let webhook = Webhook::new(&sms(&url, KEY), HttpIssuers::Refuse, Egress::Cluster);
    let to = PhoneNumber::parse("+4915123456789").expect("a number");
    let message = Message {
        to: &to,
        text: "",
        code: "",
        expires_in: 1,
        language: "en",
        id: Uuid::nil(),
        signed_at: now(),
    };
    let error = webhook.send(&message).await;
    assert!(
        matches!(error, Err(SendError::Unreachable(FetchError::Url(..)))),
        "{error:?}"
    );
    assert!(heard.lock().expect("no panic").is_empty());
    let shown = format!("{webhook:?} {message:?} {to:?}");
    assert!(
        !shown.contains("hunter") && !shown.contains("4915"),
        "{shown}"
    );
}

#[test]
fn a_number_is_international_whatever_stands_between_its_digits() {
    for (text, number) in [
        ("+4915123456789", "+4915123456789"),
        ("+86 138-0013-8000", "+8613800138000"),
        ("0044 20 7946 0958", "+442079460958"),
        ("+1 (212) 555.0100", "+12125550100"),
    ] {
        let parsed = PhoneNumber::parse(text);
        assert_eq!(parsed.as_ref().map(PhoneNumber::as_str), Some(number));
    }
    for text in [
        "",
        "015123456789",
        "+",
        "+112",
        "+0151234567",
        "+1234567890123456",
        "+49151x2345678",
        "+4915123456789;ext=1",
        "tel:+4915123456789",
        "+٤٩١٥١٢٣٤٥",
        "+1                                2125550100",
    ] {
        assert_eq!(PhoneNumber::parse(text), None, "{text}");
    }
}

#[tokio::test]
async fn a_webhook_inside_the_cluster_is_out_of_reach_for_a_policy_that_may_not_go_there() {
    let (url, heard) = webhook(200).await;
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        let (sms, http) = (sms(&url, KEY), HttpIssuers::LoopbackAndCluster);
        let webhook = Webhook::new(&sms, http, Egress::Public);
        let to = PhoneNumber::parse("+41791234567").expect("a number");
        let message = Message {
            to: &to,
            text: "012345 is your code",
            code: "012345",
            expires_in: 300,
            language: "en",
            id: Uuid::from_u128(7),
            signed_at: now(),
        };
        let sent = webhook.send(&message).await;
        let refused = matches!(sent, Err(SendError::Unreachable(FetchError::NotPublic(_))));
        assert!(refused, "{url}: {sent:?}");
    }
    assert!(heard.lock().expect("no panic").is_empty());
}
