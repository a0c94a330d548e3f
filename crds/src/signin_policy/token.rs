//! The local tokens of a policy and the keys that sign them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::algorithm::SigningAlgorithm;
use crate::duration::Duration;
use crate::reference::{ISSUER_PATTERN, SecretKeyRef};

/// Claims of the local access token that `extraClaims` may not replace.
pub const RESERVED_CLAIMS: [&str; 16] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "sid",
    "scope",
    "auth_time",
    "amr",
    "acr",
    "client_id",
    "idp",
    "email",
    "groups",
];

/// Local access and refresh tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "duration(self.accessTtl) > duration('0s')",
        "message": "accessTtl must be longer than 0s",
        "fieldPath": ".accessTtl"
    },
    {
        "rule": "duration(self.refreshTtl) > duration('0s')",
        "message": "refreshTtl must be longer than 0s",
        "fieldPath": ".refreshTtl"
    },
    {
        "rule": "duration(self.refreshTtl) <= duration(self.sessionMaxTtl)",
        "message": "refreshTtl must not be longer than sessionMaxTtl",
        "fieldPath": ".refreshTtl"
    },
    {
        "rule": "duration(self.refreshReuseGrace) < duration(self.refreshTtl)",
        "message": "refreshReuseGrace must be shorter than refreshTtl",
        "fieldPath": ".refreshReuseGrace"
    }
]))]
pub struct LocalToken {
    /// The `iss` of local tokens; discovery and keys are published under its path. No other policy
    /// may have it.
    #[schemars(length(min = 8, max = 512), regex(pattern = ISSUER_PATTERN))]
    pub issuer: String,
    /// The `aud` of local tokens.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub audiences: Vec<String>,
    /// How long an access token lives. Default: 10m.
    #[serde(default = "access_ttl")]
    pub access_ttl: Duration,
    /// How long a refresh token lives unless it is used. Default: 720h.
    #[serde(default = "refresh_ttl")]
    pub refresh_ttl: Duration,
    /// How long a session lives, however often it is refreshed. Default: 2160h.
    #[serde(default = "session_max_ttl")]
    pub session_max_ttl: Duration,
    /// How long a used refresh token works again, for an answer that was lost; later use ends the
    /// session. Default: 10s.
    #[serde(default = "refresh_reuse_grace")]
    pub refresh_reuse_grace: Duration,
}

fn access_ttl() -> Duration {
    Duration::from_secs(600)
}

fn refresh_ttl() -> Duration {
    Duration::from_secs(720 * 3600)
}

fn session_max_ttl() -> Duration {
    Duration::from_secs(2160 * 3600)
}

fn refresh_reuse_grace() -> Duration {
    Duration::from_secs(10)
}

/// Exactly one source of signing keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.managed) != has(self.secretRefs)",
    "message": "write exactly one of managed and secretRefs"
}]))]
pub struct Signing {
    /// Vestibule makes the keys and rotates them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
    /// Keys of Secrets in the same namespace, PKCS#8 PEM. The first signs, all are published.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub secret_refs: Option<Vec<SecretKeyRef>>,
}

/// Keys that Vestibule makes and rotates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "duration(self.prePublish) < duration(self.rotateEvery)",
    "message": "prePublish must be shorter than rotateEvery",
    "fieldPath": ".prePublish"
}]))]
pub struct Managed {
    /// The JWS algorithm. Default: ES256.
    pub algorithm: SigningAlgorithm,
    /// How long a key signs. Default: 720h.
    pub rotate_every: Duration,
    /// How long before it signs a key is published, so that verifiers know it. Default: 24h.
    pub pre_publish: Duration,
}

impl Default for Managed {
    fn default() -> Self {
        Self {
            algorithm: SigningAlgorithm::ES256,
            rotate_every: Duration::from_secs(720 * 3600),
            pre_publish: Duration::from_secs(24 * 3600),
        }
    }
}

/// A map of bounded names and expressions: a map's keys can be bounded by a rule alone.
pub(super) fn extra_claims(_: &mut SchemaGenerator) -> Schema {
    let reserved = RESERVED_CLAIMS.map(|name| format!("'{name}'")).join(", ");
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 1024},
        "x-kubernetes-validations": [
            {
                "rule": format!("self.all(name, !(name in [{reserved}]))"),
                "message": format!("choose other names than those of the token's own claims: {}", RESERVED_CLAIMS.join(", "))
            },
            {
                "rule": "self.all(name, size(name) >= 1 && size(name) <= 64)",
                "message": "a claim's name has 1 to 64 characters"
            }
        ]
    })
}
