//! Codes by mail, taken over by a real mail server.

use serde_json::json;
use uuid::Uuid;
use vestibule_crds::secret::Secret;
use vestibule_crds::signin_policy::EmailTls;
use vestibule_crds::snapshot::{Credentials, Egress, Email};
use vestibule_dataplane::factors::email::{Letter, MailServer, SendError};
use vestibule_tests::e2e::mailbox::{PASSWORD, USERNAME};
use vestibule_tests::e2e::{MailTls, Mailbox};

fn email(mailbox: &Mailbox, tls: EmailTls) -> Email {
    Email {
        host: "127.0.0.1".to_owned(),
        port: mailbox.port,
        tls,
        from: "Example, Inc. <no-reply@example.com>".to_owned(),
        credentials: None,
        ca_bundle: Some(mailbox.certificate.clone()),
    }
}

fn credentials(username: &str, password: &str) -> Option<Credentials> {
    Some(Credentials {
        username: Secret::new(username),
        password: Secret::new(password),
    })
}

async fn send(email: &Email) -> Result<(), SendError> {
    let letter = Letter {
        to: "alice@corp.example".to_owned(),
        subject: "您的登录验证码".to_owned(),
        text: "您的验证码是 012345\n".to_owned(),
        sent_at: 1_900_000_000,
        id: Uuid::from_u128(7),
    };
    let server = MailServer::new(email, Egress::Cluster).expect("a mail server");
    server.send(&letter).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_arrives_over_each_kind_of_connection() {
    for (tls, how, login) in [
        (EmailTls::None, MailTls::None, false),
        (EmailTls::Implicit, MailTls::Implicit, true),
        (EmailTls::StartTls, MailTls::StartTls, true),
    ] {
        let mailbox = Mailbox::start(how, login).await;
        let email = Email {
            credentials: credentials(USERNAME, PASSWORD).filter(|_| login),
            ..email(&mailbox, tls)
        };
        assert_eq!(send(&email).await, Ok(()), "{tls:?}");
        let mail = mailbox.mail(0).await;
        assert_eq!(mail["to"], json!(["alice@corp.example"]));
        assert_eq!(mail["from"], "no-reply@example.com");
        assert_eq!(mail["headers"]["Subject"], "您的登录验证码");
        assert_eq!(
            mail["headers"]["From"],
            "\"Example, Inc.\" <no-reply@example.com>"
        );
        assert_eq!(mail["text"], "您的验证码是 012345\r\n");
        assert_eq!(mail["tls"], json!(tls != EmailTls::None), "{tls:?}");
        assert_eq!(mail["user"], json!(login.then_some(USERNAME)), "{tls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_know_the_sender_refuses() {
    let mailbox = Mailbox::start(MailTls::StartTls, true).await;
    let stranger = Email {
        credentials: credentials(USERNAME, "another password"),
        ..email(&mailbox, EmailTls::StartTls)
    };
    assert_eq!(send(&stranger).await, Err(SendError::Refused(535)));
    let nobody = email(&mailbox, EmailTls::StartTls);
    assert_eq!(send(&nobody).await, Err(SendError::Refused(530)));
    assert!(mailbox.mails().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_whose_certificate_is_not_trusted_or_that_has_no_tls() {
    for (tls, how) in [
        (EmailTls::Implicit, MailTls::Implicit),
        (EmailTls::StartTls, MailTls::StartTls),
    ] {
        let mailbox = Mailbox::start(how, false).await;
        let other = Mailbox::start(MailTls::None, false).await;
        let stranger = Email {
            ca_bundle: Some(other.certificate.clone()),
            ..email(&mailbox, tls)
        };
        let sent = send(&stranger).await;
        assert!(sent.is_err(), "{tls:?}");
        let public = Email {
            ca_bundle: None,
            ..email(&mailbox, tls)
        };
        assert!(send(&public).await.is_err(), "{tls:?}");
        assert!(send(&email(&other, tls)).await.is_err(), "{tls:?}");
        assert!(mailbox.mails().is_empty() && other.mails().is_empty());
    }
}
