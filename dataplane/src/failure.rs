//! Why a request did not succeed: what the caller must change ([`Refused`]), or that trying again
//! may help ([`TryAgain`]).
//!
//! Every code has one fixed sentence. What was expected and found is for the audit event alone.

use std::borrow::Cow;

use vestibule_idtoken::refusal::{self, KeyError, Reason, UnavailableCause};
use vestibule_store::{EventClass, StoreError};

/// Either kind of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Refused(Refused),
    TryAgain(TryAgain),
}

/// The request as it stands will not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    /// The rule's own sentence, written by the operator: replaces the fixed one.
    pub message: Option<String>,
    /// Expected and found, for the audit event.
    pub audit: Cow<'static, str>,
    /// How recent an authentication is wanted, in seconds (RFC 9470, section 3).
    pub max_age: Option<i64>,
}

/// The same request may succeed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TryAgain {
    pub reason: TryAgainReason,
    pub retry_after_seconds: u32,
    /// What happened, for the log and the audit event.
    pub audit: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TryAgainReason {
    ProviderUnavailable,
    /// The token names a key that was not there at the last fetch, and it is too early for the next
    /// one.
    KeyNotSeen,
    StoreUnavailable,
    NotReady,
    Busy,
    RateLimited,
    PasswordLocked,
    MfaLocked,
}

macro_rules! codes {
    ($($variant:ident $code:literal $detail:literal;)*) => {
        /// Stable, machine-readable reasons of refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($variant),* }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The `code` member of a problem document.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The fixed `detail` sentence.
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$variant => $detail),* }
            }
        }
    };
}

