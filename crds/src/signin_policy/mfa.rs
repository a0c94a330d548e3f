//! Second factors and the life of local passwords.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::factors::{Email, Sms, Webauthn};
use crate::duration::Duration;
use crate::reference::SecretKeyRef;

/// Second factors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "duration(self.challengeTtl) > duration('0s') && duration(self.challengeTtl) <= duration('1h')",
        "message": "challengeTtl must be longer than 0s and at most 1h",
        "fieldPath": ".challengeTtl"
    }
]))]
pub struct Mfa {
    /// Always: at every sign-in, unless the provider's own factor is honoured and recent. Adaptive:
    /// when risk.mode is Enforce and the action of the sign-in's level is RequireMfa. Never: the
    /// same, with a warning that it contradicts risk.actions. Default: Never.
    pub mode: MfaMode,
    /// Factors that users may use, best first; email_otp and sms_otp are offered only with `email`
    /// and `sms`. Default: all of them.
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub methods: Vec<MfaMethod>,
    /// How long a challenge can be answered. At most 1h. Default: 5m.
    pub challenge_ttl: Duration,
    /// How often a wrong code may be tried.
    pub attempts: Attempts,
    /// What happens to a user who has no second factor.
    pub no_enrollment: NoEnrollment,
    /// How long a remembered device lowers the risk. Default: 720h.
    pub remember_device: Duration,
    /// Keys that the secrets of factors are sealed with in the database: entries of Secrets, 32
    /// bytes each, raw or in base64 or hexadecimal. The first seals, all open: to rotate, put a new
    /// one before the others. Left out: a key that Vestibule makes and keeps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub encryption_keys: Vec<SecretKeyRef>,
    /// For webauthn. Default: the site of `token.issuer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webauthn: Option<Webauthn>,
    /// For email_otp, and for telling users of a factor that was added or removed. Left out:
    /// neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// For sms_otp. Left out: sms_otp is not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sms: Option<Sms>,
}

impl Default for Mfa {
    fn default() -> Self {
        Self {
            mode: MfaMode::Never,
            methods: vec![
                MfaMethod::Webauthn,
                MfaMethod::Totp,
                MfaMethod::SmsOtp,
                MfaMethod::EmailOtp,
                MfaMethod::RecoveryCode,
            ],
            challenge_ttl: Duration::from_secs(300),
            attempts: Attempts::default(),
            no_enrollment: NoEnrollment::default(),
            remember_device: Duration::from_secs(720 * 3600),
            encryption_keys: Vec::new(),
            webauthn: None,
            email: None,
            sms: None,
        }
    }
}

/// When a second factor is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MfaMode {
    Adaptive,
    Always,
    #[default]
    Never,
}

/// A second factor.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MfaMethod {
    Webauthn,
    Totp,
    SmsOtp,
    EmailOtp,
    RecoveryCode,
}

impl MfaMethod {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webauthn => "webauthn",
            Self::Totp => "totp",
            Self::SmsOtp => "sms_otp",
            Self::EmailOtp => "email_otp",
            Self::RecoveryCode => "recovery_code",
        }
    }

    /// `None` for what is no method.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Webauthn,
            Self::Totp,
            Self::SmsOtp,
            Self::EmailOtp,
            Self::RecoveryCode,
        ];
        all.into_iter().find(|method| method.name() == name)
    }
}

/// How often a wrong code of one method may be tried by one user, over all challenges and replicas.
/// Passkeys and recovery codes cannot be guessed: they count for their challenge alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.perChallenge <= self.per15m && self.per15m <= self.perDay",
    "message": "attempts must not decrease from perChallenge to per15m to perDay"
}]))]
pub struct Attempts {
    /// For one challenge. Default: 5.
    #[schemars(range(min = 1, max = 100))]
    pub per_challenge: u32,
    /// In 15 minutes. Default: 10.
    #[schemars(range(min = 1, max = 100))]
    pub per_15m: u32,
    /// In a day. Default: 50.
    #[schemars(range(min = 1, max = 100))]
    pub per_day: u32,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            per_challenge: 5,
            per_15m: 10,
            per_day: 50,
        }
    }
}

/// What happens to a user who has no second factor, by risk level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct NoEnrollment {
    /// Enroll: the user may enrol a factor to complete the sign-in, or answer with a code. Default:
    /// Enroll.
    pub low: LowRiskEnrollment,
    /// Default: EmailOtp.
    pub medium: NoEnrollmentAction,
    /// Default: Deny.
    pub high: NoEnrollmentAction,
}

impl Default for NoEnrollment {
    fn default() -> Self {
        Self {
            low: LowRiskEnrollment::Enroll,
            medium: NoEnrollmentAction::EmailOtp,
            high: NoEnrollmentAction::Deny,
        }
    }
}

/// Enroll: as EmailOtp, and the user may enrol a first factor with the challenge alone. EmailOtp: a
/// code to the address or number that is stored. Deny: the sign-in is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LowRiskEnrollment {
    Enroll,
    EmailOtp,
    Deny,
}

/// EmailOtp: a code to the address that is stored. Deny: the sign-in is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NoEnrollmentAction {
    EmailOtp,
    Deny,
}

/// The life of local passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.maxAge) || duration(self.maxAge) > duration('0s')",
        "message": "maxAge must be longer than 0s; leave it out for passwords that do not expire",
        "fieldPath": ".maxAge"
    },
    {
        "rule": "!has(self.maxAge) || duration(self.warningWindow) <= duration(self.maxAge)",
        "message": "warningWindow must not be longer than maxAge",
        "fieldPath": ".warningWindow"
    }
]))]
pub struct Password {
    /// How long a password is good for. Default: none, passwords do not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// How long before it expires the user is warned; 0s: never. Default: 336h.
    pub warning_window: Duration,
    /// How long an expired password still works. Default: 168h.
    pub grace_period: Duration,
}

impl Default for Password {
    fn default() -> Self {
        Self {
            max_age: None,
            warning_window: Duration::from_secs(336 * 3600),
            grace_period: Duration::from_secs(168 * 3600),
        }
    }
}
