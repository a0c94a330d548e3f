//! Connections that are slow, many, large or malformed: each is bounded, and others do not notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vestibule_tests::e2e::eventually::DEADLINE;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{LocalIssuer, Service, eventually, is};

const SLOW: usize = 100;

async fn start(issuer: &LocalIssuer) -> Service {
    Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .start()
        .await
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a place")
}

/// Everything that comes until the other side closes; a reset counts as that.
async fn rest_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes));
    let _closed = reading.await.expect("the other side closes in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn slow_connections_stop_nobody_and_are_given_up() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let began = Instant::now();
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..SLOW / 2 {
        let mut head = connect(service.address).await;
        head.write_all(b"POST /auth/id-token/signin HTTP/1.1\r\nhost: v")
            .await
            .expect("it is sent");
        heads.push(head);
        let mut body = connect(service.address).await;
        let request = b"POST /auth/id-token/signin HTTP/1.1\r\nhost: v\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
        body.write_all(request).await.expect("it is sent");
        bodies.push(body);
    }
    eventually("all are connected", || async {
        let connections = service.metric("vestibule_connections ").await;
        if connections >= SLOW as f64 {
            Ok(())
        } else {
            Err(connections)
        }
    })
    .await;
    for number in 0..20 {
        let token = issuer.id_token(&format!("user-{number}"));
        assert_eq!(service.signin(&token).await.code(), "ok");
    }
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );

    for body in &mut bodies {
        let mut answer = [0; 4096];
        let reading = tokio::time::timeout(DEADLINE, body.read(&mut answer)).await;
        let bytes = reading
            .expect("it is answered in time")
            .expect("it is answered");
        let answer = String::from_utf8_lossy(&answer[..bytes]);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("request_timeout"), "{answer}");
    }
    for head in &mut heads {
        let answer = rest_of(head).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert_eq!(service.signin(&issuer.id_token("alice")).await.code(), "ok");
}

#[tokio::test]
async fn a_connection_over_the_cap_takes_the_place_of_the_one_that_was_silent_the_longest() {
    const PLACES: usize = 4;
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .argument(format!("--max-connections={PLACES}"))
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..PLACES {
        open.push(connect(service.address).await);
    }
    eventually("all places are taken", || async {
        is(
            service.metric("vestibule_connections ").await,
            PLACES as f64,
        )
    })
    .await;
    assert_eq!(service.signin(&issuer.id_token("alice")).await.code(), "ok");
    assert_eq!(rest_of(&mut open[0]).await, "");
    let displaced = "vestibule_connections_ended_total{reason=\"displaced\"} ";
    assert_eq!(service.metric(displaced).await, 1.0);
    let refused = "vestibule_connections_refused_total ";
    assert_eq!(service.metric(refused).await, 0.0);
    assert_eq!(
        service.admin_get("/readyz").await.status,
        200,
        "the admin listener has places of its own"
    );
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_one_that_fits_is_not() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let with_headers = async |count: usize, bytes: usize| {
        let mut stream = connect(service.address).await;
        let mut head = "GET /openapi.json HTTP/1.1\r\nhost: v\r\nconnection: close\r\n".to_owned();
        for number in 0..count {
            head.push_str(&format!("x-{number}: {}\r\n", "a".repeat(bytes)));
        }
        head.push_str("\r\n");
        // The other side may close before it has read all.
        let _sent = stream.write_all(head.as_bytes()).await;
        rest_of(&mut stream).await
    };
    let fits = with_headers(20, 200).await;
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
    for (count, bytes) in [(1, 100_000), (200, 10), (20, 10_000)] {
        let refused = with_headers(count, bytes).await;
        // A reset may overtake the answer.
        let refused = refused.is_empty() || refused.starts_with("HTTP/1.1 431 ");
        assert!(refused, "{count} headers of {bytes} bytes");
    }
    assert_eq!(service.signin(&issuer.id_token("alice")).await.code(), "ok");
}

