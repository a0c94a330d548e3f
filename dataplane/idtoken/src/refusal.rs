//! Why a token is not accepted.

use std::borrow::Cow;

macro_rules! reasons {
    ($($variant:ident $code:literal;)*) => {
        /// What is wrong with the token.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($variant),* }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// As the API of Vestibule names it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }
        }
    };
}

reasons! {
    Malformed "token_malformed";
    AlgorithmNotAllowed "token_algorithm_not_allowed";
    KeyUnknown "token_key_unknown";
    SignatureInvalid "token_signature_invalid";
    IssuerMismatch "token_issuer_mismatch";
    AudienceMismatch "token_audience_mismatch";
    Expired "token_expired";
    NotYetValid "token_not_yet_valid";
    TooOld "token_too_old";
    NonceMismatch "token_nonce_mismatch";
    NonceRequired "token_nonce_required";
    TypeNotAllowed "token_type_not_allowed";
}

/// The token is not accepted, now or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    /// Expected and found. It may quote the token: for a log, not for the caller.
    pub detail: Cow<'static, str>,
}

/// The token cannot be verified now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    pub cause: UnavailableCause,
    /// When to try again.
    pub retry_after_seconds: u32,
    pub detail: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnavailableCause {
    /// No usable keys are cached, and none can be fetched.
    Provider,
    /// The token names a key that was not there at the last fetch, and it is too early for the
    /// next one.
    KeyNotSeen,
    /// The key is not cached, and [`crate::keys::Fetching`] forbids a fetch.
    FetchNotAllowed,
}

/// Why a signature was not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    Refused(Refused),
    Unavailable(Unavailable),
}

impl Reason {
    pub fn because(self, detail: impl Into<Cow<'static, str>>) -> Refused {
        Refused {
            reason: self,
            detail: detail.into(),
        }
    }
}

impl UnavailableCause {
    pub fn after(
        self,
        retry_after_seconds: u32,
        detail: impl Into<Cow<'static, str>>,
    ) -> Unavailable {
        Unavailable {
            cause: self,
            retry_after_seconds,
            detail: detail.into(),
        }
    }
}

impl From<Refused> for KeyError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Unavailable> for KeyError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}
