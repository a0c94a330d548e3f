//! Fixtures: valid as they come, and a test changes one word of them.

use std::sync::Arc;

use serde_json::Value;
use vestibule_crds::algorithm::{Algorithm, SigningAlgorithm};
use vestibule_crds::duration::Duration;
use vestibule_crds::encryption_key::EncryptionKey;
use vestibule_crds::issuer::{HttpIssuers, Issuer};
use vestibule_crds::signin_policy::{Attempts, MfaMethod, MfaMode, NoEnrollment};
use vestibule_crds::signing_key::SigningKey;
use vestibule_crds::snapshot::{
    Egress, EncryptionKeySource, FORMAT, KeyState, Limits, LocalToken, Mfa, PasswordLife, Policy,
    PolicyKey, Provider, Revision, Snapshot,
};

/// Providers, their keys and tokens: the same as where tokens are verified.
#[path = "../idtoken/src/testing.rs"]
mod idtoken;

pub(crate) use idtoken::*;

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

/// A signed token with these claims.
pub(crate) fn token(key: &SigningKey, claims: &Value) -> String {
    sign(key, &header(key), claims)
}
