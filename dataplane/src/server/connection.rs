//! One connection: served until it ends by itself, its time is over or its place is needed.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bounds::{Bounds, Ended};
use super::first_line::OnlyHttp;
use super::progress::Progress;
use super::taken::Taken;
use crate::server::Answer;

const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// A request's head is read into this; it holds the largest head that is answered.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
const STREAMS_MAX: u32 = 128;

/// Polls `serving` until it ends, or says why it has to. One timer, which is set once it has rung
/// or for an earlier time.
pub(super) async fn within(
    bounds: &Bounds,
    progress: &Progress,
    runtime_config: impl Future<Output = ()>,
) -> Option<Ended> {
    let mut runtime_config = pin!(runtime_config);
    let mut timer = pin!(tokio::time::sleep(bounds.first_head));
    poll_fn(|cx| {
        progress.task.register(cx.waker());
        loop {
            if progress.is_to_end() {
                return Poll::Ready(Some(Ended::Displaced));
            }
            if runtime_config.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let ending = progress.deadline(bounds);
            // A handler has limits of its own, and may end without a signal to this task: check
            // again.
            let deadline = ending.map_or_else(|| Instant::now() + bounds.idle, |(at, _)| at);
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match ending {
                Some((at, why)) if at <= Instant::now() => {
                    if why != Ended::Idle || progress.is_to_part() {
                        return Poll::Ready(Some(why));
                    }
                    progress.part();
                }
                _ => {}
            }
        }
    })
    .await
}

/// Answers requests until the connection ends; on shutdown, until those under way are answered.
pub(super) async fn serve<S, H, F>(
    stream: S,
    peer: SocketAddr,
    handle: H,
    progress: Arc<Progress>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(IpAddr, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let of_requests = Arc::clone(&progress);
    let service = service_fn(move |request: Request<Incoming>| {
        let turn = of_requests.begin();
        let keeps_alive = request.version() <= Version::HTTP_11;
        let answering = handle(peer.ip(), request);
        let (stop, progress) = (stop.clone(), Arc::clone(&of_requests));
        async move {
            if keeps_alive {
                progress.writable().await;
            }
            let mut answer = turn.run(answering).await;
            let nosniff = HeaderValue::from_static("nosniff");
            answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
            if keeps_alive && (stop.is_cancelled() || progress.is_to_part()) {
                let headers = answer.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let untaken = turn.answered();
            Ok::<_, Infallible>(answer.map(|body| Taken::new(body, untaken)))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .header_read_timeout(None)
        // A head and a body are small: one buffer costs the kernel less than two.
        .writev(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(OnlyHttp::new(stream)), service));
    let mut is_parting = false;
    poll_fn(|cx| {
        if !is_parting && progress.is_to_part() {
            is_parting = true;
            connection.as_mut().graceful_shutdown();
        }
        // How a connection ends is the caller's business: a reset is no event.
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}
