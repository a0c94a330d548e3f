//! What a data-plane pod reads: every accepted object, resolved, checked and ready to be built.
//!
//! A snapshot holds private signing keys. It is written by `compile` alone and is the same whether
//! the operator or `vestibule serve --manifests` compiled it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::duration::Duration;
use crate::encryption_key::EncryptionKey;
use crate::issuer::Issuer;
use crate::object::NamespacedName;
use crate::oidc_provider::AcceptedClaim;
use crate::rotation::Schedule;
use crate::secret::Secret;
use crate::signin_policy::{
    Actions, Attempts, ClientPermission, EmailTls, MfaMethod, MfaMode, NoEnrollment, OnError,
    Signals, Thresholds,
};

pub use crate::oidc_provider::{Egress, Nonce, NonceForm, Provisioning, Replay};
pub use crate::rotation::KeyState;

/// The layout of [`Snapshot`]; a reader refuses one that it does not know.
pub const FORMAT: u32 = 2;
/// The layout before it: objects by `metadata.name` alone. It is still read, and never written.
pub const FORMAT_BY_NAME: u32 = 1;

/// Everything that is served, under one revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub format: u32,
    /// Made of the revisions of the objects below, so equal content has an equal revision.
    pub revision: Revision,
    /// By `namespace/name`.
    pub policies: BTreeMap<String, Arc<Policy>>,
    /// By `namespace/name`.
    pub providers: BTreeMap<String, Arc<Provider>>,
    /// The release's own namespace, whose providers a caller may name without it; none where all
    /// are the installer's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_namespace: Option<String>,
    /// By host and path of an issuer: the namespace that it was published for last. Not part of the
    /// revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub issuers: BTreeMap<String, IssuerOwner>,
}

/// The namespace that an issuer was published for last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerOwner {
    pub namespace: String,
    /// Since when no policy has it, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<i64>,
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

/// An OidcProvider, compiled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    pub namespace: String,
    pub name: String,
    /// Of everything else in this object.
    pub revision: Revision,
    /// When the object was created, RFC 3339: of two providers with one (issuer, audience) pair the
    /// older is inferred.
    pub created_at: Option<String>,
    pub issuer: Issuer,
    pub issuer_aliases: Vec<String>,
    pub audiences: Vec<String>,
    pub authorized_parties: Vec<String>,
    pub display_name: Option<String>,
    /// Name of a policy in the same namespace.
    pub policy: String,
    pub suspended: bool,
    pub keys: KeySource,
    pub refresh_interval: Duration,
    pub max_stale: Duration,
    /// PEM certificates that replace the public roots for this provider's endpoints.
    pub ca_bundle: Option<String>,
    pub egress: Egress,
    pub algorithms: Vec<Algorithm>,
    pub token: TokenRules,
    pub rules: Vec<Rule>,
    pub mapping: Mapping,
    pub linking: Linking,
    pub provisioning: Provisioning,
    pub upstream_mfa: Option<UpstreamMfa>,
}

/// Where the keys that verify a provider's tokens come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeySource {
    /// The `jwks_uri` of the discovery document at this URL; its `issuer` must be the provider's
    /// issuer.
    Discovery { url: String },
    /// A JWK Set at this URL.
    JwksUri { url: String },
    /// A JWK Set that stands in the manifest or in a ConfigMap.
    Static { jwks: Value },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRules {
    pub clock_skew: Duration,
    /// Oldest `iat` that is accepted; none: only `exp` counts.
    pub max_age: Option<Duration>,
    pub nonce: Nonce,
    pub nonce_form: NonceForm,
    pub replay: Replay,
    /// Claims of other kinds of tokens that this provider's ID tokens may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<AcceptedClaim>,
}

/// A CEL rule over `claims` that must be true.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    pub expression: String,
    /// What the caller reads when it is not.
    pub message: String,
}

/// CEL expressions over `claims`, one for each attribute; `None` leaves the attribute out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mapping {
    pub username: Option<String>,
    pub email: Option<String>,
    pub email_verified: Option<String>,
    pub phone: Option<String>,
    pub groups: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Linking {
    Never,
    /// A verified email links to the one user that has it. No domains: every domain.
    VerifiedEmail {
        email_domains: Vec<String>,
    },
}

/// When the provider's own second factor counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamMfa {
    pub amr: Vec<String>,
    pub acr: Vec<String>,
    pub max_auth_age: Duration,
}

/// A SigninPolicy, compiled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub namespace: String,
    pub name: String,
    pub revision: Revision,
    pub token: LocalToken,
    /// CEL over `user`, `claims` and `provider`, by claim name.
    pub extra_claims: BTreeMap<String, String>,
    /// At most one is `Current`; none is while a managed key has not been made yet.
    pub signing_keys: Vec<PolicyKey>,
    /// Set when Vestibule makes and rotates the keys.
    pub managed: Option<Schedule>,
    pub mfa: Mfa,
    /// Absent: the policy's users have no passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordLife>,
    /// How recent an authentication changes of the own account want.
    #[serde(default = "max_auth_age_default")]
    pub max_auth_age: Duration,
    /// Absent where sign-ins are not scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    pub trusted_proxies: Vec<IpNet>,
    /// Which addresses mail servers and webhooks may have.
    #[serde(default)]
    pub egress: Egress,
    pub limits: Limits,
    /// The only clients that may use the OAuth endpoints, even where none is left. None: they are
    /// open to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<Client>>,
    /// Whether `/auth/…` gives no tokens, so that only the clients get any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_clients: bool,
}

