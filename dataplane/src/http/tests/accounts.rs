//! Who gets which account, who gets none, and how often one may try.

use uuid::Uuid;
use vestibule_crds::snapshot::{Linking, Provisioning};

use super::*;
use crate::testing::without;
use vestibule_store::{SetUserStatus, UserStatus};

fn id_of(reply: &Reply) -> Uuid {
    let id = reply.body["user"]["id"].as_str();
    id.and_then(|id| id.parse().ok())
        .unwrap_or_else(|| panic!("a user id in {}", reply.body))
}

/// Two providers of one policy; both may link to users of these domains.
async fn service_with_linking(domains: &[&str]) -> (Service, SigningKey) {
    let (key, second_key) = (
        testing::key(SigningAlgorithm::ES256),
        testing::key(SigningAlgorithm::ES256),
    );
    let linking = Linking::VerifiedEmail {
        email_domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
    };
    let mut first = provider_of(&key);
    first.linking = linking.clone();
    let mut second = provider_of(&second_key);
    second.name = "second".to_owned();
    second.issuer =
        vestibule_crds::issuer::Issuer::parse("https://second.example", HttpIssuers::Refuse)
            .expect("an issuer");
    second.linking = linking;
    let snapshot = snapshot([testing::policy()], [first, second]);
    (Service::serve(key, &snapshot).await, second_key)
}

async fn second_signin(service: &Service, key: &SigningKey, claims: Value) -> Reply {
    let claims = with(
        with(claims, "iss", "https://second.example"),
        "sub",
        "other-subject",
    );
    let body = json!({"id_token": token(key, &claims), "provider": "second"});
    service.post("/auth/id-token/signin", &body).await
}

#[tokio::test]
async fn one_identity_is_one_user() {
    let service = Service::start().await;
    let first = id_of(&service.signin(&service.token_of("alice")).await);
    assert_eq!(
        id_of(&service.signin(&service.token_of("alice")).await),
        first
    );
    for subject in ["Alice", "ａlice", "alice "] {
        assert_ne!(
            id_of(&service.signin(&service.token_of(subject)).await),
            first,
            "{subject}"
        );
    }
}

#[tokio::test]
async fn the_profile_follows_the_provider() {
    let service = Service::start().await;
    service.signin(&service.token(&claims())).await;
    let renamed = with(without(claims(), "email"), "preferred_username", "alice2");
    let reply = service.signin(&service.token(&renamed)).await;
    assert_eq!(reply.body["user"]["username"], "alice2");
    assert_eq!(
        reply.body["user"]["email"], "alice@corp.example",
        "what it leaves out stays"
    );
    let unverified = with(
        with(claims(), "email", "mallory@corp.example"),
        "email_verified",
        false,
    );
    let reply = service.signin(&service.token(&unverified)).await;
    assert_eq!(
        reply.body["user"]["email"], "alice@corp.example",
        "a verified address is not lost to an unverified one"
    );
}

#[tokio::test]
async fn a_verified_email_of_a_listed_domain_links() {
    let (service, key) = service_with_linking(&["corp.example"]).await;
    let first = id_of(&service.signin(&service.token(&claims())).await);
    let linked = second_signin(
        &service,
        &key,
        with(claims(), "email", "Alice@Corp.Example"),
    )
    .await;
    assert_eq!(id_of(&linked), first);
    assert_eq!(
        id_of(&second_signin(&service, &key, claims()).await),
        first,
        "and stays linked"
    );
}

