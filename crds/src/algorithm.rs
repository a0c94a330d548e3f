//! Signature algorithms of RFC 7518 and RFC 8037 that Vestibule verifies and signs with: asymmetric
//! only.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A JWS algorithm that a provider may sign its ID tokens with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The exact name of RFC 7518, section 3.1; anything else, in any case, is no algorithm of
    /// ours.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An algorithm for local access tokens.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum SigningAlgorithm {
    ES256,
    ES384,
    EdDSA,
    RS256,
    PS256,
}

impl SigningAlgorithm {
    /// The signing algorithm of this name, if tokens may be signed with it.
    pub const fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::ES256 => Some(Self::ES256),
            Algorithm::ES384 => Some(Self::ES384),
            Algorithm::EdDSA => Some(Self::EdDSA),
            Algorithm::RS256 => Some(Self::RS256),
            Algorithm::PS256 => Some(Self::PS256),
            Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS384 | Algorithm::PS512 => None,
        }
    }

    pub const fn as_algorithm(self) -> Algorithm {
        match self {
            Self::ES256 => Algorithm::ES256,
            Self::ES384 => Algorithm::ES384,
            Self::EdDSA => Algorithm::EdDSA,
            Self::RS256 => Algorithm::RS256,
            Self::PS256 => Algorithm::PS256,
        }
    }
}
