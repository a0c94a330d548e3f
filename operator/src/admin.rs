//! The operator's own listener: health, readiness and metrics. Read only, and open to its network.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::watch::Unsynced;

const CONNECTIONS_MAX: usize = 64;
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// After accepting failed, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the listener tells of.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) unsynced: Arc<Unsynced>,
    pub(crate) stopping: AtomicBool,
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&admin, request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME_MAX)
                .max_buf_size(BUFFER_BYTES_MAX);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // How a connection ends is the caller's business: a reset is no event.
            let _ended = connection.await;
            drop(place);
        });
    }
}

fn answer(admin: &Admin, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if admin.stopping.load(Ordering::SeqCst) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        }
        "/readyz" if !admin.unsynced.is_synced() => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "not everything that is watched has been listed yet\n",
        ),
        "/readyz" => text(StatusCode::OK, "ready\n"),
        "/metrics" => {
            let mut answer = text(StatusCode::OK, admin.metrics.render());
            let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(form));
            answer
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "here are /healthz, /readyz and /metrics\n",
        ),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin() -> Admin {
        Admin {
            metrics: Arc::default(),
            unsynced: Arc::default(),
            stopping: AtomicBool::new(false),
        }
    }

    fn status(admin: &Admin, path: &str) -> u16 {
        answer(admin, &Method::GET, path).status().as_u16()
    }

    #[test]
    fn it_is_ready_once_everything_was_listed_and_until_it_stops() {
        let admin = admin();
        assert_eq!(status(&admin, "/readyz"), 200);
        let watch = admin.unsynced.begin();
        assert_eq!(status(&admin, "/readyz"), 503);
        assert_eq!(status(&admin, "/healthz"), 200);
        watch.done();
        assert_eq!(status(&admin, "/readyz"), 200);
        admin.stopping.store(true, Ordering::SeqCst);
        assert_eq!(status(&admin, "/readyz"), 503);
    }

    #[test]
    fn it_only_reads() {
        let admin = admin();
        assert_eq!(status(&admin, "/metrics"), 200);
        assert_eq!(status(&admin, "/other"), 404);
        let refused = answer(&admin, &Method::POST, "/healthz");
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
