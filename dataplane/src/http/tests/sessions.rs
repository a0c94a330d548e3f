//! What goes on after a sign-in: refresh, reuse, sign-out, and the end of users, providers and policies.

use std::collections::HashSet;

use super::*;
use vestibule_store::{SetUserStatus, UserStatus};

fn session_of(reply: &Reply) -> String {
    let access = vestibule_idtoken::token::UnverifiedToken::parse(reply.text("access_token"))
        .expect("a token");
    access.text("sid").expect("a session").to_owned()
}

#[tokio::test]
async fn a_refresh_rotates_and_keeps_the_session() {
    let service = Service::start().await;
    let first = service.signin(&service.token(&claims())).await;
    service.clock.advance(300);
    let second = service.refresh(first.text("refresh_token")).await;
    assert_eq!(second.code(), "ok");
    assert_ne!(first.text("refresh_token"), second.text("refresh_token"));
    assert_ne!(first.text("access_token"), second.text("access_token"));
    assert_eq!(session_of(&first), session_of(&second));
    assert_eq!(
        service.refresh(second.text("refresh_token")).await.code(),
        "ok"
    );
}

#[tokio::test]
async fn a_lost_answer_can_be_asked_for_again_inside_the_grace() {
    let service = Service::start().await;
    let first = service.signin(&service.token(&claims())).await;
    let second = service.refresh(first.text("refresh_token")).await;
    service.clock.advance(10);
    let again = service.refresh(first.text("refresh_token")).await;
    assert_eq!(
        again.text("refresh_token"),
        second.text("refresh_token"),
        "one live token, never two"
    );
}

#[tokio::test]
async fn reuse_after_the_grace_ends_the_session() {
    let service = Service::start().await;
    let first = service.signin(&service.token(&claims())).await;
    let second = service.refresh(first.text("refresh_token")).await;
    service.clock.advance(11);
    let reply = service.refresh(first.text("refresh_token")).await;
    assert_eq!((reply.status, reply.code()), (401, "refresh_token_reused"));
    assert_eq!(
        service.refresh(second.text("refresh_token")).await.code(),
        "refresh_token_invalid"
    );
    let access = second.text("access_token");
    assert_eq!(
        service.get("/auth/userinfo", Some(access)).await.code(),
        "access_token_invalid"
    );
}

#[tokio::test]
async fn fifty_concurrent_refreshes_are_one_session() {
    // GoTrue 1318.
    let service = Arc::new(Service::start().await);
    let first = service.signin(&service.token(&claims())).await;
    let refreshes: Vec<_> = (0..50)
        .map(|_| {
            let (service, token) = (Arc::clone(&service), first.text("refresh_token").to_owned());
            tokio::spawn(async move { service.refresh(&token).await })
        })
        .collect();
    let (mut sessions, mut active) = (HashSet::new(), HashSet::new());
    for refresh in refreshes {
        let reply = refresh.await.expect("no panic");
        assert_eq!(reply.code(), "ok", "nobody is logged out inside the grace");
        sessions.insert(session_of(&reply));
        active.insert(reply.text("refresh_token").to_owned());
    }
    assert_eq!((sessions.len(), active.len()), (1, 1));
    for token in active {
        assert_eq!(service.refresh(&token).await.code(), "ok");
    }
}

#[tokio::test]
async fn what_is_no_refresh_token_of_ours_is_refused() {
    let service = Service::start().await;
    let reply = service.signin(&service.token(&claims())).await;
    let token = reply.text("refresh_token");
    let forged = crate::refresh_token::RefreshToken::first(NOW, [7; 48]).expose();
    for bad in [
        "",
        "x",
        &forged,
        reply.text("access_token"),
        &token[..token.len() - 1],
    ] {
        assert_eq!(service.refresh(bad).await.code(), "refresh_token_invalid");
    }
    assert_eq!(
        service.post("/auth/token/refresh", &json!({})).await.code(),
        "invalid_request"
    );
    assert_eq!(service.refresh(token).await.code(), "ok");
}

#[tokio::test]
async fn a_session_ends_when_its_times_are_over() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.token.refresh_ttl = vestibule_crds::duration::Duration::from_secs(1000);
            policy.token.session_max_ttl = vestibule_crds::duration::Duration::from_secs(2500);
            policy
        },
    )
    .await;
    let mut reply = service.signin(&service.token(&claims())).await;
    for _ in 0..2 {
        service.clock.advance(999);
        reply = service.refresh(reply.text("refresh_token")).await;
        assert_eq!(reply.code(), "ok");
    }
    assert_eq!(
        reply.body["expires_in"], 502,
        "no access token outlives its session"
    );
    service.clock.advance(502);
    assert_eq!(
        service.refresh(reply.text("refresh_token")).await.code(),
        "refresh_token_invalid"
    );

    let idle = service
        .signin(&service.token(&with(with(claims(), "exp", NOW + 9000), "iat", NOW + 2000)))
        .await;
    service.clock.advance(1000);
    assert_eq!(
        service.refresh(idle.text("refresh_token")).await.code(),
        "refresh_token_invalid"
    );
}

