//! How clients prove themselves, and what becomes of those who do not.

use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::issuer::Issuer;
use vestibule_crds::snapshot::KeySource;

use super::*;

/// An assertion of the client `signer`, as it should be.
fn assertion() -> Value {
    json!({
        "iss": "signer",
        "sub": "signer",
        "aud": ISSUER,
        "jti": "1",
        "exp": NOW + 60,
        "iat": NOW,
    })
}

/// A service whose client `signer` has the public half of this key, and which is nobody else's.
async fn with_signer(key: &SigningKey) -> Service {
    let jwks = json!({"keys": [key.jwk]});
    with_clients(vec![client(
        "signer",
        &ALL,
        ClientProof::PrivateKeyJwt { jwks },
    )])
    .await
}

async fn by_assertion(service: &Service, assertion: &str) -> Reply {
    let parameters = [
        ("token", "x"),
        ("client_assertion", assertion),
        ("client_assertion_type", ASSERTION),
    ];
    service.oauth("/oauth2/introspect", None, &parameters).await
}

#[tokio::test]
async fn a_secret_proves_a_client_in_the_header_or_in_the_form() {
    let service = with_gateway().await;
    let right = basic("gateway", SECRET);
    let reply = service
        .oauth("/oauth2/introspect", Some(&right), &[("token", "x")])
        .await;
    assert_eq!(reply.error(), "ok");
    let parameters = [
        ("token", "x"),
        ("client_id", "gateway"),
        ("client_secret", SECRET),
    ];
    let reply = service.oauth("/oauth2/introspect", None, &parameters).await;
    assert_eq!(reply.error(), "ok");
    let both = service
        .oauth("/oauth2/introspect", Some(&right), &parameters)
        .await;
    assert_eq!(both.refusal(), (400, "invalid_request", "invalid_request"));
}

#[tokio::test]
async fn whoever_guesses_learns_nothing() {
    let service = with_gateway().await;
    let mut answers = Vec::new();
    for (id, secret) in [
        ("gateway", "wrong"),
        ("gateway", ""),
        ("nobody", SECRET),
        ("nobody", "wrong"),
        ("other", SECRET),
    ] {
        let authorization = basic(id, secret);
        let reply = service
            .oauth(
                "/oauth2/introspect",
                Some(&authorization),
                &[("token", "x")],
            )
            .await;
        assert_eq!(
            reply.refusal(),
            (401, "invalid_client", "invalid_client"),
            "{id}"
        );
        let challenge = reply.headers["www-authenticate"].to_str().expect("text");
        assert!(challenge.starts_with("Basic "), "{challenge}");
        answers.push(reply.body.clone());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let parameters = [
        ("token", "x"),
        ("client_id", "gateway"),
        ("client_secret", "wrong"),
    ];
    let reply = service.oauth("/oauth2/introspect", None, &parameters).await;
    assert_eq!((reply.status, reply.error()), (401, "invalid_client"));
    assert!(!reply.headers.contains_key("www-authenticate"));
    let events = service.events().await;
    let told = events
        .iter()
        .filter(|(outcome, _)| outcome == "invalid_client");
    let told: Vec<&str> = told.map(|(_, detail)| detail.as_str()).collect();
    assert_eq!(told[0], "client gateway: the secret is wrong");
    assert_eq!(told[2], "client nobody: no client of this name");
    assert!(
        told.iter()
            .all(|detail| !detail.contains("secret of forty"))
    );
}

#[tokio::test]
async fn wrong_secrets_are_limited_by_client_and_hold_back_no_right_one() {
    let key = testing::key(SigningAlgorithm::ES256);
    let service = with_clients(vec![
        client("gateway", &ALL, by_secret(SECRET)),
        client(
            "signer",
            &ALL,
            ClientProof::PrivateKeyJwt {
                jwks: json!({"keys": [key.jwk]}),
            },
        ),
    ])
    .await;
    let wrong = basic("gateway", "wrong");
    for _ in 0..60 {
        let reply = service.oauth("/oauth2/token", Some(&wrong), &[]).await;
        assert_eq!(reply.error(), "invalid_client");
    }
    let reply = service.oauth("/oauth2/token", Some(&wrong), &[]).await;
    assert_eq!(
        reply.refusal(),
        (429, "temporarily_unavailable", "rate_limited")
    );
    let right = basic("gateway", SECRET);
    let reply = service
        .oauth("/oauth2/introspect", Some(&right), &[("token", "x")])
        .await;
    assert_eq!(reply.error(), "ok", "nobody guesses 32 bytes");
    let signed = by_assertion(&service, &token(&key, &assertion())).await;
    assert_eq!(signed.error(), "ok", "another client goes on");
}

#[tokio::test]
async fn failures_to_prove_a_client_count_against_the_address() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.limits.failures_per_ip_per_minute = 3;
            policy.clients = Some(vec![client("gateway", &ALL, by_secret(SECRET))]);
            policy
        },
    )
    .await;
    let wrong = basic("gateway", "x");
    for _ in 0..3 {
        let reply = service.oauth("/oauth2/token", Some(&wrong), &[]).await;
        assert_eq!(reply.error(), "invalid_client");
    }
    let reply = service.oauth("/oauth2/token", Some(&wrong), &[]).await;
    assert_eq!(
        reply.refusal(),
        (429, "temporarily_unavailable", "rate_limited")
    );
    let reply = service
        .gateway("/oauth2/introspect", &[("token", "x")])
        .await;
    assert_eq!(reply.error(), "ok", "the client itself goes on");
}

