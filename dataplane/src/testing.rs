//! Fixtures: valid as they come, and a test changes one word of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use vestibule_crds::algorithm::{Algorithm, SigningAlgorithm};
use vestibule_crds::duration::Duration;
use vestibule_crds::encryption_key::EncryptionKey;
use vestibule_crds::issuer::{HttpIssuers, Issuer};
use vestibule_crds::secret::Secret;
use vestibule_crds::signin_policy::{Attempts, MfaMethod, MfaMode, NoEnrollment};
use vestibule_crds::signing_key::SigningKey;
use vestibule_crds::snapshot::{
    Egress, EncryptionKeySource, FORMAT, KeySource, KeyState, Limits, Linking, LocalToken, Mapping,
    Mfa, Nonce, NonceForm, PasswordLife, Policy, PolicyKey, Provider, Provisioning, Replay,
    Revision, Snapshot, TokenRules,
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

pub(crate) fn policy() -> Policy {
    let pem = pem(SigningAlgorithm::ES256);
    let kid = SigningKey::parse(&pem, None).expect("a key").kid;
    Policy {
        namespace: "auth".to_owned(),
        name: "default".to_owned(),
        revision: Revision::of(kid.as_bytes()),
        token: LocalToken {
            issuer: Issuer::parse("https://auth.example.com", HttpIssuers::Refuse)
                .expect("an issuer"),
            audiences: vec!["internal".to_owned()],
            access_ttl: Duration::from_secs(600),
            refresh_ttl: Duration::from_secs(30 * 86_400),
            session_max_ttl: Duration::from_secs(90 * 86_400),
            refresh_reuse_grace: Duration::from_secs(10),
        },
        extra_claims: std::collections::BTreeMap::new(),
        signing_keys: vec![PolicyKey {
            kid,
            algorithm: Algorithm::ES256,
            state: KeyState::Current,
            pem,
        }],
        managed: None,
        mfa: Mfa {
            mode: MfaMode::Never,
            methods: vec![MfaMethod::Totp, MfaMethod::RecoveryCode],
            challenge_ttl: Duration::from_secs(300),
            attempts: Attempts::default(),
            no_enrollment: NoEnrollment::default(),
            remember_device: Duration::from_secs(30 * 86_400),
            keys: vec![EncryptionKey::generate().expect("a key")],
            key_source: EncryptionKeySource::Managed,
            webauthn: None,
            email: None,
            sms: None,
        },
        password: Some(PasswordLife::default()),
        max_auth_age: Duration::from_secs(900),
        risk: None,
        trusted_proxies: Vec::new(),
        egress: Egress::Cluster,
        limits: Limits {
            failures_per_ip_per_minute: 300,
            per_user_per_minute: 60,
        },
        clients: None,
        only_clients: false,
    }
}

pub(crate) fn snapshot(
    policies: impl IntoIterator<Item = Policy>,
    providers: impl IntoIterator<Item = Provider>,
) -> Snapshot {
    let policies: std::collections::BTreeMap<_, _> = policies
        .into_iter()
        .map(|policy| (policy.key(), Arc::new(policy)))
        .collect();
    let providers: std::collections::BTreeMap<_, _> = providers
        .into_iter()
        .map(|provider| (provider.key(), Arc::new(provider)))
        .collect();
    let content = serde_json::to_vec(&(&policies, &providers)).expect("it can be written");
    Snapshot {
        format: FORMAT,
        revision: Revision::of(&content),
        policies,
        providers,
        own_namespace: None,
        issuers: std::collections::BTreeMap::new(),
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

/// A signed token with these claims.
pub(crate) fn token(key: &SigningKey, claims: &Value) -> String {
    sign(key, &header(key), claims)
}
