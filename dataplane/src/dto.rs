//! The bodies of the API. Every response field is optional; an absent value is left out, never
//! `null`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use vestibule_crds::secret::Secret;
use vestibule_crds::signin_policy::RiskAction;
use vestibule_crds::snapshot::Risk;

use crate::clock::rfc3339;
use crate::password::{Standing, Warning};
use crate::refresh_token::RefreshToken;
use vestibule_risk::Assessment;
use vestibule_store::{User, UserStatus};

/// The longest JWT that is read.
pub const TOKEN_CHARS_MAX: usize = 16_384;
/// The longest name of a Kubernetes object.
pub const PROVIDER_CHARS_MAX: usize = 253;
pub const NONCE_CHARS_MAX: usize = 512;
/// Refresh and device tokens are a tenth of this.
pub const OPAQUE_TOKEN_CHARS_MAX: usize = 512;
pub const METHOD_CHARS_MAX: usize = 32;
pub const CODE_CHARS_MAX: usize = 64;
pub const FACTOR_NAME_CHARS_MAX: usize = 64;
/// A UUID as text.
pub const ID_CHARS_MAX: usize = 36;
pub const SCOPE_CHARS_MAX: usize = 128;

/// The body of `POST /auth/id-token/signin`.
#[derive(Debug, Clone, Default, ToSchema)]
pub struct SigninRequest {
    /// The ID token: a compact JWS of at most 16 KiB.
    pub id_token: Option<String>,
    /// `metadata.name` of an OidcProvider. Left out: the one provider whose issuer and audience match the token.
    #[schema(max_length = 253)]
    pub provider: Option<String>,
    /// The nonce that the caller bound to the token.
    #[schema(max_length = 512)]
    pub nonce: Option<String>,
    /// What an earlier MFA with `remember_device` gave out.
    #[schema(max_length = 512)]
    pub device_token: Option<String>,
    /// `account`: the access token manages the own account here, for five minutes, and opens no service. Left
    /// out, or `openid`: it is for the services of the policy.
    #[schema(
        max_length = 128,
        pattern = "^( *(openid|account)( +(openid|account))*)? *$"
    )]
    pub scope: Option<String>,
}

/// The body of `POST /auth/token/refresh`.
#[derive(Debug, Clone, ToSchema)]
pub struct RefreshRequest {
    /// The refresh token of the last answer.
    #[schema(max_length = 512)]
    pub refresh_token: String,
    /// As at the sign-in: `account` for an account token.
    #[schema(
        max_length = 128,
        pattern = "^( *(openid|account)( +(openid|account))*)? *$"
    )]
    pub scope: Option<String>,
}

/// The body of `POST /auth/token/revoke`.
#[derive(Debug, Clone, ToSchema)]
pub struct RevokeRequest {
    /// A refresh token or an access token of the session that is to end.
    pub token: String,
}

/// Of the current password, since none longer is ever set.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// The body of `POST /auth/password`.
#[derive(Debug, Clone, ToSchema)]
pub struct PasswordRequest {
    /// Required when the account has a password.
    #[schema(value_type = Option<String>, max_length = 256)]
    pub current_password: Option<Secret>,
    /// At least 8 characters, and at most 256 bytes.
    #[schema(value_type = String, min_length = 8, max_length = 256)]
    pub new_password: Secret,
}

/// The body of `POST /auth/mfa/challenge`.
#[derive(Clone, ToSchema)]
pub struct ChallengeRequest {
    /// The challenge token of the sign-in.
    #[schema(max_length = 512)]
    pub challenge_token: String,
    /// The method to answer with. Left out: the challenge is described, and nothing is sent.
    #[schema(max_length = 32)]
    pub method: Option<String>,
}

/// The body of `POST /auth/mfa/verify`.
#[derive(Clone, ToSchema)]
pub struct VerifyRequest {
    /// The challenge token of the sign-in.
    #[schema(max_length = 512)]
    pub challenge_token: String,
    /// `webauthn`, `totp`, `sms_otp`, `email_otp` or `recovery_code`.
    #[schema(max_length = 32)]
    pub method: String,
    /// The code, for every method but webauthn.
    #[schema(max_length = 64)]
    pub code: Option<String>,
    /// For webauthn: what `PublicKeyCredential.toJSON` gives.
    #[schema(value_type = Option<Object>)]
    pub credential: Option<serde_json::Value>,
    /// Whether the answer is to have a `device_token`. After `webauthn`, `totp` and `sms_otp` only.
    pub remember_device: bool,
    /// As at the sign-in: `account` for an account token.
    #[schema(
        max_length = 128,
        pattern = "^( *(openid|account)( +(openid|account))*)? *$"
    )]
    pub scope: Option<String>,
}

