//! `POST /oauth2/introspect`: what is live now, and nothing else.

use vestibule_crds::duration::Duration;
use vestibule_crds::snapshot::Revision;

use super::*;
use crate::audit::context::AuditContext;
use vestibule_store::{EventKind, RevokeSessions, SetUserStatus, UserStatus};

fn inactive() -> Value {
    json!({"active": false})
}

#[tokio::test]
async fn a_live_token_says_what_it_says() {
    let service = with_gateway().await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    let said = service.introspect(exchanged.text("access_token")).await;
    for (name, value) in [
        ("active", json!(true)),
        ("token_type", json!("Bearer")),
        ("iss", json!(ISSUER)),
        ("aud", json!("internal")),
        ("scope", json!("openid")),
        ("client_id", json!("gateway")),
        ("username", json!("alice")),
        ("idp", json!("corp")),
        ("exp", json!(NOW + 600)),
    ] {
        assert_eq!(said[name], value, "{name}");
    }
    let refresh = service.introspect(exchanged.text("refresh_token")).await;
    assert_eq!(refresh["active"], true);
    assert_eq!(refresh["sub"], said["sub"]);
    assert_eq!(refresh["sid"], said["sid"]);
    assert_eq!(refresh["client_id"], "gateway");
    assert_eq!(refresh["exp"], NOW + 30 * 86_400);
    assert!(refresh.get("token_type").is_none());
    let reply = service.gateway("/oauth2/introspect", &[]).await;
    assert_eq!(reply.error(), "invalid_request", "a token is missing");
}

