//! Clients that give nothing, each against a real listener with short limits.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

mod slow;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a client gets that takes its answer.
const ANSWER_BYTES: usize = 512 * 1024;

/// As short as a busy machine allows, and each of another length.
const SHORT: Bounds = Bounds {
    first_head: Duration::from_millis(300),
    answer: Duration::from_millis(400),
    idle: Duration::from_millis(500),
    parting: Duration::from_millis(100),
};

/// So long that no test meets them.
const LONG: Bounds = Bounds {
    first_head: Duration::from_secs(3600),
    answer: Duration::from_secs(3600),
    idle: Duration::from_secs(3600),
    parting: Duration::from_secs(3600),
};

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    refused: AtomicUsize,
    ended: std::sync::Mutex<Vec<Ended>>,
}

impl Gauge for Counts {
    fn opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    fn closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn refused(&self) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    fn ended(&self, why: Ended) {
        self.ended.lock().expect("no panic").push(why);
    }
}

/// Reads the body of each request, and answers a large one.
struct Listening {
    address: SocketAddr,
    counts: Arc<Counts>,
    handled: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(connections_max: usize, bounds: Bounds) -> Listening {
    listen_with(None, connections_max, bounds).await
}

async fn listen_with(tls: Option<Arc<Tls>>, connections_max: usize, bounds: Bounds) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let counts = Arc::<Counts>::default();
    let server = Server {
        listener,
        tls,
        connections_max,
        bounds,
        gauge: Arc::clone(&counts),
        threads: Arc::new(Threads::here()),
    };
    let stop = CancellationToken::new();
    let handled = Arc::<AtomicUsize>::default();
    let counting = Arc::clone(&handled);
    let answer = Bytes::from(vec![b'a'; ANSWER_BYTES]);
    let handle = move |_, request: Request<Incoming>| {
        counting.fetch_add(1, Ordering::SeqCst);
        let answer = answer.clone();
        async move {
            let reading = reading_body();
            let _body = request.into_body().collect().await;
            drop(reading);
            Response::new(Full::new(answer))
        }
    };
    tokio::spawn(server.run(handle, stop.clone()));
    Listening {
        address,
        counts,
        handled,
        stop,
    }
}

impl Listening {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("a connection")
    }

    async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("it is sent");
        stream
    }

    /// An ordinary client.
    async fn is_served(&self) -> bool {
        let request = b"GET / HTTP/1.1\r\nhost: v\r\nconnection: close\r\n\r\n";
        let mut stream = self.send(request).await;
        let mut answer = Vec::new();
        let reading = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer));
        let read = reading.await.expect("it is answered in time");
        read.is_ok() && answer.len() > ANSWER_BYTES
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Counts) -> bool) {
        let coming = async {
            while !is_so(&self.counts) {
                tokio::task::yield_now().await;
            }
        };
        let come = tokio::time::timeout(DEADLINE, coming).await;
        assert!(
            come.is_ok(),
            "it did not come to this: {what}: {:?}",
            self.counts
        );
    }

    async fn all_ended(&self, connections: usize, why: Ended) {
        let expected = vec![why; connections];
        self.until("all were ended", |counts| {
            *counts.ended.lock().expect("no panic") == expected
        })
        .await;
        self.until("all are closed", |counts| {
            counts.open.load(Ordering::SeqCst) == 0
        })
        .await;
    }
}
