//! What a score does to a sign-in, and what it never does.

use vestibule_crds::duration::Duration;
use vestibule_crds::signin_policy::{Actions, MfaMethod, OnError, RiskAction, Signals, Thresholds};
use vestibule_crds::snapshot::{Acting, Risk, UpstreamMfa};

use std::collections::HashMap;

use vestibule_risk::population::PolicyPopulation;

use super::*;

/// Where the service's users come from; the test's own address is the trusted proxy in front of them.
const HOME: &str = "192.0.1.10";
const DENIED: &str = "198.52.100.7";

fn risk(acting: Acting) -> Risk {
    Risk {
        acting,
        thresholds: Thresholds::default(),
        actions: Actions {
            low: RiskAction::Allow,
            medium: RiskAction::Allow,
            high: RiskAction::Deny,
        },
        on_error: OnError::Medium,
        signals: Signals::default(),
        deny: vec!["198.52.100.0/24".parse().expect("a network")],
        allow: Vec::new(),
        mfa_methods: vec![MfaMethod::Totp, MfaMethod::EmailOtp],
    }
}

async fn service(risk: Option<Risk>) -> Service {
    Service::start_with(
        |provider| Provider {
            upstream_mfa: Some(UpstreamMfa {
                amr: vec!["hwk".to_owned()],
                acr: Vec::new(),
                max_auth_age: Duration::from_secs(3600),
            }),
            ..provider
        },
        |policy| Policy {
            risk,
            trusted_proxies: vec!["127.0.0.0/8".parse().expect("a network")],
            ..policy
        },
    )
    .await
}

async fn signin_from(service: &Service, client: &str, claims: &Value) -> Reply {
    let body = json!({"id_token": service.token(claims), "provider": "corp"});
    send_from(service, client, &body).await
}

const LAPTOP: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0";
const UPDATED: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:122.0) Gecko/20100101 Firefox/122.0";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

/// A sign-in of this user with this agent.
async fn signin_with(service: &Service, client: &str, agent: &str, subject: &str) -> Reply {
    let claims = with(claims(), "sub", subject);
    let body = json!({"id_token": service.token(&claims), "provider": "corp"});
    let request = service
        .request(Method::POST, "/auth/id-token/signin")
        .header("content-type", "application/json")
        .header("x-forwarded-for", client)
        .header("user-agent", agent)
        .body(Full::from(body.to_string()));
    service.send(request.expect("a request")).await
}

#[tokio::test]
async fn what_a_user_never_showed_is_new_once() {
    let service = service(Some(risk(Acting::Enforce))).await;
    let reasons = async |client: &str, agent: &str, subject: &str| {
        let reply = signin_with(&service, client, agent, subject).await;
        reasons(&reply).clone()
    };
    let none = json!([]);
    assert_eq!(
        reasons(HOME, LAPTOP, "alice").await,
        json!(["first_signin"])
    );
    assert_eq!(reasons(HOME, LAPTOP, "alice").await, none);
    assert_eq!(reasons(HOME, UPDATED, "alice").await, none, "an update");
    assert_eq!(reasons(HOME, PHONE, "alice").await, json!(["new_device"]));
    assert_eq!(reasons(HOME, PHONE, "alice").await, none);
    assert_eq!(
        reasons("192.0.1.99", LAPTOP, "alice").await,
        json!(["new_ip"])
    );
    assert_eq!(reasons("192.0.1.99", LAPTOP, "alice").await, none);
    assert_eq!(
        reasons("10.1.1.1", LAPTOP, "alice").await,
        none,
        "no evidence"
    );
    // What one user shows is not another's.
    assert_eq!(reasons(HOME, LAPTOP, "bob").await, json!(["first_signin"]));
    assert_eq!(
        reasons("192.0.1.98", PHONE, "bob").await,
        json!(["new_device", "new_ip"])
    );
}

#[tokio::test]
async fn an_attempt_with_nothing_known_of_it_is_at_least_medium() {
    let service = service(Some(risk(Acting::Enforce))).await;
    signin_with(&service, HOME, LAPTOP, "alice").await;
    let reply = signin_with(&service, "192.0.1.66", PHONE, "alice").await;
    assert_eq!(reply.body["risk_level"], "medium");
    assert_eq!(reply.body["risk_assessment"]["score"], 31);
}

