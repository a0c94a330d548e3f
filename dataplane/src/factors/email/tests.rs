//! Servers that do not work; one that does is among the end-to-end tests.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn email(port: u16) -> Email {
    Email {
        host: "127.0.0.1".to_owned(),
        port,
        tls: EmailTls::None,
        from: "Vestibule <no-reply@example.com>".to_owned(),
        credentials: None,
        ca_bundle: None,
    }
}

fn letter(to: &str) -> Letter {
    Letter {
        to: to.to_owned(),
        subject: "Your code".to_owned(),
        text: "123456".to_owned(),
        sent_at: 1_900_000_000,
        id: Uuid::nil(),
    }
}

async fn send_to(port: u16, to: &str) -> Result<(), SendError> {
    let server = MailServer::new(&email(port), Egress::Cluster).expect("a mail server");
    server.send(&letter(to)).await
}

/// Answers each line with the next of `answers`, then hangs up.
async fn server(answers: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        for answer in answers {
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            let mut line = [0; 4096];
            if stream.read(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
        }
    });
    port
}

#[tokio::test]
async fn a_refusal_is_told_by_its_code_and_without_the_address() {
    let refuses = &[
        "220 hello\r\n",
        "250 hello\r\n",
        "250 ok\r\n",
        "550 alice@example.com: who is that?\r\n",
    ];
    let error = send_to(server(refuses).await, "alice@example.com").await;
    let error = error.expect_err("it is refused");
    assert_eq!(error, SendError::Refused(550));
    assert!(!format!("{error} {error:?}").contains("alice"));
    let later = &["220 hello\r\n", "250 hello\r\n", "451 not now\r\n"];
    assert_eq!(
        send_to(server(later).await, "alice@example.com").await,
        Err(SendError::Later(451))
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_hangs_up_or_speaks_otherwise_is_told_apart_from_a_refusal() {
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = gone.local_addr().expect("an address").port();
    drop(gone);
    for port in [
        port,
        server(&[]).await,
        server(&["HTTP/1.1 400 Bad Request\r\n\r\n"]).await,
        server(&["220 hello\r\n", "250 hello\r\n"]).await,
    ] {
        let error = send_to(port, "alice@example.com").await;
        assert!(matches!(error, Err(SendError::Unreachable(_))), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let began = tokio::time::Instant::now();
    let sent = send_to(port, "alice@example.com").await;
    assert_eq!(sent, Err(SendError::TimedOut));
    assert!(began.elapsed() <= SEND_TIME_MAX + Duration::from_secs(1));
}

#[tokio::test]
async fn a_mail_is_not_sent_in_clear_where_tls_is_asked_for() {
    for tls in [EmailTls::Implicit, EmailTls::StartTls] {
        let port = server(&["220 hello\r\n", "250 hello\r\n", "250 ok\r\n"]).await;
        let server =
            MailServer::new(&Email { tls, ..email(port) }, Egress::Cluster).expect("a mail server");
        let sent = server.send(&letter("alice@example.com")).await;
        assert!(sent.is_err(), "{tls:?}");
    }
}

#[tokio::test]
async fn what_is_no_address_is_sent_nothing() {
    for to in [
        "",
        "alice",
        "a@example.com\r\nBcc: b@example.com",
        "a@b@c",
        "Alice <a@example.com>",
        &format!("{}@example.com", "a".repeat(300)),
    ] {
        assert_eq!(send_to(1, to).await, Err(SendError::Address), "{to}");
    }
}

#[test]
fn a_mail_holds_what_it_should_and_a_line_in_a_subject_starts_no_header() {
    let server = MailServer::new(&email(25), Egress::Cluster).expect("a mail server");
    let message = server.message(&Letter {
        subject: "您的验证码\r\nBcc: mallory@example.com".to_owned(),
        text: "验证码：123456".to_owned(),
        ..letter("alice@example.com")
    });
    let bytes = message.expect("a message").formatted();
    let text = String::from_utf8(bytes).expect("seven bits");
    for line in [
        "From: Vestibule <no-reply@example.com>\r\n",
        "To: alice@example.com\r\n",
        "Date: Sun, 17 Mar 2030 17:46:40 +0000\r\n",
        "Message-ID: <00000000-0000-0000-0000-000000000000@example.com>\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(text.is_ascii() && !text.contains("\nBcc"), "{text}");
}

#[test]
fn a_sender_may_have_any_name() {
    for (text, written) in [
        ("no-reply@example.com", "no-reply@example.com"),
        ("Vestibule <a@example.com>", "Vestibule <a@example.com>"),
        (
            "Example, Inc. <a@example.com>",
            "\"Example, Inc.\" <a@example.com>",
        ),
    ] {
        assert_eq!(
            mailbox(text).map(|from| from.to_string()).as_deref(),
            Some(written)
        );
    }
    for text in ["", "Vestibule", "Vestibule <a@example.com", "<>"] {
        assert_eq!(mailbox(text), None, "{text}");
    }
}

#[test]
fn debug_shows_no_code_address_or_password() {
    let secret = |text: &str| vestibule_crds::secret::Secret::new(text);
    let email = Email {
        credentials: Some(vestibule_crds::snapshot::Credentials {
            username: secret("hunter"),
            password: secret("hunter2"),
        }),
        ..email(25)
    };
    let server = MailServer::new(&email, Egress::Cluster).expect("a mail server");
    let shown = format!("{server:?} {:?}", letter("alice@example.com"));
    for hidden in ["hunter", "alice", "123456"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

#[tokio::test]
async fn a_mail_server_inside_the_cluster_is_out_of_reach_for_a_policy_that_may_not_go_there() {
    let port = server(&["220 hello\r\n"]).await;
    for host in ["127.0.0.1", "localhost", "::1", "169.254.169.254"] {
        let email = Email {
            host: host.to_owned(),
            ..email(port)
        };
        let server = MailServer::new(&email, Egress::Public).expect("a mail server");
        let sent = server.send(&letter("alice@example.com")).await;
        assert_eq!(sent, Err(SendError::NotPublic), "{host}");
    }
}
