//! Connections: accepted up to a cap, given time limits, served, and drained at the end.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tls::Tls;

pub mod bounds;
mod connection;
pub mod files;
pub mod first_line;
mod places;
mod progress;
mod stream;
mod taken;
#[cfg(test)]
mod tests;
pub mod threads;

use bounds::{Bounds, Ended};
use places::{Admission, Place, Places};
use progress::Progress;
pub use progress::reading_body;
use stream::Watched;
use threads::Threads;

/// What a request is answered with.
pub type Answer = Response<Full<Bytes>>;

/// How long requests under way may take after the signal to stop; Kubernetes gives 30 seconds in
/// all.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(24);
/// How long connections are waited for that end with their next answer, and how often they are
/// counted.
const PARTING_TIME: Duration = Duration::from_secs(1);
const PARTING_LOOK: Duration = Duration::from_millis(10);
/// After accepting failed, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Notified of connections; the numbers go to the metrics.
pub trait Gauge: Send + Sync + 'static {
    fn opened(&self);
    fn closed(&self);
    fn refused(&self);
    /// The service ended a connection that gave nothing.
    fn ended(&self, _why: Ended) {}
}

/// A listener and how its connections are treated.
#[derive(Debug)]
pub struct Server<G> {
    pub listener: TcpListener,
    pub tls: Option<Arc<Tls>>,
    pub connections_max: usize,
    pub bounds: Bounds,
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
        let places = Places::new(self.connections_max);
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
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
            let progress = Progress::new(Instant::now());
            let place = match places.take(peer.ip(), &progress) {
                Admission::Served(place) => place,
                Admission::Displaced(place) => {
                    self.gauge.ended(Ended::Displaced);
                    place
                }
                Admission::Refused => {
                    self.gauge.refused();
                    continue;
                }
            };
            // Answers are small and complete: waiting to fill a packet only delays them.
            let _best_effort = stream.set_nodelay(true);
            // From here on another thread's runtime may watch it.
            let Ok(stream) = stream.into_std() else {
                continue;
            };
            let accepted = Accepted {
                stream,
                peer,
                progress,
                _place: place,
            };
            let (tls, gauge) = (self.tls.clone(), Arc::clone(&self.gauge));
            let runtime_config =
                accepted.serve(handle.clone(), tls, self.bounds, gauge, stop.clone());
            self.threads.spawn(connections.track_future(runtime_config));
        }
        drop(self.listener);
        part_politely(&connections).await;
        places.part();
        connections.close();
        let _in_time = tokio::time::timeout(DRAIN_TIME_MAX, connections.wait()).await;
    }
}

/// A connection and its place.
struct Accepted {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    progress: Arc<Progress>,
    _place: Place,
}

impl Accepted {
    async fn serve<H, F>(
        self,
        handle: H,
        tls: Option<Arc<Tls>>,
        bounds: Bounds,
        gauge: Arc<impl Gauge>,
        stop: CancellationToken,
    ) where
        H: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Self {
            stream,
            peer,
            progress,
            _place,
        } = self;
        let Ok(stream) = TcpStream::from_std(stream) else {
            return;
        };
        gauge.opened();
        let stream = Watched::new(stream, Arc::clone(&progress));
        let of_serving = Arc::clone(&progress);
        let runtime_config = async move {
            match tls {
                None => connection::serve(stream, peer, handle, of_serving, stop).await,
                Some(tls) => {
                    let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection::serve(stream, peer, handle, of_serving, stop).await;
                    }
                }
            }
        };
        // A connection whose place another one took was counted there.
        match connection::within(&bounds, &progress, runtime_config).await {
            None | Some(Ended::Displaced) => {}
            Some(why) => gauge.ended(why),
        }
        gauge.closed();
    }
}

/// Connections that are in use learn with their next answer that they end (RFC 9112, section 9.6).
/// One that was closed without notice may have a request on its way.
async fn part_politely(connections: &TaskTracker) {
    let leaving = async {
        while !connections.is_empty() {
            tokio::time::sleep(PARTING_LOOK).await;
        }
    };
    let _left = tokio::time::timeout(PARTING_TIME, leaving).await;
}