#[tokio::test]
async fn nobody_introspects_where_no_client_is_declared() {
    let service = Service::start().await;
    let signed_in = service.signin(&service.token(&claims())).await;
    let token = [("token", signed_in.text("access_token"))];
    let reply = service.oauth("/oauth2/introspect", None, &token).await;
    assert_eq!(reply.refusal(), (401, "invalid_client", "invalid_client"));
    let reply = service.gateway("/oauth2/introspect", &token).await;
    assert_eq!(reply.refusal(), (401, "invalid_client", "invalid_client"));
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_inactive() {
    let service = with_gateway().await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    let access = exchanged.text("access_token");
    let forged = crate::refresh_token::RefreshToken::first(NOW, [7; 48]).expose();
    for token in [
        "x",
        &service.token(&claims()),
        &access[..access.len() - 4],
        &forged,
    ] {
        assert_eq!(service.introspect(token).await, inactive(), "{token}");
    }
    assert_eq!(service.introspect(access).await["active"], true);
}

#[tokio::test]
async fn an_expired_or_used_token_is_inactive_and_looking_at_it_ends_nothing() {
    let service = with_gateway().await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    let (access, first) = (
        exchanged.text("access_token"),
        exchanged.text("refresh_token"),
    );
    let refreshed = service.refresh_by_gateway(first).await;
    assert_eq!(
        service.introspect(first).await["active"],
        true,
        "inside the grace"
    );
    service.clock.advance(11);
    assert_eq!(service.introspect(first).await, inactive());
    let second = refreshed.text("refresh_token");
    assert_eq!(service.introspect(second).await["active"], true);
    service.clock.advance(589);
    assert_eq!(service.introspect(access).await, inactive());
    assert_eq!(service.introspect(second).await["active"], true);
    service.clock.advance(30 * 86_400);
    assert_eq!(service.introspect(second).await, inactive());
}

#[tokio::test]
async fn a_token_is_inactive_as_soon_as_its_session_user_provider_or_policy_is() {
    for what in [
        "nothing",
        "session",
        "disabled",
        "locked",
        "revoked",
        "suspended",
        "gone",
        "moved",
    ] {
        let service = with_gateway().await;
        let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
        let tokens = [
            exchanged.text("access_token"),
            exchanged.text("refresh_token"),
        ];
        let said = service.introspect(tokens[0]).await;
        let user = said["sub"].as_str().and_then(|sub| sub.parse().ok());
        let user = user.expect("an id");
        let store = &service.app.store;
        let changed = |change: fn(&mut Provider)| {
            let mut provider = provider_of(&service.key);
            change(&mut provider);
            provider.revision = Revision::of(b"changed");
            let policy = service.app.runtime_config.active();
            let policy = Policy::clone(&policy.policy("default").expect("it is there").spec);
            let providers = (what != "gone").then_some(provider);
            service.apply(&snapshot([policy], providers));
        };
        match what {
            "session" => {
                let reply = service
                    .gateway("/oauth2/revoke", &[("token", tokens[0])])
                    .await;
                assert_eq!(reply.error(), "ok");
            }
            "disabled" => {
                let set = store
                    .run(SetUserStatus {
                        user,
                        status: UserStatus::Disabled,
                        now: NOW,
                    })
                    .await;
                assert_eq!(set, Ok(true));
            }
            "locked" => {
                let set = store
                    .run(SetUserStatus {
                        user,
                        status: UserStatus::Locked,
                        now: NOW,
                    })
                    .await;
                assert_eq!(set, Ok(true));
            }
            "revoked" => {
                let event =
                    AuditContext::new(EventKind::UserChange, NOW + 1, "", String::new()).success();
                let revoked = store
                    .run(RevokeSessions {
                        user,
                        now: NOW + 1,
                        event,
                    })
                    .await;
                assert_eq!(revoked, Ok(true));
            }
            "suspended" => changed(|provider| provider.suspended = true),
            "gone" => changed(|_| {}),
            "moved" => changed(|provider| provider.policy = "another".to_owned()),
            _ => {}
        }
        for token in tokens {
            let active = service.introspect(token).await["active"] == true;
            assert_eq!(active, what == "nothing", "{what}");
        }
    }
}

#[tokio::test]
async fn a_refresh_token_is_shown_to_its_client_alone_and_an_access_token_to_every_one_of_the_policy()
 {
    let service = with_gateway().await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    let other = basic("other", &SECRET.to_uppercase());
    for (token, active) in [("access_token", true), ("refresh_token", false)] {
        let parameters = [("token", exchanged.text(token))];
        let reply = service
            .oauth("/oauth2/introspect", Some(&other), &parameters)
            .await;
        assert_eq!(reply.body["active"], active, "{token}");
    }
    // One that is no client's is shown to any.
    let signed_in = service.signin(&service.token(&claims())).await;
    let parameters = [("token", signed_in.text("refresh_token"))];
    let reply = service
        .oauth("/oauth2/introspect", Some(&other), &parameters)
        .await;
    assert_eq!(reply.body["active"], true);
}

#[tokio::test]
async fn a_token_that_only_changes_the_password_is_inactive() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            let life = policy.password.get_or_insert_default();
            life.max_age = Some(Duration::from_secs(100));
            policy.clients = Some(vec![client("gateway", &ALL, by_secret(SECRET))]);
            policy
        },
    )
    .await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    let refresh = exchanged.text("refresh_token").to_owned();
    let account = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
        ("scope", "account"),
    ];
    let account = service.gateway("/oauth2/token", &account).await;
    assert_eq!(account.body["scope"], "account");
    let access = account.text("access_token").to_owned();
    let request = service
        .request(Method::POST, "/auth/password")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {access}"))
        .body(Full::from(
            json!({"new_password": "a long enough one"}).to_string(),
        ));
    let changed = service.send(request.expect("a request")).await;
    assert_eq!(changed.code(), "ok", "{}", changed.body);
    let refresh = changed.text("refresh_token").to_owned();
    assert_eq!(service.introspect(&refresh).await["active"], true);

    service.clock.advance(101);
    assert_eq!(service.introspect(&refresh).await, inactive());
    let signed_in = service.signin(&service.token(&claims())).await;
    assert_eq!(signed_in.body["must_change_password"], true);
    assert_eq!(
        service.introspect(signed_in.text("access_token")).await,
        inactive()
    );
    let id_token = service.token(&claims());
    let reply = service.gateway("/oauth2/token", &exchange(&id_token)).await;
    assert_eq!(
        reply.refusal(),
        (400, "interaction_required", "password_change_required")
    );
    assert!(reply.body.get("access_token").is_none());
    let reply = service.refresh_by_gateway(&refresh).await;
    assert_eq!(
        reply.refusal(),
        (400, "invalid_grant", "password_change_required")
    );
}
