//! Which ID tokens are let in: each attack beside the honest token that differs in one thing.

use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::snapshot::{Replay, Rule};

use super::*;
use crate::testing::{header, sign, without};

#[tokio::test]
async fn a_token_of_another_issuer_fails_for_a_named_provider_before_any_fetch() {
    // CVE-2026-31813: the named provider's keys would even verify it.
    let key = testing::key(SigningAlgorithm::ES256);
    let mut provider = provider_of(&key);
    provider.keys = vestibule_crds::snapshot::KeySource::JwksUri {
        url: "http://127.0.0.1:1/jwks".to_owned(),
    };
    let service = Service::serve(key, &snapshot([testing::policy()], [provider])).await;
    let foreign = with(claims(), "iss", "https://evil.example");
    assert_eq!(
        service.signin(&service.token(&foreign)).await.code(),
        "token_issuer_mismatch"
    );
    let active = service.app.runtime_config.active();
    let vestibule_idtoken::keys::ProviderKeys::Remote(keys) =
        &active.provider("corp").expect("served").keys
    else {
        panic!("its keys are remote");
    };
    assert_eq!(keys.fetches(), 0);
    // The twin: the right issuer is worth a fetch.
    let reply = service.signin(&service.token(&claims())).await;
    assert_eq!((reply.status, reply.code()), (503, "provider_unavailable"));
    assert!(reply.headers.contains_key("retry-after"));
    assert_eq!(keys.fetches(), 1);
}

#[tokio::test]
async fn another_clients_token_of_the_same_issuer_is_refused() {
    // Parse Server GHSA-837q-jhwx-cmpv, Keycloak 51004.
    let service = Service::start().await;
    let other = service.token(&with(claims(), "aud", "other-client"));
    assert_eq!(
        service.signin(&other).await.code(),
        "token_audience_mismatch"
    );
    assert_eq!(service.signin(&service.token(&claims())).await.code(), "ok");
}

#[tokio::test]
async fn the_algorithm_cannot_be_confused() {
    let service = Service::start().await;
    let key = &service.key;
    let honest = header(key);
    let input_of = |header: &Value| {
        let token = sign(key, header, &claims());
        let (input, _) = token.rsplit_once('.').expect("three parts");
        input.to_owned()
    };

    for name in ["none", "None", "NONE", "nOnE"] {
        let header = with(honest.clone(), "alg", name);
        for signature in ["", "AA"] {
            let forged = format!("{}.{signature}", input_of(&header));
            let code = service.signin(&forged).await.code().to_owned();
            let expected = if signature.is_empty() {
                "token_malformed"
            } else {
                "token_algorithm_not_allowed"
            };
            assert_eq!(code, expected, "{name} {signature:?}");
        }
    }

    // HS256 with the public key's own bytes as the secret.
    let header = with(honest.clone(), "alg", "HS256");
    let input = input_of(&header);
    let secret =
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.jwk.to_string().as_bytes());
    let tag = aws_lc_rs::hmac::sign(&secret, input.as_bytes());
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, tag);
    let forged = format!("{input}.{encoded}");
    assert_eq!(
        service.signin(&forged).await.code(),
        "token_algorithm_not_allowed"
    );

    // An embedded key is not believed, nor where one could be fetched from.
    let mallory = testing::key(SigningAlgorithm::ES256);
    for (name, value) in [
        ("jwk", mallory.jwk.clone()),
        ("jku", json!("http://127.0.0.1:1/jwks")),
        ("x5u", json!("http://127.0.0.1:1/x5u")),
    ] {
        let forged = sign(&mallory, &with(honest.clone(), name, value), &claims());
        assert_eq!(
            service.signin(&forged).await.code(),
            "token_signature_invalid",
            "{name}"
        );
    }
    for (name, value) in [("crit", json!(["x"])), ("b64", json!(false))] {
        let forged = sign(key, &with(honest.clone(), name, value), &claims());
        assert_eq!(
            service.signin(&forged).await.code(),
            "token_malformed",
            "{name}"
        );
    }
    assert_eq!(
        service.signin(&sign(key, &honest, &claims())).await.code(),
        "ok"
    );
}

