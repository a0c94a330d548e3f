//! 2 000 clients that give nothing, of every kind, beside ordinary sign-ins: none of these is refused, and all of those
//! are ended.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{LocalIssuer, Service, eventually};

const CLIENTS: usize = 2000;
const SIGNINS: usize = 200;
/// Between two bytes or frames of a client.
const TRICKLE_EVERY: Duration = Duration::from_millis(500);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// SETTINGS_INITIAL_WINDOW_SIZE of 0.
const NO_WINDOW: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
/// GET /openapi.json of http://v on stream 1 (HPACK, RFC 7541).
const GET: &[u8] = b"\0\0\x14\x01\x05\0\0\0\x01\x82\x86\x04\x0d/openapi.json\x41\x01v";
/// HEADERS of stream 1 that CONTINUATION frames go on with.
const OPEN_HEADERS: &[u8] = &[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82];
const CONTINUATION: &[u8] = &[0, 0, 0, 9, 0, 0, 0, 0, 1];
/// POST / on stream 1 whose body is to come, and DATA with nothing in it.
const POST: &[u8] = &[0, 0, 6, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x41, 1, b'v'];
const NO_DATA: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 1];
const GET_1: &[u8] = b"GET /openapi.json HTTP/1.1\r\nhost: v\r\n\r\n";
const POST_1: &[u8] = b"POST /auth/id-token/signin HTTP/1.1\r\nhost: v\r\n\
    content-type: application/json\r\ncontent-length: 1000\r\n\r\n";

/// What a client sends first, what again and again, and whether it reads.
type Kind = (&'static [&'static [u8]], &'static [u8], bool);

const KINDS: [Kind; 14] = [
    (&[], b"", true),
    (&[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"], b"", true),
    (&[b"GET /open"], b"", true),
    (&[b"GET / HTTP/1.1\r\nhost: v\r\nx: "], b"x", true),
    (&[POST_1], b" ", true),
    (&[GET_1], b"", true),
    (
        &[GET_1, GET_1, GET_1, GET_1, GET_1, GET_1, GET_1, GET_1],
        GET_1,
        false,
    ),
    (&[PREFACE], b"", true),
    (&[PREFACE, SETTINGS], PING, true),
    (&[PREFACE, SETTINGS, GET], PING, true),
    (&[PREFACE, NO_WINDOW, GET], b"", true),
    (&[PREFACE, NO_WINDOW, GET], PING, false),
    (&[PREFACE, SETTINGS, OPEN_HEADERS], CONTINUATION, true),
    (&[PREFACE, SETTINGS, POST], NO_DATA, true),
];

async fn slow_client(address: SocketAddr, (first, again, reads): Kind) {
    let socket = TcpSocket::new_v4().expect("a socket");
    if !reads {
        socket.set_recv_buffer_size(2048).expect("it is set");
    }
    let stream = socket.connect(address).await.expect("it is accepted");
    let (mut reading, mut writing) = stream.into_split();
    if writing.write_all(&first.concat()).await.is_err() {
        return;
    }
    let mut bytes = [0; 4096];
    loop {
        tokio::select! {
            read = reading.read(&mut bytes), if reads => if matches!(read, Ok(0) | Err(_)) { return },
            () = tokio::time::sleep(TRICKLE_EVERY) => {
                if !again.is_empty() && writing.write_all(again).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn slow_clients_of_every_kind_keep_nobody_from_signing_in() {
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .start()
        .await;
    for number in 0..CLIENTS {
        let kind = KINDS[number % KINDS.len()];
        tokio::spawn(slow_client(service.address, kind));
    }
    for number in 0..SIGNINS {
        let token = issuer.id_token(&format!("user-{number}"));
        assert_eq!(service.signin(&token).await.code(), "ok");
    }
    for reason in ["first_head", "answer", "idle"] {
        let metric = format!("vestibule_connections_ended_total{{reason=\"{reason}\"}} ");
        eventually(&format!("connections are ended for {reason}"), || async {
            let ended = service.metric(&metric).await;
            if ended > 0.0 { Ok(()) } else { Err(ended) }
        })
        .await;
    }
    eventually("all that gave nothing are gone", || async {
        let open = service.metric("vestibule_connections ").await;
        if open <= 1.0 { Ok(()) } else { Err(open) }
    })
    .await;
    let refused = "vestibule_connections_refused_total ";
    assert_eq!(service.metric(refused).await, 0.0);
    assert_eq!(service.signin(&issuer.id_token("alice")).await.code(), "ok");
}

/// The attack as it was found, on both listeners.
#[tokio::test]
async fn silent_sockets_shut_out_neither_sign_ins_nor_probes() {
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .argument("--max-connections=50")
        .start()
        .await;
    let mut silent = Vec::new();
    for address in [service.address, service.admin] {
        for _ in 0..300 {
            silent.push(TcpStream::connect(address).await.expect("it is accepted"));
        }
    }
    for number in 0..20 {
        let token = issuer.id_token(&format!("user-{number}"));
        assert_eq!(service.signin(&token).await.code(), "ok");
        assert_eq!(service.admin_get("/healthz").await.status, 200);
        assert_eq!(service.admin_get("/readyz").await.status, 200);
    }
}