codes! {
    InvalidRequest "invalid_request" "The body must be one JSON object with the documented members and types, and no name twice; a parameter must have the documented form.";
    IdTokenRequired "id_token_required" "Send the ID token in the member id_token.";
    ProviderUnknown "provider_unknown" "There is no provider of this name.";
    ProviderRequired "provider_required" "The token's issuer and audience match no provider, or several: name one in the member provider.";
    TokenMalformed "token_malformed" "The token is not a well-formed signed JWT with the claims that an ID token must have.";
    TokenAlgorithmNotAllowed "token_algorithm_not_allowed" "The token is signed with an algorithm that this provider or its key is not allowed to use.";
    TokenKeyUnknown "token_key_unknown" "The token is signed with a key that the provider does not publish.";
    TokenSignatureInvalid "token_signature_invalid" "The token's signature does not verify.";
    TokenIssuerMismatch "token_issuer_mismatch" "The token was not issued by this provider.";
    TokenAudienceMismatch "token_audience_mismatch" "The token was issued for another audience.";
    TokenExpired "token_expired" "The token has expired: get a new one from the provider.";
    TokenNotYetValid "token_not_yet_valid" "The token is not valid yet: check the clocks of the provider and of this service.";
    TokenTooOld "token_too_old" "The token was issued too long ago: get a new one from the provider.";
    TokenNonceMismatch "token_nonce_mismatch" "The nonce of the request is not the nonce of the token.";
    TokenNonceRequired "token_nonce_required" "Send the nonce that the token was requested with in the member nonce.";
    TokenReplayed "token_replayed" "The token has been used before: get a new one from the provider.";
    TokenSessionEnded "token_session_ended" "The session that the token is from has ended at the provider: sign in there again.";
    TokenTypeNotAllowed "token_type_not_allowed" "The token is not an ID token: send the ID token, not an access, refresh or logout token.";
    ClaimsRejected "claims_rejected" "The token's claims do not satisfy this provider's rules.";
    ProviderSuspended "provider_suspended" "Sign-in with this provider is suspended.";
    UserNotProvisioned "user_not_provisioned" "The user has no account here, and this provider does not create one.";
    UserDisabled "user_disabled" "The account is disabled.";
    UserLocked "user_locked" "The account is locked.";
    LinkRequired "link_required" "It is not plain which account this email address belongs to: an administrator must link it.";
    RiskDenied "risk_denied" "The sign-in is too risky for this service's policy.";
    MfaChallengeInvalid "mfa_challenge_invalid" "The challenge is unknown, expired or used: sign in again.";
    MfaCodeInvalid "mfa_code_invalid" "That did not prove the second factor: try again.";
    MfaMethodUnavailable "mfa_method_unavailable" "This challenge cannot be answered with this method.";
    MfaRequired "mfa_required" "Sign in with your second factor first.";
    MfaUnavailable "mfa_unavailable" "There is no second factor that would do, or this one cannot be used now.";
    RefreshTokenInvalid "refresh_token_invalid" "The refresh token is unknown, expired or revoked: sign in again.";
    RefreshTokenReused "refresh_token_reused" "The refresh token was used before, so its session has been ended: sign in again.";
    PasswordChangeRequired "password_change_required" "The password must be changed first: sign in again and send the new one to /auth/password.";
    CurrentPasswordRequired "current_password_required" "Send the current password in the member current_password.";
    PasswordInvalid "password_invalid" "The current password is not right.";
    PasswordNotAcceptable "password_not_acceptable" "A new password has at least 8 characters and at most 256 bytes, and is neither the current one nor the user's name or address.";
    ClientInvalid "invalid_client" "The client is unknown, or did not prove that it is this client.";
    ClientNotAllowed "unauthorized_client" "The policy does not let this client do this.";
    GrantTypeUnsupported "unsupported_grant_type" "Use token exchange (RFC 8693) or refresh_token.";
    ScopeInvalid "invalid_scope" "The scopes that can be asked for are openid and account.";
    TargetInvalid "invalid_target" "Tokens are for the audiences of the policy, and for no other.";
    TokenTypeUnsupported "unsupported_token_type" "Send an access token or a refresh token.";
    InsufficientUserAuthentication "insufficient_user_authentication" "Send an account token of a user who authenticated a short while ago: sign in again and ask for the scope account.";
    PasswordUnavailable "password_unavailable" "There are no local passwords here.";
    AccessTokenInvalid "access_token_invalid" "Send a valid access token of this service as a Bearer token.";
    NotFound "not_found" "There is nothing at this path.";
    MethodNotAllowed "method_not_allowed" "This path does not take this method: see the Allow header.";
    RequestTooLarge "request_too_large" "The request is larger than this service reads.";
    RequestTimeout "request_timeout" "The body did not arrive in time.";
    UnsupportedMediaType "unsupported_media_type" "Send the body as application/json, without content encoding.";
    Internal "internal" "Something went wrong here. The log has it under this request id.";
}

impl TryAgainReason {
    pub const ALL: [Self; 8] = [
        Self::ProviderUnavailable,
        Self::KeyNotSeen,
        Self::StoreUnavailable,
        Self::NotReady,
        Self::Busy,
        Self::RateLimited,
        Self::PasswordLocked,
        Self::MfaLocked,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderUnavailable | Self::KeyNotSeen => "provider_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::NotReady => "not_ready",
            Self::Busy => "busy",
            Self::RateLimited => "rate_limited",
            Self::PasswordLocked => "password_locked",
            Self::MfaLocked => "mfa_locked",
        }
    }

    pub const fn detail(self) -> &'static str {
        match self {
            Self::ProviderUnavailable | Self::KeyNotSeen => {
                "The provider's keys cannot be fetched now and none are cached: try again."
            }
            Self::StoreUnavailable => "The sign-in cannot be recorded now: try again.",
            Self::NotReady => "The service is not ready for this yet: try again.",
            Self::Busy => "Too many ask for this at once: try again.",
            Self::PasswordLocked => "Too many wrong passwords: try again later.",
            Self::RateLimited => {
                "Too many failed sign-ins from here, or sign-ins of this user: try again later."
            }
            Self::MfaLocked => "Too many tries, or codes sent, for this user: try again later.",
        }
    }
}

