//! The load generator: HTTP/1.1 connections kept alive, in a process of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Of the user, as the service that signs in for it passes it on.
const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0";
const CLIENT: &str = "81.2.69.160";

/// What is sent, to whom.
#[derive(Debug, Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub path: &'static str,
    /// Taken in turn.
    pub bodies: Arc<Vec<Bytes>>,
    pub connections: usize,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub answered: usize,
    /// Anything but a 200, broken connections included.
    pub failed: usize,
    pub seconds: f64,
    /// Microseconds from when a request was due until its last byte, sorted.
    latencies: Vec<u32>,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each connection sends as soon as it has an answer.
    Saturating,
    /// So many a second over all connections, whether answers are late or not.
    PerSecond(f64),
}

impl Load {
    pub async fn run(&self, pace: Pace, how_long: Duration) -> anyhow::Result<Outcome> {
        let began = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let mut running = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let (load, next) = (self.clone(), Arc::clone(&next));
            let connection = Connection::open(self.address).await?;
            running.push(tokio::spawn(async move {
                load.one_connection(number, connection, &next, pace, began, how_long)
                    .await
            }));
        }
        let mut outcome = Outcome::default();
        for connection in running {
            let part = connection.await.context("a connection's task ended")??;
            outcome.answered += part.answered;
            outcome.failed += part.failed;
            outcome.latencies.extend(part.latencies);
        }
        outcome.seconds = began.elapsed().as_secs_f64();
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }

    async fn one_connection(
        &self,
        number: usize,
        mut connection: Connection,
        next: &AtomicUsize,
        pace: Pace,
        began: Instant,
        how_long: Duration,
    ) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        // Due times are spread over the connections, so that they do not send in step.
        let mut due = match pace {
            Pace::Saturating => began,
            Pace::PerSecond(rate) => began + Duration::from_secs_f64(number as f64 / rate),
        };
        while began.elapsed() < how_long {
            if let Pace::PerSecond(rate) = pace {
                tokio::time::sleep_until(due.into()).await;
                let sent = self.exchange(&mut connection, next).await;
                outcome.count(sent, due);
                due += Duration::from_secs_f64(self.connections as f64 / rate);
            } else {
                let sent_at = Instant::now();
                let sent = self.exchange(&mut connection, next).await;
                outcome.count(sent, sent_at);
            }
            if connection.is_closed() {
                connection = Connection::open(self.address).await?;
            }
        }
        Ok(outcome)
    }

    /// Whether the answer was a 200.
    async fn exchange(
        &self,
        connection: &mut Connection,
        next: &AtomicUsize,
    ) -> anyhow::Result<bool> {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let body = self.bodies[turn % self.bodies.len()].clone();
        let (status, _body) = connection.post(self.path, body).await?;
        Ok(status == StatusCode::OK)
    }
}

impl Outcome {
    fn count(&mut self, sent: anyhow::Result<bool>, since: Instant) {
        if matches!(sent, Ok(true)) {
            self.answered += 1;
            let micros = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
            self.latencies.push(micros);
        } else {
            self.failed += 1;
        }
    }

    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    /// Milliseconds that this share of the answers did not exceed.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        f64::from(self.latencies.get(index).copied().unwrap_or(0)) / 1000.0
    }
}

/// One connection to the service.
#[derive(Debug)]
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // How it ends shows in the next request.
            let _ended = connection.await;
        });
        Ok(Self(sender))
    }

    pub async fn post(&mut self, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::post(path)
            .header("host", "bench")
            .header("content-type", "application/json")
            .header("user-agent", AGENT)
            .header("x-forwarded-for", CLIENT)
            .body(Full::new(body))?;
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?;
        Ok((status, body.to_bytes()))
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