/// The body of `POST /auth/mfa/enrollments/{method}`.
#[derive(Clone, ToSchema)]
pub struct EnrollRequest {
    /// Where a first factor is enrolled to complete a sign-in; otherwise the request has a Bearer token.
    #[schema(max_length = 512)]
    pub challenge_token: Option<String>,
    /// What the person calls it.
    #[schema(max_length = 64)]
    pub name: Option<String>,
}

/// The body of `POST /auth/mfa/enrollments/{method}/confirm`.
#[derive(Clone, ToSchema)]
pub struct ConfirmRequest {
    /// As when it began.
    #[schema(max_length = 512)]
    pub challenge_token: Option<String>,
    /// Of the enrolment.
    #[schema(max_length = 36)]
    pub id: String,
    /// A code of the new factor, for totp.
    #[schema(max_length = 64)]
    pub code: Option<String>,
    /// For webauthn: what `PublicKeyCredential.toJSON` gives.
    #[schema(value_type = Option<Object>)]
    pub credential: Option<serde_json::Value>,
    /// As at the sign-in, where a challenge is completed: `account` for an account token.
    #[schema(
        max_length = 128,
        pattern = "^( *(openid|account)( +(openid|account))*)? *$"
    )]
    pub scope: Option<String>,
}

/// What a challenge can be answered with.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChallengeInfo {
    /// The method that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'static str>,
    /// Best first. Present where no method was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<&'static str>>,
    /// What may be enrolled to complete the sign-in. Present where no method was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrollable: Option<Vec<&'static str>>,
    /// Origins of the pages that may receive the result of the sign-in. Present where no method was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<String>>,
    /// Why a second factor is asked for, as the sign-in said it, in the language of `Accept-Language`. Present where no method was
    /// chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_check_reason: Option<&'static str>,
    /// Where the code went, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_to: Option<String>,
    /// Options of WebAuthn, as `PublicKeyCredential.parseRequestOptionsFromJSON` takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<serde_json::Value>,
    /// Seconds that the challenge, or the code, lives.
    pub expires_in: i64,
}

/// A factor that waits to be confirmed.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct Enrollment {
    pub id: String,
    pub method: &'static str,
    /// Of totp, in base32: shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otpauth_uri: Option<String>,
    /// The URI as a QR code: an SVG document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qr_svg: Option<String>,
    /// Options of WebAuthn, as `PublicKeyCredential.parseCreationOptionsFromJSON` takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<serde_json::Value>,
}

/// A factor that counts from now on.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct EnrollmentConfirmed {
    pub id: String,
    pub method: &'static str,
    /// Shown once: with a user's first factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_codes: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Enrollments {
    pub enrollments: Vec<EnrollmentInfo>,
    pub recovery_codes_left: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EnrollmentInfo {
    pub id: String,
    pub method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
}

/// What a provider sends when a user signs out there.
#[derive(Clone, PartialEq, Eq, ToSchema)]
pub struct LogoutRequest {
    /// Compact JWS from the provider, at most 16 KiB.
    #[schema(min_length = 1)]
    pub logout_token: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Sessions {
    /// The newest first.
    pub sessions: Vec<SessionInfo>,
    /// There may be more: ask with this as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SessionInfo {
    pub id: String,
    /// Whether it is the session of the token that asks.
    pub current: bool,
    /// Name of the provider.
    pub provider: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339: of the sign-in, or of the last refresh.
    pub last_used_at: String,
    /// RFC 3339: when it ends unless it is refreshed.
    pub expires_at: String,
    /// What signed in, as far as its `User-Agent` is plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Where it was used last from: /24 of IPv4, /48 of IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Tokens, codes and secrets are redacted in `Debug`.
macro_rules! redacted {
    ($($name:ident),*) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        })*
    };
}
redacted!(
    LogoutRequest,
    ChallengeRequest,
    VerifyRequest,
    EnrollRequest,
    ConfirmRequest,
    Enrollment,
    EnrollmentConfirmed,
    TokenResponse,
    OauthError
);

#[derive(Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = dto::LoginResponse)]
pub struct LoginResponse {
    /// Local JWT (RFC 9068).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// Opaque, single-use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// Seconds that `access_token` lives; where a second factor is needed, seconds that `challenge_token` lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserInfo>,
    /// Whether an extra factor is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires_mfa: Option<bool>,
    /// Opaque: what `POST /auth/mfa/verify` completes the sign-in with. No bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge_token: Option<String>,
    /// How the challenge can be answered, best first: `webauthn`, `totp`, `sms_otp`, `email_otp`, `recovery_code`. Empty where
    /// the user must enrol a factor first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_mfa_methods: Option<Vec<&'static str>>,
    /// Why a second factor is asked for: a sentence for a person, in the language of `Accept-Language` (English or Chinese).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_check_reason: Option<&'static str>,
    /// What the next sign-in on this device sends along, when the device was to be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
    /// Shown once: with a user's first factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_codes: Option<Vec<String>>,
    /// `low`, `medium` or `high`. Present where the policy scores sign-ins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk_level: Option<Cow<'static, str>>,
    /// Present where the policy scores sign-ins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk_assessment: Option<RiskAssessmentInfo>,
    /// True: `access_token` changes the password and opens nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub must_change_password: Option<bool>,
    /// Days until the local password expires, rounded up; 0 or less once it has. Present where it can expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_expires_in: Option<i64>,
    /// `expiring`, `expired_grace` or `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_warning: Option<&'static str>,
}

