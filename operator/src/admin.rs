//! The operator's own listener: health, readiness and metrics. Read only, and open to its network.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::metrics::Metrics;
use crate::watch::Unsynced;

const CONNECTIONS_MAX: usize = 64;
/// From accept to the end of the one answer that a connection gets.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
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
    serve_within(listener, admin, CONNECTION_TIME_MAX).await
}

/// A connection gets one answer, so the oldest of too many is one that gives nothing: a new one
/// takes its place.
async fn serve_within(
    listener: TcpListener,
    admin: Arc<Admin>,
    time_max: Duration,
) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    let mut oldest = VecDeque::with_capacity(CONNECTIONS_MAX);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        oldest.retain(|connection: &tokio::task::AbortHandle| !connection.is_finished());
        if oldest.len() >= CONNECTIONS_MAX
            && let Some(connection) = oldest.pop_front()
        {
            connection.abort();
        }
        let serving = tokio::time::timeout(time_max, serve_connection(stream, Arc::clone(&admin)));
        oldest.push_back(connections.spawn(async move {
            let _in_time = serving.await;
        }));
    }
}

async fn serve_connection(stream: TcpStream, admin: Arc<Admin>) {
    let service = service_fn(move |request: Request<Incoming>| {
        // RFC 9112, section 3.2.
        let hosts = request.headers().get_all(HOST).iter().count();
        let answer = if hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11) {
            answer(&admin, request.method(), request.uri().path())
        } else {
            text(StatusCode::BAD_REQUEST, "name the host, once\n")
        };
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(false)
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES_MAX);
    // How a connection ends is the caller's business: a reset is no event.
    let _ended = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
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
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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

    #[tokio::test]
    async fn silent_sockets_keep_no_probe_from_its_answer() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let hour = Duration::from_secs(3600);
        tokio::spawn(serve_within(listener, Arc::new(admin()), hour));
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.expect("a connection"));
        }
        let mut probe = TcpStream::connect(address).await.expect("a connection");
        let request = b"GET /healthz HTTP/1.1\r\nhost: v\r\n\r\n";
        probe.write_all(request).await.expect("it is sent");
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let closed = silent[0].read(&mut [0; 1]).await;
        assert!(!matches!(closed, Ok(1..)), "the oldest is ended");
    }

    #[tokio::test]
    async fn a_request_names_its_host_exactly_once() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, Arc::new(admin())));
        for (head, status) in [
            ("HTTP/1.1\r\nhost: a\r\n", "200"),
            ("HTTP/1.0\r\n", "200"),
            ("HTTP/1.1\r\n", "400"),
            ("HTTP/1.1\r\nhost: a\r\nhost: a\r\n", "400"),
        ] {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let request = format!("GET /healthz {head}\r\n");
            stream
                .write_all(request.as_bytes())
                .await
                .expect("it is sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert_eq!(answer.get(9..12), Some(status), "{head}");
            assert!(
                answer.contains("x-content-type-options: nosniff"),
                "{answer}"
            );
        }
    }

    #[tokio::test]
    async fn a_connection_that_gives_nothing_is_ended() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let short = Duration::from_millis(100);
        tokio::spawn(serve_within(listener, Arc::new(admin()), short));
        for sent in [&b""[..], b"GET /hea", b"GET /healthz HTTP/1.1\r\nx: y"] {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(sent).await.expect("it is sent");
            let mut answer = Vec::new();
            let _closed = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty(), "it is closed without an answer");
        }
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
