//! The admin listener: health, readiness, metrics, and what is being served. Read only, and open to its network.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::clock::rfc3339;
use crate::http::Answer;

/// Refused objects that `/revision` lists; the count tells of the rest.
pub const REFUSED_LISTED_MAX: usize = 100;

/// What the admin listener knows beside the application.
#[derive(Debug, Default)]
pub struct Admin {
    /// Set when the process has been told to stop.
    pub draining: AtomicBool,
    refused: std::sync::Mutex<Refusals>,
}

/// What the last configuration held that is not served.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Refusals {
    pub count: usize,
    /// At most [`REFUSED_LISTED_MAX`].
    pub objects: Vec<RefusedObject>,
    /// Why the last configuration could not be read or built at all; the one before it is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct RefusedObject {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub reason: String,
    pub message: String,
}

impl Admin {
    pub fn set_refusals(&self, refusals: Refusals) {
        *self.lock() = refusals;
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
        "/revision" => revision(&app, &admin),
        _ => text(
            StatusCode::NOT_FOUND,
            "here are /healthz, /readyz, /metrics and /revision\n".into(),
        ),
    }
}

/// Ready: a configuration is served, the store can be written to, and the process has not been told to stop.
async fn readiness(app: &App, admin: &Admin) -> Answer {
    let not_ready = |why: String| text(StatusCode::SERVICE_UNAVAILABLE, why);
    if admin.draining.load(Ordering::SeqCst) {
        return not_ready("stopping\n".into());
    }
    if app.serving.live().revision.is_none() {
        return not_ready("no configuration is served yet\n".into());
    }
    match app.store.probe().await {
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

fn revision(app: &App, admin: &Admin) -> Answer {
    let live = app.serving.live();
    let body = json!({
        "revision": live.revision,
        "since": rfc3339(live.since),
        "policies": live.policies().count(),
        "providers": live.providers().count(),
        "refused": *admin.lock(),
    });
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
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