impl LoginResponse {
    /// The tokens of a session, and how its user's password stands.
    pub fn of_session(
        (access_token, expires_in): (String, i64),
        refresh_token: &RefreshToken,
        user: UserInfo,
        standing: Standing,
    ) -> Self {
        let Standing {
            must_change,
            expires_in: password_expires_in,
            warning,
        } = standing;
        Self {
            access_token: Some(access_token),
            // Nothing comes of a session whose password must be changed but a new password.
            refresh_token: (!must_change).then(|| refresh_token.expose()),
            token_type: Some("Bearer"),
            expires_in: Some(expires_in),
            user: Some(user),
            must_change_password: Some(must_change),
            password_expires_in,
            password_warning: warning.map(Warning::name),
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = dto::RiskAssessmentInfo)]
pub struct RiskAssessmentInfo {
    /// `low`, `medium` or `high`.
    pub level: Cow<'static, str>,
    /// 0 to 100.
    #[schema(maximum = 100)]
    pub score: u8,
    /// Whether the policy has an extra factor follow from this level. A policy that only observes asks for none, and neither
    /// does one that honours the provider's: `requires_mfa` is then false.
    pub require_mfa: bool,
    /// The policy's factors, best first. Present with `require_mfa` true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended_mfa_methods: Option<Vec<Cow<'static, str>>>,
    /// Stable codes, the heaviest first.
    pub reasons: Vec<Cow<'static, str>>,
}

impl RiskAssessmentInfo {
    pub fn of(assessment: &Assessment, risk: &Risk) -> Self {
        let require_mfa = assessment.action == RiskAction::RequireMfa;
        Self {
            level: assessment.level.name().into(),
            score: assessment.score,
            require_mfa,
            recommended_mfa_methods: require_mfa.then(|| {
                risk.mfa_methods
                    .iter()
                    .map(|method| method.name().into())
                    .collect()
            }),
            reasons: assessment
                .reasons
                .iter()
                .map(|reason| reason.code.into())
                .collect(),
        }
    }
}

/// Tokens are secrets.
impl std::fmt::Debug for LoginResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginResponse")
            .field("user", &self.user.as_ref().map(|user| &user.id))
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = dto::UserInfo)]
pub struct UserInfo {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// `active`, `disabled` or `locked`.
    pub status: &'static str,
    /// RFC 3339.
    pub created_at: String,
    pub must_change_password: bool,
    /// Days until the local password expires, rounded up; 0 or less once it has. Present where it can expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_expires_in: Option<i64>,
    /// `expiring`, `expired_grace` or `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_warning: Option<&'static str>,
}

impl UserInfo {
    pub fn of(user: &User, standing: Standing) -> Self {
        let profile = &user.profile;
        let Standing {
            must_change,
            expires_in,
            warning,
        } = standing;
        Self {
            id: user.id.to_string(),
            username: profile.username.clone(),
            email: profile.email.clone(),
            phone: profile.phone.clone(),
            status: match user.status {
                UserStatus::Active => "active",
                UserStatus::Disabled => "disabled",
                UserStatus::Locked => "locked",
            },
            created_at: rfc3339(user.created_at),
            must_change_password: must_change,
            password_expires_in: expires_in,
            password_warning: warning.map(Warning::name),
        }
    }
}