#[tokio::test]
async fn each_claim_of_an_assertion_is_what_it_must_be() {
    let key = testing::key(SigningAlgorithm::ES256);
    let service = with_signer(&key).await;
    let claims = assertion;
    for (number, (claims, accepted)) in [
        (claims(), true),
        (with(claims(), "aud", json!([ISSUER])), true),
        (
            with(claims(), "aud", format!("{ISSUER}/oauth2/token")),
            true,
        ),
        (with(claims(), "aud", format!("{ISSUER}/")), false),
        (
            with(claims(), "aud", "https://auth.example.com.evil.example"),
            false,
        ),
        (
            with(
                claims(),
                "aud",
                json!([ISSUER, "https://elsewhere.example"]),
            ),
            false,
        ),
        (with(claims(), "aud", json!([])), false),
        (without(claims(), "aud"), false),
        (with(claims(), "exp", NOW + 330), true),
        (with(claims(), "exp", NOW + 331), false),
        (with(claims(), "exp", NOW - 29), true),
        (with(claims(), "exp", NOW - 30), false),
        (with(claims(), "exp", "soon"), false),
        (without(claims(), "exp"), false),
        (with(claims(), "iat", NOW + 30), true),
        (with(claims(), "iat", NOW + 31), false),
        (without(claims(), "iat"), true),
        (with(claims(), "nbf", NOW + 31), false),
        (with(claims(), "nbf", NOW), true),
        (with(claims(), "iss", "gateway"), false),
        (without(claims(), "iss"), false),
        (with(claims(), "sub", "gateway"), false),
        (without(claims(), "sub"), false),
    ]
    .into_iter()
    .enumerate()
    {
        let said = claims.to_string();
        let claims = with(claims, "jti", format!("jti-{number}"));
        let reply = by_assertion(&service, &token(&key, &claims)).await;
        let expected = if accepted { "ok" } else { "invalid_client" };
        assert_eq!(reply.error(), expected, "{said}");
    }
    for bad in [json!(""), json!(1), json!("x".repeat(257)), Value::Null] {
        let reply = by_assertion(&service, &token(&key, &with(claims(), "jti", bad))).await;
        assert_eq!(reply.error(), "invalid_client");
    }
}

