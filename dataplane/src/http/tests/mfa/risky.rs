//! A factor that risk asks for.

use vestibule_crds::duration::Duration;
use vestibule_crds::signin_policy::{Actions, OnError, RiskAction, Signals, Thresholds};
use vestibule_crds::snapshot::{Acting, Risk, UpstreamMfa};

use super::*;
use crate::testing::without;

const LAPTOP: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";
const HOME: &str = "192.0.1.10";
const AWAY: &str = "192.0.1.66";

/// A new device at a new address is medium.
async fn service(change: impl FnOnce(&mut Policy)) -> Service {
    Service::start_with(
        |provider| Provider {
            upstream_mfa: Some(UpstreamMfa {
                amr: vec!["hwk".to_owned()],
                acr: Vec::new(),
                max_auth_age: Duration::from_secs(3600),
            }),
            ..provider
        },
        |mut policy| {
            policy.mfa = Mfa {
                mode: MfaMode::Adaptive,
                ..always(policy.mfa)
            };
            policy.risk = Some(Risk {
                acting: Acting::Enforce,
                thresholds: Thresholds::default(),
                actions: Actions {
                    low: RiskAction::Allow,
                    medium: RiskAction::RequireMfa,
                    high: RiskAction::RequireMfa,
                },
                on_error: OnError::Medium,
                signals: Signals::default(),
                deny: Vec::new(),
                allow: Vec::new(),
                mfa_methods: policy.mfa.methods.clone(),
            });
            policy.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
            change(&mut policy);
            policy
        },
    )
    .await
}

async fn signin_with(
    service: &Service,
    client: &str,
    agent: &str,
    claims: &Value,
    device: Option<&str>,
) -> Reply {
    let now = service.app.clock.now();
    let claims = with(with(claims.clone(), "exp", now + 600), "iat", now - 10);
    let body =
        json!({"id_token": service.token(&claims), "provider": "corp", "device_token": device});
    let request = service
        .request(Method::POST, "/auth/id-token/signin")
        .header("content-type", "application/json")
        .header("x-forwarded-for", client)
        .header("user-agent", agent)
        .body(Full::from(body.to_string()));
    service.send(request.expect("a request")).await
}

/// An account token of this session, for the network and the program that holds it.
async fn account_with(service: &Service, client: &str, agent: &str, reply: &Reply) -> String {
    let body = json!({"refresh_token": reply.text("refresh_token"), "scope": "account"});
    let request = service
        .request(Method::POST, "/auth/token/refresh")
        .header("content-type", "application/json")
        .header("x-forwarded-for", client)
        .header("user-agent", agent)
        .body(Full::from(body.to_string()));
    let reply = service.send(request.expect("a request")).await;
    reply.text("access_token").to_owned()
}

/// A user with an app, who signed in at home.
async fn at_home(service: &Service) -> Authenticator {
    let reply = signin_with(service, HOME, LAPTOP, &claims(), None).await;
    assert_eq!(reply.body["requires_mfa"], false, "{}", reply.body);
    let access = &account_with(service, HOME, LAPTOP, &reply).await;
    let path = "/auth/mfa/enrollments/totp";
    let begun = service.post_as(access, path, &json!({})).await;
    let app = Authenticator {
        secret: secret_of(&begun),
        recovery_codes: Vec::new(),
    };
    let confirm = json!({"id": begun.text("id"), "code": app.code(service, 0)});
    let path = "/auth/mfa/enrollments/totp/confirm";
    let confirmed = service.post_as(access, path, &confirm).await;
    assert_eq!(confirmed.code(), "ok");
    service.clock.advance(60);
    app
}

#[tokio::test]
async fn an_unusual_sign_in_is_asked_and_a_usual_one_is_not() {
    let service = service(|_| {}).await;
    let app = at_home(&service).await;
    let usual = signin_with(&service, HOME, LAPTOP, &claims(), None).await;
    assert_eq!(usual.body["requires_mfa"], false);
    let reply = signin_with(&service, AWAY, PHONE, &claims(), None).await;
    assert_eq!(reply.body["requires_mfa"], true);
    assert_eq!(reply.body["risk_level"], "medium");
    assert_eq!(reply.body["risk_assessment"]["require_mfa"], true);
    assert!(reply.text("mfa_check_reason").contains("device"));
    for absent in ["access_token", "refresh_token", "user"] {
        assert_eq!(reply.body.get(absent), None);
    }
    let challenge = reply.text("challenge_token");
    let done = service
        .verify(challenge, "totp", &app.code(&service, 0))
        .await;
    assert_eq!(done.code(), "ok");
    assert_eq!(claim(&done, "amr"), json!(["otp", "mfa", "rba"]));
    assert_eq!(done.body["risk_level"], "medium");
    let counted = service.app.populations.take();
    assert_eq!(
        counted.iter().map(|of| of.signins).sum::<u64>(),
        3,
        "twice at home, and now"
    );
    let known = signin_with(&service, AWAY, PHONE, &claims(), None).await;
    assert_eq!(
        known.body["requires_mfa"], false,
        "what was completed is learnt"
    );
}