/// The body of `POST /oauth2/token`, a form. A client may prove itself in it, or in the header `Authorization`.
#[derive(Debug, Clone, ToSchema)]
#[expect(
    dead_code,
    reason = "it is read parameter by parameter, and stands here for the document"
)]
pub struct TokenRequest {
    /// `urn:ietf:params:oauth:grant-type:token-exchange` or `refresh_token`.
    #[schema(max_length = 128)]
    grant_type: String,
    /// For token exchange: an ID token of a provider, of at most 16 KiB.
    subject_token: Option<String>,
    /// For token exchange: `urn:ietf:params:oauth:token-type:id_token`.
    #[schema(max_length = 128)]
    subject_token_type: Option<String>,
    /// `urn:ietf:params:oauth:token-type:access_token`, if anything.
    #[schema(max_length = 128)]
    requested_token_type: Option<String>,
    /// Each an audience of the policy, or the answer is `invalid_target`. A token is for all of them.
    audience: Option<Vec<String>>,
    /// The same.
    resource: Option<Vec<String>>,
    /// `openid`, if anything.
    #[schema(max_length = 128)]
    scope: Option<String>,
    /// `metadata.name` of an OidcProvider. Left out: the one provider whose issuer and audience match the token.
    #[schema(max_length = 253)]
    provider: Option<String>,
    /// The nonce that the caller bound to the token.
    #[schema(max_length = 512)]
    nonce: Option<String>,
    /// What an earlier MFA with `remember_device` gave out.
    #[schema(max_length = 512)]
    device_token: Option<String>,
    /// For `refresh_token`: that of the last answer.
    #[schema(max_length = 512)]
    refresh_token: Option<String>,
    #[schema(max_length = 128)]
    client_id: Option<String>,
    #[schema(max_length = 1024)]
    client_secret: Option<String>,
    /// A JWT of the client (RFC 7523), or the token of its Kubernetes service account.
    client_assertion: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    #[schema(max_length = 128)]
    client_assertion_type: Option<String>,
}

/// The body of `POST /oauth2/introspect`, a form. The client proves itself as at `/oauth2/token`.
#[derive(Debug, Clone, ToSchema)]
#[expect(
    dead_code,
    reason = "it is read parameter by parameter, and stands here for the document"
)]
pub struct IntrospectionRequest {
    /// An access token or a refresh token.
    #[schema(min_length = 1)]
    token: String,
    /// Not used: the token itself shows what it is.
    token_type_hint: Option<String>,
}

/// The body of `POST /oauth2/revoke`, a form. A client proves itself as at `/oauth2/token`.
#[derive(Debug, Clone, ToSchema)]
#[expect(
    dead_code,
    reason = "it is read parameter by parameter, and stands here for the document"
)]
pub struct RevocationRequest {
    /// An access token or a refresh token.
    #[schema(min_length = 1)]
    token: String,
    /// Not used: the token itself shows what it is.
    token_type_hint: Option<String>,
}

/// Tokens (RFC 6749, section 5.1; RFC 8693, section 2.2.1).
#[derive(Clone, Serialize, ToSchema)]
pub struct TokenResponse {
    /// Local JWT (RFC 9068).
    pub access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`. Present in the answer to a token exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<&'static str>,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds that `access_token` lives.
    pub expires_in: i64,
    pub scope: &'static str,
    /// Opaque, single-use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// What a token says (RFC 7662, section 2.2): of an access token all its claims.
#[derive(Debug, Clone, ToSchema)]
#[expect(
    dead_code,
    reason = "it is made of a token's claims, and stands here for the document"
)]
pub struct Introspection {
    /// False: nothing else is said.
    active: bool,
    /// `Bearer`. Present for access tokens.
    token_type: Option<String>,
    iss: Option<String>,
    sub: Option<String>,
    scope: Option<String>,
    /// The client whose session it is.
    client_id: Option<String>,
    username: Option<String>,
    exp: Option<i64>,
    iat: Option<i64>,
    nbf: Option<i64>,
    jti: Option<String>,
    sid: Option<String>,
}

/// An error of an OAuth endpoint (RFC 6749, section 5.2).
#[derive(Clone, Serialize, ToSchema)]
pub struct OauthError {
    /// OAuth's own name.
    pub error: &'static str,
    /// One fixed sentence for each code.
    pub error_description: &'static str,
    /// Ours: stable, snake_case, the same as everywhere.
    pub code: &'static str,
    /// With the code `mfa_required`: what `POST /auth/mfa/verify` completes the sign-in with. No bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge_token: Option<String>,
    /// With the code `mfa_required`: how the challenge can be answered, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_mfa_methods: Option<Vec<&'static str>>,
    /// With the code `mfa_required`: seconds that `challenge_token` lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i64>,
    /// With the code `mfa_required`: the page on which a person can complete the sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_uri: Option<String>,
}

impl OauthError {
    pub fn new(error: &'static str, error_description: &'static str, code: &'static str) -> Self {
        Self {
            error,
            error_description,
            code,
            challenge_token: None,
            required_mfa_methods: None,
            expires_in: None,
            mfa_uri: None,
        }
    }
}

/// An error (RFC 9457), as `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:vestibule:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: &'static str,
    pub status: u16,
    /// One fixed sentence for each code; `claims_rejected` carries the rule's own message.
    pub detail: String,
    /// Stable, snake_case.
    pub code: &'static str,
    /// Also the `X-Request-Id` header.
    pub request_id: String,
}
