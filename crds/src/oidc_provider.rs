//! The OidcProvider kind: an issuer whose ID tokens sign people in. Each doc comment is what
//! `kubectl explain` prints.

mod claims;
mod keys;
mod token;

pub use claims::{Claims, ClaimsRule, Example, Expect, Linking, LinkingMode, Mapping, UpstreamMfa};
pub use keys::{CaBundle, JwkSet, Keys, Tls};
pub use token::{AcceptedClaim, Nonce, NonceForm, Replay, Token};

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::algorithm::Algorithm;
use crate::reference::{ALIAS_PATTERN, ISSUER_PATTERN, PolicyRef};
use crate::status::Status;
use crate::structural::structural;

/// An issuer of ID tokens, and how they are verified.
#[expect(
    clippy::duplicated_attributes,
    reason = "each column has a type of its own"
)]
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vestibule.dev",
    version = "v1alpha1",
    kind = "OidcProvider",
    plural = "oidcproviders",
    namespaced,
    status = "Status",
    shortname = "oidcp",
    category = "vestibule",
    derive = "PartialEq",
    doc = "An OpenID Connect provider whose ID tokens sign people in.",
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.issuer"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policyRef.name"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Keys",
        type_ = "string",
        json_path = ".status.keys[*].kid",
        description = "The first of the keys that verify its tokens",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = structural)]
pub struct OidcProviderSpec {
    /// The `iss` of its tokens, exact. https; http only for a loopback or in-cluster host, and only
    /// when the process was started with --allow-http-issuers.
    #[schemars(length(min = 8, max = 512), regex(pattern = ISSUER_PATTERN))]
    pub issuer: String,
    /// Other exact `iss` values that the same provider sends, URLs or not: Google sends
    /// `accounts.google.com` as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(min = 1, max = 512), regex(pattern = ALIAS_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub issuer_aliases: Vec<String>,
    /// Client ids, one of which a token's `aud` must hold. Required: a token for another client
    /// must not sign in here.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub audiences: Vec<String>,
    /// Values of `azp`, the client that asked for the token, that are accepted as well as the
    /// audiences. A token with any other `azp` is refused: Google's Android client ids belong here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub authorized_parties: Vec<String>,
    /// Its name for people. Default: the name of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,
    /// The SigninPolicy, in the same namespace, whose users, sessions and tokens these sign-ins
    /// become. Default: the policy named default.
    #[serde(default)]
    pub policy_ref: PolicyRef,
    /// true: the next sign-in and the next refresh fail. Default: false.
    #[serde(default)]
    pub suspended: bool,
    /// Where the keys that verify its tokens come from. Default: the issuer's discovery document.
    #[serde(default)]
    pub keys: Keys,
    /// How its endpoints are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Cluster: its endpoints may have any address. Public: private, loopback and link-local
    /// addresses are refused, redirects included. Cluster is for the namespaces that the installer
    /// lists, and the default there; elsewhere the default is Public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// Signature algorithms that its tokens may use; asymmetric only. Default: RS256.
    #[serde(default = "default_algorithms")]
    #[schemars(length(min = 1, max = 9), extend("x-kubernetes-list-type" = "set"))]
    pub algorithms: Vec<Algorithm>,
    /// How its tokens are verified.
    #[serde(default)]
    pub token: Token,
    /// Rules that the claims must meet, and the user's attributes that they become. CEL over
    /// `claims`.
    #[serde(default)]
    pub claims: Claims,
    /// Whether a first sign-in may become an existing user. An identity is always (issuer, sub).
    #[serde(default)]
    pub linking: Linking,
    /// Create: a first sign-in makes a user. Deny: only identities that exist sign in. Default:
    /// Create.
    #[serde(default)]
    pub provisioning: Provisioning,
    /// When the provider's own second factor counts as one. Left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_mfa: Option<UpstreamMfa>,
    /// Example claims and what should become of them, tried whenever this object is compiled; an
    /// example that fails makes Accepted False.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub examples: Vec<Example>,
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256]
}

/// Which addresses a provider's endpoints may resolve to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Egress {
    /// Any address.
    #[default]
    Cluster,
    /// No loopback, private, link-local, multicast or otherwise special address, at every redirect.
    Public,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Provisioning {
    #[default]
    Create,
    Deny,
}
