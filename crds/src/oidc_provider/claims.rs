//! What is asked of a provider's claims and what they become.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::keys::free_object;
use crate::duration::Duration;

/// Rules over the claims, and the user's attributes made of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Claims {
    /// Each must be true; one that is false or errs refuses the sign-in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub rules: Vec<ClaimsRule>,
    /// The user's attributes.
    pub mapping: Mapping,
}

/// A condition on the claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimsRule {
    /// CEL over `claims`, giving a boolean.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
    /// What the caller reads when it is not true.
    #[schemars(length(min = 1, max = 256))]
    pub message: String,
}

/// CEL over `claims`, one expression for each attribute. A claim that a token does not have leaves
/// its attribute out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Mapping {
    /// Default: claims.preferred_username.
    #[schemars(length(min = 1, max = 1024))]
    pub username: String,
    /// Default: claims.email.
    #[schemars(length(min = 1, max = 1024))]
    pub email: String,
    /// Whether the provider has verified the email; only true counts. Default:
    /// claims.email_verified.
    #[schemars(length(min = 1, max = 1024))]
    pub email_verified: String,
    /// Default: claims.phone_number.
    #[schemars(length(min = 1, max = 1024))]
    pub phone: String,
    /// A list of strings. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub groups: Option<String>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            username: "claims.preferred_username".to_owned(),
            email: "claims.email".to_owned(),
            email_verified: "claims.email_verified".to_owned(),
            phone: "claims.phone_number".to_owned(),
            groups: None,
        }
    }
}

/// Whether a first sign-in may become an existing user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Linking {
    /// Never: a new identity is a new user. VerifiedEmail: a verified email links to the one user
    /// that has it. Default: Never.
    pub mode: LinkingMode,
    /// Domains whose addresses may link, in lower case. Empty: every domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 253), regex(pattern = crate::reference::NAME_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub email_domains: Vec<String>,
}

/// How an identity finds an existing user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LinkingMode {
    #[default]
    Never,
    VerifiedEmail,
}

/// A token must have an `amr` or `acr` of these, and a recent `auth_time`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "(has(self.amr) && size(self.amr) > 0) || (has(self.acr) && size(self.acr) > 0)",
        "message": "name at least one value of amr or acr, or remove upstreamMfa"
    },
    {
        "rule": "duration(self.maxAuthAge) > duration('0s')",
        "message": "maxAuthAge must be longer than 0s",
        "fieldPath": ".maxAuthAge"
    }
]))]
pub struct UpstreamMfa {
    /// Values of `amr` (RFC 8176) of which one is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 128)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub amr: Vec<String>,
    /// Values of `acr` of which one is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub acr: Vec<String>,
    /// How long ago `auth_time` may be; a token without it does not satisfy. Default: 1h.
    pub max_auth_age: Duration,
}

impl Default for UpstreamMfa {
    fn default() -> Self {
        Self {
            amr: Vec::new(),
            acr: Vec::new(),
            max_auth_age: Duration::from_secs(3600),
        }
    }
}

/// Claims, and what should become of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// Names the example where it fails.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Claims of a token.
    #[schemars(schema_with = "free_object")]
    pub claims: Map<String, Value>,
    /// What should become of them. What is left out is not compared.
    pub expect: Expect,
}

/// What should become of an example's claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// Whether the rules let it in.
    pub allowed: bool,
    /// The username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub username: Option<String>,
    /// The email.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub email: Option<String>,
    /// Whether the email is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// The phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub phone: Option<String>,
    /// The groups, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub groups: Option<Vec<String>>,
}