#[tokio::test]
async fn an_assertion_is_signed_with_a_key_of_the_client_and_is_no_other_kind_of_token() {
    let key = testing::key(SigningAlgorithm::ES256);
    let service = with_signer(&key).await;
    let typed = |typ: &str, jti: &str| {
        let header = with(header(&key), "typ", typ);
        sign(&key, &header, &with(assertion(), "jti", jti))
    };
    for (typ, expected) in [
        ("JWT", "ok"),
        ("client-authentication+jwt", "ok"),
        ("at+jwt", "invalid_client"),
        ("logout+jwt", "invalid_client"),
    ] {
        let reply = by_assertion(&service, &typed(typ, typ)).await;
        assert_eq!(reply.error(), expected, "{typ}");
    }
    let other = testing::key(SigningAlgorithm::ES256);
    let forged = sign(&other, &header(&key), &assertion());
    for bad in [
        forged.as_str(),
        &token(&other, &assertion()),
        "nonsense",
        "a.b.c",
        "",
    ] {
        let parameters = [
            ("token", "x"),
            ("client_assertion", bad),
            ("client_assertion_type", ASSERTION),
        ];
        let reply = service.oauth("/oauth2/introspect", None, &parameters).await;
        // Without an assertion its type stands alone.
        let expected = if bad.is_empty() {
            "invalid_request"
        } else {
            "invalid_client"
        };
        assert_eq!(reply.error(), expected, "{bad}");
    }
    for (named, expected) in [("signer", "ok"), ("gateway", "invalid_client")] {
        let assertion = typed("JWT", named);
        let parameters = [
            ("token", "x"),
            ("client_id", named),
            ("client_assertion", assertion.as_str()),
            ("client_assertion_type", ASSERTION),
        ];
        let reply = service.oauth("/oauth2/introspect", None, &parameters).await;
        assert_eq!(reply.error(), expected, "{named}");
    }
}

#[tokio::test]
async fn an_assertion_is_used_once_however_many_bring_it() {
    let key = testing::key(SigningAlgorithm::ES256);
    let service = with_signer(&key).await;
    let once = token(&key, &assertion());
    // Another signature over the same claims is the same assertion.
    let twice = token(&key, &assertion());
    assert_ne!(once, twice);
    assert_eq!(by_assertion(&service, &once).await.error(), "ok");
    for again in [&once, &twice] {
        let reply = by_assertion(&service, again).await;
        assert_eq!(reply.refusal(), (401, "invalid_client", "invalid_client"));
    }
    let next = token(&key, &with(assertion(), "jti", "2"));
    assert_eq!(by_assertion(&service, &next).await.error(), "ok");
}

const KUBERNETES: &str = "https://kubernetes.default.svc";

/// The token of a service account, as the kubelet has it made.
fn account_token() -> Value {
    json!({
        "iss": KUBERNETES,
        "sub": "system:serviceaccount:shop:reports",
        "aud": ["vestibule"],
        "exp": NOW + 3000,
        "iat": NOW - 600,
        "nbf": NOW - 600,
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "reports"}},
    })
}

/// With a provider for the cluster, and a client that is one of its service accounts.
async fn with_account(cluster: &SigningKey, change: impl FnOnce(&mut Provider)) -> Service {
    let key = testing::key(SigningAlgorithm::ES256);
    let mut kubernetes = Provider {
        name: "kubernetes".to_owned(),
        issuer: Issuer::parse(KUBERNETES, HttpIssuers::Refuse).expect("an issuer"),
        audiences: vec!["vestibule".to_owned()],
        keys: KeySource::Static {
            jwks: json!({"keys": [cluster.jwk]}),
        },
        algorithms: vec![Algorithm::ES256],
        ..provider_of(&key)
    };
    change(&mut kubernetes);
    let proof = ClientProof::ServiceAccount {
        provider: "kubernetes".to_owned(),
        subject: "system:serviceaccount:shop:reports".to_owned(),
    };
    let policy = Policy {
        clients: Some(vec![client("reports", &ALL, proof)]),
        ..testing::policy()
    };
    let snapshot = snapshot([policy], [provider_of(&key), kubernetes]);
    Service::serve(key, &snapshot).await
}

