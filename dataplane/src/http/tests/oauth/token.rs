//! `POST /oauth2/token`.

use vestibule_crds::signin_policy::MfaMode;

use super::*;
use vestibule_store::{SetUserStatus, UserStatus};

#[tokio::test]
async fn an_id_token_is_exchanged_for_local_tokens() {
    let service = Service::start().await;
    let id_token = service.token(&claims());
    let reply = service
        .oauth("/oauth2/token", None, &exchange(&id_token))
        .await;
    assert_eq!(reply.error(), "ok", "{}", reply.body);
    assert_eq!(reply.text("token_type"), "Bearer");
    assert_eq!(reply.text("issued_token_type"), ACCESS_TOKEN);
    assert_eq!(reply.text("scope"), "openid");
    assert_eq!(reply.body["expires_in"], 600);
    let members = reply.body.as_object().expect("an object").len();
    assert_eq!(members, 6, "nothing else is said: {}", reply.body);
    let access = reply.text("access_token");
    let user = service.get("/auth/userinfo", Some(access)).await;
    assert_eq!(user.text("email"), "alice@corp.example");

    let refreshed = service
        .oauth(
            "/oauth2/token",
            None,
            &refreshing(reply.text("refresh_token")),
        )
        .await;
    assert_eq!(refreshed.error(), "ok", "{}", refreshed.body);
    assert_ne!(refreshed.text("refresh_token"), reply.text("refresh_token"));
    assert!(refreshed.body.get("issued_token_type").is_none());
    // The same session as everywhere.
    assert_eq!(
        service
            .refresh(refreshed.text("refresh_token"))
            .await
            .code(),
        "ok"
    );
}

#[tokio::test]
async fn each_parameter_of_an_exchange_is_what_it_must_be() {
    let service = Service::start().await;
    let id_token = service.token(&claims());
    let base = exchange(&id_token);
    for (change, expected) in [
        (("scope", "openid"), (200, "ok")),
        (("scope", "openid email"), (400, "invalid_scope")),
        (("audience", "internal"), (200, "ok")),
        (("audience", "elsewhere"), (400, "invalid_target")),
        (("resource", "internal"), (200, "ok")),
        (
            ("resource", "https://elsewhere.example"),
            (400, "invalid_target"),
        ),
        (("requested_token_type", ACCESS_TOKEN), (200, "ok")),
        (("requested_token_type", ID_TOKEN), (400, "invalid_request")),
        (
            ("subject_token_type", ACCESS_TOKEN),
            (400, "invalid_request"),
        ),
        (("subject_token_type", ""), (400, "invalid_request")),
        (("subject_token", ""), (400, "invalid_request")),
        (("actor_token", "x"), (400, "invalid_request")),
        (("actor_token_type", ID_TOKEN), (400, "invalid_request")),
        (("provider", "corp"), (200, "ok")),
        (("provider", "nobody"), (400, "invalid_request")),
        (("client_id", "anybody"), (200, "ok")),
        (("unknown", "x"), (200, "ok")),
        (
            ("grant_type", "authorization_code"),
            (400, "unsupported_grant_type"),
        ),
        (("grant_type", ""), (400, "invalid_request")),
    ] {
        let parameters = with_parameters(&base, &[change]);
        let reply = service.oauth("/oauth2/token", None, &parameters).await;
        assert_eq!((reply.status, reply.error()), expected, "{change:?}");
    }
}

