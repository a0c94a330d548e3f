//! The endpoints of second factors.

use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use uuid::Uuid;
use vestibule_crds::signin_policy::MfaMethod;

use crate::app::{App, Caller};
use crate::body;
use crate::body::BODY_BYTES_MAX;
use crate::dto::{
    self, ChallengeInfo, ChallengeRequest, ConfirmRequest, EnrollRequest, Enrollment,
    EnrollmentConfirmed, Enrollments, LoginResponse, Problem, VerifyRequest,
};
use crate::failure::Failure;
use crate::http::{no_content, private_json};
use crate::mfa::enroll::Confirmed;
use crate::mfa::{describe, enroll, verify};
use crate::server::Answer;

/// Describe a challenge, or begin to answer it
///
/// Without `method`, what the challenge can be answered with and what may be enrolled. With it, a code is sent or the options of
/// WebAuthn are returned, where the method needs that.
#[utoipa::path(
    post,
    path = "/auth/mfa/challenge",
    tag = "second factors",
    request_body = ChallengeRequest,
    responses(
        (status = 200, description = "The challenge", body = ChallengeInfo),
        (status = 400, description = "invalid_request, mfa_method_unavailable", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "mfa_challenge_invalid", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "mfa_unavailable, provider_suspended, user_disabled, user_locked", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "mfa_locked, rate_limited, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, not_ready, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "request_timeout", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "request_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        )
)]
pub async fn challenge(
    app: &Arc<App>,
    caller: Caller<'_>,
    body: Incoming,
) -> Result<Answer, Failure> {
    let mut members = body::read(caller.headers, body).await?;
    let request = ChallengeRequest {
        challenge_token: members.required_text("challenge_token", BODY_BYTES_MAX)?,
        method: members.text("method", dto::METHOD_CHARS_MAX)?,
    };
    private_json(&describe::describe(app, &request, caller).await?)
}

/// Answer a challenge
///
/// Completes the sign-in. Every wrong answer counts for the user, whatever becomes of the challenge.
#[utoipa::path(
    post,
    path = "/auth/mfa/verify",
    tag = "second factors",
    request_body = VerifyRequest,
    responses(
        (status = 200, description = "Signed in", body = LoginResponse),
        (status = 400, description = "invalid_request, invalid_scope, mfa_method_unavailable", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "mfa_challenge_invalid, mfa_code_invalid, token_session_ended", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "provider_suspended, user_disabled, user_locked, link_required", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "mfa_locked, rate_limited, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, not_ready, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "request_timeout", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "request_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        )
)]
pub async fn verify(app: &Arc<App>, caller: Caller<'_>, body: Incoming) -> Result<Answer, Failure> {
    let mut members = body::read(caller.headers, body).await?;
    let request = VerifyRequest {
        challenge_token: members.required_text("challenge_token", BODY_BYTES_MAX)?,
        method: members.required_text("method", dto::METHOD_CHARS_MAX)?,
        code: members.text("code", dto::CODE_CHARS_MAX)?,
        credential: members.object("credential")?,
        remember_device: members.flag("remember_device")?,
        scope: members.text("scope", dto::SCOPE_CHARS_MAX)?,
    };
    private_json(&verify::verify(app, &request, caller).await?)
}

/// Begin to enrol a factor
///
/// With a Bearer token whose `amr` holds a second factor if the user has one, or with a challenge where its risk allows a first
/// factor to be enrolled.
#[utoipa::path(
    post,
    path = "/auth/mfa/enrollments/{method}",
    tag = "second factors",
    params(("method" = String, Path, description = "`totp` or `webauthn`")),
    security((), ("bearer" = [])),
    request_body = EnrollRequest,
    responses(
        (status = 201, description = "Confirm it within ten minutes", body = Enrollment),
        (status = 400, description = "invalid_request, mfa_method_unavailable", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "access_token_invalid, insufficient_user_authentication, mfa_challenge_invalid", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "mfa_required, mfa_unavailable, provider_suspended, user_disabled, user_locked", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "not_found: no method of this name can be enrolled", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, not_ready, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "request_timeout", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "request_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        )
)]
pub async fn enroll(
    app: &Arc<App>,
    caller: Caller<'_>,
    body: Incoming,
    method: MfaMethod,
) -> Result<Answer, Failure> {
    let mut members = body::read(caller.headers, body).await?;
    let request = EnrollRequest {
        challenge_token: members.text("challenge_token", BODY_BYTES_MAX)?,
        name: members.text("name", dto::FACTOR_NAME_CHARS_MAX)?,
    };
    let mut answer = private_json(&enroll::begin(app, method, &request, caller).await?)?;
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

/// Confirm a factor
///
/// With a Bearer token the answer is the factor; with a challenge it is that of a sign-in. Either has `recovery_codes` at a user's
/// first factor.
#[utoipa::path(
    post,
    path = "/auth/mfa/enrollments/{method}/confirm",
    tag = "second factors",
    params(("method" = String, Path, description = "`totp` or `webauthn`")),
    security((), ("bearer" = [])),
    request_body = ConfirmRequest,
    responses(
        (status = 200, description = "It counts from now on", body = EnrollmentConfirmed),
        (status = 400, description = "invalid_request, mfa_method_unavailable", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "access_token_invalid, insufficient_user_authentication, mfa_challenge_invalid, mfa_code_invalid", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "mfa_required, mfa_unavailable, provider_suspended, user_disabled, user_locked", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "not_found: no method of this name can be enrolled", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, not_ready, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "request_timeout", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "request_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        )
)]
pub async fn confirm(
    app: &Arc<App>,
    caller: Caller<'_>,
    body: Incoming,
    method: MfaMethod,
) -> Result<Answer, Failure> {
    let mut members = body::read(caller.headers, body).await?;
    let request = ConfirmRequest {
        challenge_token: members.text("challenge_token", BODY_BYTES_MAX)?,
        id: members.required_text("id", dto::ID_CHARS_MAX)?,
        code: members.text("code", dto::CODE_CHARS_MAX)?,
        credential: members.object("credential")?,
        scope: members.text("scope", dto::SCOPE_CHARS_MAX)?,
    };
    match enroll::confirm(app, method, &request, caller).await? {
        Confirmed::Enrolled(enrolled) => private_json(&enrolled),
        Confirmed::SignedIn(signed_in) => private_json(&signed_in),
    }
}

/// The user's factors
#[utoipa::path(
    get,
    path = "/auth/mfa/enrollments",
    tag = "second factors",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The factors of the access token's user", body = Enrollments),
        (status = 401, description = "access_token_invalid, insufficient_user_authentication", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "user_disabled, user_locked", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        )
)]
pub async fn enrollments(app: &Arc<App>, caller: Caller<'_>) -> Result<Answer, Failure> {
    private_json(&enroll::list(app, caller).await?)
}

/// Remove a factor
///
/// With the last one go the recovery codes; with any of them the remembered devices.
#[utoipa::path(
    delete,
    path = "/auth/mfa/enrollments/{id}",
    tag = "second factors",
    params(("id" = String, Path, description = "Of the factor")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "access_token_invalid, insufficient_user_authentication", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "mfa_required, user_disabled, user_locked", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        )
)]
pub async fn remove(app: &Arc<App>, caller: Caller<'_>, factor: Uuid) -> Result<Answer, Failure> {
    enroll::remove(app, factor, caller).await?;
    Ok(no_content())
}
