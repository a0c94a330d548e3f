//! A real OpenID provider: its tokens, its keys as they rotate, and its outages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use vestibule_tests::e2e::local_issuer::claims_of;
use vestibule_tests::e2e::manifests::{policy, provider, with};
use vestibule_tests::e2e::{Builder, IdProvider, Load, Reply, Service, eventually};

/// At most one fetch for unknown keys in this time.
const UNKNOWN_KEY_WINDOW: Duration = Duration::from_secs(10);

fn builder(provider: &IdProvider) -> Builder {
    Service::builder().manifests("all.yaml", &[trusted(provider), policy()])
}

/// The provider with every algorithm that it can sign with.
fn trusted(id_provider: &IdProvider) -> serde_json::Value {
    let algorithms = json!(["RS256", "PS256", "ES256", "EdDSA"]);
    with(
        provider("corp", &id_provider.issuer),
        "/spec/algorithms",
        algorithms,
    )
}

#[tokio::test]
async fn a_token_of_the_authorization_code_flow_signs_in_with_each_algorithm() {
    let provider = IdProvider::start().await;
    let service = builder(&provider).start().await;
    let mut users = Vec::new();
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        provider.sign_with(algorithm).await;
        let token = provider.id_token("alice").await;
        let named = json!({"id_token": token, "provider": "corp"});
        let named = service.post("/auth/id-token/signin", &named).await;
        assert_eq!(named.code(), "ok", "{algorithm}: {}", named.body);
        let inferred = service.signin(&token).await;
        assert_eq!(inferred.code(), "ok", "{algorithm}: {}", inferred.body);
        for reply in [named, inferred] {
            let user = &reply.json()["user"];
            assert_eq!(user["email"], "alice@corp.example");
            users.push(user["id"].clone());
        }
    }
    assert!(
        users.iter().all(|user| *user == users[0]),
        "alice is one user: {users:?}"
    );
    assert_eq!(
        provider.jwks_fetches().await,
        1,
        "all keys came in one fetch"
    );
}

#[tokio::test]
async fn a_sign_out_at_the_provider_ends_the_session_that_it_names() {
    let provider = IdProvider::start().await;
    let service = builder(&provider).start().await;
    provider
        .tell_logouts_to(&service.url("/auth/logout/backchannel"))
        .await;
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        provider.sign_with(algorithm).await;
        let (one, two) = (
            provider.id_token("alice").await,
            provider.id_token("alice").await,
        );
        let sid = claims_of(&one)["sid"].as_str().map(str::to_owned);
        let sid = sid.expect("it names the session");
        assert_ne!(claims_of(&two)["sid"], sid, "another browser");
        let signed_in = [service.signin(&one).await, service.signin(&two).await];
        assert!(provider.log_out("alice", &sid).await, "{algorithm}");
        let [ended, lives] = signed_in.map(|reply| reply.text("refresh_token"));
        let ended = service.refresh(&ended).await;
        assert_eq!(ended.code(), "refresh_token_invalid");
        assert_eq!(service.refresh(&lives).await.code(), "ok");
        assert!(provider.log_out("nobody", "unknown").await);
    }
    // What it does not take, the provider is told.
    let only_ps256 = with(trusted(&provider), "/spec/algorithms", json!(["PS256"]));
    let strict = Service::builder()
        .manifests("all.yaml", &[only_ps256, policy()])
        .start()
        .await;
    provider
        .tell_logouts_to(&strict.url("/auth/logout/backchannel"))
        .await;
    assert!(!provider.log_out("alice", "s").await);
}

#[tokio::test]
async fn an_algorithm_that_the_manifest_leaves_out_is_refused() {
    let provider = IdProvider::start().await;
    let only_rs256 = with(trusted(&provider), "/spec/algorithms", json!(["RS256"]));
    let service = Service::builder()
        .manifests("all.yaml", &[only_rs256, policy()])
        .start()
        .await;
    assert_eq!(
        service
            .signin(&provider.id_token("alice").await)
            .await
            .code(),
        "ok"
    );
    provider.sign_with("PS256").await;
    let refused = service.signin(&provider.id_token("alice").await).await;
    assert_eq!(refused.code(), "token_algorithm_not_allowed");
}

#[tokio::test]
async fn a_token_for_another_client_of_the_provider_is_refused() {
    let provider = IdProvider::start().await;
    let service = builder(&provider).start().await;
    let other = provider
        .id_token_with(json!({"subject": "alice", "client": "other"}))
        .await;
    let body = json!({"id_token": other, "provider": "corp"});
    let named = service.post("/auth/id-token/signin", &body).await;
    assert_eq!(named.code(), "token_audience_mismatch");
    assert_eq!(service.signin(&other).await.code(), "provider_required");

    let own = provider
        .id_token_with(json!({"subject": "alice", "client": "web"}))
        .await;
    assert_eq!(service.signin(&own).await.code(), "ok");
}