#[tokio::test]
async fn a_refused_attempt_teaches_nothing() {
    let mut enforced = risk(Acting::Enforce);
    enforced.actions.medium = RiskAction::Deny;
    let service = service(Some(enforced)).await;
    signin_with(&service, HOME, LAPTOP, "alice").await;
    for _ in 0..3 {
        let reply = signin_with(&service, "192.0.1.66", PHONE, "alice").await;
        assert_eq!(reply.code(), "risk_denied", "as new as the first time");
    }
    let reply = signin_with(&service, HOME, LAPTOP, "alice").await;
    assert_eq!(reply.code(), "ok");
}

#[tokio::test]
async fn no_address_and_no_agent_is_stored() {
    let service = service(Some(risk(Acting::Enforce))).await;
    signin_with(&service, HOME, LAPTOP, "alice").await;
    let contents = service
        .column("SELECT hex(content) FROM risk_history")
        .await;
    let [content] = contents.as_slice() else {
        panic!("one history: {contents:?}");
    };
    let bytes = |bytes: &[u8]| crate::encoding::hex(bytes).to_uppercase();
    for hidden in [bytes(b"Firefox"), bytes(b"Linux"), bytes(&[192, 0, 1, 10])] {
        assert!(!content.contains(&hidden), "{hidden}");
    }
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_met_as_the_policy_says_and_begun_anew() {
    let mut enforced = risk(Acting::Enforce);
    enforced.on_error = OnError::High;
    enforced.actions.high = RiskAction::Allow;
    let service = service(Some(enforced)).await;
    signin_with(&service, HOME, LAPTOP, "alice").await;
    service
        .execute("UPDATE risk_history SET content = x'FF'")
        .await;
    let reply = signin_with(&service, HOME, LAPTOP, "alice").await;
    assert_eq!(reply.body["risk_level"], "high");
    assert_eq!(*reasons(&reply), json!(["not_scored"]));
    let reply = signin_with(&service, HOME, LAPTOP, "alice").await;
    assert_eq!(*reasons(&reply), json!([]));
}

async fn send_from(service: &Service, client: &str, body: &Value) -> Reply {
    let request = service
        .request(Method::POST, "/auth/id-token/signin")
        .header("content-type", "application/json")
        .header("x-forwarded-for", client)
        .body(Full::from(body.to_string()));
    service.send(request.expect("a request")).await
}

fn reasons(reply: &Reply) -> &Value {
    &reply.body["risk_assessment"]["reasons"]
}

#[tokio::test]
async fn without_scoring_nothing_is_said_of_risk() {
    let service = service(None).await;
    let reply = signin_from(&service, DENIED, &claims()).await;
    assert_eq!(reply.code(), "ok");
    for name in ["risk_level", "risk_assessment"] {
        assert!(reply.body.get(name).is_none(), "{}", reply.body);
    }
    assert!(
        service
            .column("SELECT hex(content) FROM risk_history")
            .await
            .is_empty()
    );
    assert_eq!(service.events().await, [("ok".to_owned(), String::new())]);
}

#[tokio::test]
async fn a_sign_in_says_how_it_was_assessed() {
    let service = service(Some(risk(Acting::Enforce))).await;
    let first = signin_from(&service, HOME, &claims()).await;
    assert_eq!(first.body["risk_level"], "low");
    assert_eq!(
        first.body["risk_assessment"],
        json!({"level": "low", "score": 15, "require_mfa": false, "reasons": ["first_signin"]})
    );
    let second = signin_from(&service, HOME, &claims()).await;
    assert_eq!(
        second.body["risk_assessment"],
        json!({"level": "low", "score": 0, "require_mfa": false, "reasons": []})
    );
}

#[tokio::test]
async fn a_refused_sign_in_leaves_nothing_but_its_event() {
    let service = service(Some(risk(Acting::Enforce))).await;
    let refused = signin_from(&service, DENIED, &claims()).await;
    assert_eq!((refused.status, refused.code()), (403, "risk_denied"));
    assert!(
        !refused.body.to_string().contains("ip_denied"),
        "{}",
        refused.body
    );
    let events = service.events().await;
    let [(outcome, detail)] = events.as_slice() else {
        panic!("one event: {events:?}");
    };
    assert_eq!(outcome, "risk_denied");
    let record: Value = serde_json::from_str(detail).expect("JSON");
    let revision = service.app.runtime_config.active();
    let revision = revision.policy("default").expect("it is served");
    assert_eq!(record["engine"], vestibule_risk::ENGINE_VERSION);
    assert_eq!(record["policy"], revision.spec.revision.as_str());
    assert_eq!(record["score"], 100);
    assert_eq!(record["action"], "Deny");
    let points: u64 = record["reasons"]
        .as_object()
        .expect("points by reason")
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(points, 100);
    // Nobody was created: the next sign-in is still the first.
    let reply = signin_from(&service, HOME, &claims()).await;
    assert_eq!(*reasons(&reply), json!(["first_signin"]));
}

#[tokio::test]
async fn a_policy_that_observes_records_and_never_acts() {
    let mut observed = risk(Acting::Observe);
    observed.actions.low = RiskAction::RequireMfa;
    let service = service(Some(observed)).await;
    let denied = signin_from(&service, DENIED, &claims()).await;
    assert_eq!(denied.code(), "ok");
    assert_eq!(denied.body["risk_level"], "high");
    assert_eq!(denied.body["risk_assessment"]["score"], 100);
    let low = signin_from(&service, HOME, &claims()).await;
    assert_eq!(low.body["risk_assessment"]["require_mfa"], true);
    assert_eq!(
        low.body["risk_assessment"]["recommended_mfa_methods"],
        json!(["totp", "email_otp"])
    );
    assert_eq!(low.body["requires_mfa"], false);
    assert!(low.body["access_token"].is_string());
    let events = service.events().await;
    assert!(
        events.iter().all(|(outcome, detail)| {
            outcome == "ok" && detail.contains(r#""acting":"Observe""#)
        })
    );
}

#[tokio::test]
async fn the_level_of_a_policy_that_enforces_decides() {
    for (action, code) in [(RiskAction::Allow, "ok"), (RiskAction::Deny, "risk_denied")] {
        let mut enforced = risk(Acting::Enforce);
        enforced.actions.low = action;
        let service = service(Some(enforced)).await;
        assert_eq!(signin_from(&service, HOME, &claims()).await.code(), code);
    }
}

#[tokio::test]
async fn the_address_that_is_scored_is_the_one_that_a_trusted_proxy_names() {
    let enforced = risk(Acting::Enforce);
    let service = service(Some(enforced.clone())).await;
    // What the client wrote in front means nothing.
    for forwarded in [
        format!("{HOME}, {DENIED}"),
        format!("{HOME}, {DENIED}:4711"),
        format!("{HOME}, ::ffff:{DENIED}"),
        format!("junk, {DENIED}, 127.0.0.9"),
    ] {
        let reply = signin_from(&service, &forwarded, &claims()).await;
        assert_eq!(reply.code(), "risk_denied", "{forwarded}");
    }
    let reply = signin_from(&service, &format!("{DENIED}, {HOME}"), &claims()).await;
    assert_eq!(reply.code(), "ok");
    // Nobody is trusted to name another.
    let alone = Service::start_with(
        |provider| provider,
        |policy| Policy {
            risk: Some(enforced),
            ..policy
        },
    )
    .await;
    assert_eq!(signin_from(&alone, DENIED, &claims()).await.code(), "ok");
}

#[tokio::test]
async fn failures_of_a_verified_user_raise_that_users_score_alone() {
    let service = service(Some(risk(Acting::Enforce))).await;
    signin_from(&service, HOME, &claims()).await;
    // Somebody who cannot prove to be alice raises nothing of hers.
    let stranger = testing::key(SigningAlgorithm::ES256);
    for _ in 0..10 {
        let body = json!({"id_token": token(&stranger, &claims()), "provider": "corp"});
        let reply = send_from(&service, "192.0.1.66", &body).await;
        assert_ne!(reply.code(), "ok");
    }
    let reply = signin_from(&service, HOME, &claims()).await;
    assert_eq!(*reasons(&reply), json!([]));
    for _ in 0..5 {
        let reply = signin_from(&service, DENIED, &claims()).await;
        assert_eq!(reply.code(), "risk_denied");
    }
    let reply = signin_from(&service, HOME, &claims()).await;
    assert_eq!(*reasons(&reply), json!(["user_failures"]));
    assert_eq!(reply.body["risk_level"], "medium");
    let other = signin_from(&service, HOME, &with(claims(), "sub", "bob")).await;
    assert_eq!(*reasons(&other), json!(["first_signin"]));
    service.clock.advance(1800);
    let later = with(with(claims(), "exp", NOW + 3600), "iat", NOW + 1800);
    let reply = signin_from(&service, HOME, &later).await;
    assert_eq!(*reasons(&reply), json!([]), "it is forgotten");
}

#[tokio::test]
async fn failures_of_a_public_address_raise_the_score_of_whoever_comes_from_there() {
    let service = service(Some(risk(Acting::Enforce))).await;
    for client in [HOME, "10.1.2.3"] {
        signin_from(&service, client, &claims()).await;
        for _ in 0..20 {
            let body = json!({"id_token": "junk", "provider": "corp"});
            let reply = send_from(&service, client, &body).await;
            assert_eq!(reply.code(), "token_malformed");
        }
    }
    let reply = signin_from(&service, HOME, &claims()).await;
    assert_eq!(*reasons(&reply), json!(["ip_failures"]));
    let reply = signin_from(&service, "192.0.1.11", &claims()).await;
    assert_eq!(*reasons(&reply), json!(["new_ip"]));
    let reply = signin_from(&service, "10.1.2.3", &claims()).await;
    assert_eq!(
        *reasons(&reply),
        json!([]),
        "a private address is no evidence"
    );
}

#[tokio::test]
async fn an_old_authentication_at_the_provider_is_a_reason() {
    let service = service(Some(risk(Acting::Enforce))).await;
    signin_from(&service, HOME, &claims()).await;
    let at = |seconds: i64| with(claims(), "auth_time", NOW - seconds);
    let stale = signin_from(&service, HOME, &at(13 * 3600)).await;
    assert_eq!(*reasons(&stale), json!(["stale_auth_time"]));
    let fresh = signin_from(&service, HOME, &at(60)).await;
    assert_eq!(*reasons(&fresh), json!([]));
}

/// Of many others, most with this agent from this address.
fn others(service: &Service, agent: &str, client: &str) -> PolicyPopulation {
    let location = crate::geography::Location::default();
    let client = client.parse().expect("an address");
    let values = service.app.hashing.values(client, &location, Some(agent));
    let mut population = PolicyPopulation::default();
    for number in 0..300 {
        population.count(&values, number < 30);
    }
    population
}

#[tokio::test]
async fn what_many_others_show_and_the_user_hardly_ever_is_unlike_the_user() {
    let service = service(Some(risk(Acting::Observe))).await;
    let everybody = others(&service, PHONE, "192.0.1.99");
    let policy = "auth/default".to_owned();
    service
        .app
        .populations
        .replace(HashMap::from([(policy, everybody)]));
    // Known, but seldom shown.
    signin_with(&service, "192.0.1.99", PHONE, "alice").await;
    for _ in 0..30 {
        signin_with(&service, HOME, LAPTOP, "alice").await;
    }
    let usual = signin_with(&service, HOME, LAPTOP, "alice").await;
    let seldom = signin_with(&service, "192.0.1.99", PHONE, "alice").await;
    let score = |reply: &Reply| reply.body["risk_assessment"]["score"].as_u64();
    assert_eq!(reasons(&seldom), &json!(["unlike_history"]));
    assert!(score(&seldom) > Some(7), "{:?}", seldom.body);
    assert!(score(&usual) < Some(5), "{:?}", usual.body);
}

#[tokio::test]
async fn only_a_sign_in_that_succeeded_is_counted_among_all() {
    let service = service(Some(risk(Acting::Enforce))).await;
    service.app.populations.replace(HashMap::new());
    let denied = signin_from(&service, DENIED, &claims()).await;
    assert_eq!(denied.code(), "risk_denied");
    assert!(service.app.populations.take().is_empty());
    signin_from(&service, HOME, &claims()).await;
    signin_from(&service, HOME, &claims()).await;
    let counted = service.app.populations.take();
    assert_eq!((counted[0].signins, counted[0].users), (2, 1));
}