#[tokio::test]
async fn abandoned_and_failed_sign_ins_leave_history_unchanged() {
    let service = service(|_| {}).await;
    at_home(&service).await;
    let history = async || {
        let sql = "SELECT version || hex(content) FROM risk_history";
        service.column(sql).await
    };
    let before = history().await;
    service.app.populations.take();
    for _ in 0..3 {
        let reply = signin_with(&service, AWAY, PHONE, &claims(), None).await;
        assert_eq!(reply.body["requires_mfa"], true, "as new as the first time");
        let challenge = reply.text("challenge_token");
        let reply = service.verify(challenge, "totp", &wrong()).await;
        assert_eq!(reply.code(), "mfa_code_invalid");
    }
    assert_eq!(history().await, before);
    assert!(service.app.populations.take().is_empty());
}

#[tokio::test]
async fn whoever_has_no_factor_does_not_enrol_one_at_a_risky_sign_in() {
    let service = service(|_| {}).await;
    let first = signin_with(&service, HOME, LAPTOP, &claims(), None).await;
    assert_eq!(first.code(), "ok");
    let reply = signin_with(&service, AWAY, PHONE, &claims(), None).await;
    assert_eq!((reply.status, reply.code()), (403, "mfa_unavailable"));
    let events = service.events().await;
    let (outcome, detail) = events.last().expect("an event");
    assert_eq!(outcome, "mfa_unavailable");
    assert!(detail.contains("new_device"), "{detail}");
}

#[tokio::test]
async fn the_providers_factor_counts_while_it_is_fresh_and_nothing_speaks_against_it() {
    let service = service(|policy| policy.mfa.mode = MfaMode::Always).await;
    let at = |seconds: i64| {
        let auth_time = service.app.clock.now() - seconds;
        with(
            with(claims(), "amr", json!(["hwk"])),
            "auth_time",
            auth_time,
        )
    };
    let asked = async |claims: Value| {
        let reply = signin_with(&service, HOME, LAPTOP, &claims, None).await;
        reply.body["requires_mfa"].clone()
    };
    let fresh = signin_with(&service, HOME, LAPTOP, &at(60), None).await;
    assert_eq!(fresh.body["requires_mfa"], false);
    assert_eq!(claim(&fresh, "amr"), json!(["hwk"]));
    assert_eq!(asked(at(3601)).await, true, "too long ago");
    let silent = with(without(claims(), "auth_time"), "amr", json!(["hwk"]));
    assert_eq!(asked(silent).await, true, "iat is no answer");
    let other = with(at(60), "amr", json!(["pwd"]));
    assert_eq!(asked(other).await, true, "not a factor that is honoured");
    // Failures in this user's name: no factor asked for elsewhere explains them.
    let challenge = signin_with(&service, HOME, LAPTOP, &claims(), None).await;
    let challenge = challenge.text("challenge_token");
    let begin = json!({"challenge_token": challenge});
    let begun = service.post("/auth/mfa/enrollments/totp", &begin).await;
    for _ in 0..5 {
        let confirm = json!({"challenge_token": challenge, "id": begun.text("id"), "code": "x"});
        let path = "/auth/mfa/enrollments/totp/confirm";
        service.post(path, &confirm).await;
    }
    let reply = signin_with(&service, HOME, LAPTOP, &at(60), None).await;
    assert_eq!(reply.code(), "mfa_unavailable", "{}", reply.body);
}

#[tokio::test]
async fn a_remembered_device_is_not_asked_for_being_new() {
    let service = service(|_| {}).await;
    let app = at_home(&service).await;
    let reply = signin_with(&service, AWAY, PHONE, &claims(), None).await;
    let body = json!({
        "challenge_token": reply.text("challenge_token"),
        "method": "totp",
        "code": app.code(&service, 0),
        "remember_device": true,
    });
    let reply = service.post("/auth/mfa/verify", &body).await;
    let device = reply.text("device_token").to_owned();
    service.execute("DELETE FROM risk_history").await;
    let home = signin_with(&service, HOME, LAPTOP, &claims(), None).await;
    assert_eq!(
        home.body["risk_level"], "low",
        "it is all there is of a history"
    );
    let cut = &device[..device.len() - 4];
    for (shown, level) in [(cut, "medium"), (device.as_str(), "low")] {
        let reply = signin_with(&service, AWAY, PHONE, &claims(), Some(shown)).await;
        assert_eq!(reply.body["risk_level"], level);
    }
    let bob = with(claims(), "sub", "bob");
    signin_with(&service, HOME, LAPTOP, &bob, None).await;
    let mallory = signin_with(&service, AWAY, PHONE, &bob, Some(&device)).await;
    assert_eq!(mallory.code(), "mfa_unavailable", "it is not bob's");
}