#[tokio::test]
async fn the_token_of_a_service_account_proves_its_client_and_no_other_does() {
    let cluster = testing::key(SigningAlgorithm::ES256);
    let service = with_account(&cluster, |_| {}).await;
    let raw = |claims: &Value| {
        let header = json!({"alg": cluster.algorithm.name(), "kid": cluster.kid});
        sign(&cluster, &header, claims)
    };
    let other = testing::key(SigningAlgorithm::ES256);
    for (shown, expected) in [
        (raw(&account_token()), "ok"),
        (
            raw(&with(
                account_token(),
                "sub",
                "system:serviceaccount:shop:orders",
            )),
            "invalid_client",
        ),
        (
            raw(&with(account_token(), "sub", "reports")),
            "invalid_client",
        ),
        (
            raw(&with(account_token(), "aud", json!([KUBERNETES]))),
            "invalid_client",
        ),
        (
            raw(&with(account_token(), "iss", "https://elsewhere.example")),
            "invalid_client",
        ),
        (
            raw(&with(account_token(), "exp", NOW - 60)),
            "invalid_client",
        ),
        (token(&other, &account_token()), "invalid_client"),
    ] {
        let bearer = format!("Bearer {shown}");
        let reply = service
            .oauth("/oauth2/introspect", Some(&bearer), &[("token", "x")])
            .await;
        assert_eq!(reply.error(), expected);
        assert_eq!(by_assertion(&service, &shown).await.error(), expected);
        if expected != "ok" {
            assert_eq!(
                reply.headers["www-authenticate"],
                "Bearer error=\"invalid_token\""
            );
        }
    }
    // It lives longer than a request, and may be shown again.
    let shown = raw(&account_token());
    for (named, expected) in [
        ("reports", "ok"),
        ("reports", "ok"),
        ("other", "invalid_client"),
    ] {
        let parameters = [
            ("token", "x"),
            ("client_id", named),
            ("client_assertion", shown.as_str()),
            ("client_assertion_type", ASSERTION),
        ];
        let reply = service.oauth("/oauth2/introspect", None, &parameters).await;
        assert_eq!(reply.error(), expected, "{named}");
    }
    // A secret for the subject's name opens nothing.
    let guessed = basic("system:serviceaccount:shop:reports", "");
    let reply = service
        .oauth("/oauth2/introspect", Some(&guessed), &[("token", "x")])
        .await;
    assert_eq!(reply.error(), "invalid_client");
}

#[tokio::test]
async fn a_service_account_proves_nothing_while_its_provider_is_suspended_or_elsewhere() {
    let cluster = testing::key(SigningAlgorithm::ES256);
    let shown = token(&cluster, &account_token());
    let suspend: fn(&mut Provider) = |provider| provider.suspended = true;
    let rename: fn(&mut Provider) = |provider| provider.name = "other".to_owned();
    let elsewhere: fn(&mut Provider) = |provider| provider.namespace = "tenant".to_owned();
    let nothing: fn(&mut Provider) = |_| {};
    for (change, expected) in [
        (nothing, "ok"),
        (suspend, "invalid_client"),
        (rename, "invalid_client"),
        (elsewhere, "invalid_client"),
    ] {
        let service = with_account(&cluster, change).await;
        assert_eq!(by_assertion(&service, &shown).await.error(), expected);
    }
}

#[tokio::test]
async fn a_client_does_what_the_policy_allows_it() {
    use ClientPermission::{Introspection, RefreshToken, Revocation, TokenExchange};
    let first = Service::start().await;
    let id_token = first.token(&claims());
    let requests = [
        (TokenExchange, "/oauth2/token", exchange(&id_token).to_vec()),
        (RefreshToken, "/oauth2/token", refreshing("x").to_vec()),
        (Introspection, "/oauth2/introspect", vec![("token", "x")]),
        (Revocation, "/oauth2/revoke", vec![("token", "x")]),
    ];
    for allowed in ALL {
        let clients = vec![client("gateway", &[allowed], by_secret(SECRET))];
        let service = with_clients(clients).await;
        for (wanted, path, parameters) in &requests {
            let reply = service.gateway(path, parameters).await;
            let refused = reply.error() == "unauthorized_client";
            assert_eq!(
                refused,
                *wanted != allowed,
                "{allowed:?} {wanted:?}: {}",
                reply.body
            );
        }
    }
}

#[tokio::test]
async fn a_policy_with_clients_wants_one_at_every_oauth_endpoint() {
    let service = with_gateway().await;
    let id_token = service.token(&claims());
    let exchanged = service.exchange_by_gateway(&id_token).await;
    let refresh_token = exchanged.text("refresh_token");
    for (path, parameters) in [
        ("/oauth2/token", exchange(&id_token).to_vec()),
        ("/oauth2/token", refreshing(refresh_token).to_vec()),
        ("/oauth2/revoke", vec![("token", refresh_token)]),
        ("/oauth2/introspect", vec![("token", refresh_token)]),
    ] {
        let reply = service.oauth(path, None, &parameters).await;
        assert_eq!(
            reply.refusal(),
            (401, "invalid_client", "invalid_client"),
            "{path}"
        );
        let named = with_parameters(&parameters, &[("client_id", "gateway")]);
        let reply = service.oauth(path, None, &named).await;
        assert_eq!(
            reply.refusal(),
            (401, "invalid_client", "invalid_client"),
            "{path}"
        );
    }
    assert_eq!(
        service.refresh_by_gateway(refresh_token).await.error(),
        "ok"
    );
    // The door of the API takes no client, and is as it was.
    assert_eq!(service.signin(&id_token).await.code(), "ok");
}

