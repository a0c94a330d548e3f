//! How an OidcProvider's tokens are verified.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// How a provider's tokens are verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "duration(self.clockSkew) <= duration('10m')",
        "message": "clockSkew is at most 10m",
        "fieldPath": ".clockSkew"
    },
    {
        "rule": "duration(self.maxAge) > duration('0s')",
        "message": "maxAge must be longer than 0s",
        "fieldPath": ".maxAge"
    }
]))]
pub struct Token {
    /// How far the provider's clock may be from ours. At most 10m. Default: 30s.
    pub clock_skew: Duration,
    /// The oldest `iat` that is accepted, whatever `exp` says. Default: 1h.
    pub max_age: Duration,
    /// Required: token and request both carry the nonce. IfPresent: as soon as one carries it, both
    /// must. Off: it is not checked. Default: IfPresent.
    pub nonce: Nonce,
    /// How the `nonce` claim carries the request's nonce: Raw, Sha256Hex (lower-case hexadecimal
    /// SHA-256 of it), or Either. Default: Either.
    pub nonce_form: NonceForm,
    /// Allow: a token may sign in again until it expires. Reject: each token signs in once.
    /// Default: Allow.
    pub replay: Replay,
    /// Claims that mark a token as something other than an ID token, and that this provider's ID
    /// tokens have all the same. Risk: an access token of this provider with such a claim and an
    /// accepted audience can sign in, so every service that receives one can sign in as its user.
    /// Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), extend("x-kubernetes-list-type" = "set"))]
    pub accept: Vec<AcceptedClaim>,
}

impl Default for Token {
    fn default() -> Self {
        Self {
            clock_skew: Duration::from_secs(30),
            max_age: Duration::from_secs(3600),
            nonce: Nonce::IfPresent,
            nonce_form: NonceForm::Either,
            replay: Replay::Allow,
            accept: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Nonce {
    Required,
    IfPresent,
    Off,
}

/// How the `nonce` claim carries the nonce of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NonceForm {
    Raw,
    /// Lower-case hexadecimal SHA-256, as native Google and Apple sign-in send it.
    Sha256Hex,
    Either,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Replay {
    Allow,
    Reject,
}

/// A claim that access tokens and other kinds of tokens have, and ID tokens do not.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AcceptedClaim {
    Scope,
    Scp,
    Idtyp,
    ClientId,
    Cnf,
    Act,
    Events,
    Typ,
    TokenUse,
}

impl AcceptedClaim {
    /// As a token names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Scp => "scp",
            Self::Idtyp => "idtyp",
            Self::ClientId => "client_id",
            Self::Cnf => "cnf",
            Self::Act => "act",
            Self::Events => "events",
            Self::Typ => "typ",
            Self::TokenUse => "token_use",
        }
    }
}
