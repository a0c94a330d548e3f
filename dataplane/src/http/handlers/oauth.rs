//! The OAuth endpoints: read the form, run the story, write the answer. Their annotations are the
//! OpenAPI document.

use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;

use crate::app::{App, Caller};
use crate::body::form;
use crate::dto::{
    Introspection, IntrospectionRequest, OauthError, RevocationRequest, TokenRequest, TokenResponse,
};
use crate::failure::Failure;
use crate::http::{empty, oauth as wire, private_json, problem};
use crate::oauth::{self, OauthFailure};
use crate::protocol;
use crate::server::Answer;

/// Get tokens
///
/// Token exchange (RFC 8693): an ID token of a provider for an access token, as `/auth/id-token/signin` does it. Or
/// `refresh_token` (RFC 6749, section 6). Where the policy has clients, one must prove itself, and the session is its own.
#[utoipa::path(
    post,
    path = "/oauth2/token",
    tag = "oauth",
    security((), ("client_secret_basic" = []), ("bearer" = [])),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Tokens", body = TokenResponse),
        (status = 400, description = "invalid_request, invalid_grant, unauthorized_client, unsupported_grant_type, invalid_scope, invalid_target; interaction_required with the code mfa_required or password_change_required", body = OauthError),
        (status = 401, description = "invalid_client", body = OauthError),
        (status = 408, description = "invalid_request with the code request_timeout", body = OauthError),
        (status = 413, description = "invalid_request with the code request_too_large", body = OauthError),
        (status = 415, description = "invalid_request with the code unsupported_media_type", body = OauthError),
        (status = 429, description = "temporarily_unavailable with the code rate_limited, with Retry-After in seconds", body = OauthError),
        (status = 503, description = "temporarily_unavailable with the code provider_unavailable, store_unavailable or not_ready, with Retry-After in seconds", body = OauthError),
    )
)]
pub async fn token(app: &Arc<App>, caller: Caller<'_>, body: Incoming) -> Result<Answer, Failure> {
    let answered = async {
        let form = form::read(caller.headers, body).await?;
        let tokens = oauth::token(app, form, caller).await?;
        Ok(private_json(&tokens)?)
    };
    Ok(conclude(protocol::TOKEN_PATH, answered.await, caller))
}

/// What a token says
///
/// Introspection (RFC 7662), for clients that the policy allows it to: the claims of an access or refresh token of the client's policy
/// that is live now. Its session goes on, its user is active, its provider is served and not suspended.
#[utoipa::path(
    post,
    path = "/oauth2/introspect",
    tag = "oauth",
    security(("client_secret_basic" = []), ("bearer" = [])),
    request_body(content = IntrospectionRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Whether it is live, and what it says", body = Introspection),
        (status = 400, description = "invalid_request, unauthorized_client", body = OauthError),
        (status = 401, description = "invalid_client", body = OauthError),
        (status = 408, description = "invalid_request with the code request_timeout", body = OauthError),
        (status = 413, description = "invalid_request with the code request_too_large", body = OauthError),
        (status = 415, description = "invalid_request with the code unsupported_media_type", body = OauthError),
        (status = 429, description = "temporarily_unavailable with the code rate_limited, with Retry-After in seconds", body = OauthError),
        (status = 503, description = "temporarily_unavailable with the code store_unavailable, provider_unavailable or not_ready, with Retry-After in seconds", body = OauthError),
    )
)]
pub async fn introspect(
    app: &Arc<App>,
    caller: Caller<'_>,
    body: Incoming,
) -> Result<Answer, Failure> {
    let answered = async {
        let form = form::read(caller.headers, body).await?;
        let said = oauth::introspect(app, form, caller).await?;
        Ok(private_json(&said)?)
    };
    Ok(conclude(
        protocol::INTROSPECTION_PATH,
        answered.await,
        caller,
    ))
}

/// End the session of a token
///
/// Revocation (RFC 7009) of an access or refresh token: its session ends. A token that is not valid has no session to end, which is
/// no error.
#[utoipa::path(
    post,
    path = "/oauth2/revoke",
    tag = "oauth",
    security((), ("client_secret_basic" = []), ("bearer" = [])),
    request_body(content = RevocationRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The session, if there was one, has ended"),
        (status = 400, description = "invalid_request, unauthorized_client, unsupported_token_type", body = OauthError),
        (status = 401, description = "invalid_client", body = OauthError),
        (status = 408, description = "invalid_request with the code request_timeout", body = OauthError),
        (status = 413, description = "invalid_request with the code request_too_large", body = OauthError),
        (status = 415, description = "invalid_request with the code unsupported_media_type", body = OauthError),
        (status = 429, description = "temporarily_unavailable with the code rate_limited, with Retry-After in seconds", body = OauthError),
        (status = 503, description = "temporarily_unavailable with the code store_unavailable, provider_unavailable or not_ready, with Retry-After in seconds", body = OauthError),
    )
)]
pub async fn revoke(app: &Arc<App>, caller: Caller<'_>, body: Incoming) -> Result<Answer, Failure> {
    let answered = async {
        let form = form::read(caller.headers, body).await?;
        oauth::revoke(app, form, caller).await?;
        Ok(empty(StatusCode::OK))
    };
    Ok(conclude(protocol::REVOCATION_PATH, answered.await, caller))
}

/// A failure is answered in OAuth's form.
pub(super) fn conclude(
    path: &'static str,
    answered: Result<Answer, OauthFailure>,
    caller: Caller<'_>,
) -> Answer {
    answered.unwrap_or_else(|failure| {
        match &failure {
            OauthFailure::Request(failure) | OauthFailure::Grant(failure) => {
                problem::log(failure, path, caller.request_id);
            }
            OauthFailure::Interaction(_) => {}
        }
        wire::answer(&failure, caller.headers)
    })
}