#[tokio::test]
async fn linking_goes_by_who_verified() {
    // The first provider says that it verified the address, and may not link: its account is not the owner's to land in.
    let (service, key) = service_with_linking(&["corp.example"]).await;
    let active = service.app.runtime_config.active();
    let spec = |name: &str| active.provider(name).expect("served").spec.as_ref().clone();
    let policy = active
        .policy("default")
        .expect("served")
        .spec
        .as_ref()
        .clone();
    let mut rogue = spec("corp");
    rogue.linking = Linking::Never;
    rogue.revision = vestibule_crds::snapshot::Revision::of(b"rogue");
    service.apply(&snapshot([policy.clone()], [rogue, spec("second")]));
    let planted = service.signin(&service.token(&claims())).await;
    let owner = second_signin(&service, &key, claims()).await;
    assert_ne!(id_of(&owner), id_of(&planted));
    // Nor does it wipe what the owner has, with the same address as its own.
    let sessions = service.refresh(owner.text("refresh_token")).await;
    assert_eq!(sessions.code(), "ok");
    service.signin(&service.token_of("mallory")).await;
    let sessions = service.refresh(sessions.text("refresh_token")).await;
    assert_eq!(sessions.code(), "ok");
    // Once it may link, its next sign-in proves the address, and two have it.
    let mut trusted = spec("corp");
    trusted.revision = vestibule_crds::snapshot::Revision::of(b"trusted");
    service.apply(&snapshot([policy], [trusted, spec("second")]));
    service.signin(&service.token(&claims())).await;
    let third = with(with(claims(), "sub", "third"), "iat", NOW - 9);
    let reply = service.signin(&service.token(&third)).await;
    assert_eq!(reply.code(), "link_required");
}

#[tokio::test]
async fn an_email_that_is_not_verified_never_links() {
    // nOAuth, pre-hijacking: only the JSON value true verifies.
    for verified in [
        json!(false),
        json!("true"),
        json!("false"),
        json!(1),
        json!(null),
    ] {
        let (service, key) = service_with_linking(&["corp.example"]).await;
        let first = id_of(&service.signin(&service.token(&claims())).await);
        let reply = second_signin(
            &service,
            &key,
            with(claims(), "email_verified", verified.clone()),
        )
        .await;
        if reply.status == 200 {
            assert_ne!(id_of(&reply), first, "{verified}");
        } else {
            assert_eq!(reply.code(), "claims_rejected", "{verified}");
        }
    }
    let (service, key) = service_with_linking(&["corp.example"]).await;
    let first = id_of(&service.signin(&service.token(&claims())).await);
    let reply = second_signin(&service, &key, without(claims(), "email_verified")).await;
    assert_ne!(id_of(&reply), first, "missing");
}

#[tokio::test]
async fn an_unverified_account_is_never_taken_over_nor_given_away() {
    // Pre-hijacking: mallory is there first, with an address that nobody verified.
    let (service, key) = service_with_linking(&[]).await;
    let mallory = with(claims(), "email_verified", false);
    let first = id_of(&service.signin(&service.token(&mallory)).await);
    let owner = second_signin(&service, &key, claims()).await;
    assert_ne!(id_of(&owner), first);
}

#[tokio::test]
async fn another_domain_or_a_mere_user_name_never_links() {
    let (service, key) = service_with_linking(&["other.example"]).await;
    let first = id_of(&service.signin(&service.token(&claims())).await);
    assert_ne!(id_of(&second_signin(&service, &key, claims()).await), first);

    let (service, key) = service_with_linking(&[]).await;
    let first = id_of(&service.signin(&service.token(&claims())).await);
    let other = with(claims(), "email", "somebody.else@corp.example");
    let reply = second_signin(&service, &key, other).await;
    assert_eq!(reply.body["user"]["username"], "alice");
    assert_ne!(id_of(&reply), first);
}

#[tokio::test]
async fn an_address_with_two_owners_needs_an_administrator() {
    let (service, key) = service_with_linking(&["corp.example"]).await;
    service.signin(&service.token_of("alice")).await;
    let again = with(claims(), "email", "alice2@corp.example");
    service
        .signin(&service.token(&with(again, "sub", "alice-again")))
        .await;
    let both = "UPDATE users SET email = 'alice@corp.example', link_email = 'alice@corp.example'";
    service.execute(both).await;
    assert_eq!(
        second_signin(&service, &key, claims()).await.code(),
        "link_required"
    );
}

