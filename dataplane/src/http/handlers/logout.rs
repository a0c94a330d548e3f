//! What a provider tells of sign-outs. Its errors have OAuth's form, as its standard wants.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::BODY_BYTES_MAX;
use crate::app::{App, Caller};
use crate::backchannel;
use crate::dto::{LogoutError, LogoutRequest};
use crate::failure::{Code, Failure};
use crate::http::problem::{self, status_of, status_of_try_again};
use crate::http::{Answer, NO_STORE, Outcome, form, json};

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
        (status = 400, description = "invalid_request: the token was refused", body = LogoutError),
        (status = 408, description = "invalid_request: the body did not arrive in time", body = LogoutError),
        (status = 413, description = "invalid_request: the body is too large", body = LogoutError),
        (status = 415, description = "invalid_request: the body is no form", body = LogoutError),
        (status = 429, description = "temporarily_unavailable, with Retry-After in seconds", body = LogoutError),
        (status = 503, description = "temporarily_unavailable, with Retry-After in seconds", body = LogoutError),
    )
)]
pub async fn backchannel(app: &Arc<App>, caller: Caller<'_>, body: Incoming) -> Answer {
    let ended = async {
        let mut form = form::read(caller.headers, body).await?;
        let request = LogoutRequest {
            // A longer token is a malformed one, and says so.
            logout_token: form.required("logout_token", BODY_BYTES_MAX)?,
        };
        backchannel::log_out(app, &request.logout_token, caller).await
    };
    match ended.await {
        Ok(()) => {
            let mut answer = Response::new(Full::default());
            answer.headers_mut().insert(CACHE_CONTROL, NO_STORE);
            answer
        }
        Err(failure) => {
            problem::log(&failure, "/auth/logout/backchannel", caller.request_id);
            refusal(&failure)
        }
    }
}

fn refusal(failure: &Failure) -> Answer {
    let (status, error) = match failure {
        Failure::Refused(refused) => {
            let status = match status_of(refused.code) {
                // It knows no other status for what is wrong with a token.
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StatusCode::BAD_REQUEST,
                status => status,
            };
            let error = match refused.code {
                Code::Internal => "server_error",
                _ => "invalid_request",
            };
            (status, (error, refused.code.detail()))
        }
        Failure::TryAgain(again) => (
            status_of_try_again(again.reason),
            ("temporarily_unavailable", again.reason.detail()),
        ),
    };
    let (error, error_description) = error;
    let body = LogoutError {
        error,
        error_description,
        code: failure.code(),
    };
    let mut answer = json(serde_json::to_vec(&body).unwrap_or_default(), NO_STORE);
    *answer.status_mut() = status;
    answer.extensions_mut().insert(Outcome(failure.code()));
    if let Failure::TryAgain(again) = failure {
        let seconds = again.retry_after_seconds.into();
        answer.headers_mut().insert(RETRY_AFTER, seconds);
    }
    answer
}
