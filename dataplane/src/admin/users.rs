//! `POST /users` of the admin listener, for callers with the admin token: everything there reads or
//! changes personal data.

use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;
use vestibule_crds::secret::Secret;

use super::{JSON, NO_STORE, text};
use crate::app::App;
use crate::encoding::sha256;
use crate::server::Answer;
use crate::users::{Ask, AskError, IMPORT_LINES_MAX, UserAdministration, import::LINE_BYTES_MAX};

/// Shortest token: one that can be guessed is no protection.
pub const TOKEN_CHARS_MIN: usize = 16;
/// A full import, with the escapes of its lines in a JSON text.
const BODY_BYTES_MAX: usize = 2 * IMPORT_LINES_MAX * LINE_BYTES_MAX;

/// Where the token stands. It is read for each request, so that it can be replaced.
#[derive(Debug, Default)]
pub struct Token(pub Option<PathBuf>);

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    /// The process has no token that anybody could show.
    NoToken,
    NotShown,
}

pub(super) async fn handle(app: &App, token: &Token, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".into());
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    match token.check(request.headers()) {
        Ok(()) => {}
        Err(Denied::NoToken) => {
            return error(
                StatusCode::FORBIDDEN,
                "the data plane was started without --admin-token-file",
            );
        }
        Err(Denied::NotShown) => {
            let mut answer = error(
                StatusCode::UNAUTHORIZED,
                "show the token of --admin-token-file as a Bearer token",
            );
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX)
        .collect()
        .await;
    let Ok(body) = body else {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    };
    let Ok(ask) = serde_json::from_slice::<Ask>(&body.to_bytes()) else {
        return error(
            StatusCode::BAD_REQUEST,
            "the body is nothing that can be asked",
        );
    };
    let active = app.runtime_config.active();
    let policy_key = |name: &str| {
        let policy = active.policy(name);
        policy.map(|policy| policy.key.clone())
    };
    let desk = UserAdministration {
        store: &app.store,
        hashing: &app.hashing_passwords,
        policy_key: &policy_key,
        now: app.clock.now(),
    };
    match desk.answer(ask).await {
        Ok(answer) => reply(StatusCode::OK, &answer),
        Err(wrong @ AskError::Wrong(_)) => error(StatusCode::BAD_REQUEST, &wrong.to_string()),
        Err(none @ (AskError::NoUser | AskError::NoSession)) => {
            error(StatusCode::NOT_FOUND, &none.to_string())
        }
        Err(AskError::NoPassword) => error(StatusCode::CONFLICT, &AskError::NoPassword.to_string()),
        Err(away @ AskError::Store(_)) => error(StatusCode::SERVICE_UNAVAILABLE, &away.to_string()),
    }
}

impl Token {
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        self.check(headers).is_ok()
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let wanted = self.0.as_deref().and_then(read).ok_or(Denied::NoToken)?;
        let shown = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let (scheme, shown) = shown
            .and_then(|value| value.split_once(' '))
            .ok_or(Denied::NotShown)?;
        // Digests have one length, and how far two of them agree says nothing of the token.
        let equal = verify_slices_are_equal(
            &sha256(wanted.expose().as_bytes()),
            &sha256(shown.trim().as_bytes()),
        );
        if scheme.eq_ignore_ascii_case("bearer") && equal.is_ok() {
            Ok(())
        } else {
            Err(Denied::NotShown)
        }
    }
}

/// The token in a file, if it holds one.
pub fn read(path: &Path) -> Option<Secret> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).ok()?);
    let token = text.trim();
    (token.len() >= TOKEN_CHARS_MIN).then(|| Secret::new(token))
}

fn error(status: StatusCode, error: &str) -> Answer {
    reply(status, &json!({ "error": error }))
}

fn reply(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, JSON);
    headers.insert(http::header::CACHE_CONTROL, NO_STORE);
    answer
}