#[tokio::test]
async fn a_disabled_user_gets_in_by_no_door() {
    // CVE-2026-1609, CVE-2025-14559, CVE-2026-88770.
    for (status, code) in [
        (UserStatus::Disabled, "user_disabled"),
        (UserStatus::Locked, "user_locked"),
    ] {
        let (service, key) = service_with_linking(&["corp.example"]).await;
        let signed_in = service.signin(&service.token(&claims())).await;
        let user = id_of(&signed_in);
        assert_eq!(
            service
                .app
                .store
                .run(SetUserStatus {
                    user,
                    status,
                    now: NOW
                })
                .await,
            Ok(true)
        );
        assert_eq!(service.signin(&service.token(&claims())).await.code(), code);
        assert_eq!(
            second_signin(&service, &key, claims()).await.code(),
            code,
            "not by a link either"
        );
        assert_eq!(
            service
                .refresh(signed_in.text("refresh_token"))
                .await
                .status
                / 100,
            4
        );
        assert_eq!(
            service
                .get("/auth/userinfo", Some(signed_in.text("access_token")))
                .await
                .status
                / 100,
            4
        );
        let bob = with(claims(), "email", "bob@corp.example");
        let bob = service.token(&with(bob, "sub", "bob"));
        assert_eq!(service.signin(&bob).await.code(), "ok");
        assert_eq!(
            service
                .app
                .store
                .run(SetUserStatus {
                    user,
                    status: UserStatus::Active,
                    now: NOW
                })
                .await,
            Ok(true)
        );
        assert_eq!(service.signin(&service.token(&claims())).await.code(), "ok");
    }
}

#[tokio::test]
async fn provisioning_deny_lets_in_only_who_is_known() {
    let service = Service::start().await;
    let known = id_of(&service.signin(&service.token_of("alice")).await);
    let mut provider = provider_of(&service.key);
    provider.provisioning = Provisioning::Deny;
    provider.revision = vestibule_crds::snapshot::Revision::of(b"deny");
    service.apply(&snapshot([testing::policy()], [provider]));
    assert_eq!(
        id_of(&service.signin(&service.token_of("alice")).await),
        known
    );
    let reply = service.signin(&service.token_of("bob")).await;
    assert_eq!((reply.status, reply.code()), (403, "user_not_provisioned"));
}

#[tokio::test]
async fn a_user_who_signs_in_too_often_waits_and_others_do_not() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.limits.per_user_per_minute = 3;
            policy
        },
    )
    .await;
    for _ in 0..3 {
        assert_eq!(
            service.signin(&service.token_of("alice")).await.code(),
            "ok"
        );
    }
    let reply = service.signin(&service.token_of("alice")).await;
    assert_eq!((reply.status, reply.code()), (429, "rate_limited"));
    let wait: i64 = reply.headers["retry-after"]
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    assert_eq!(service.signin(&service.token_of("bob")).await.code(), "ok");
    service.clock.advance(wait);
    assert_eq!(
        service.signin(&service.token_of("alice")).await.code(),
        "ok"
    );
}

#[tokio::test]
async fn failures_of_an_address_are_limited_and_successes_are_not() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.limits.failures_per_ip_per_minute = 5;
            policy.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
            policy
        },
    )
    .await;
    let from = async |address: &str, token: String| {
        let request = service
            .request(Method::POST, "/auth/id-token/signin")
            .header("content-type", "application/json")
            .header("x-forwarded-for", address)
            .body(Full::from(
                json!({"id_token": token, "provider": "corp"}).to_string(),
            ));
        service.send(request.expect("a request")).await
    };
    for number in 0..10 {
        assert_eq!(
            from("192.0.2.1", service.token_of(&format!("user-{number}")))
                .await
                .code(),
            "ok"
        );
    }
    for _ in 0..5 {
        let bad = service.token(&with(claims(), "aud", "other"));
        assert_eq!(
            from("192.0.2.1", bad).await.code(),
            "token_audience_mismatch"
        );
    }
    let bad = service.token(&with(claims(), "aud", "other"));
    assert_eq!(from("192.0.2.1", bad).await.code(), "rate_limited");
    assert_eq!(
        from("192.0.2.1", service.token_of("alice")).await.code(),
        "ok",
        "junk through one caller shuts out nobody"
    );
    assert_eq!(
        from("192.0.2.2", service.token_of("alice")).await.code(),
        "ok"
    );
    service.clock.advance(60);
    assert_eq!(
        from("192.0.2.1", service.token_of("alice")).await.code(),
        "ok"
    );
}