impl Code {
    pub fn because(self, audit: impl Into<Cow<'static, str>>) -> Refused {
        Refused {
            code: self,
            message: None,
            audit: audit.into(),
            max_age: None,
        }
    }
}

impl TryAgainReason {
    pub fn after(self, retry_after_seconds: u32, audit: impl Into<Cow<'static, str>>) -> TryAgain {
        TryAgain {
            reason: self,
            retry_after_seconds,
            audit: audit.into(),
        }
    }
}

impl Failure {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refused) => refused.code.as_str(),
            Self::TryAgain(again) => again.reason.as_str(),
        }
    }

    /// How long its audit event is kept.
    pub fn class(&self) -> EventClass {
        let is_incident = match self {
            Self::Refused(refused) => refused.code == Code::RefreshTokenReused,
            Self::TryAgain(again) => matches!(
                again.reason,
                TryAgainReason::MfaLocked | TryAgainReason::PasswordLocked
            ),
        };
        if is_incident {
            EventClass::Incident
        } else {
            EventClass::Refusal
        }
    }

    pub fn audit(&self) -> &str {
        match self {
            Self::Refused(refused) => &refused.audit,
            Self::TryAgain(again) => &again.audit,
        }
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::Refused(code.because(""))
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<TryAgain> for Failure {
    fn from(again: TryAgain) -> Self {
        Self::TryAgain(again)
    }
}

impl From<Reason> for Code {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Malformed => Self::TokenMalformed,
            Reason::AlgorithmNotAllowed => Self::TokenAlgorithmNotAllowed,
            Reason::KeyUnknown => Self::TokenKeyUnknown,
            Reason::SignatureInvalid => Self::TokenSignatureInvalid,
            Reason::IssuerMismatch => Self::TokenIssuerMismatch,
            Reason::AudienceMismatch => Self::TokenAudienceMismatch,
            Reason::Expired => Self::TokenExpired,
            Reason::NotYetValid => Self::TokenNotYetValid,
            Reason::TooOld => Self::TokenTooOld,
            Reason::NonceMismatch => Self::TokenNonceMismatch,
            Reason::NonceRequired => Self::TokenNonceRequired,
            Reason::TypeNotAllowed => Self::TokenTypeNotAllowed,
        }
    }
}

impl From<refusal::Refused> for Refused {
    fn from(refused: refusal::Refused) -> Self {
        Code::from(refused.reason).because(refused.detail)
    }
}

impl From<refusal::Refused> for Failure {
    fn from(refused: refusal::Refused) -> Self {
        Refused::from(refused).into()
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let unavailable = match error {
            KeyError::Refused(refused) => return refused.into(),
            KeyError::Unavailable(unavailable) => unavailable,
        };
        let reason = match unavailable.cause {
            UnavailableCause::Provider => TryAgainReason::ProviderUnavailable,
            UnavailableCause::KeyNotSeen => TryAgainReason::KeyNotSeen,
            // Only what is over a limit may not fetch.
            UnavailableCause::FetchNotAllowed => TryAgainReason::RateLimited,
        };
        reason
            .after(unavailable.retry_after_seconds, unavailable.detail)
            .into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        TryAgainReason::StoreUnavailable
            .after(1, error.to_string())
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_a_session_or_locked_a_user_is_kept_with_what_was_accepted() {
        let incident: [Failure; 3] = [
            Code::RefreshTokenReused.into(),
            TryAgainReason::MfaLocked.after(1, "").into(),
            TryAgainReason::PasswordLocked.after(1, "").into(),
        ];
        for failure in incident {
            assert_eq!(failure.class(), EventClass::Incident, "{}", failure.code());
        }
        let refusal: [Failure; 4] = [
            Code::TokenMalformed.into(),
            Code::RefreshTokenInvalid.into(),
            Code::ClientInvalid.into(),
            TryAgainReason::RateLimited.after(1, "").into(),
        ];
        for failure in refusal {
            assert_eq!(failure.class(), EventClass::Refusal, "{}", failure.code());
        }
    }
}
