//! Fixtures: valid as they come, and a test changes one word of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use vestibule_crds::algorithm::{Algorithm, SigningAlgorithm};
use vestibule_crds::duration::Duration;
use vestibule_crds::issuer::{HttpIssuers, Issuer};
use vestibule_crds::secret::Secret;
use vestibule_crds::signing_key::SigningKey;
use vestibule_crds::snapshot::{
    Egress, KeySource, Linking, Mapping, Nonce, NonceForm, Provider, Provisioning, Replay,
    Revision, TokenRules,
};

pub(crate) const NOW: i64 = 1_900_000_000;
pub(crate) const ISSUER: &str = "https://idp.example";

/// A provider's private key.
pub(crate) fn key(algorithm: SigningAlgorithm) -> SigningKey {
    SigningKey::parse(&pem(algorithm), Some(algorithm)).expect("a made key reads back")
}

pub(crate) fn pem(algorithm: SigningAlgorithm) -> Secret {
    SigningKey::generate(algorithm).expect("a key can be made")
}

pub(crate) fn provider(jwks: Value) -> Provider {
    Provider {
        namespace: "auth".to_owned(),
        name: "corp".to_owned(),
        revision: Revision::of(jwks.to_string().as_bytes()),
        created_at: None,
        issuer: Issuer::parse(ISSUER, HttpIssuers::Refuse).expect("an issuer"),
        issuer_aliases: Vec::new(),
        audiences: vec!["web".to_owned(), "mobile".to_owned()],
        authorized_parties: Vec::new(),
        display_name: None,
        policy: "default".to_owned(),
        suspended: false,
        keys: KeySource::Static { jwks },
        refresh_interval: Duration::from_secs(600),
        max_stale: Duration::from_secs(86_400),
        ca_bundle: None,
        egress: Egress::Cluster,
        algorithms: vec![Algorithm::ES256],
        token: TokenRules {
            clock_skew: Duration::from_secs(30),
            max_age: Some(Duration::from_secs(3600)),
            nonce: Nonce::IfPresent,
            nonce_form: NonceForm::Either,
            replay: Replay::Allow,
            accept: Vec::new(),
        },
        rules: Vec::new(),
        mapping: Mapping {
            username: Some("claims.preferred_username".to_owned()),
            email: Some("claims.email".to_owned()),
            email_verified: Some("claims.email_verified".to_owned()),
            phone: None,
            groups: None,
        },
        linking: Linking::Never,
        provisioning: Provisioning::Create,
        upstream_mfa: None,
    }
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "alice",
        "aud": "web",
        "exp": NOW + 600,
        "iat": NOW - 10,
        "auth_time": NOW - 10,
        "email": "alice@corp.example",
        "email_verified": true,
        "preferred_username": "alice",
    })
}

/// A JSON object with one member changed.
pub(crate) fn with(mut object: Value, name: &str, value: impl Into<Value>) -> Value {
    object[name] = value.into();
    object
}

pub(crate) fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().expect("an object").remove(name);
    object
}

pub(crate) fn header(key: &SigningKey) -> Value {
    json!({"alg": key.algorithm.name(), "kid": key.kid, "typ": "JWT"})
}

pub(crate) fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = key.sign(input.as_bytes()).expect("it signs");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}