#[tokio::test]
async fn linking_is_decided_again_inside_the_transaction() {
    // CVE-2025-64717: the store holds a link that was decided a moment ago, when linking was still on.
    let (service, _) = service_with_linking(&["corp.example"]).await;
    let first = id_of(&service.signin(&service.token(&claims())).await);
    let second = service
        .app
        .runtime_config
        .active()
        .provider("second")
        .map(|provider| Arc::clone(&provider.spec))
        .expect("served");
    let policy = service
        .app
        .runtime_config
        .active()
        .policy("default")
        .expect("served")
        .spec
        .as_ref()
        .clone();
    for change in ["suspended", "linking", "deleted", "none"] {
        let mut changed = second.as_ref().clone();
        changed.revision = vestibule_crds::snapshot::Revision::of(change.as_bytes());
        match change {
            "suspended" => changed.suspended = true,
            "linking" => changed.linking = Linking::Never,
            _ => {}
        }
        let identity = vestibule_store::IdentityKey {
            policy: "auth/default".to_owned(),
            issuer: "https://second.example".to_owned(),
            subject: format!("late-{change}"),
        };
        let mapped = vestibule_crds::claims::MappedClaims {
            email: Some("alice@corp.example".to_owned()),
            email_verified: true,
            ..Default::default()
        };
        let link = crate::flows::signin::linking::link_account(
            &service.app,
            &second,
            &mapped,
            identity,
            first,
        );
        let providers = if change == "deleted" {
            vec![]
        } else {
            vec![changed]
        };
        service.apply(&snapshot([policy.clone()], providers));
        let session = crate::refresh_token::RefreshToken::first(
            NOW,
            service.app.random().expect("random bytes"),
        );
        let outcome = service.app.store.run(vestibule_store::Signin {
            account: link,
            session: vestibule_store::NewSession {
                id: session.session(),
                provider: "auth/second".to_owned(),
                refresh_digest: session.digest(),
                refresh_expires_at: NOW + 10,
                ends_at: NOW + 10,
                carried: "{}".to_owned(),
                device: None,
                origin: Default::default(),
            },
            login: None,
            replay: None,
            history: None,
            completion: None,
            event: crate::audit::context::AuditContext::new(
                vestibule_store::EventKind::Signin,
                NOW,
                "id",
                String::new(),
            )
            .success(),
            now: NOW,
        });
        let expected = if change == "none" {
            vestibule_store::SigninOutcome::Committed
        } else {
            vestibule_store::SigninOutcome::LinkRefused
        };
        assert_eq!(outcome.await, Ok(expected), "{change}");
    }
}

#[tokio::test]
async fn the_proxies_of_one_policy_are_nothing_to_another() {
    let key = testing::key(SigningAlgorithm::ES256);
    let provider = provider_of(&key);
    let mut strict = testing::policy();
    strict.limits.failures_per_ip_per_minute = 2;
    let mut trusting = testing::policy();
    trusting.name = "trusting".to_owned();
    trusting.token.issuer =
        vestibule_crds::issuer::Issuer::parse("https://other.example", HttpIssuers::Refuse)
            .expect("an issuer");
    trusting.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let service = Service::serve(key, &snapshot([strict, trusting], [provider])).await;
    let mut codes = Vec::new();
    for number in 0..4 {
        let token = service.token(&with(claims(), "aud", "other"));
        let request = service
            .request(Method::POST, "/auth/id-token/signin")
            .header("content-type", "application/json")
            .header("x-forwarded-for", format!("192.0.2.{number}"))
            .body(Full::from(
                json!({"id_token": token, "provider": "corp"}).to_string(),
            ));
        codes.push(
            service
                .send(request.expect("a request"))
                .await
                .code()
                .to_owned(),
        );
    }
    let refused = "token_audience_mismatch";
    assert_eq!(codes, [refused, refused, "rate_limited", "rate_limited"]);
}

#[tokio::test]
async fn a_policy_may_let_an_address_fail_more_often_than_the_default() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.limits.failures_per_ip_per_minute = 302;
            policy
        },
    )
    .await;
    for _ in 0..301 {
        assert_eq!(service.signin("no token").await.code(), "token_malformed");
    }
    let reply = service.signin(&service.token_of("alice")).await;
    assert_eq!(reply.code(), "ok");
    assert_eq!(service.signin("no token").await.code(), "token_malformed");
    assert_eq!(service.signin("no token").await.code(), "rate_limited");
    let reply = service.signin(&service.token_of("alice")).await;
    assert_eq!(reply.code(), "ok");
}
