//! Each kind of slow client: it is ended, and others are served beside it.

use super::*;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: v\r\ncontent-length: 10\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// SETTINGS_INITIAL_WINDOW_SIZE of 0.
const NO_WINDOW: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
/// GET / of http://v on stream 1, without a body: `:method GET`, `:scheme http`, `:path /` and `:authority v`.
const GET: &[u8] = &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'v'];
/// POST / of http://v on stream 1, whose body is to follow.
const POST: &[u8] = &[0, 0, 6, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x41, 1, b'v'];
/// DATA of stream 1 with nothing in it.
const NO_DATA: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 1];
/// HEADERS of stream 1 whose block goes on in CONTINUATION frames, which are empty and never the last.
const OPEN_HEADERS: &[u8] = &[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82];
const CONTINUATION: &[u8] = &[0, 0, 0, 9, 0, 0, 0, 0, 1];

/// Between two bytes, frames or reads.
const TRICKLE_EVERY: Duration = Duration::from_millis(10);
/// How many of each kind.
const SLOW: usize = 20;

/// Writes `first`, and then `again` for as long as the other side takes it.
async fn trickle(mut stream: TcpStream, first: Vec<u8>, again: Vec<u8>) {
    if stream.write_all(&first).await.is_err() {
        return;
    }
    let (mut reading, mut writing) = stream.into_split();
    let mut ignored = [0; 4096];
    loop {
        tokio::select! {
            written = writing.write_all(&again) => if written.is_err() { return },
            read = reading.read(&mut ignored) => if matches!(read, Ok(0) | Err(_)) { return },
        }
        tokio::time::sleep(TRICKLE_EVERY).await;
    }
}

async fn slow_clients(first: &[&[u8]], again: &[u8], bounds: Bounds) -> Listening {
    let listening = listen(1000, bounds).await;
    for _ in 0..SLOW {
        let stream = listening.connect().await;
        tokio::spawn(trickle(stream, first.concat(), again.to_vec()));
    }
    assert!(listening.is_served().await, "others are served");
    listening
}

#[tokio::test]
async fn a_socket_that_is_silent_after_accept_is_ended() {
    let listening = listen(1000, SHORT).await;
    let mut silent = Vec::new();
    for _ in 0..SLOW {
        silent.push(listening.connect().await);
    }
    assert!(listening.is_served().await);
    listening.all_ended(SLOW, Ended::FirstHead).await;
}

#[tokio::test]
async fn a_half_request_line_is_ended() {
    let listening = slow_clients(&[b"GET / HT"], b"", SHORT).await;
    listening.all_ended(SLOW, Ended::FirstHead).await;
}

#[tokio::test]
async fn a_head_that_comes_a_byte_at_a_time_is_ended() {
    let first: &[u8] = b"GET / HTTP/1.1\r\nhost: v\r\nx: ";
    let listening = slow_clients(&[first], b"x", SHORT).await;
    listening.all_ended(SLOW, Ended::FirstHead).await;
}