#[tokio::test]
async fn a_suspended_or_deleted_provider_ends_sign_in_and_refresh() {
    // CVE-2026-1486.
    let service = Service::start().await;
    let policy = service
        .app
        .runtime_config
        .active()
        .policy("default")
        .expect("served")
        .spec
        .as_ref()
        .clone();
    let provider = provider_of(&service.key);
    let mut reply = service.signin(&service.token(&claims())).await;

    let mut suspended = provider.clone();
    suspended.suspended = true;
    suspended.revision = vestibule_crds::snapshot::Revision::of(b"suspended");
    service.apply(&snapshot([policy.clone()], [suspended]));
    assert_eq!(
        service.signin(&service.token(&claims())).await.code(),
        "provider_suspended"
    );
    assert_eq!(
        service.refresh(reply.text("refresh_token")).await.code(),
        "provider_suspended"
    );

    service.apply(&snapshot([policy.clone()], [provider.clone()]));
    reply = service.refresh(reply.text("refresh_token")).await;
    assert_eq!(
        reply.code(),
        "ok",
        "the session is there when the provider returns"
    );

    service.apply(&snapshot([policy.clone()], []));
    assert_eq!(
        service.signin(&service.token(&claims())).await.code(),
        "provider_unknown"
    );
    assert_eq!(
        service.refresh(reply.text("refresh_token")).await.code(),
        "provider_suspended"
    );

    let mut moved = provider.clone();
    moved.policy = "other".to_owned();
    moved.revision = vestibule_crds::snapshot::Revision::of(b"moved");
    let mut other = testing::policy();
    other.name = "other".to_owned();
    other.token.issuer =
        vestibule_crds::issuer::Issuer::parse("https://other.example", HttpIssuers::Refuse)
            .expect("an issuer");
    service.apply(&snapshot([policy, other], [moved]));
    assert_eq!(
        service.refresh(reply.text("refresh_token")).await.code(),
        "provider_suspended",
        "one policy's session is nothing to another"
    );
}

#[tokio::test]
async fn a_disabled_user_cannot_refresh() {
    let service = Service::start().await;
    let reply = service.signin(&service.token(&claims())).await;
    let user = reply.body["user"]["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    assert_eq!(
        service
            .app
            .store
            .run(SetUserStatus {
                user,
                status: UserStatus::Disabled,
                now: NOW
            })
            .await,
        Ok(true)
    );
    let refused = service.refresh(reply.text("refresh_token")).await;
    assert_eq!(refused.status / 100, 4, "{}", refused.body);
}

#[tokio::test]
async fn revoking_a_user_ends_the_sessions_of_this_very_second_too() {
    let service = Service::start().await;
    let reply = service.signin(&service.token(&claims())).await;
    let everywhere = service
        .as_bearer(
            Method::POST,
            "/auth/signout/everywhere",
            &service.account(&reply).await,
        )
        .await;
    assert_eq!(everywhere.status, 204);
    assert_eq!(
        service.refresh(reply.text("refresh_token")).await.code(),
        "refresh_token_invalid"
    );
    service.clock.advance(1);
    assert_eq!(service.signin(&service.token(&claims())).await.code(), "ok");
}

#[tokio::test]
async fn sign_out_ends_the_session() {
    let service = Service::start().await;
    let reply = service.signin(&service.token(&claims())).await;
    let other = service.signin(&service.token(&claims())).await;
    let access = reply.text("access_token");
    assert_eq!(
        service.get("/auth/userinfo", Some(access)).await.text("id"),
        reply.body["user"]["id"]
    );
    let signout = service
        .request(Method::POST, "/auth/signout")
        .header("authorization", format!("Bearer {access}"))
        .body(Full::default());
    assert_eq!(service.send(signout.expect("a request")).await.status, 204);
    assert_eq!(
        service.get("/auth/userinfo", Some(access)).await.code(),
        "access_token_invalid"
    );
    assert_eq!(
        service.refresh(reply.text("refresh_token")).await.code(),
        "refresh_token_invalid"
    );
    assert_eq!(
        service.refresh(other.text("refresh_token")).await.code(),
        "ok",
        "only this session"
    );
}

#[tokio::test]
async fn either_token_revokes_its_session_and_a_forged_one_nothing() {
    let service = Service::start().await;
    for name in ["refresh_token", "access_token"] {
        let reply = service.signin(&service.token(&claims())).await;
        let forged = crate::refresh_token::RefreshToken::parse(reply.text("refresh_token"))
            .expect("a refresh token")
            .successor(
                &[0; 16],
                &crate::refresh_token::Holder::of("127.0.0.0/24", ""),
            )
            .expose();
        for bad in ["nonsense", &forged] {
            assert_eq!(
                service
                    .post("/auth/token/revoke", &json!({"token": bad}))
                    .await
                    .status,
                204
            );
        }
        let still = service
            .get("/auth/userinfo", Some(reply.text("access_token")))
            .await;
        assert_eq!(still.code(), "ok");
        let revoked = service
            .post("/auth/token/revoke", &json!({"token": reply.text(name)}))
            .await;
        assert_eq!(revoked.status, 204);
        assert_eq!(
            service.refresh(reply.text("refresh_token")).await.code(),
            "refresh_token_invalid"
        );
    }
}

#[tokio::test]
async fn only_our_own_access_tokens_are_bearer_tokens() {
    let service = Service::start().await;
    let id_token = service.token(&claims());
    let reply = service.signin(&id_token).await;
    let access = reply.text("access_token");
    let (input, signature) = access.rsplit_once('.').expect("three parts");
    let forged = format!("{}.{signature}", input.replacen("ey", "eY", 1));
    for bad in ["", "x", &id_token, reply.text("refresh_token"), &forged] {
        let refused = service.get("/auth/userinfo", Some(bad)).await;
        assert_eq!(
            (refused.status, refused.code()),
            (401, "access_token_invalid")
        );
        let challenge = refused.headers["www-authenticate"].to_str().expect("text");
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""));
    }
    assert_eq!(
        service.get("/auth/userinfo", None).await.code(),
        "access_token_invalid"
    );
    assert_eq!(
        service.get("/auth/userinfo", Some(access)).await.code(),
        "ok"
    );
    service.clock.advance(600);
    assert_eq!(
        service.get("/auth/userinfo", Some(access)).await.code(),
        "access_token_invalid",
        "expired"
    );
}
