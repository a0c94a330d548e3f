//! Sign-outs at a provider's word: which logout tokens are taken, and what they end.

use super::*;
use crate::testing::{header, sign, without};

const EVENT: &str = vestibule_idtoken::verify::logout::EVENT;

/// A logout token's claims, each time of another id.
fn logout(id: &str) -> Value {
    json!({
        "iss": claims()["iss"], "sub": "alice", "aud": "web", "jti": id,
        "iat": NOW - 1, "exp": NOW + 120, "events": {EVENT: {}},
    })
}

fn of_session(sid: &str) -> Value {
    with(claims(), "sid", sid)
}

impl Service {
    async fn send_logout(&self, token: &str) -> Reply {
        let form: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("logout_token", token)
            .finish();
        let request = self
            .request(Method::POST, "/auth/logout/backchannel")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(form));
        self.send(request.expect("a request")).await
    }

    /// The status, and the code where it is refused.
    async fn log_out(&self, claims: &Value) -> (u16, String) {
        let head = with(header(&self.key), "typ", "logout+jwt");
        self.log_out_as(&head, claims).await
    }

    async fn log_out_as(&self, header: &Value, claims: &Value) -> (u16, String) {
        let reply = self.send_logout(&sign(&self.key, header, claims)).await;
        assert_eq!(reply.headers["cache-control"], "no-store");
        let code = reply.body["code"].as_str().unwrap_or("ok").to_owned();
        if reply.status == 400 {
            assert_eq!(reply.body["error"], "invalid_request");
            assert!(reply.body["error_description"].is_string());
        }
        (reply.status, code)
    }

    async fn lives(&self, signed_in: &Reply) -> bool {
        let access = signed_in.text("access_token");
        let seen = self.get("/auth/userinfo", Some(access)).await.status == 200;
        let refreshed = self.refresh(signed_in.text("refresh_token")).await;
        assert_eq!(seen, refreshed.status == 200);
        seen
    }
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

fn refused(code: &str) -> (u16, String) {
    (400, code.to_owned())
}

#[tokio::test]
async fn a_subject_loses_all_its_sessions_of_that_provider_and_nobody_else_does() {
    let service = Service::start().await;
    let one = service.signin(&service.token(&of_session("s-1"))).await;
    let two = service.signin(&service.token(&claims())).await;
    let other = service.signin(&service.token_of("bob")).await;
    assert_eq!(service.log_out(&logout("1")).await, ok());
    assert!(!service.lives(&one).await);
    assert!(!service.lives(&two).await);
    assert!(service.lives(&other).await);
    for ended in [claims(), of_session("s-1")] {
        let reply = service.signin(&service.token(&ended)).await;
        assert_eq!((reply.status, reply.code()), (401, "token_session_ended"));
    }
    let later = with(claims(), "iat", NOW);
    let again = service.signin(&service.token(&later)).await;
    assert_eq!(again.code(), "ok", "a new sign-in is a new session");
    let told = "SELECT outcome || ' ' || detail || ' ' || (user_id IS NOT NULL) FROM events WHERE kind = 'provider_logout'";
    assert_eq!(service.column(told).await, ["ok 2 sessions ended 1"]);
}

#[tokio::test]
async fn a_session_of_the_provider_ends_alone_whether_its_subject_is_named_or_not() {
    let service = Service::start().await;
    for (id, named) in [
        ("1", with(logout("1"), "sid", "s-1")),
        ("2", with(without(logout("2"), "sub"), "sid", "s-1")),
    ] {
        let sid = format!("s-{id}");
        let one = service.signin(&service.token(&of_session(&sid))).await;
        let two = service.signin(&service.token(&of_session("s-0"))).await;
        let named = with(named, "sid", sid.clone());
        assert_eq!(service.log_out(&named).await, ok(), "{id}");
        assert!(!service.lives(&one).await);
        assert!(service.lives(&two).await);
        // The same token, and another one of the session that has ended.
        for issued_at in [NOW - 10, NOW] {
            let token = service.token(&with(of_session(&sid), "iat", issued_at));
            let reply = service.signin(&token).await;
            assert_eq!((reply.status, reply.code()), (401, "token_session_ended"));
        }
    }
    // One that does not say where it comes from may be the one that is meant.
    let unsaid = with(claims(), "iat", NOW);
    let unsaid = service.signin(&service.token(&unsaid)).await;
    let named = with(logout("3"), "sid", "s-3");
    assert_eq!(service.log_out(&named).await, ok());
    assert!(!service.lives(&unsaid).await);
    // A refresh keeps what a session may be ended by.
    let one = service.signin(&service.token(&of_session("s-4"))).await;
    let next = service.refresh(one.text("refresh_token")).await;
    let named = with(without(logout("4"), "sub"), "sid", "s-4");
    assert_eq!(service.log_out(&named).await, ok());
    assert!(!service.lives(&next).await);
}

