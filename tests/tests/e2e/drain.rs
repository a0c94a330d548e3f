//! SIGTERM: what is under way is answered, nothing new is taken, and the process says that it went well.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{LocalIssuer, Service, eventually, is};

const IN_FLIGHT: usize = 20;

#[tokio::test]
async fn requests_under_way_at_sigterm_are_answered_and_no_others() {
    let issuer = LocalIssuer::new();
    let mut service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .start()
        .await;
    let mut waiting = Vec::new();
    for number in 0..IN_FLIGHT {
        let body = json!({"id_token": issuer.id_token(&format!("user-{number}"))}).to_string();
        waiting.push(HalfSent::begin(service.address, body).await);
    }
    // One connection is idle: it has nothing under way.
    let mut idle = TcpStream::connect(service.address).await.expect("a place");
    idle.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: vestibule\r\n\r\n")
        .await
        .expect("it is sent");
    eventually("every request is being read", || async {
        let opened = IN_FLIGHT as f64 + 1.0;
        let connections = service.metric("vestibule_connections ").await;
        if connections >= opened {
            Ok(())
        } else {
            Err(connections)
        }
    })
    .await;
    assert_eq!(service.admin_get("/readyz").await.status, 200);

    service.child.signal("TERM");
    eventually("/readyz is not 200 while requests drain", || async {
        is(service.admin_get("/readyz").await.status, 503)
    })
    .await;
    assert_eq!(
        service.admin_get("/healthz").await.status,
        200,
        "it is alive"
    );
    eventually("new connections are refused", || async {
        match TcpStream::connect(service.address).await {
            Ok(_) => Err("one was taken"),
            Err(_) => Ok(()),
        }
    })
    .await;
    assert!(!service.child.has_ended(), "it waits for what is under way");

    for request in waiting {
        let answer = request.complete().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\"refresh_token\""), "{answer}");
    }
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest)
        .await
        .expect("the idle connection is closed in good order");
    assert_eq!(service.child.ended().await.code(), Some(0));
    service.logs("stopped").await;
}

#[tokio::test]
async fn an_idle_service_stops_at_once_at_sigint_too() {
    let mut service = Service::builder()
        .manifests("all.yaml", &[policy()])
        .start()
        .await;
    service.child.signal("INT");
    assert_eq!(service.child.ended().await.code(), Some(0));
    assert!(TcpStream::connect(service.address).await.is_err());
}

/// A request whose body has not been sent to its end.
struct HalfSent {
    stream: TcpStream,
    rest: String,
}

impl HalfSent {
    async fn begin(address: SocketAddr, body: String) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("a place");
        let (half, rest) = body.split_at(body.len() / 2);
        let length = body.len();
        let head = format!(
            "POST /auth/id-token/signin HTTP/1.1\r\nhost: vestibule\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{half}"
        );
        stream.write_all(head.as_bytes()).await.expect("it is sent");
        let rest = rest.to_owned();
        Self { stream, rest }
    }

    async fn complete(mut self) -> String {
        self.stream
            .write_all(self.rest.as_bytes())
            .await
            .expect("the rest is taken");
        let mut answer = String::new();
        self.stream
            .read_to_string(&mut answer)
            .await
            .expect("an answer, and then the end");
        answer
    }
}
