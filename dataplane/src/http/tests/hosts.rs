//! The host that a request is for, and the headers that every answer has.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn raw(service: &Service, request: &str) -> String {
    let address = service.base.strip_prefix("http://").expect("an address");
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn http_1_1_without_exactly_one_host_is_400() {
    let service = Service::start().await;
    for (head, status) in [
        ("GET /openapi.json HTTP/1.1\r\nhost: a\r\n", "200"),
        ("GET http://a/openapi.json HTTP/1.1\r\nhost: a\r\n", "200"),
        ("GET /openapi.json HTTP/1.0\r\n", "200"),
        ("GET /openapi.json HTTP/1.1\r\n", "400"),
        (
            "GET /openapi.json HTTP/1.1\r\nhost: a\r\nhost: a\r\n",
            "400",
        ),
        (
            "GET /openapi.json HTTP/1.1\r\nhost: a\r\nHost: b\r\n",
            "400",
        ),
        ("GET /openapi.json HTTP/1.1\r\nhost: a b\r\n", "400"),
        ("GET http://a/openapi.json HTTP/1.1\r\nhost: b\r\n", "400"),
        ("GET http://a/openapi.json HTTP/1.1\r\n", "400"),
        (
            "GET /openapi.json HTTP/1.0\r\nhost: a\r\nhost: b\r\n",
            "400",
        ),
        ("GET /jwks.json HTTP/1.1\r\n", "400"),
    ] {
        let answer = raw(&service, &format!("{head}connection: close\r\n\r\n")).await;
        assert_eq!(answer.get(9..12), Some(status), "{head}: {answer}");
        if status == "400" {
            assert!(answer.contains("\"code\":\"invalid_request\""), "{answer}");
            assert!(answer.contains("x-request-id: "), "{answer}");
        }
    }
}

#[tokio::test]
async fn every_answer_forbids_to_guess_its_type() {
    let service = Service::start().await;
    for path in [
        "/openapi.json",
        "/auth/userinfo",
        "/nowhere",
        "/jwks.json",
        "/auth/mfa",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = raw(&service, &request).await;
        assert!(
            answer.contains("x-content-type-options: nosniff\r\n"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn the_page_is_for_tls_from_then_on() {
    let service = Service::start().await;
    for path in ["/auth/mfa", "/auth/mfa/page.js", "/auth/mfa/page.css"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = raw(&service, &request).await;
        let policy = "strict-transport-security: max-age=31536000\r\n";
        assert!(answer.contains(policy), "{answer}");
    }
}