#[tokio::test]
async fn the_nonce_of_the_flow_must_come_with_the_token() {
    let provider = IdProvider::start().await;
    let service = builder(&provider).start().await;
    let token = provider
        .id_token_with(json!({"subject": "alice", "nonce": "n-1"}))
        .await;
    let with_nonce = async |nonce: &str| {
        let body = json!({"id_token": token, "nonce": nonce});
        service.post("/auth/id-token/signin", &body).await.code()
    };
    assert_eq!(with_nonce("n-1").await, "ok");
    assert_eq!(with_nonce("n-2").await, "token_nonce_mismatch");
    assert_eq!(service.signin(&token).await.code(), "token_nonce_required");
}

#[tokio::test]
async fn a_named_provider_that_is_not_there_is_told_apart_from_a_wrong_token() {
    let provider = IdProvider::start().await;
    let service = builder(&provider).start().await;
    let token = provider.id_token("alice").await;
    let body = json!({"id_token": token, "provider": "elsewhere"});
    let reply = service.post("/auth/id-token/signin", &body).await;
    assert_eq!(reply.code(), "provider_unknown");
    assert_eq!(service.signin(&token).await.code(), "ok");
}

#[tokio::test]
async fn keys_that_rotate_under_load_interrupt_nobody_and_cost_one_fetch_in_a_window() {
    let provider = Arc::new(IdProvider::start().await);
    // What is waited for below is asked for more often than an address may fail.
    let patient = with(policy(), "/spec/limits/failuresPerIpPerMinute", 1_000_000);
    let service = Service::builder()
        .manifests("all.yaml", &[trusted(&provider), patient])
        .start()
        .await;
    let old = provider.id_token("old").await;
    assert_eq!(service.signin(&old).await.code(), "ok");
    assert_eq!(provider.jwks_fetches().await, 1);

    let (of_load, url) = (Arc::clone(&provider), service.url("/auth/id-token/signin"));
    let load = Load::start(4, move |client, number| {
        let (provider, url) = (Arc::clone(&of_load), url.clone());
        async move {
            let token = provider.id_token(&format!("user-{number}")).await;
            let reply = client.post(&url, &json!({"id_token": token})).await;
            reply.expect("the service answers")
        }
    });
    load.more(8).await;
    provider.rotate().await;
    load.more(16).await;
    assert_eq!(
        provider.jwks_fetches().await,
        2,
        "one fetch brought the new keys"
    );
    let replies = load.finish().await;
    let refused: Vec<&Reply> = replies.iter().filter(|reply| reply.status != 200).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(
        service.signin(&old).await.code(),
        "ok",
        "the old key is still published"
    );

    // A second rotation drops the old keys; its window opens ten seconds after the first one's.
    provider.rotate().await;
    provider.drop_old_keys().await;
    let new = provider.id_token("new").await;
    eventually(
        "the newest key is fetched when the window opens",
        || async {
            match service.signin(&new).await.code() {
                ok if ok == "ok" => Ok(()),
                other => {
                    assert_eq!(other, "provider_unavailable", "and no refusal");
                    Err(other)
                }
            }
        },
    )
    .await;
    assert_eq!(provider.jwks_fetches().await, 3);
    let gone = service.signin(&old).await;
    assert_eq!(gone.code(), "provider_unavailable", "the old key is gone");
    assert!(gone.retry_after() >= 1);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_one_fetch_in_a_window_and_known_keys_go_on() {
    let provider = IdProvider::start().await;
    let service = builder(&provider).start().await;
    let good = provider.id_token("alice").await;
    assert_eq!(service.signin(&good).await.code(), "ok");
    let fetches = provider.jwks_fetches().await;

    let began = Instant::now();
    for number in 0..200 {
        let forged = with_kid(&good, &format!("../../{number}"));
        let code = service.signin(&forged).await.code();
        let refused = ["token_key_unknown", "provider_unavailable"];
        assert!(refused.contains(&code.as_str()), "{code}");
        if number % 20 == 0 {
            assert_eq!(service.signin(&good).await.code(), "ok");
        }
    }
    let windows = began.elapsed().as_secs() / UNKNOWN_KEY_WINDOW.as_secs() + 1;
    let more = provider.jwks_fetches().await - fetches;
    assert!(
        (1..=windows).contains(&more),
        "{more} fetches in {windows} windows"
    );
}

#[tokio::test]
async fn cached_keys_sign_people_in_while_the_provider_is_down() {
    let provider = IdProvider::start().await;
    let service = builder(&provider).start().await;
    let first = provider.id_token("alice").await;
    let later = provider.id_token("bob").await;
    assert_eq!(service.signin(&first).await.code(), "ok");

    provider.take_down().await;
    for _ in 0..5 {
        assert_eq!(service.signin(&later).await.code(), "ok");
    }
    // An unknown key may be a new one: the outage is not the caller's fault.
    let unknown = service.signin(&with_kid(&later, "new-key")).await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (503, "provider_unavailable")
    );
    assert!(unknown.retry_after() >= 1);
    assert_eq!(service.signin(&later).await.code(), "ok");
}