#[tokio::test]
async fn what_nobody_knows_here_is_no_error() {
    let service = Service::start().await;
    let unknown = with(logout("1"), "sub", "nobody");
    assert_eq!(service.log_out(&unknown).await, ok());
    let unknown = with(without(logout("2"), "sub"), "sid", "none");
    assert_eq!(service.log_out(&unknown).await, ok());
}

#[tokio::test]
async fn what_is_no_logout_token_is_refused_and_ends_nothing() {
    let service = Service::start().await;
    let signed_in = service.signin(&service.token(&claims())).await;
    let good = logout("never-used");
    for (claims, code) in [
        // An ID token, and one that only looks like the other.
        (without(good.clone(), "events"), "token_type_not_allowed"),
        (
            with(good.clone(), "events", json!({"other": {}})),
            "token_type_not_allowed",
        ),
        (
            with(good.clone(), "events", json!({EVENT: true})),
            "token_type_not_allowed",
        ),
        (
            with(good.clone(), "events", json!([EVENT])),
            "token_type_not_allowed",
        ),
        (with(good.clone(), "nonce", "n"), "token_nonce_mismatch"),
        (with(good.clone(), "typ", "ID"), "token_type_not_allowed"),
        (
            with(good.clone(), "token_use", "access"),
            "token_type_not_allowed",
        ),
        // Of somebody else, or for somebody else.
        (
            with(good.clone(), "iss", "https://evil.example"),
            "provider_required",
        ),
        (with(good.clone(), "aud", "other"), "provider_required"),
        (
            with(good.clone(), "aud", json!(["web", "other"])),
            "token_audience_mismatch",
        ),
        (without(good.clone(), "aud"), "provider_required"),
        // Whom it means, and which one it is.
        (without(good.clone(), "sub"), "token_malformed"),
        (with(good.clone(), "sub", 7), "token_malformed"),
        (with(good.clone(), "sid", 7), "token_malformed"),
        (
            with(without(good.clone(), "sub"), "sid", ""),
            "token_malformed",
        ),
        (without(good.clone(), "jti"), "token_malformed"),
        (with(good.clone(), "jti", ""), "token_malformed"),
        (
            with(good.clone(), "jti", "x".repeat(256)),
            "token_malformed",
        ),
        // Times.
        (without(good.clone(), "exp"), "token_malformed"),
        (without(good.clone(), "iat"), "token_malformed"),
        (with(good.clone(), "exp", NOW - 60), "token_expired"),
        (with(good.clone(), "iat", NOW + 60), "token_not_yet_valid"),
        (with(good.clone(), "nbf", NOW + 60), "token_not_yet_valid"),
        (with(good.clone(), "iat", NOW - 7200), "token_too_old"),
    ] {
        assert_eq!(service.log_out(&claims).await, refused(code), "{claims}");
    }
    let head = header(&service.key);
    for typ in ["at+jwt", "id_token+jwt", "secevent+jwt", "JWS"] {
        let head = with(head.clone(), "typ", typ);
        let code = service.log_out_as(&head, &good).await;
        assert_eq!(code, refused("token_type_not_allowed"), "{typ}");
    }
    assert!(service.lives(&signed_in).await);
    // The twins: the same token as it should be, in each type that it may have.
    for (id, head) in [
        ("1", without(head.clone(), "typ")),
        ("2", head.clone()),
        ("3", with(head.clone(), "typ", "application/logout+JWT")),
    ] {
        assert_eq!(service.log_out_as(&head, &logout(id)).await, ok(), "{head}");
    }
    let typed = with(logout("4"), "typ", "Logout");
    assert_eq!(service.log_out(&typed).await, ok());
    let several = with(logout("5"), "aud", json!(["web", "mobile"]));
    assert_eq!(service.log_out(&several).await, ok());
    assert_eq!(service.log_out(&good).await, ok());
}

#[tokio::test]
async fn a_signature_that_is_not_the_providers_own_ends_nothing() {
    let service = Service::start().await;
    let signed_in = service.signin(&service.token(&claims())).await;
    let head = with(header(&service.key), "typ", "logout+jwt");
    let good = sign(&service.key, &head, &logout("1"));
    let other = testing::key(SigningAlgorithm::ES256);
    let mut forged = vec![
        (sign(&other, &head, &logout("1")), "token_signature_invalid"),
        (
            sign(
                &other,
                &with(head.clone(), "kid", other.kid.clone()),
                &logout("1"),
            ),
            "token_key_unknown",
        ),
        ("no.token".to_owned(), "token_malformed"),
        // One of our own.
        (
            signed_in.text("access_token").to_owned(),
            "provider_required",
        ),
        // An ID token that signs in.
        (
            service.token(&with(claims(), "jti", "1")),
            "token_type_not_allowed",
        ),
    ];
    for name in ["none", "HS256", "RS256"] {
        let token = sign(&service.key, &with(head.clone(), "alg", name), &logout("1"));
        forged.push((token, "token_algorithm_not_allowed"));
    }
    let (input, _) = good.rsplit_once('.').expect("three parts");
    forged.push((format!("{input}.AAAA"), "token_signature_invalid"));
    for (token, code) in &forged {
        let reply = service.send_logout(token).await;
        assert_eq!((reply.status, reply.text("code")), (400, *code));
    }
    assert!(service.lives(&signed_in).await);
    assert_eq!(service.send_logout(&good).await.status, 200);
    assert!(!service.lives(&signed_in).await);
}