#[tokio::test]
async fn what_a_key_says_of_its_use_is_enforced() {
    for (name, value, code) in [
        ("use", json!("sig"), "ok"),
        ("use", json!("enc"), "token_key_unknown"),
        ("key_ops", json!(["verify"]), "ok"),
        ("key_ops", json!(["sign"]), "token_key_unknown"),
        ("alg", json!("ES256"), "ok"),
        ("alg", json!("ES384"), "token_key_unknown"),
        ("alg", json!("RS256"), "token_key_unknown"),
    ] {
        let key = testing::key(SigningAlgorithm::ES256);
        let mut jwk = key.jwk.clone();
        jwk[name] = value.clone();
        // A second, usable key, so that the set can be used at all.
        let jwks = json!({"keys": [jwk, testing::key(SigningAlgorithm::ES256).jwk]});
        let service = Service::serve(
            key,
            &snapshot([testing::policy()], [testing::provider(jwks)]),
        )
        .await;
        assert_eq!(
            service.signin(&service.token(&claims())).await.code(),
            code,
            "{name} {value}"
        );
    }
}

#[tokio::test]
async fn the_algorithm_of_the_token_is_the_algorithm_of_its_key() {
    let key = testing::key(SigningAlgorithm::ES256);
    let mut provider = provider_of(&key);
    provider.algorithms = vec![Algorithm::ES256, Algorithm::RS256];
    let service = Service::serve(key, &snapshot([testing::policy()], [provider])).await;
    let header = with(header(&service.key), "alg", "RS256");
    let forged = sign(&service.key, &header, &claims());
    assert_eq!(
        service.signin(&forged).await.code(),
        "token_algorithm_not_allowed"
    );
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let service = Service::start().await;
    let good = service.token(&claims());
    let (input, signature) = good.rsplit_once('.').expect("three parts");
    let (header, _) = input.split_once('.').expect("two parts");
    let other = service.token(&with(claims(), "sub", "root"));
    let payload = other.split('.').nth(1).expect("a payload");
    for forged in [
        format!("{header}.{payload}.{signature}"),
        format!("{input}.{}", other.rsplit_once('.').expect("three parts").1),
        format!("{input}.{}", "A".repeat(86)),
    ] {
        assert_eq!(
            service.signin(&forged).await.code(),
            "token_signature_invalid"
        );
    }
    assert_eq!(
        service.signin(&format!("{input}.AAAA")).await.code(),
        "token_signature_invalid"
    );
    assert_eq!(service.signin(&good).await.code(), "ok");
}

#[tokio::test]
async fn the_provider_is_inferred_when_issuer_and_audience_point_to_one() {
    let key = testing::key(SigningAlgorithm::ES256);
    let named = |name: &str, audience: &str, created: Option<&str>| {
        let mut provider = provider_of(&key);
        provider.name = name.to_owned();
        provider.audiences = vec![audience.to_owned()];
        provider.created_at = created.map(str::to_owned);
        provider
    };
    let providers = [
        named("web", "web", None),
        named("mobile", "mobile", None),
        named("twin", "mobile", None),
        named("old", "desk", Some("2026-01-01T00:00:00Z")),
        named("new", "desk", Some("2026-01-02T00:00:00Z")),
    ];
    let snapshot = snapshot([testing::policy()], providers);
    let service = Service::serve(testing::key(SigningAlgorithm::ES256), &snapshot).await;
    let infer = async |audience: Value| {
        let token = token(&key, &with(claims(), "aud", audience));
        service
            .post("/auth/id-token/signin", &json!({"id_token": token}))
            .await
    };
    assert_eq!(infer(json!("web")).await.code(), "ok");
    assert_eq!(infer(json!("nobody")).await.code(), "provider_required");
    assert_eq!(infer(json!("mobile")).await.code(), "provider_required");
    let reply = infer(json!("desk")).await;
    let access = vestibule_idtoken::token::UnverifiedToken::parse(reply.text("access_token"))
        .expect("a token");
    assert_eq!(access.text("idp"), Some("old"), "the older of two is meant");
    let unknown = json!({"id_token": token(&key, &claims()), "provider": "nobody"});
    assert_eq!(
        service.post("/auth/id-token/signin", &unknown).await.code(),
        "provider_unknown"
    );
}