#[tokio::test]
async fn what_is_no_http_gets_no_success_and_harms_nobody() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let malformed: [&[u8]; 9] = [
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /openapi.json HTTP/9.9\r\nhost: v\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\nhost v\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\nbad header: 1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /auth/token/refresh HTTP/1.1\r\nhost: v\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /auth/token/refresh HTTP/1.1\r\nhost: v\r\ncontent-length: -1\r\n\r\n{}",
        b"POST /auth/token/refresh HTTP/1.1\r\nhost: v\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    ];
    for bytes in malformed {
        let mut stream = connect(service.address).await;
        stream.write_all(bytes).await.expect("it is sent");
        stream.shutdown().await.expect("it is ended");
        let answer = rest_of(&mut stream).await;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{}: {answer}", String::from_utf8_lossy(bytes));
    }
    let mut stream = connect(service.address).await;
    let well_formed = b"GET /openapi.json HTTP/1.1\r\nhost: v\r\nconnection: close\r\n\r\n";
    stream.write_all(well_formed).await.expect("it is sent");
    let answer = rest_of(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_body_with_two_lengths_is_one_request_at_most() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let mut stream = connect(service.address).await;
    // Whoever believes the length sees a second request in the rest.
    let smuggling = b"POST /auth/token/refresh HTTP/1.1\r\nhost: v\r\nconnection: close\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /openapi.json HTTP/1.1\r\nhost: v\r\n\r\n";
    stream.write_all(smuggling).await.expect("it is sent");
    stream.shutdown().await.expect("it is ended");
    let answer = rest_of(&mut stream).await;
    assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn the_request_id_of_an_answer_leads_to_its_line_in_the_log() {
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .environment("VESTIBULE_LOG", "debug")
        .start()
        .await;
    let with_id = async |id: &str| {
        let request = Request::post(service.url("/auth/id-token/signin"))
            .header("content-type", "application/json")
            .header("x-request-id", id)
            .body(Full::<Bytes>::from(r#"{"id_token":"no token"}"#));
        let reply = service.client.send(request.expect("a request")).await;
        reply.expect("the service answers")
    };
    let own = with_id("req-4711").await;
    assert_eq!(own.header("x-request-id"), Some("req-4711"));
    let made = with_id("no good id").await;
    let made_id = made.header("x-request-id").expect("one is made").to_owned();
    assert!(made_id.len() >= 16 && !made_id.contains(' '), "{made_id}");
    for (reply, id) in [(own, "req-4711"), (made, &made_id)] {
        assert_eq!(reply.text("request_id"), id);
        eventually("the log has it", || async {
            let lines = service.log_lines();
            let line = lines.iter().find(|line| line["request.id"] == id);
            is(
                line.and_then(|line| line["code"].as_str()),
                Some("token_malformed"),
            )
            .map(drop)
            .map_err(|found| found.map(str::to_owned))
        })
        .await;
    }
}

/// HTTP/2 by hand: a client library would keep the rules that are to be broken here.
struct Frames {
    stream: TcpStream,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113, section 7.
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

impl Frames {
    async fn connect(address: SocketAddr) -> Self {
        let mut stream = connect(address).await;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .expect("it is sent");
        stream
            .write_all(&frame(SETTINGS, 0, 0, &[]))
            .await
            .expect("it is sent");
        Self { stream }
    }

    /// The next frame's kind, stream and content; `None` when the other side has closed.
    async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut content = vec![0; usize::try_from(length).ok()?];
            self.stream.read_exact(&mut content).await.ok()?;
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some((head[3], id, content))
        };
        tokio::time::timeout(DEADLINE, reading)
            .await
            .expect("a frame comes in time")
    }
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len())
        .expect("a small frame")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// The head of a POST whose body is still to come (HPACK, RFC 7541: indices of the static table and plain literals).
fn open_post(stream: u32) -> Vec<u8> {
    let path = b"/auth/id-token/signin";
    let mut head = vec![
        0x83,
        0x86,
        0x04,
        u8::try_from(path.len()).expect("a short path"),
    ];
    head.extend(path);
    head.extend([0x01, 1, b'v']);
    head.extend([0x0f, 0x10, 16]);
    head.extend(b"application/json");
    frame(HEADERS, END_HEADERS, stream, &head)
}

#[tokio::test]
async fn streams_over_the_cap_are_refused_and_the_others_are_answered() {
    const STREAMS: u32 = 128;
    const OVER: u32 = 50;
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let mut frames = Frames::connect(service.address).await;
    let mut flood = Vec::new();
    for number in 0..STREAMS + OVER {
        flood.extend(open_post(2 * number + 1));
    }
    frames.stream.write_all(&flood).await.expect("it is sent");
    let mut refused = 0;
    while refused < OVER {
        let (kind, id, content) = frames.next().await.expect("the connection stays");
        assert_ne!(kind, GOAWAY, "{content:?}");
        if kind == RST_STREAM {
            assert_eq!(content, REFUSED_STREAM.to_be_bytes());
            assert!(id > 2 * STREAMS, "stream {id} was among the first");
            refused += 1;
        }
    }
    // Another caller does not notice, and the first stream is still good.
    assert_eq!(service.signin(&issuer.id_token("alice")).await.code(), "ok");
    let body = frame(DATA, END_STREAM, 1, b"{}");
    frames.stream.write_all(&body).await.expect("it is sent");
    loop {
        let (kind, id, content) = frames.next().await.expect("the connection stays");
        if kind == DATA && id == 1 {
            let answer = String::from_utf8_lossy(&content).into_owned();
            assert!(answer.contains("id_token_required"), "{answer}");
            return;
        }
    }
}

#[tokio::test]
async fn a_flood_of_streams_that_are_reset_at_once_ends_the_connection() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let mut frames = Frames::connect(service.address).await;
    let mut flood = Vec::new();
    for number in 0..20_000 {
        flood.extend(open_post(2 * number + 1));
        flood.extend(frame(RST_STREAM, 0, 2 * number + 1, &CANCEL.to_be_bytes()));
    }
    // The other side may have hung up before all is sent.
    let _sent = frames.stream.write_all(&flood).await;
    let mut said_goodbye = false;
    while let Some((kind, ..)) = frames.next().await {
        said_goodbye |= kind == GOAWAY;
    }
    assert!(said_goodbye, "the connection ended without GOAWAY");
    assert_eq!(service.signin(&issuer.id_token("alice")).await.code(), "ok");
    eventually("its connection is gone", || async {
        // The client keeps one.
        is(service.metric("vestibule_connections ").await, 1.0)
    })
    .await;
}
