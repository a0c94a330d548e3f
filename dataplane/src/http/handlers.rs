//! One function for each endpoint: read the body, run the story, write the answer. Their
//! annotations are the OpenAPI document.

use std::sync::Arc;

use hyper::body::Incoming;
use vestibule_crds::secret::Secret;

use crate::app::{App, Caller};
use crate::body;
use crate::body::BODY_BYTES_MAX;
use crate::dto::{
    self, LoginResponse, PasswordRequest, Problem, RefreshRequest, RevokeRequest, SigninRequest,
    UserInfo,
};
use crate::failure::Failure;
use crate::flows::password_change;
use crate::flows::refresh as refreshing;
use crate::flows::session;
use crate::flows::signin as signing_in;
use crate::http::{no_content, private_json};
use crate::server::Answer;

pub mod logout;
pub mod mfa;
pub mod oauth;
pub mod sessions;

/// Sign in with an ID token
///
/// Verifies an ID token that an external OpenID provider issued and answers with local tokens.
#[utoipa::path(
    post,
    path = "/auth/id-token/signin",
    tag = "sign-in",
    request_body = SigninRequest,
    responses(
        (status = 200, description = "Signed in, or a second factor is needed", body = LoginResponse),
        (status = 400, description = "invalid_request, invalid_scope, id_token_required, provider_unknown, provider_required", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "The token was refused: token_malformed, token_algorithm_not_allowed, token_key_unknown, token_signature_invalid, token_issuer_mismatch, token_audience_mismatch, token_expired, token_not_yet_valid, token_too_old, token_nonce_mismatch, token_nonce_required, token_replayed, token_type_not_allowed, token_session_ended", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "claims_rejected, provider_suspended, user_not_provisioned, user_disabled, user_locked, link_required, risk_denied, mfa_unavailable", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "request_timeout", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "request_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "provider_unavailable, store_unavailable, not_ready, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn signin(app: &Arc<App>, caller: Caller<'_>, body: Incoming) -> Result<Answer, Failure> {
    let mut members = body::read(caller.headers, body).await?;
    let request = SigninRequest {
        // A longer token is a malformed one, and says so.
        id_token: members.text("id_token", BODY_BYTES_MAX)?,
        provider: members.text("provider", dto::PROVIDER_CHARS_MAX)?,
        nonce: members.text("nonce", dto::NONCE_CHARS_MAX)?,
        device_token: members.text("device_token", dto::OPAQUE_TOKEN_CHARS_MAX)?,
        scope: members.text("scope", dto::SCOPE_CHARS_MAX)?,
    };
    private_json(&signing_in::signin(app, &request, caller).await?)
}

/// Refresh a session
///
/// Rotates the refresh token: the old one works again only within the policy's `refreshReuseGrace`, and then gives the same
/// successor; any later use of it ends the session. User, provider and policy are checked again.
#[utoipa::path(
    post,
    path = "/auth/token/refresh",
    tag = "session",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "Refreshed", body = LoginResponse),
        (status = 400, description = "invalid_request, invalid_scope", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "refresh_token_invalid, refresh_token_reused", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "provider_suspended, user_disabled, user_locked, password_change_required", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "request_timeout", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "request_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, not_ready, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn refresh(
    app: &Arc<App>,
    caller: Caller<'_>,
    body: Incoming,
) -> Result<Answer, Failure> {
    let mut members = body::read(caller.headers, body).await?;
    let request = RefreshRequest {
        // A longer token is none of ours, and says so.
        refresh_token: members.required_text("refresh_token", BODY_BYTES_MAX)?,
        scope: members.text("scope", dto::SCOPE_CHARS_MAX)?,
    };
    private_json(&refreshing::refresh(app, &request, caller).await?)
}

/// End the session of a token
///
/// Takes a refresh token or an access token. A token that is not valid has no session to end, which is no error.
#[utoipa::path(
    post,
    path = "/auth/token/revoke",
    tag = "session",
    request_body = RevokeRequest,
    responses(
        (status = 204, description = "The session, if there was one, has ended"),
        (status = 400, description = "invalid_request, unauthorized_client: it is a session of an OAuth client", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "request_timeout", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "request_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(app: &Arc<App>, caller: Caller<'_>, body: Incoming) -> Result<Answer, Failure> {
    let mut members = body::read(caller.headers, body).await?;
    let request = RevokeRequest {
        token: members.required_text("token", dto::TOKEN_CHARS_MAX)?,
    };
    session::revoke(app, &request.token, caller).await?;
    Ok(no_content())
}

/// Sign out
///
/// Ends the session of the access token.
#[utoipa::path(
    post,
    path = "/auth/signout",
    tag = "session",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 401, description = "access_token_invalid", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "user_disabled, user_locked, password_change_required", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn signout(app: &Arc<App>, caller: Caller<'_>) -> Result<Answer, Failure> {
    session::signout(app, caller).await?;
    Ok(no_content())
}

/// Who is signed in
#[utoipa::path(
    get,
    path = "/auth/userinfo",
    tag = "session",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user of the access token", body = UserInfo),
        (status = 401, description = "access_token_invalid", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "user_disabled, user_locked, password_change_required", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn userinfo(app: &Arc<App>, caller: Caller<'_>) -> Result<Answer, Failure> {
    private_json(&session::userinfo(app, caller).await?)
}

/// Set or change the local password
///
/// Wants an account token of a user who authenticated a short while ago, and the current password when there is one. All
/// sessions and remembered devices of the user end, and the answer begins a new session, which ends no later than the one
/// before. A token of the scope `password:change` opens this endpoint and no other.
#[utoipa::path(
    post,
    path = "/auth/password",
    tag = "session",
    security(("bearer" = [])),
    request_body = PasswordRequest,
    responses(
        (status = 200, description = "Changed", body = LoginResponse),
        (status = 400, description = "invalid_request, current_password_required, password_not_acceptable", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "access_token_invalid, insufficient_user_authentication, password_invalid", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "provider_suspended, user_disabled, user_locked, password_unavailable", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "request_timeout", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "request_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited, password_locked, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "busy, store_unavailable, not_ready, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn password(
    app: &Arc<App>,
    caller: Caller<'_>,
    body: Incoming,
) -> Result<Answer, Failure> {
    let mut members = body::read(caller.headers, body).await?;
    let current = members.text("current_password", dto::PASSWORD_CHARS_MAX)?;
    let request = PasswordRequest {
        current_password: current.map(Secret::new),
        new_password: Secret::new(members.required_text("new_password", BODY_BYTES_MAX)?),
    };
    private_json(&password_change::change(app, request, caller).await?)
}
