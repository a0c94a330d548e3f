//! Access tokens of every signing algorithm, verified from the published keys by libraries that know nothing of Vestibule.

use serde_json::{Value, json};
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::signing_key::SigningKey;
use vestibule_tests::e2e::local_issuer::claims_of;
use vestibule_tests::e2e::manifests::{policy, secret, with};
use vestibule_tests::e2e::service::free_address;
use vestibule_tests::e2e::verifiers::{Expected, Verifier};
use vestibule_tests::e2e::{LocalIssuer, Service};

#[tokio::test]
async fn others_verify_a_token_signed_with_a_managed_es256_key() {
    managed("ES256").await;
}

#[tokio::test]
async fn others_verify_a_token_signed_with_a_managed_es384_key() {
    managed("ES384").await;
}

#[tokio::test]
async fn others_verify_a_token_signed_with_a_managed_eddsa_key() {
    managed("EdDSA").await;
}

#[tokio::test]
async fn others_verify_a_token_signed_with_a_managed_rs256_key() {
    managed("RS256").await;
}

#[tokio::test]
async fn others_verify_a_token_signed_with_a_managed_ps256_key() {
    managed("PS256").await;
}

#[tokio::test]
async fn others_verify_a_token_signed_with_a_key_from_a_secret() {
    for algorithm in [
        SigningAlgorithm::ES256,
        SigningAlgorithm::ES384,
        SigningAlgorithm::EdDSA,
        SigningAlgorithm::RS256,
    ] {
        let pem = SigningKey::generate(algorithm).expect("a key can be made");
        let key = SigningKey::parse(&pem, None).expect("a made key reads back");
        let signing = json!({"secretRefs": [{"name": "signing", "key": "tls.key"}]});
        let more = [secret("signing", "tls.key", pem.expose())];
        let kid = verified_by_others(signing, &more, key.algorithm.name()).await;
        assert_eq!(kid, key.kid, "the key of the Secret signs");
    }
}

async fn managed(algorithm: &str) {
    let signing = json!({"managed": {"algorithm": algorithm}});
    verified_by_others(signing, &[], algorithm).await;
}

/// Signs in, and has the access token accepted as it should be and refused for another audience and another issuer.
async fn verified_by_others(signing: Value, more: &[Value], algorithm: &str) -> String {
    let address = free_address();
    let base = format!("http://{address}");
    let issuer = LocalIssuer::new();
    let policy = with(policy(), "/spec/token/issuer", base.as_str());
    let mut manifests = vec![issuer.provider(), with(policy, "/spec/signing", signing)];
    manifests.extend_from_slice(more);
    let service = Service::builder()
        .manifests("all.yaml", &manifests)
        .listen(address)
        .start()
        .await;

    let discovery = service
        .get("/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(discovery["issuer"], base);
    let jwks = discovery["jwks_uri"].as_str().expect("it names the keys");
    let reply = service.signin(&issuer.id_token("alice")).await;
    assert_eq!(reply.code(), "ok", "{}", reply.body);
    let (token, user) = (reply.text("access_token"), &reply.json()["user"]);

    let right = Expected {
        issuer: &base,
        audience: "internal",
        jwks,
    };
    for verifier in Verifier::ALL {
        let accepted = verifier.verify(&token, right).await;
        assert_eq!(accepted.code, 0, "{verifier:?}: {}", accepted.stderr);
        let claims: Value = serde_json::from_str(&accepted.stdout).expect("it prints the claims");
        assert_eq!(claims["sub"], user["id"], "{verifier:?}");

        let elsewhere = Expected {
            issuer: "https://elsewhere.example",
            ..right
        };
        let external = Expected {
            audience: "external",
            ..right
        };
        for wrong in [elsewhere, external] {
            let refused = verifier.verify(&token, wrong).await;
            assert_eq!(
                refused.code, 1,
                "{verifier:?} {wrong:?}: {}",
                refused.stdout
            );
        }
    }
    let header = header_of(&token);
    assert_eq!(header["alg"], algorithm);
    assert_eq!(claims_of(&token)["idp"], "corp");
    header["kid"].as_str().expect("a kid").to_owned()
}

fn header_of(token: &str) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).expect("it is base64url");
    serde_json::from_slice(&header).expect("it is JSON")
}
