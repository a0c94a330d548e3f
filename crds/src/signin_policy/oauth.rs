//! The OAuth endpoints' clients: who they are, how they prove it, and what they may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::oidc_provider::JwkSet;
use crate::reference::{
    CLIENT_ID_PATTERN, ConfigMapKeyRef, NAME_PATTERN, ProviderRef, SecretKeyRef,
};

/// The OAuth endpoints, `/oauth2/…`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.onlyClients) || !self.onlyClients || (has(self.clients) && self.clients.size() > 0)",
    "message": "onlyClients needs clients",
    "fieldPath": ".onlyClients"
}]))]
pub struct Oauth {
    /// Who may use the endpoints. Without any, `/oauth2/token` and `/oauth2/revoke` are open, as
    /// `/auth/id-token/signin` is, and `/oauth2/introspect` is closed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["clientId"])
    )]
    pub clients: Vec<Client>,
    /// true: tokens go to these clients alone, and `/auth/id-token/signin` and
    /// `/auth/token/refresh` are closed. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_clients: bool,
}

/// A program that uses the OAuth endpoints: exactly one way to prove that it is this client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.privateKeyJwt), has(self.serviceAccount), has(self.secretRefs)].filter(set, set).size() == 1",
    "message": "write exactly one of privateKeyJwt, serviceAccount and secretRefs"
}]))]
pub struct Client {
    /// What the client calls itself.
    #[schemars(length(min = 1, max = 128), regex(pattern = CLIENT_ID_PATTERN))]
    pub client_id: String,
    /// What the client may do.
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub allow: Vec<ClientPermission>,
    /// The client signs an assertion with a key of its own (RFC 7523): `private_key_jwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_jwt: Option<PrivateKeyJwt>,
    /// The client shows the token of its Kubernetes service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// The client shows a secret: entries of Secrets in the same namespace, of 32 bytes at least.
    /// Each of them is accepted: to rotate, add a new one and keep the old one until the client has
    /// the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub secret_refs: Option<Vec<SecretKeyRef>>,
}

/// TokenExchange: a token for a user's ID token (RFC 8693). RefreshToken: the next tokens of a
/// session. Introspection: what any token of the policy says (RFC 7662). Revocation: the end of a
/// session (RFC 7009).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ClientPermission {
    TokenExchange,
    RefreshToken,
    Introspection,
    Revocation,
}

/// The public keys of a client: exactly one source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.jwks) != has(self.configMapRef)",
    "message": "write exactly one of jwks and configMapRef"
}]))]
pub struct PrivateKeyJwt {
    /// The public keys themselves, a JWK Set (RFC 7517).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwkSet>,
    /// Entry of a ConfigMap in the same namespace that holds a JWK Set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapKeyRef>,
}

/// A Kubernetes service account, whose tokens an OidcProvider verifies by its issuer, audiences,
/// keys and age; its claim rules are for users and do not apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// The OidcProvider of the service account's cluster, in the same namespace as this policy.
    pub provider_ref: ProviderRef,
    /// Namespace of the service account.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub namespace: String,
    /// Name of the service account.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
}

impl ServiceAccount {
    /// The `sub` of its tokens.
    pub fn subject(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}
