//! Logout tokens that a provider sends. Its errors have OAuth's form, as its standard wants.

use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;

use crate::app::{App, Caller};
use crate::body::form;
use crate::dto::{LogoutRequest, OauthError};
use crate::failure::Failure;
use crate::flows::backchannel_logout;
use crate::http::empty;
use crate::http::handlers::BODY_BYTES_MAX;
use crate::http::handlers::oauth::conclude;
use crate::server::Answer;

/// Sign out at the provider's word
///
/// OpenID Connect Back-Channel Logout 1.0: ends the sessions that a provider's logout token names, by its session, its subject or
/// both. A session that is not known here is no error.
#[utoipa::path(
    post,
    path = "/auth/logout/backchannel",
    tag = "session",
    request_body(content = LogoutRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The sessions, if there were any, have ended"),
        (status = 400, description = "invalid_request: the token was refused", body = OauthError),
        (status = 408, description = "invalid_request: the body did not arrive in time", body = OauthError),
        (status = 413, description = "invalid_request: the body is too large", body = OauthError),
        (status = 415, description = "invalid_request: the body is no form", body = OauthError),
        (status = 429, description = "temporarily_unavailable, with Retry-After in seconds", body = OauthError),
        (status = 503, description = "temporarily_unavailable, with Retry-After in seconds", body = OauthError),
    )
)]
pub async fn backchannel(
    app: &Arc<App>,
    caller: Caller<'_>,
    body: Incoming,
) -> Result<Answer, Failure> {
    let answered = async {
        let mut form = form::read(caller.headers, body).await?;
        let request = LogoutRequest {
            // A longer token is a malformed one, and says so.
            logout_token: form.required("logout_token", BODY_BYTES_MAX)?,
        };
        backchannel_logout::log_out(app, &request.logout_token, caller).await?;
        Ok(empty(StatusCode::OK))
    };
    Ok(conclude(backchannel_logout::PATH, answered.await, caller))
}
