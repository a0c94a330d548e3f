//! Connections: accepted up to a cap, given time limits, served, and drained at the end.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::http::Answer;
use crate::tls::Tls;

pub mod threads;

use threads::Threads;

/// For a request's head, and for the wait for the next request of a connection.
const HEADER_TIME_MAX: Duration = Duration::from_secs(30);
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long requests under way may take after the signal to stop; Kubernetes gives 30 seconds in all.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(24);
/// How long connections are waited for that end with their next answer, and how often they are counted.
const PARTING_TIME: Duration = Duration::from_secs(1);
const PARTING_LOOK: Duration = Duration::from_millis(10);
/// After accepting failed, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// A request's head is read into this; it holds the largest head that is answered.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
const STREAMS_MAX: u32 = 128;

/// Told of connections; the numbers go to the metrics.
pub trait Gauge: Send + Sync + 'static {
    fn opened(&self);
    fn closed(&self);
    fn refused(&self);
}

/// A listener and how its connections are treated.
#[derive(Debug)]
pub struct Server<G> {
    pub listener: TcpListener,
    pub tls: Option<Arc<Tls>>,
    pub connections_max: usize,
    pub gauge: Arc<G>,
    /// Where connections are served.
    pub threads: Arc<Threads>,
}

impl<G: Gauge> Server<G> {
    /// Accepts until `stop`, then lets the requests under way finish, at most [`DRAIN_TIME_MAX`].
    pub async fn run<H, F>(self, handle: H, stop: CancellationToken)
    where
        H: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Self {
            listener,
            tls,
            connections_max,
            gauge,
            threads,
        } = self;
        let places = Arc::new(Semaphore::new(connections_max));
        let draining = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                gauge.refused();
                continue;
            };
            // Answers are small and complete: waiting to fill a packet only delays them.
            let _best_effort = stream.set_nodelay(true);
            // From here on another thread's runtime may watch it.
            let Ok(stream) = stream.into_std() else {
                continue;
            };
            let watcher = draining.watcher();
            let (tls, handle, gauge) = (tls.clone(), handle.clone(), Arc::clone(&gauge));
            let stop = stop.clone();
            threads.spawn(async move {
                let Ok(stream) = TcpStream::from_std(stream) else {
                    return;
                };
                gauge.opened();
                match tls {
                    None => serve_connection(stream, peer, handle, watcher, stop).await,
                    Some(tls) => {
                        let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
                        let handshake =
                            tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream));
                        if let Ok(Ok(stream)) = handshake.await {
                            serve_connection(stream, peer, handle, watcher, stop).await;
                        }
                    }
                }
                gauge.closed();
                drop(place);
            });
        }
        drop(listener);
        part_politely(&draining).await;
        let _in_time = tokio::time::timeout(DRAIN_TIME_MAX, draining.shutdown()).await;
    }
}

/// Connections that are in use are told with their next answer to end (RFC 9112, section 9.6). One that was closed without a word
/// may have a request on its way.
async fn part_politely(connections: &GracefulShutdown) {
    let leaving = async {
        while connections.count() > 0 {
            tokio::time::sleep(PARTING_LOOK).await;
        }
    };
    let _left = tokio::time::timeout(PARTING_TIME, leaving).await;
}

async fn serve_connection<S, H, F>(
    stream: S,
    peer: SocketAddr,
    handle: H,
    watcher: Watcher,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let keeps_alive = request.version() <= Version::HTTP_11;
        let answering = handle(peer.ip(), request);
        let stop = stop.clone();
        async move {
            let mut answer = answering.await;
            if keeps_alive && stop.is_cancelled() {
                let headers = answer.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        // A head and a body are small: one buffer costs the kernel less than two.
        .writev(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_TIME_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    // How a connection ends is the caller's business: a reset is no event.
    let _ended = watcher.watch(connection.into_owned()).await;
}