#[tokio::test]
async fn several_targets_are_each_an_audience() {
    let service = Service::start().await;
    let id_token = service.token(&claims());
    let body = encoded(&exchange(&id_token));
    for (more, error) in [
        ("&audience=internal&resource=internal", "ok"),
        ("&audience=internal&audience=internal", "ok"),
        ("&audience=internal&resource=other", "invalid_target"),
        ("&audience=internal&audience=other", "invalid_target"),
    ] {
        let body = format!("{body}{more}");
        let reply = service.oauth_body("/oauth2/token", None, &body).await;
        assert_eq!(reply.error(), error, "{more}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_subject_token_is_an_invalid_request_with_our_code() {
    let service = Service::start().await;
    for (id_token, code) in [
        ("nonsense".to_owned(), "token_malformed"),
        (
            service.token(&with(claims(), "exp", NOW - 60)),
            "token_expired",
        ),
        (
            service.token(&with(claims(), "aud", "else")),
            "provider_required",
        ),
        (
            token(&testing::key(SigningAlgorithm::ES256), &claims()),
            "token_key_unknown",
        ),
    ] {
        let reply = service
            .oauth("/oauth2/token", None, &exchange(&id_token))
            .await;
        assert_eq!(reply.refusal(), (400, "invalid_request", code));
    }
}

#[tokio::test]
async fn a_nonce_comes_along_as_it_does_to_a_sign_in() {
    let service = Service::start().await;
    let id_token = service.token(&with(claims(), "nonce", "n-1"));
    for (nonce, expected) in [
        ("n-1", (200, "ok", "")),
        ("n-2", (400, "invalid_request", "token_nonce_mismatch")),
        ("", (400, "invalid_request", "token_nonce_required")),
    ] {
        let parameters = with_parameters(&exchange(&id_token), &[("nonce", nonce)]);
        let reply = service.oauth("/oauth2/token", None, &parameters).await;
        assert_eq!((reply.status, reply.error()), (expected.0, expected.1));
        if expected.1 != "ok" {
            assert_eq!(reply.text("code"), expected.2);
        }
    }
}

#[tokio::test]
async fn only_a_form_is_read_and_no_parameter_twice() {
    let service = Service::start().await;
    let reply = service.get("/oauth2/token", None).await;
    assert_eq!(
        (reply.status, &reply.headers["allow"]),
        (405, &HeaderValue::from_static("POST"))
    );
    let id_token = service.token(&claims());
    let body = encoded(&exchange(&id_token));
    for (content_type, body, expected) in [
        (
            "application/x-www-form-urlencoded",
            body.clone(),
            (200, "ok"),
        ),
        (
            "application/x-www-form-urlencoded; charset=utf-8",
            body.clone(),
            (200, "ok"),
        ),
        ("application/json", body.clone(), (415, "invalid_request")),
        (
            "application/x-www-form-urlencoded",
            format!("{body}&scope=openid&scope=openid"),
            (400, "invalid_request"),
        ),
        (
            "application/x-www-form-urlencoded",
            "%".to_owned(),
            (400, "invalid_request"),
        ),
        (
            "application/x-www-form-urlencoded",
            "x".repeat(33 * 1024),
            (413, "invalid_request"),
        ),
    ] {
        let request = service
            .request(Method::POST, "/oauth2/token")
            .header("content-type", content_type)
            .body(Full::from(body));
        let reply = service.send(request.expect("a request")).await;
        assert_eq!((reply.status, reply.error()), expected, "{content_type}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_refresh_token_or_its_user_is_an_invalid_grant() {
    let service = Service::start().await;
    let refresh = |token: String| {
        let service = &service;
        async move {
            service
                .oauth("/oauth2/token", None, &refreshing(&token))
                .await
        }
    };
    let reply = refresh("nonsense".to_owned()).await;
    assert_eq!(
        reply.refusal(),
        (400, "invalid_grant", "refresh_token_invalid")
    );
    let reply = service
        .oauth("/oauth2/token", None, &[("grant_type", "refresh_token")])
        .await;
    assert_eq!(reply.error(), "invalid_request");

    let first = service.signin(&service.token(&claims())).await;
    let token = first.text("refresh_token").to_owned();
    let scoped = with_parameters(&refreshing(&token), &[("scope", "admin")]);
    let reply = service.oauth("/oauth2/token", None, &scoped).await;
    assert_eq!(reply.error(), "invalid_scope");
    let targeted = with_parameters(&refreshing(&token), &[("resource", "elsewhere")]);
    let reply = service.oauth("/oauth2/token", None, &targeted).await;
    assert_eq!(reply.error(), "invalid_target");
    assert_eq!(refresh(token.clone()).await.error(), "ok");
    service.clock.advance(11);
    assert_eq!(
        refresh(token).await.refusal(),
        (400, "invalid_grant", "refresh_token_reused")
    );

    let again = service.signin(&service.token(&claims())).await;
    let user = again.text_of_user("id").parse().expect("an id");
    let store = &service.app.store;
    let disabled = store
        .run(SetUserStatus {
            user,
            status: UserStatus::Disabled,
            now: NOW,
        })
        .await;
    assert_eq!(disabled, Ok(true));
    let reply = refresh(again.text("refresh_token").to_owned()).await;
    assert_eq!(reply.refusal(), (400, "invalid_grant", "user_disabled"));
    // CVE-2026-1609: nor does an exchange.
    let id_token = service.token(&claims());
    let reply = service
        .oauth("/oauth2/token", None, &exchange(&id_token))
        .await;
    assert_eq!(reply.refusal(), (400, "invalid_request", "user_disabled"));
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_what_completes_it_is_the_clients_session() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.mfa.mode = MfaMode::Always;
            policy.clients = Some(vec![client("gateway", &ALL, by_secret(SECRET))]);
            policy
        },
    )
    .await;
    let id_token = service.token(&claims());
    let reply = service.gateway("/oauth2/token", &exchange(&id_token)).await;
    assert_eq!(
        reply.refusal(),
        (400, "interaction_required", "mfa_required")
    );
    assert_eq!(reply.text("mfa_uri"), "https://auth.example.com/auth/mfa");
    assert_eq!(reply.body["expires_in"], 300);
    assert!(reply.body.get("access_token").is_none() && reply.body.get("refresh_token").is_none());
    let challenge = reply.text("challenge_token");
    let bearer = service.get("/auth/userinfo", Some(challenge)).await;
    assert_eq!(bearer.code(), "access_token_invalid");
    let described = service
        .post(
            "/auth/mfa/challenge",
            &json!({"challenge_token": challenge}),
        )
        .await;
    assert_eq!(described.code(), "ok");
    let refreshed = service
        .gateway("/oauth2/token", &refreshing(challenge))
        .await;
    assert_eq!(refreshed.error(), "invalid_grant");
    assert_eq!(
        service.introspect(challenge).await,
        json!({"active": false})
    );
    let revoked = service
        .gateway("/oauth2/revoke", &[("token", challenge)])
        .await;
    assert_eq!(
        revoked.refusal(),
        (400, "unsupported_token_type", "unsupported_token_type")
    );

    let (app, _) = service.enroll("alice").await;
    let reply = service.gateway("/oauth2/token", &exchange(&id_token)).await;
    let challenge = reply.text("challenge_token");
    let code = app.code(&service, 1);
    let completed = service.verify(challenge, "totp", &code).await;
    assert_eq!(completed.code(), "ok", "{}", completed.body);
    let access = vestibule_idtoken::token::UnverifiedToken::parse(completed.text("access_token"));
    assert_eq!(access.expect("a token").text("client_id"), Some("gateway"));
    let token = completed.text("refresh_token");
    assert_eq!(service.refresh(token).await.code(), "refresh_token_invalid");
    assert_eq!(service.refresh_by_gateway(token).await.error(), "ok");
}

#[tokio::test]
async fn an_outage_is_told_as_one_and_when_to_come_back() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.limits.failures_per_ip_per_minute = 2;
            policy
        },
    )
    .await;
    let bad = service.token(&with(claims(), "exp", NOW - 600));
    for _ in 0..2 {
        let reply = service.oauth("/oauth2/token", None, &exchange(&bad)).await;
        assert_eq!(reply.error(), "invalid_request");
    }
    let reply = service.oauth("/oauth2/token", None, &exchange(&bad)).await;
    assert_eq!(
        reply.refusal(),
        (429, "temporarily_unavailable", "rate_limited")
    );
    assert!(reply.headers.contains_key("retry-after"));
}