#[tokio::test]
async fn a_session_is_its_clients_and_nobody_else_refreshes_it() {
    let service = with_gateway().await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    let access = vestibule_idtoken::token::UnverifiedToken::parse(exchanged.text("access_token"));
    assert_eq!(access.expect("a token").text("client_id"), Some("gateway"));
    let token = exchanged.text("refresh_token");
    assert_eq!(service.refresh(token).await.code(), "refresh_token_invalid");
    let other = basic("other", &SECRET.to_uppercase());
    let reply = service
        .oauth("/oauth2/token", Some(&other), &refreshing(token))
        .await;
    assert_eq!(
        reply.refusal(),
        (400, "invalid_grant", "refresh_token_invalid")
    );
    let refreshed = service.refresh_by_gateway(token).await;
    assert_eq!(refreshed.error(), "ok", "{}", refreshed.body);
    // A used token ends the session, but not when a stranger shows it.
    service.clock.advance(11);
    let reply = service
        .oauth("/oauth2/token", Some(&other), &refreshing(token))
        .await;
    assert_eq!(reply.text("code"), "refresh_token_invalid");
    let again = service
        .refresh_by_gateway(refreshed.text("refresh_token"))
        .await;
    assert_eq!(again.error(), "ok");
    let reused = service.refresh_by_gateway(token).await;
    assert_eq!(reused.text("code"), "refresh_token_reused");
}

/// A second policy with a provider and a client `tenant` of its own, beside the fixture's with `gateway`.
async fn with_two_policies(clients_of_second: Option<Vec<Client>>) -> Service {
    let key = testing::key(SigningAlgorithm::ES256);
    let first = Policy {
        clients: Some(vec![client("gateway", &ALL, by_secret(SECRET))]),
        ..testing::policy()
    };
    let mut second = Policy {
        name: "second".to_owned(),
        clients: clients_of_second,
        ..testing::policy()
    };
    second.token.issuer =
        Issuer::parse("https://second.example.com", HttpIssuers::Refuse).expect("an issuer");
    let provider = Provider {
        name: "second".to_owned(),
        policy: "second".to_owned(),
        ..provider_of(&key)
    };
    let snapshot = snapshot([first, second], [provider_of(&key), provider]);
    Service::serve(key, &snapshot).await
}

#[tokio::test]
async fn a_client_of_one_policy_is_nobody_under_another() {
    let secret = SECRET.to_uppercase();
    let service = with_two_policies(Some(vec![client("tenant", &ALL, by_secret(&secret))])).await;
    let id_token = service.token(&claims());
    let at =
        |provider: &'static str| with_parameters(&exchange(&id_token), &[("provider", provider)]);
    let tenant = basic("tenant", &secret);
    let reply = service
        .oauth("/oauth2/token", Some(&tenant), &at("corp"))
        .await;
    assert_eq!(
        reply.refusal(),
        (400, "unauthorized_client", "unauthorized_client")
    );
    let reply = service
        .oauth("/oauth2/token", Some(&tenant), &at("second"))
        .await;
    assert_eq!(reply.error(), "ok", "{}", reply.body);
    let (access, refresh) = (reply.text("access_token"), reply.text("refresh_token"));

    let reply = service.refresh_by_gateway(refresh).await;
    assert_eq!(
        reply.refusal(),
        (400, "invalid_grant", "refresh_token_invalid")
    );
    for token in [access, refresh] {
        assert_eq!(service.introspect(token).await, json!({"active": false}));
        let revoked = service.gateway("/oauth2/revoke", &[("token", token)]).await;
        assert_eq!(revoked.error(), "ok", "as if there were no such token");
        let parameters = [("token", token)];
        let reply = service
            .oauth("/oauth2/introspect", Some(&tenant), &parameters)
            .await;
        assert_eq!(reply.body["active"], true, "and it was not ended");
    }
}

