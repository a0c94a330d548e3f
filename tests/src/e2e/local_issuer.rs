//! Somebody who signs ID tokens in the test itself, for tests that need many of them and no provider's endpoints.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::signing_key::SigningKey;
use vestibule_dataplane::clock::Clock;

use super::manifests;

pub const ISSUER: &str = "https://login.corp.example";

/// A provider whose keys stand in its manifest.
#[derive(Debug)]
pub struct LocalIssuer {
    pub key: SigningKey,
}

impl Default for LocalIssuer {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalIssuer {
    pub fn new() -> Self {
        let pem = SigningKey::generate(SigningAlgorithm::ES256).expect("a key can be made");
        let key = SigningKey::parse(&pem, None).expect("a made key reads back");
        Self { key }
    }

    /// The provider `corp` with the key in it.
    pub fn provider(&self) -> Value {
        let provider = manifests::provider("corp", ISSUER);
        let provider = manifests::with(provider, "/spec/algorithms", json!(["ES256"]));
        manifests::with(provider, "/spec/keys/jwks", json!({"keys": [self.key.jwk]}))
    }

    /// Valid for ten minutes, of the client `web`.
    pub fn claims(&self, subject: &str) -> Value {
        let now = Clock::System.now();
        json!({
            "iss": ISSUER,
            "sub": subject,
            "aud": "web",
            "iat": now,
            "auth_time": now,
            "exp": now + 600,
            "email": format!("{subject}@corp.example"),
            "email_verified": true,
            "preferred_username": subject,
        })
    }

    pub fn id_token(&self, subject: &str) -> String {
        self.sign(&self.claims(subject))
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": self.key.algorithm.name(), "kid": self.key.kid, "typ": "JWT"});
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.key.sign(input.as_bytes()).expect("it signs");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The claims of a token, unverified.
pub fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("it is base64url");
    serde_json::from_slice(&payload).expect("it is JSON")
}
