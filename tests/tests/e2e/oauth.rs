//! The OAuth endpoints, used by libraries that know nothing of Vestibule, with a real provider's ID tokens.

use serde_json::{Value, json};
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::signing_key::SigningKey;
use vestibule_dataplane::clock::Clock;
use vestibule_tests::e2e::manifests::{policy, provider, secret, with};
use vestibule_tests::e2e::oauth_clients::OauthLibrary;
use vestibule_tests::e2e::service::free_address;
use vestibule_tests::e2e::{IdProvider, LocalIssuer, Service};

/// With characters that each library must encode as RFC 6749 has it.
const SECRET: &str = "forty characters: + and & and % and = / ?";
const EVERYTHING: [&str; 4] = [
    "TokenExchange",
    "RefreshToken",
    "Introspection",
    "Revocation",
];

/// A provider, and a service whose issuer is where it listens.
struct Scene {
    provider: IdProvider,
    issuer: String,
    _service: Service,
}

impl Scene {
    async fn with(clients: Value, more: &[Value]) -> Self {
        let id_provider = IdProvider::start().await;
        let address = free_address();
        let issuer = format!("http://{address}");
        let policy = with(policy(), "/spec/token/issuer", issuer.as_str());
        let policy = with(policy, "/spec/oauth/clients", clients);
        let mut manifests = vec![policy, provider("corp", &id_provider.issuer)];
        manifests.extend_from_slice(more);
        let service = Service::builder()
            .manifests("all.yaml", &manifests)
            .listen(address)
            .start()
            .await;
        Self {
            provider: id_provider,
            issuer,
            _service: service,
        }
    }

    /// Has the library do everything, as this client.
    async fn used_by(&self, library: OauthLibrary, method: &str, client_id: &str, proof: Value) {
        let mut task = json!({
            "issuer": self.issuer,
            "client_id": client_id,
            "method": method,
            "id_token": self.provider.id_token("alice").await,
        });
        for (name, value) in proof.as_object().expect("an object") {
            task[name] = value.clone();
        }
        let finished = library.run(&task).await;
        let what = format!("{library:?} {method}");
        assert_eq!(finished.code, 0, "{what}: {}", finished.stderr);
        let told: Value = serde_json::from_str(&finished.stdout).expect("it prints JSON");
        assert_eq!(told["refresh_refused"], "invalid_grant", "{what}: {told}");
        if method == "none" {
            return;
        }
        for step in ["exchanged", "refreshed"] {
            assert_eq!(told[step]["active"], true, "{what}: {told}");
            assert_eq!(told[step]["client_id"], client_id, "{what}: {told}");
            assert_eq!(told[step]["iss"], self.issuer.as_str(), "{what}: {told}");
            assert_eq!(told[step]["idp"], "corp", "{what}: {told}");
        }
        assert_eq!(told["exchanged"]["sid"], told["refreshed"]["sid"], "{what}");
        assert_eq!(told["revoked"], json!({"active": false}), "{what}");
    }
}

#[tokio::test]
async fn others_use_the_oauth_endpoints_with_a_secret() {
    let refs = json!([{"name": "gateway", "key": "secret"}]);
    let clients = json!([
        {"clientId": "https://gateway.example", "allow": EVERYTHING, "secretRefs": refs},
        {"clientId": "gateway", "allow": EVERYTHING, "secretRefs": refs},
    ]);
    let entry = secret("gateway", "secret", SECRET);
    let scene = Scene::with(clients, &[entry]).await;
    for (library, client_id) in [
        (OauthLibrary::OpenidClient, "https://gateway.example"),
        (OauthLibrary::XOauth2, "https://gateway.example"),
        // It encodes neither the id nor the secret in the header, so there an id must not have a colon.
        (OauthLibrary::Authlib, "gateway"),
    ] {
        for method in ["client_secret_basic", "client_secret_post"] {
            let proof = json!({"client_secret": SECRET});
            scene.used_by(library, method, client_id, proof).await;
        }
    }
    let wrong = json!({
        "issuer": scene.issuer,
        "client_id": "gateway",
        "method": "client_secret_basic",
        "client_secret": "wrong",
        "id_token": scene.provider.id_token("alice").await,
    });
    for library in [
        OauthLibrary::OpenidClient,
        OauthLibrary::Authlib,
        OauthLibrary::XOauth2,
    ] {
        let refused = library.run(&wrong).await;
        assert_eq!(refused.code, 1, "{library:?}: {}", refused.stdout);
        // openid-client tells a challenge in a header, and not the body beside it.
        let told = ["invalid_client", "WWW-Authenticate"];
        assert!(
            told.iter().any(|told| refused.stderr.contains(told)),
            "{library:?}: {}",
            refused.stderr
        );
    }
}

#[tokio::test]
async fn others_use_the_oauth_endpoints_with_a_key_of_their_own() {
    let algorithms = [SigningAlgorithm::ES256, SigningAlgorithm::RS256];
    let keys = algorithms.map(|algorithm| {
        let pem = SigningKey::generate(algorithm).expect("a key can be made");
        let key = SigningKey::parse(&pem, None).expect("a made key reads back");
        (pem, key)
    });
    let jwks: Vec<&Value> = keys.iter().map(|(_, key)| &key.jwk).collect();
    let config_map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "gateway", "namespace": "auth"},
        "data": {"jwks.json": json!({"keys": jwks}).to_string()},
    });
    let clients = json!([
        {"clientId": "gateway", "allow": EVERYTHING, "privateKeyJwt": {"configMapRef": {"name": "gateway", "key": "jwks.json"}}},
    ]);
    let scene = Scene::with(clients, &[config_map]).await;
    for library in [OauthLibrary::OpenidClient, OauthLibrary::Authlib] {
        for (pem, key) in &keys {
            let proof = json!({"private_key": pem.expose(), "algorithm": key.algorithm.name()});
            scene
                .used_by(library, "private_key_jwt", "gateway", proof)
                .await;
        }
    }
}

#[tokio::test]
async fn others_use_the_oauth_endpoints_with_the_token_of_a_service_account() {
    let cluster = LocalIssuer::new();
    let kubernetes = with(cluster.provider(), "/metadata/name", "kubernetes");
    let kubernetes = with(kubernetes, "/spec/audiences", json!(["vestibule"]));
    let clients = json!([
        {"clientId": "reports", "allow": EVERYTHING, "serviceAccount": {"providerRef": {"name": "kubernetes"}, "namespace": "shop", "name": "reports"}},
    ]);
    let scene = Scene::with(clients, &[kubernetes]).await;
    let now = Clock::System.now();
    let account_token = cluster.sign(&json!({
        "iss": vestibule_tests::e2e::local_issuer::ISSUER,
        "sub": "system:serviceaccount:shop:reports",
        "aud": ["vestibule"],
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
    }));
    let proof = json!({"account_token": account_token});
    let library = OauthLibrary::OpenidClient;
    scene
        .used_by(library, "service_account", "reports", proof)
        .await;
}

#[tokio::test]
async fn others_exchange_tokens_where_no_client_is_declared() {
    let scene = Scene::with(json!([]), &[]).await;
    let library = OauthLibrary::OpenidClient;
    scene.used_by(library, "none", "anybody", json!({})).await;
}