#[tokio::test]
async fn a_service_that_starts_in_an_outage_says_503_and_recovers_without_a_restart() {
    let provider = IdProvider::start().await;
    let token = provider.id_token("alice").await;
    provider.take_down().await;
    let service = builder(&provider).start().await;
    let reply = service.signin(&token).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "provider_unavailable")
    );
    assert!(reply.retry_after() >= 1);
    service.logs("keys cannot be fetched").await;

    provider.bring_back().await;
    eventually("it recovers", || async {
        let reply = service.signin(&token).await;
        if reply.status == 200 {
            return Ok(());
        }
        assert_eq!(reply.code(), "provider_unavailable");
        Err(reply)
    })
    .await;
    service.logs("keys can be fetched again").await;
}

#[tokio::test]
async fn a_provider_that_answers_errors_is_unavailable_for_as_long_as_it_says() {
    let provider = IdProvider::start().await;
    let token = provider.id_token("alice").await;
    provider.faults(json!({"jwks": {"status": 500}})).await;
    let service = builder(&provider).start().await;
    let reply = service.signin(&token).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "provider_unavailable")
    );
    let without_advice = reply.retry_after();
    assert!((1..=2).contains(&without_advice), "{without_advice} s");

    // Nothing is fetched again before the pause is over, however many ask.
    provider
        .faults(json!({"jwks": {"status": 503, "retryAfter": 40}}))
        .await;
    let fetches = provider.jwks_fetches().await;
    eventually("the provider's own Retry-After is passed on", || async {
        let reply = service.signin(&token).await;
        assert_eq!(reply.code(), "provider_unavailable");
        match reply.retry_after() {
            advised @ 30..=40 => Ok(advised),
            other => Err(other),
        }
    })
    .await;
    provider.faults(json!({})).await;
    for _ in 0..20 {
        assert_eq!(service.signin(&token).await.code(), "provider_unavailable");
    }
    assert_eq!(
        provider.jwks_fetches().await,
        fetches + 1,
        "it is left alone until then"
    );

    // Another process has made no such promise.
    let fresh = builder(&provider).start().await;
    assert_eq!(fresh.signin(&token).await.code(), "ok");
}

#[tokio::test]
async fn a_provider_that_is_slower_than_the_limit_is_unavailable_and_one_within_it_is_not() {
    let provider = IdProvider::start().await;
    let token = provider.id_token("alice").await;
    provider
        .faults(json!({"jwks": {"latencyMs": 30_000}}))
        .await;
    let service = builder(&provider).start().await;
    let began = Instant::now();
    let reply = service.signin(&token).await;
    assert_eq!(reply.code(), "provider_unavailable");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );

    provider
        .faults(json!({"jwks": {"latencyMs": 300}, "discovery": {"latencyMs": 300}}))
        .await;
    let fresh = builder(&provider).start().await;
    let fetches = provider.jwks_fetches().await;
    let (one, other) = tokio::join!(fresh.signin(&token), fresh.signin(&token));
    assert_eq!((one.code().as_str(), other.code().as_str()), ("ok", "ok"));
    assert_eq!(
        provider.jwks_fetches().await,
        fetches + 1,
        "both waited for one fetch"
    );
}

#[tokio::test]
async fn what_the_provider_says_of_a_user_is_in_the_access_token() {
    let provider = IdProvider::start().await;
    let with_groups = with(
        trusted(&provider),
        "/spec/claims/mapping/groups",
        "claims.groups",
    );
    let service = Service::builder()
        .manifests("all.yaml", &[with_groups, policy()])
        .start()
        .await;
    let reply = service.signin(&provider.id_token("alice").await).await;
    let claims = claims_of(&reply.text("access_token"));
    assert_eq!(claims["groups"], json!(["staff"]));
    assert_eq!(claims["idp"], "corp");
    assert_eq!(claims["sub"], reply.json()["user"]["id"]);
    assert_eq!(claims["email"], "alice@corp.example");
}

/// The token with another `kid` in its header; its signature does not fit any more.
fn with_kid(token: &str, kid: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (_, rest) = token.split_once('.').expect("a token");
    let header = json!({"alg": "RS256", "kid": kid, "typ": "JWT"}).to_string();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
}