#[tokio::test]
async fn a_logout_token_is_used_once_and_signs_nobody_in() {
    let service = Service::start().await;
    assert_eq!(service.log_out(&logout("1")).await, ok());
    let later = service.token(&with(claims(), "iat", NOW));
    let signed_in = service.signin(&later).await;
    assert_eq!(
        service.log_out(&logout("1")).await,
        refused("token_replayed")
    );
    assert!(service.lives(&signed_in).await);
    assert_eq!(service.log_out(&logout("2")).await, ok());
    for head in [
        header(&service.key),
        with(header(&service.key), "typ", "logout+jwt"),
    ] {
        let reply = service
            .signin(&sign(&service.key, &head, &logout("3")))
            .await;
        assert_eq!(reply.code(), "token_type_not_allowed");
    }
}

#[tokio::test]
async fn providers_of_one_issuer_end_their_own_sessions_alone() {
    let key = testing::key(SigningAlgorithm::ES256);
    let mut second = provider_of(&key);
    second.name = "second".to_owned();
    second.audiences = vec!["second".to_owned()];
    second.suspended = false;
    let served = snapshot([testing::policy()], [provider_of(&key), second.clone()]);
    let service = Service::serve(key, &served).await;
    let at_corp = service.signin(&service.token(&claims())).await;
    let body =
        json!({"id_token": service.token(&with(claims(), "aud", "second")), "provider": "second"});
    let at_second = service.post("/auth/id-token/signin", &body).await;
    assert_eq!(at_second.text_of_user("id"), at_corp.text_of_user("id"));
    assert_eq!(service.log_out(&logout("1")).await, ok());
    assert!(!service.lives(&at_corp).await);
    assert!(
        service.lives(&at_second).await,
        "another client of the same issuer"
    );
    // A provider that is suspended may still sign people out.
    second.suspended = true;
    service.apply(&snapshot([testing::policy()], [second]));
    let of_second = with(logout("2"), "aud", "second");
    assert_eq!(service.log_out(&of_second).await, ok());
    let gone = service.log_out(&logout("3")).await;
    assert_eq!(gone, refused("provider_required"));
}

#[tokio::test]
async fn whoever_guesses_is_slowed_down_and_every_other_body_is_refused() {
    let service = Service::start_with(
        |provider| provider,
        |policy| {
            let mut policy = policy;
            policy.limits.failures_per_ip_per_minute = 3;
            policy
        },
    )
    .await;
    let get = service.get("/auth/logout/backchannel", None).await;
    assert_eq!(
        (get.status, &get.headers["allow"]),
        (405, &HeaderValue::from_static("POST"))
    );
    let json = service
        .post("/auth/logout/backchannel", &json!({"logout_token": "x"}))
        .await;
    assert_eq!(
        (json.status, json.body["error"].as_str()),
        (415, Some("invalid_request"))
    );
    let empty = service.send_logout("").await;
    assert_eq!((empty.status, empty.text("code")), (400, "invalid_request"));
    let forger = testing::key(SigningAlgorithm::ES256);
    let head = with(header(&service.key), "typ", "logout+jwt");
    let forged = sign(&forger, &head, &logout("9"));
    for _ in 0..3 {
        let guess = service.send_logout(&forged).await;
        assert_eq!(guess.status, 400);
    }
    let slowed = service.send_logout(&forged).await;
    assert_eq!(
        (slowed.status, slowed.text("error")),
        (429, "temporarily_unavailable")
    );
    assert!(slowed.headers.contains_key("retry-after"));
    assert_eq!(
        service.log_out(&logout("1")).await,
        ok(),
        "a good one is taken"
    );
}

#[tokio::test]
async fn a_provider_whose_keys_are_away_is_an_outage_and_no_refusal() {
    let key = testing::key(SigningAlgorithm::ES256);
    let mut provider = provider_of(&key);
    provider.keys = vestibule_crds::snapshot::KeySource::JwksUri {
        url: "http://127.0.0.1:1/jwks".to_owned(),
    };
    let service = Service::serve(key, &snapshot([testing::policy()], [provider])).await;
    let (status, code) = service.log_out(&logout("1")).await;
    assert_eq!((status, code.as_str()), (503, "provider_unavailable"));
}
