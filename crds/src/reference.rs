//! References from a custom resource to other objects of its namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// RFC 1123 subdomain, as the API server checks names.
pub(crate) const NAME_PATTERN: &str =
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Characters of a key of a Secret or ConfigMap.
pub(crate) const DATA_KEY_PATTERN: &str = "^[-._a-zA-Z0-9]+$";
/// An issuer: no user name, no query and no fragment.
/// An `iss` that is compared and never fetched from: Google sends `accounts.google.com` too.
pub(crate) const ALIAS_PATTERN: &str = "^\\S+$";
pub(crate) const ISSUER_PATTERN: &str = "^https?://[^/?#@\\s]+(/[^?#\\s]*)?$";
/// A URL to fetch from: no user name and no fragment.
pub(crate) const URL_PATTERN: &str = "^https?://[^/?#@\\s]+([/?][^#\\s]*)?$";
/// An address or a network; which of these it is and whether it is one is checked when it is
/// compiled.
pub(crate) const NETWORK_PATTERN: &str = "^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?$";

/// An origin (RFC 6454): a scheme, a host and perhaps a port.
pub(crate) const ORIGIN_PATTERN: &str = "^https?://[^/?#@\\s]+$";
/// A host name or an address.
pub(crate) const HOST_PATTERN: &str = "^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$|^[0-9A-Fa-f:.]+$";
/// An address for mail in ASCII, alone or in angle brackets after a name. Nothing in it can end a
/// header's line.
pub(crate) const MAILBOX_PATTERN: &str = "^([^<>@\\r\\n]{1,64} <)?[-A-Za-z0-9.!#$%&'*+/=?^_`{|}~]+@[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?>?$";

/// What an OAuth client calls itself: nothing in it needs to be encoded, in JSON neither.
pub(crate) const CLIENT_ID_PATTERN: &str = "^[-A-Za-z0-9._~:/@]+$";

/// One entry of a ConfigMap in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// Key of the entry.
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY_PATTERN))]
    pub key: String,
}

/// One entry of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// Key of the entry.
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY_PATTERN))]
    pub key: String,
}

/// A Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
}

/// An OidcProvider of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRef {
    /// Name of the OidcProvider.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
}

/// A SigninPolicy of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyRef {
    /// Name of the SigninPolicy. Default: default.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
}

impl Default for PolicyRef {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
        }
    }
}
