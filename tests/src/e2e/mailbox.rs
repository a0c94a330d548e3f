//! A real mail server, and what it was sent: `tests/mail/server.py`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::child::ChildProcess;
use super::eventually;

/// How the server wants to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    None,
    Implicit,
    StartTls,
}

#[derive(Debug)]
pub struct Mailbox {
    child: ChildProcess,
    pub port: u16,
    /// PEM of the certificate that the server shows for 127.0.0.1.
    pub certificate: String,
    _files: TempDir,
}

pub const USERNAME: &str = "vestibule";
pub const PASSWORD: &str = "mail-hunter2";

impl Mailbox {
    /// With `login` only [`USERNAME`] and [`PASSWORD`] may send.
    pub async fn start(tls: MailTls, login: bool) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("../target/tools/python/bin/python");
        assert!(
            python.exists(),
            "Python's packages are missing: `make tools` installs them"
        );
        let files = TempDir::new().expect("a directory");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        let certificate = made.cert.pem();
        let (cert, key) = (files.path().join("cert"), files.path().join("key"));
        std::fs::write(&cert, &certificate).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let mut command = Command::new(python);
        command.arg(root.join("mail/server.py"));
        command.args(match tls {
            MailTls::None => ["--tls", "none"],
            MailTls::Implicit => ["--tls", "implicit"],
            MailTls::StartTls => ["--tls", "starttls"],
        });
        command.arg("--cert").arg(cert).arg("--key").arg(key);
        if login {
            command.args(["--username", USERNAME, "--password", PASSWORD]);
        }
        let child = ChildProcess::start(&mut command);
        let port = eventually("the mail server listens", || async {
            let text = child.stdout.text();
            let line = text.lines().next().unwrap_or_default();
            let port = line
                .strip_prefix("port ")
                .and_then(|port| port.parse().ok());
            port.ok_or_else(|| child.stderr.text())
        })
        .await;
        Self {
            child,
            port,
            certificate,
            _files: files,
        }
    }

    /// Everything that was delivered so far.
    pub fn mails(&self) -> Vec<Value> {
        let text = self.child.stdout.text();
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        let mails = complete.lines().skip(1).map(serde_json::from_str);
        mails
            .collect::<Result<_, _>>()
            .expect("a line of JSON each")
    }

    /// The mail with this place in the order of delivery, as soon as it is there.
    pub async fn mail(&self, place: usize) -> Value {
        eventually("a mail is delivered", || async {
            let mails = self.mails();
            mails.get(place).cloned().ok_or(mails)
        })
        .await
    }
}
