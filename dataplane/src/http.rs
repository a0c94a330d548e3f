//! The public listener's paths: what each takes, and what an answer is on the wire.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tracing::Span;
use tracing::instrument::Instrument as _;

use crate::app::{App, Caller};
use crate::failure::{Code, Failure};
use crate::server::Answer;
use crate::telemetry;

mod endpoints;
pub mod handlers;
pub mod host;
pub mod oauth;
pub mod openapi;
pub mod page;
pub mod problem;

use endpoints::{Call, Route};

/// The code of an answer that is none of success, for who counts and times answers.
#[derive(Debug, Clone, Copy)]
struct Outcome(&'static str);

impl Outcome {
    fn of(answer: &Answer) -> &'static str {
        answer.extensions().get().map_or("ok", |Self(code)| *code)
    }
}

/// What no fixed path is: a document of an issuer, or nothing.
const DOCUMENT: &str = "other";
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A request id of the caller's is kept when it is this short and has only safe characters.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Keys and discovery documents: a new key is published long before it signs.
const DOCUMENT_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An ordinary answer fits; a longer one grows.
const ANSWER_BYTES: usize = 2048;

/// Answers one request. It cannot fail: every failure is an answer.
pub async fn handle(app: Arc<App>, peer: IpAddr, request: Request<Incoming>) -> Answer {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    // What is no path of ours may be anything, a token for one.
    let route = Route::find(head.uri.path());
    let name = route.map_or(DOCUMENT, Route::template);
    let span = telemetry::request(&head.method, name, &head.headers);
    // As large as the largest route makes it: in a box it is moved once, and not by everybody who
    // passes it on.
    let answering = Box::pin(answer(&app, peer, &head, body, route, name));
    let answer = answering.instrument(span.clone()).await;
    let outcome = Outcome::of(&answer);
    span.record("http.response.status_code", answer.status().as_u16());
    span.record("vestibule.outcome", outcome);
    let seconds = began.elapsed().as_secs_f64();
    app.metrics.request_seconds(name, outcome, seconds);
    answer
}

async fn answer(
    app: &Arc<App>,
    peer: IpAddr,
    head: &http::request::Parts,
    body: Incoming,
    route: Option<Route>,
    name: &'static str,
) -> Answer {
    let request_id = request_id(app, &head.headers);
    Span::current().record("request.id", &request_id);
    let caller = Caller {
        peer,
        headers: &head.headers,
        request_id: &request_id,
    };
    let result = match route {
        _ if let Err(why) = host::check(head) => Err(Code::InvalidRequest.because(why).into()),
        Some(route) if route.allows(&head.method) => {
            let query = head.uri.query();
            route.answer(app, caller, Call { query, body }).await
        }
        Some(route) => Ok(method_not_allowed(route, &request_id)),
        None => document(app, head, head.uri.path()),
    };
    let mut answer = result.unwrap_or_else(|failure| {
        problem::log(&failure, name, &request_id);
        problem::answer(&failure, &request_id)
    });
    if route == Some(Route::Userinfo) && answer.status() == StatusCode::UNAUTHORIZED {
        point_to_issuers(app, head, &mut answer);
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        answer.headers_mut().insert(X_REQUEST_ID, id);
    }
    answer
}

/// HTTP/2 names the host in the URI.
fn host(head: &http::request::Parts) -> Option<&str> {
    let authority = head.uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| head.headers.get(HOST).and_then(|host| host.to_str().ok()))
}

/// Says where it stands whose tokens are wanted (RFC 9728, section 5.1).
fn point_to_issuers(app: &App, head: &http::request::Parts, answer: &mut Answer) {
    let active = app.runtime_config.active();
    let Some(metadata) = active.documents.resource_metadata(host(head)) else {
        return;
    };
    let challenge = format!("Bearer error=\"invalid_token\", resource_metadata=\"{metadata}\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
}

/// The documents of the issuers stand at paths that the configuration decides.
fn document(app: &App, head: &http::request::Parts, path: &str) -> Result<Answer, Failure> {
    let active = app.runtime_config.active();
    let Some(document) = active.documents.find(path, host(head)) else {
        return Err(Code::NotFound.into());
    };
    if head.method != Method::GET && head.method != Method::HEAD {
        let mut answer = problem::answer(&Code::MethodNotAllowed.into(), "");
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(answer);
    }
    Ok(json(document, DOCUMENT_CACHE))
}

fn method_not_allowed(route: Route, request_id: &str) -> Answer {
    let mut answer = problem::answer(&Code::MethodNotAllowed.into(), request_id);
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(route.allow()));
    answer
}

fn json(body: impl Into<Bytes>, cache: HeaderValue) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, cache);
    answer
}

/// A body that may not be stored.
fn private_json(body: &impl serde::Serialize) -> Result<Answer, Failure> {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    serde_json::to_writer(&mut bytes, body)
        .map_err(|_| Code::Internal.because("the answer cannot be written"))?;
    Ok(json(bytes, NO_STORE))
}

fn no_content() -> Answer {
    empty(StatusCode::NO_CONTENT)
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    answer
}

fn request_id(app: &App, headers: &http::HeaderMap) -> String {
    let sent = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    let usable = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(&byte))
    };
    match sent.filter(usable) {
        Some(id) => id.to_owned(),
        None => app.request_id(),
    }
}

#[cfg(test)]
mod tests;
