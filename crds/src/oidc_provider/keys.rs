//! Where a provider's verification keys come from and how its endpoints are trusted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::duration::Duration;
use crate::reference::{ConfigMapKeyRef, SecretKeyRef, URL_PATTERN};

/// At most one source; none: discovery from the issuer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.discoveryUrl), has(self.jwksUri), has(self.jwks), has(self.configMapRef)].filter(set, set).size() <= 1",
        "message": "keep at most one of discoveryUrl, jwksUri, jwks and configMapRef"
    },
    {
        "rule": "duration(self.refreshInterval) > duration('0s')",
        "message": "refreshInterval must be longer than 0s",
        "fieldPath": ".refreshInterval"
    },
    {
        "rule": "duration(self.maxStale) > duration('0s')",
        "message": "maxStale must be longer than 0s",
        "fieldPath": ".maxStale"
    }
]))]
pub struct Keys {
    /// URL of the discovery document, where it is not at the issuer; its `issuer` must still be the
    /// issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 1024), regex(pattern = URL_PATTERN))]
    pub discovery_url: Option<String>,
    /// URL of a JWK Set, used without discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 1024), regex(pattern = URL_PATTERN))]
    pub jwks_uri: Option<String>,
    /// The public keys themselves, a JWK Set (RFC 7517).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwkSet>,
    /// Entry of a ConfigMap in the same namespace that holds a JWK Set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapKeyRef>,
    /// How old fetched keys become before they are fetched again. Default: 10m.
    pub refresh_interval: Duration,
    /// How long fetched keys go on to serve while the provider cannot be reached. Default: 24h.
    pub max_stale: Duration,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            discovery_url: None,
            jwks_uri: None,
            jwks: None,
            config_map_ref: None,
            refresh_interval: Duration::from_secs(600),
            max_stale: Duration::from_secs(24 * 3600),
        }
    }
}

/// A JWK Set (RFC 7517, section 5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JwkSet {
    /// Public keys.
    #[schemars(length(min = 1, max = 128))]
    pub keys: Vec<Jwk>,
}

/// A public key, as its provider writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Jwk(#[schemars(schema_with = "free_object")] pub Map<String, Value>);

/// An object of which nothing is pruned.
pub(super) fn free_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// How a provider's endpoints are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Tls {
    /// PEM certificates that replace the public roots for this provider's endpoints. Left out: the
    /// public roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
}

/// At most one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.configMapRef), has(self.secretRef), has(self.inline)].filter(set, set).size() <= 1",
    "message": "keep at most one of configMapRef, secretRef and inline"
}]))]
pub struct CaBundle {
    /// Entry of a ConfigMap in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapKeyRef>,
    /// Entry of a Secret in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// The certificates themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub inline: Option<String>,
}