#[tokio::test]
async fn half_a_tls_hello_is_ended() {
    let made = rcgen::generate_simple_self_signed(["v".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let files = crate::tls::TlsFiles {
        certificate,
        key,
        client_ca: None,
    };
    let tls = Tls::load(files).expect("they work together");
    let listening = listen_with(Some(tls), 1000, SHORT).await;
    let mut silent = Vec::new();
    for _ in 0..SLOW {
        silent.push(
            listening
                .send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03")
                .await,
        );
    }
    listening.all_ended(SLOW, Ended::FirstHead).await;
}

#[tokio::test]
async fn an_http_2_preface_alone_is_ended() {
    let listening = slow_clients(&[PREFACE], b"", SHORT).await;
    listening.all_ended(SLOW, Ended::FirstHead).await;
}

#[tokio::test]
async fn half_an_http_2_preface_is_ended() {
    let listening = slow_clients(&[&PREFACE[..10]], b"", SHORT).await;
    listening.all_ended(SLOW, Ended::FirstHead).await;
}

#[tokio::test]
async fn http_2_settings_and_pings_without_a_request_are_ended() {
    let listening = slow_clients(&[PREFACE, SETTINGS], PING, SHORT).await;
    listening.all_ended(SLOW, Ended::FirstHead).await;
}

#[tokio::test]
async fn an_endless_row_of_continuation_frames_is_ended() {
    let listening = slow_clients(&[PREFACE, SETTINGS, OPEN_HEADERS], CONTINUATION, SHORT).await;
    // The library may find them too many before the time is over.
    listening
        .until("all are closed", |counts| {
            counts.open.load(Ordering::SeqCst) == 0
        })
        .await;
}

#[tokio::test]
async fn an_idle_connection_is_ended_and_one_in_use_is_not() {
    let listening = listen(1000, SHORT).await;
    let mut idle = Vec::new();
    for _ in 0..SLOW {
        let mut stream = listening.send(b"GET / HTTP/1.1\r\nhost: v\r\n\r\n").await;
        let mut answer = vec![0; ANSWER_BYTES];
        stream.read_exact(&mut answer).await.expect("an answer");
        idle.push(stream);
    }
    let began = Instant::now();
    let mut in_use = listening.connect().await;
    while began.elapsed() < 3 * SHORT.idle {
        let sent = in_use
            .write_all(b"HEAD / HTTP/1.1\r\nhost: v\r\n\r\n")
            .await;
        sent.expect("it is open");
        let mut answer = [0; 4096];
        let read = in_use.read(&mut answer).await.expect("it is open");
        assert!(
            answer[..read].starts_with(b"HTTP/1.1 200 "),
            "it is answered"
        );
        tokio::time::sleep(SHORT.idle / 10).await;
    }
    drop(in_use);
    listening
        .until("all are closed", |counts| {
            counts.open.load(Ordering::SeqCst) == 0
        })
        .await;
    // A client that is told to go goes by itself.
    assert!(
        listening
            .counts
            .ended
            .lock()
            .expect("no panic")
            .iter()
            .all(|why| *why == Ended::Idle)
    );
    drop(idle);
}

#[tokio::test]
async fn a_second_head_that_comes_a_byte_at_a_time_is_ended() {
    let first: &[u8] = b"HEAD / HTTP/1.1\r\nhost: v\r\n\r\nGET / HTTP/1.1\r\nx: ";
    let listening = slow_clients(&[first], b"x", SHORT).await;
    listening
        .until("all are closed", |counts| {
            counts.open.load(Ordering::SeqCst) == 0
        })
        .await;
}

#[tokio::test]
async fn http_2_pings_keep_no_idle_connection() {
    let listening = slow_clients(&[PREFACE, SETTINGS, GET], PING, SHORT).await;
    listening
        .until("all are closed", |counts| {
            counts.open.load(Ordering::SeqCst) == 0
        })
        .await;
}

#[tokio::test]
async fn an_answer_that_is_never_read_is_ended() {
    let bounds = Bounds {
        idle: LONG.idle,
        ..SHORT
    };
    let listening = listen(1000, bounds).await;
    let mut unread = Vec::new();
    for _ in 0..SLOW {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("it is set");
        let mut stream = socket
            .connect(listening.address)
            .await
            .expect("a connection");
        // More than the buffers of both kernels hold.
        let requests = b"GET / HTTP/1.1\r\nhost: v\r\n\r\n".repeat(20);
        stream.write_all(&requests).await.expect("it is sent");
        unread.push(stream);
    }
    assert!(listening.is_served().await);
    listening.all_ended(SLOW, Ended::Answer).await;
}

#[tokio::test]
async fn requests_in_a_pipeline_wait_until_the_answers_before_them_are_taken() {
    const REQUESTS: usize = 200;
    let listening = listen(1000, LONG).await;
    let mut stream = listening.connect().await;
    let requests = b"GET / HTTP/1.1\r\nhost: v\r\n\r\n".repeat(REQUESTS);
    stream.write_all(&requests).await.expect("it is sent");
    assert!(listening.is_served().await);
    assert!(
        listening.handled.load(Ordering::SeqCst) < REQUESTS / 2,
        "answers that nobody takes are not made"
    );
    // Once they are taken, all come.
    let mut taken = 0;
    let mut answers = vec![0; 64 * 1024];
    while taken < REQUESTS * ANSWER_BYTES {
        let reading = tokio::time::timeout(DEADLINE, stream.read(&mut answers)).await;
        taken += reading.expect("it goes on").expect("it is open");
    }
}

#[tokio::test]
async fn http_2_clients_that_open_no_window_are_ended() {
    let bounds = Bounds {
        idle: LONG.idle,
        ..SHORT
    };
    let listening = slow_clients(&[PREFACE, NO_WINDOW, GET], PING, bounds).await;
    listening.all_ended(SLOW, Ended::Answer).await;
}

#[tokio::test]
async fn http_2_clients_that_open_a_window_of_one_byte_are_ended() {
    let mut window = NO_WINDOW.to_vec();
    window[14] = 1;
    let bounds = Bounds {
        idle: LONG.idle,
        ..SHORT
    };
    let listening = slow_clients(&[PREFACE, &window, GET], PING, bounds).await;
    listening.all_ended(SLOW, Ended::Answer).await;
}

#[tokio::test]
async fn bodies_that_trickle_give_their_place_up() {
    let listening = listen(SLOW, LONG).await;
    for _ in 0..SLOW {
        let stream = listening.connect().await;
        tokio::spawn(trickle(stream, HEAD.to_vec(), Vec::new()));
    }
    for _ in 0..SLOW {
        assert!(listening.is_served().await);
    }
    assert_eq!(listening.counts.refused.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn data_frames_with_nothing_in_them_give_their_place_up() {
    let listening = listen(SLOW, LONG).await;
    for _ in 0..SLOW {
        let stream = listening.connect().await;
        let first = [PREFACE, SETTINGS, POST].concat();
        tokio::spawn(trickle(stream, first, NO_DATA.to_vec()));
    }
    for _ in 0..SLOW {
        assert!(listening.is_served().await);
    }
    assert_eq!(listening.counts.refused.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn sixty_silent_sockets_leave_a_place_among_fifty() {
    let listening = listen(50, LONG).await;
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(listening.connect().await);
        assert!(listening.is_served().await);
    }
    assert_eq!(listening.counts.refused.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn sixty_idle_connections_leave_a_place_among_fifty() {
    let listening = listen(50, LONG).await;
    let mut idle = Vec::new();
    for _ in 0..60 {
        let mut stream = listening.send(b"GET / HTTP/1.1\r\nhost: v\r\n\r\n").await;
        let mut answer = vec![0; ANSWER_BYTES];
        stream.read_exact(&mut answer).await.expect("an answer");
        idle.push(stream);
    }
    assert!(listening.is_served().await);
    assert_eq!(listening.counts.refused.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn http_2_requests_beside_each_other_are_all_answered() {
    let listening = listen(10, SHORT).await;
    let io = TokioIo::new(listening.connect().await);
    let (client, connection) = http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let requests = (0..100).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let request = Request::get("http://v/").body(Full::<Bytes>::default());
            let answer = client.send_request(request.expect("a request")).await;
            let body = answer.expect("an answer").into_body().collect().await;
            body.expect("a body").to_bytes().len()
        })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.expect("no panic"), ANSWER_BYTES);
    }
}
