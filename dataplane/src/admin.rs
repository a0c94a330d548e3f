//! The admin listener: health, readiness, metrics, what is being served, and which keys of
//! providers are known. Read only, and open to its network; but for the users, which want a token,
//! and for details of the configuration, which are for the operator and who shows the token.
//!
//! | | anybody | the operator, by its proof | who shows the admin token |
//! |---|---|---|---|
//! | `/healthz`, `/readyz`, `/metrics` | all | all | all |
//! | `/revision` | revisions and counts | what was refused and why, proved | what was refused and why |
//! | `/discovery` | nothing | all, proved | all |
//! | `/users` | nothing | nothing | all |

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use vestibule_crds::report::{
    ANSWER_PROOF_HEADER, NONCE_BYTES_MAX, PROOF_HEADER, QUESTION_PROOF_HEADER, Refusals,
    RevisionReport,
};

use crate::app::App;
use crate::clock::rfc3339;
use crate::http::host;
use crate::server::Answer;
use vestibule_store::Probe;

mod discovery;
pub mod users;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What the admin listener knows in addition to the application.
#[derive(Debug, Default)]
pub struct Admin {
    /// Set when the process is to stop.
    pub draining: AtomicBool,
    /// What a caller who reads or changes users must show.
    token: users::Token,
    /// This pod's name in its namespace, which the proofs of its answers hold.
    pod: String,
    refused: std::sync::Mutex<Refusals>,
}

impl Admin {
    /// Users are read and changed by callers who show the token in this file; by none without a
    /// file.
    pub fn with_token_file(path: Option<PathBuf>) -> Self {
        Self {
            token: users::Token(path),
            ..Self::default()
        }
    }

    /// `pod`: this pod's name, where it is one.
    pub fn of_pod(self, pod: Option<String>) -> Self {
        Self {
            pod: pod.unwrap_or_default(),
            ..self
        }
    }

    /// False when this is what was known already.
    pub fn set_refusals(&self, refusals: Refusals) -> bool {
        let mut known = self.lock();
        let new = *known != refusals;
        *known = refusals;
        new
    }

    pub fn refusals(&self) -> Refusals {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refused
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub async fn handle(
    app: Arc<App>,
    admin: Arc<Admin>,
    _peer: IpAddr,
    request: Request<Incoming>,
) -> Answer {
    let (head, body) = request.into_parts();
    if let Err(why) = host::check(&head) {
        return text(StatusCode::BAD_REQUEST, format!("{why}\n"));
    }
    let request = Request::from_parts(head, body);
    if request.uri().path() == "/users" {
        return users::handle(&app, &admin.token, request).await;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".into()),
        "/readyz" => readiness(&app, &admin).await,
        "/metrics" => metrics(&app),
        "/revision" => reveal_revision(&app, &admin, request.uri(), request.headers()),
        "/discovery" => reveal_discovery(&app, &admin, request.uri(), request.headers()),
        _ => text(
            StatusCode::NOT_FOUND,
            "here are /healthz, /readyz, /metrics, /revision, /discovery and /users\n".into(),
        ),
    }
}

/// Ready: a configuration is served, the store can be written to, and the process is not stopping.
async fn readiness(app: &App, admin: &Admin) -> Answer {
    let not_ready = |why: String| text(StatusCode::SERVICE_UNAVAILABLE, why);
    if admin.draining.load(Ordering::SeqCst) {
        return not_ready("stopping\n".into());
    }
    if app.runtime_config.active().revision.is_none() {
        return not_ready("no configuration is served yet\n".into());
    }
    match app.store.run(Probe).await {
        Ok(()) => text(StatusCode::OK, "ready\n".into()),
        Err(error) => not_ready(format!("{error}\n")),
    }
}

fn metrics(app: &App) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(app.metrics.render(app.store.work()))));
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    answer
}

fn revision(app: &App, admin: &Admin) -> RevisionReport {
    // What is published is served before it is named here.
    let digest = app
        .runtime_config
        .publication()
        .map(|publication| publication.digest.clone());
    let active = app.runtime_config.active();
    RevisionReport {
        revision: active.revision.clone(),
        since: rfc3339(active.since),
        digest,
        policies: active.policies().count(),
        providers: active.providers().count(),
        refused: admin.refusals(),
    }
}

/// What stands for an error whose words are for others.
const WITHHELD: &str =
    "it is shown to the operator, and to who shows the token of --admin-token-file";

/// Who asks, as far as it has been shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Operator,
    Administrator,
    Anybody,
}

fn asker(app: &App, admin: &Admin, uri: &Uri, headers: &HeaderMap) -> Asker {
    let shown = headers.get(QUESTION_PROOF_HEADER);
    let shown = shown.and_then(|proof| proof.to_str().ok());
    let proved = shown.zip(app.runtime_config.publication());
    let is_operator = proved.is_some_and(|(proof, publication)| {
        // Without a nonce of its own the answer could be one that was given before.
        nonce(uri).is_some()
            && publication
                .proof_key
                .verify_question(&admin.pod, path_and_query(uri), proof)
    });
    if is_operator {
        Asker::Operator
    } else if admin.token.is_shown(headers) {
        Asker::Administrator
    } else {
        Asker::Anybody
    }
}

fn reveal_revision(app: &App, admin: &Admin, uri: &Uri, headers: &HeaderMap) -> Answer {
    let mut revision = revision(app, admin);
    let asker = asker(app, admin, uri, headers);
    if asker == Asker::Anybody {
        // Names of objects and their errors are not for unauthenticated callers.
        revision.refused.objects = Vec::new();
        revision.refused.error = revision.refused.error.map(|_| WITHHELD.to_owned());
    }
    report(app, admin, uri, asker, &revision)
}

fn reveal_discovery(app: &App, admin: &Admin, uri: &Uri, headers: &HeaderMap) -> Answer {
    let asker = asker(app, admin, uri, headers);
    if asker == Asker::Anybody {
        let why = "for the operator, and for who shows the token of --admin-token-file\n";
        return text(StatusCode::UNAUTHORIZED, why.into());
    }
    let since = parameter(uri, "since").and_then(|since| since.parse().ok());
    report(
        app,
        admin,
        uri,
        asker,
        &discovery::report(app, since.unwrap_or(0)),
    )
}

/// A report as JSON, with its proof when there is a key to prove it with.
fn report(app: &App, admin: &Admin, uri: &Uri, asker: Asker, report: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(report).unwrap_or_default();
    let proof = app.runtime_config.publication().and_then(|publication| {
        let key = &publication.proof_key;
        match (asker, nonce(uri)) {
            (Asker::Operator, _) => {
                let proof = key.prove_answer(&admin.pod, path_and_query(uri), &body);
                Some((ANSWER_PROOF_HEADER, proof))
            }
            // An operator of an earlier version shows no proof of its own, and reads no details.
            (Asker::Anybody, Some(nonce)) => Some((PROOF_HEADER, key.prove(nonce, &body))),
            (Asker::Anybody, None) | (Asker::Administrator, _) => None,
        }
    });
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, NO_STORE);
    if let Some((name, proof)) = proof
        && let Ok(proof) = HeaderValue::try_from(proof)
    {
        headers.insert(name, proof);
    }
    answer
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", |path| path.as_str())
}

fn nonce(uri: &Uri) -> Option<&str> {
    parameter(uri, "nonce").filter(|nonce| nonce.len() <= NONCE_BYTES_MAX)
}

/// A query parameter that needs no decoding.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests;
