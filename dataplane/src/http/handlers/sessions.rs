//! The user's own sessions.

use std::sync::Arc;

use uuid::Uuid;

use crate::app::{App, Caller};
use crate::dto::{Problem, Sessions};
use crate::failure::Failure;
use crate::flows::own_sessions;
use crate::http::{no_content, private_json};
use crate::server::Answer;

/// The user's sessions
///
/// The live sessions of the access token's user, the newest first, at most 100 at once.
#[utoipa::path(
    get,
    path = "/auth/sessions",
    tag = "session",
    params(("after" = Option<String>, Query, description = "`next` of the page before")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of them", body = Sessions),
        (status = 400, description = "invalid_request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "access_token_invalid, insufficient_user_authentication", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "user_disabled, user_locked, password_change_required", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    app: &Arc<App>,
    caller: Caller<'_>,
    query: Option<&str>,
) -> Result<Answer, Failure> {
    // An id needs no decoding.
    let mut parameters = query.unwrap_or_default().split('&');
    let after = parameters.find_map(|pair| pair.strip_prefix("after="));
    private_json(&own_sessions::list(app, caller, after).await?)
}

/// End a session
///
/// Of the access token's user, the session of the token itself as well.
#[utoipa::path(
    delete,
    path = "/auth/sessions/{id}",
    tag = "session",
    params(("id" = String, Path, description = "Of the session")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It has ended"),
        (status = 401, description = "access_token_invalid, insufficient_user_authentication", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "user_disabled, user_locked, password_change_required", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "not_found: the user has no such session, or it has ended", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn end(app: &Arc<App>, caller: Caller<'_>, id: Uuid) -> Result<Answer, Failure> {
    own_sessions::end(app, id, caller).await?;
    Ok(no_content())
}

/// Sign out everywhere
///
/// Ends all sessions of the access token's user.
#[utoipa::path(
    post,
    path = "/auth/signout/everywhere",
    tag = "session",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "All sessions have ended"),
        (status = 401, description = "access_token_invalid, insufficient_user_authentication", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "user_disabled, user_locked, password_change_required", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "store_unavailable, with Retry-After in seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn signout_everywhere(app: &Arc<App>, caller: Caller<'_>) -> Result<Answer, Failure> {
    own_sessions::end_all(app, caller).await?;
    Ok(no_content())
}