/// What policies had before it could be set.
fn max_auth_age_default() -> Duration {
    Duration::from_secs(900)
}

/// A program that uses the OAuth endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub id: String,
    pub allow: Vec<ClientPermission>,
    pub proof: ClientProof,
}

/// How a client proves that it is this client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientProof {
    /// By an assertion that one of these keys verifies.
    PrivateKeyJwt { jwks: Value },
    /// By a token with this `sub`, of a provider in the policy's namespace.
    ServiceAccount { provider: String, subject: String },
    /// By a secret whose SHA-256, in base64, is one of these.
    Secret { digests: Vec<Secret> },
}

/// How long local passwords are good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordLife {
    /// None: they do not expire.
    pub max_age: Option<Duration>,
    /// How long before that the user is warned.
    pub warning_window: Duration,
    /// How long after it they still work.
    pub grace_period: Duration,
}

/// When a sign-in needs an extra factor, which ones there are and what they need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mfa {
    pub mode: MfaMode,
    /// What can be offered, best first: what the policy lists and has what it needs.
    pub methods: Vec<MfaMethod>,
    pub challenge_ttl: Duration,
    pub attempts: Attempts,
    pub no_enrollment: NoEnrollment,
    pub remember_device: Duration,
    /// The first seals, all open; none is while a managed key has not been made yet.
    pub keys: Vec<EncryptionKey>,
    pub key_source: EncryptionKeySource,
    /// Set where webauthn is among `methods`.
    pub webauthn: Option<Webauthn>,
    /// Where codes come from if email_otp is among `methods`, and notices of changed factors in any
    /// case.
    pub email: Option<Email>,
    /// Set where sms_otp is among `methods`.
    pub sms: Option<Sms>,
}

/// Whose the encryption keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncryptionKeySource {
    /// Vestibule makes and keeps one.
    Managed,
    /// Secrets that the policy names.
    Secrets,
}

/// The relying party of WebAuthn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webauthn {
    /// A domain, which the host of each origin is or is below.
    pub rp_id: String,
    pub rp_name: String,
    pub origins: Vec<String>,
}

/// How mail is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    pub host: String,
    pub port: u16,
    pub tls: EmailTls,
    /// `address`, or `name <address>`.
    pub from: String,
    pub credentials: Option<Credentials>,
    /// PEM certificates that replace the public roots.
    pub ca_bundle: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub username: Secret,
    pub password: Secret,
}

/// The webhook that sends text messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sms {
    pub url: String,
    /// Of HMAC-SHA-256.
    pub key: Secret,
    /// PEM certificates that replace the public roots.
    pub ca_bundle: Option<String>,
}

/// How sign-ins are scored and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Risk {
    pub acting: Acting,
    pub thresholds: Thresholds,
    pub actions: Actions,
    pub on_error: OnError,
    pub signals: Signals,
    pub deny: Vec<IpNet>,
    pub allow: Vec<IpNet>,
    /// The factors that the policy has, best first.
    pub mfa_methods: Vec<MfaMethod>,
}

/// Whether what a score leads to happens, or is only recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acting {
    Enforce,
    Observe,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalToken {
    pub issuer: Issuer,
    pub audiences: Vec<String>,
    pub access_ttl: Duration,
    pub refresh_ttl: Duration,
    pub session_max_ttl: Duration,
    pub refresh_reuse_grace: Duration,
}

/// A key that a policy publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    pub algorithm: Algorithm,
    pub state: KeyState,
    /// PKCS#8 PEM.
    pub pem: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub failures_per_ip_per_minute: u32,
    pub per_user_per_minute: u32,
}

impl Snapshot {
    pub fn policy(&self, id: &NamespacedName) -> Option<&Arc<Policy>> {
        self.policies.get(&id.to_string())
    }

    pub fn provider(&self, id: &NamespacedName) -> Option<&Arc<Provider>> {
        self.providers.get(&id.to_string())
    }

    /// What an earlier version published, as this one reads it; a format that is not known stays as
    /// it is.
    pub fn upgraded(mut self) -> Self {
        if self.format == FORMAT_BY_NAME {
            let policies = self.policies.into_values();
            self.policies = policies.map(|policy| (policy.key(), policy)).collect();
            let providers = self.providers.into_values();
            self.providers = providers
                .map(|provider| (provider.key(), provider))
                .collect();
            self.format = FORMAT;
        }
        self
    }
}

impl Policy {
    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What is kept once the keys have been parsed. Its revision is that of the whole.
    pub fn without_pem(&self) -> Self {
        let mut policy = self.clone();
        for key in &mut policy.signing_keys {
            key.pem = Secret::new(String::new());
        }
        policy
    }
}

impl Provider {
    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// `namespace/name` of its policy.
    pub fn policy_key(&self) -> String {
        format!("{}/{}", self.namespace, self.policy)
    }

    /// Of all that decides which keys count as this provider's: keys that were fetched for another
    /// one do not.
    pub fn key_source_revision(&self) -> Revision {
        let source = (
            &self.keys,
            &self.issuer,
            &self.algorithms,
            &self.ca_bundle,
            self.egress,
        );
        Revision::of(&serde_json::to_vec(&source).expect("strings and sorted maps are JSON"))
    }
}

impl Default for PasswordLife {
    fn default() -> Self {
        Self {
            max_age: None,
            warning_window: Duration::from_secs(0),
            grace_period: Duration::from_secs(0),
        }
    }
}

impl Revision {
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in digest.as_ref() {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