#[tokio::test]
async fn clients_of_one_name_are_told_apart_by_what_proves_them() {
    let secret = SECRET.to_uppercase();
    let service = with_two_policies(Some(vec![client("gateway", &ALL, by_secret(&secret))])).await;
    let id_token = service.token(&claims());
    for (provider, secret, expected) in [
        ("corp", SECRET, "ok"),
        ("second", secret.as_str(), "ok"),
        ("corp", secret.as_str(), "unauthorized_client"),
        ("second", SECRET, "unauthorized_client"),
    ] {
        let parameters = with_parameters(&exchange(&id_token), &[("provider", provider)]);
        let authorization = basic("gateway", secret);
        let reply = service
            .oauth("/oauth2/token", Some(&authorization), &parameters)
            .await;
        assert_eq!(reply.error(), expected, "{provider}");
    }
}

#[tokio::test]
async fn a_policy_without_clients_stays_open_beside_one_that_has_them() {
    let service = with_two_policies(None).await;
    let id_token = service.token(&claims());
    for (provider, expected) in [("second", "ok"), ("corp", "invalid_client")] {
        let parameters = with_parameters(&exchange(&id_token), &[("provider", provider)]);
        let reply = service.oauth("/oauth2/token", None, &parameters).await;
        assert_eq!(reply.error(), expected, "{provider}");
    }
}

#[tokio::test]
async fn a_policy_that_has_lost_its_clients_is_closed_and_not_open() {
    // As an update that does not compile leaves it.
    let service = with_clients(Vec::new()).await;
    let id_token = service.token(&claims());
    for (path, parameters) in [
        ("/oauth2/token", exchange(&id_token).to_vec()),
        ("/oauth2/introspect", vec![("token", "x")]),
        ("/oauth2/revoke", vec![("token", "x")]),
    ] {
        let reply = service.oauth(path, None, &parameters).await;
        assert_eq!(reply.error(), "invalid_client", "{path}");
        let reply = service.gateway(path, &parameters).await;
        assert_eq!(reply.error(), "invalid_client", "{path}");
    }
}

#[tokio::test]
async fn a_removed_client_is_refused_from_then_on() {
    let service = with_gateway().await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    let policy = Policy {
        clients: Some(vec![client(
            "other",
            &ALL,
            by_secret(&SECRET.to_uppercase()),
        )]),
        ..testing::policy()
    };
    service.apply(&snapshot([policy], [provider_of(&service.key)]));
    let reply = service
        .refresh_by_gateway(exchanged.text("refresh_token"))
        .await;
    assert_eq!(reply.refusal(), (401, "invalid_client", "invalid_client"));
}

#[tokio::test]
async fn an_audit_event_names_the_client() {
    let service = with_gateway().await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    service
        .refresh_by_gateway(exchanged.text("refresh_token"))
        .await;
    service
        .gateway("/oauth2/token", &exchange("nonsense"))
        .await;
    let access = exchanged.text("access_token");
    service
        .gateway("/oauth2/revoke", &[("token", access)])
        .await;
    let events = service.events().await;
    let said: Vec<(&str, &str)> = events
        .iter()
        .map(|(outcome, detail)| (outcome.as_str(), detail.as_str()))
        .collect();
    assert_eq!(said[0], ("ok", "client gateway"));
    assert_eq!(said[1], ("ok", "client gateway"));
    assert_eq!(said[2].0, "token_malformed");
    assert!(said[2].1.starts_with("client gateway: "), "{}", said[2].1);
    assert_eq!(said[3], ("ok", "client gateway"));
}

#[tokio::test]
async fn requests_are_counted_by_endpoint_and_outcome() {
    let service = with_gateway().await;
    service.exchange_by_gateway(&service.token(&claims())).await;
    service.introspect("x").await;
    service
        .oauth("/oauth2/revoke", None, &[("token", "x")])
        .await;
    let text = service.app.metrics.render(service.app.store.work());
    for line in [
        r#"vestibule_request_seconds_count{route="/oauth2/token",outcome="ok"} 1"#,
        r#"vestibule_request_seconds_count{route="/oauth2/introspect",outcome="ok"} 1"#,
        r#"vestibule_request_seconds_count{route="/oauth2/revoke",outcome="invalid_client"} 1"#,
    ] {
        assert!(text.contains(line), "{line}");
    }
}