#[tokio::test]
async fn a_used_token_is_refused_where_replay_is_rejected() {
    let service = Service::start_with(
        |mut provider| {
            provider.token.replay = Replay::Reject;
            provider
        },
        |policy| policy,
    )
    .await;
    let token = service.token(&claims());
    assert_eq!(service.signin(&token).await.code(), "ok");
    assert_eq!(service.signin(&token).await.code(), "token_replayed");
    // ECDSA signatures are malleable: another signature of the same token is still the same token.
    let (input, _) = token.rsplit_once('.').expect("three parts");
    let again = service.key.sign(input.as_bytes()).expect("it signs");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, again);
    assert_eq!(
        service.signin(&format!("{input}.{encoded}")).await.code(),
        "token_replayed"
    );
    assert_eq!(service.signin(&service.token_of("bob")).await.code(), "ok");

    let lenient = Service::start().await;
    let token = lenient.token(&claims());
    assert_eq!(lenient.signin(&token).await.code(), "ok");
    assert_eq!(lenient.signin(&token).await.code(), "ok");
}

#[tokio::test]
async fn claims_are_ruled_by_the_providers_expressions() {
    let service = Service::start_with(
        |mut provider| {
            provider.rules = vec![Rule {
                expression: "claims.hd == 'corp.example'".to_owned(),
                message: "not a corp account".to_owned(),
            }];
            provider.mapping.groups = Some("claims.roles.map(r, 'corp:' + r)".to_owned());
            provider
        },
        |mut policy| {
            policy.extra_claims = [
                ("tenant", "'acme'"),
                ("roles", "user.groups"),
                ("absent", "claims.nothing"),
            ]
            .map(|(name, expression)| (name.to_owned(), expression.to_owned()))
            .into();
            policy
        },
    )
    .await;
    let reply = service.signin(&service.token(&claims())).await;
    assert_eq!((reply.status, reply.code()), (403, "claims_rejected"));
    assert_eq!(reply.text("detail"), "not a corp account");
    let reply = service
        .signin(&service.token(&with(claims(), "hd", "evil.example")))
        .await;
    assert_eq!(reply.code(), "claims_rejected");

    let good = with(
        with(claims(), "hd", "corp.example"),
        "roles",
        json!(["x", "y"]),
    );
    let reply = service.signin(&service.token(&good)).await;
    let access = vestibule_idtoken::token::UnverifiedToken::parse(reply.text("access_token"))
        .expect("a token");
    assert_eq!(access.claims["groups"], json!(["corp:x", "corp:y"]));
    assert_eq!(access.claims["roles"], json!(["corp:x", "corp:y"]));
    assert_eq!(access.claims["tenant"], "acme");
    assert!(access.claims.get("absent").is_none());
}

#[tokio::test]
async fn the_access_token_is_an_rfc_9068_token() {
    let service = Service::start().await;
    let reply = service
        .signin(&service.token(&with(claims(), "auth_time", NOW - 60)))
        .await;
    let access = vestibule_idtoken::token::UnverifiedToken::parse(reply.text("access_token"))
        .expect("a token");
    assert_eq!(access.jws.header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(access.issuer, "https://auth.example.com");
    assert_eq!(access.subject, reply.body["user"]["id"]);
    assert_eq!(access.audiences, ["internal"]);
    assert_eq!(
        (access.issued_at, access.expires_at, access.not_before),
        (NOW, NOW + 600, Some(NOW))
    );
    assert_eq!(access.claims["auth_time"], NOW - 60);
    assert_eq!(access.text("idp"), Some("corp"));
    assert_eq!(access.text("email"), Some("alice@corp.example"));
    for name in ["jti", "sid", "scope"] {
        assert!(
            access.text(name).is_some_and(|value| !value.is_empty()),
            "{name}"
        );
    }
    // Whoever does not say when the person authenticated is not quoted as saying it.
    let silent = service.token(&without(claims(), "auth_time"));
    let reply = service.signin(&silent).await;
    let access = vestibule_idtoken::token::UnverifiedToken::parse(reply.text("access_token"))
        .expect("a token");
    assert!(access.claims.get("auth_time").is_none());
    // It is no ID token: even a provider with our issuer would not take it.
    assert_eq!(
        service.signin(reply.text("access_token")).await.code(),
        "token_issuer_mismatch"
    );
}
