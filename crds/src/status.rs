//! What the operator says about an object: one shape for both kinds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::algorithm::Algorithm;
use crate::rotation::KeyState;
use crate::structural::structural;

/// What the operator found and what the data plane serves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = structural)]
pub struct Status {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Digest of the compiled object, `sha256:` and 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub revision: Option<String>,
    /// OidcProvider: the keys that verify its tokens. SigninPolicy: the keys that it publishes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "atomic"))]
    pub keys: Vec<KeyStatus>,
    /// SigninPolicy with managed keys: when the next key begins to sign, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub next_rotation_time: Option<String>,
    /// Accepted, ResolvedRefs, Discovered (OidcProvider only) and Programmed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// One key, its public half named by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// The key's `kid`.
    #[schemars(length(max = 256))]
    pub kid: String,
    /// The JWS algorithm that it signs or verifies.
    pub algorithm: Algorithm,
    /// SigninPolicy: Current signs, Next signs after the next rotation, Previous signed before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
}
