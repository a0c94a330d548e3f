//! Codes by mail: one connection for each mail, with TLS unless the policy says otherwise for a
//! host nearby, within a bounded time.

use std::time::{Duration, SystemTime};

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use uuid::Uuid;
use vestibule_crds::signin_policy::EmailTls;
use vestibule_crds::snapshot::{Egress, Email};

use vestibule_idtoken::keys::egress::allows;

/// For everything: resolution, connection, handshake, and the last answer.
pub const SEND_TIME_MAX: Duration = Duration::from_secs(10);
/// For each command.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(5);
const ADDRESS_BYTES_MAX: usize = 254;

/// A policy's mail server.
#[derive(Clone)]
pub struct MailServer {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    egress: Egress,
    from: Mailbox,
}

/// A mail in plain text.
#[derive(Clone)]
pub struct Letter {
    pub to: String,
    pub subject: String,
    pub text: String,
    /// Seconds since the Unix epoch.
    pub sent_at: i64,
    /// Of this mail alone.
    pub id: Uuid,
}

/// Why there is no mail server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailServerError {
    #[error("{0} is no address that mail can be from")]
    From(String),
    #[error("its certificates cannot be used: {0}")]
    Tls(String),
}

/// Why a mail was not sent. What the server answered is not repeated, since servers repeat
/// addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the address is none that mail can be sent to")]
    Address,
    #[error("the mail server refused with {0}")]
    Refused(u16),
    #[error("the mail server asks to try again later with {0}")]
    Later(u16),
    #[error("the mail server did not answer in time")]
    TimedOut,
    #[error("no TLS connection to the mail server: {0}")]
    Tls(String),
    #[error("the mail server could not be spoken to: {0}")]
    Unreachable(String),
    #[error("the mail server has no public address, and the policy's namespace may reach no other")]
    NotPublic,
}

impl MailServer {
    /// `egress`: which addresses its name may lead to.
    pub fn new(email: &Email, egress: Egress) -> Result<Self, MailServerError> {
        let Email {
            host,
            port,
            tls,
            from,
            credentials,
            ca_bundle,
        } = email;
        let from = mailbox(from).ok_or_else(|| MailServerError::From(from.clone()))?;
        let tls = match tls {
            EmailTls::Implicit => Tls::Wrapper(tls_parameters(host, ca_bundle.as_deref())?),
            EmailTls::StartTls => Tls::Required(tls_parameters(host, ca_bundle.as_deref())?),
            EmailTls::None => Tls::None,
        };
        let credentials = credentials.as_ref().map(|credentials| {
            Credentials::new(
                credentials.username.expose().to_owned(),
                credentials.password.expose().to_owned(),
            )
        });
        Ok(Self {
            host: host.clone(),
            port: *port,
            tls,
            credentials,
            egress,
            from,
        })
    }

    /// The server has taken it over, or it is an error. A mail whose last answer was lost may
    /// arrive all the same.
    pub async fn send(&self, letter: &Letter) -> Result<(), SendError> {
        let message = self.message(letter)?;
        let sending = async {
            let transport = self.transport(&self.server().await?);
            let sent = transport.send(message).await;
            sent.map_err(|error| send_error(&error)).map(|_| ())
        };
        tokio::time::timeout(SEND_TIME_MAX, sending)
            .await
            .unwrap_or(Err(SendError::TimedOut))
    }

    /// Where to connect to: what a name meant when it was checked is what is connected to.
    async fn server(&self) -> Result<String, SendError> {
        match self.egress {
            Egress::Cluster => Ok(self.host.clone()),
            Egress::Public => {
                let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
                let found = found.map_err(|error| SendError::Unreachable(error.to_string()))?;
                let mut found = found.map(|address| address.ip());
                let public = found.find(|ip| allows(self.egress, *ip));
                public.map_or(Err(SendError::NotPublic), |ip| Ok(ip.to_string()))
            }
        }
    }

    fn transport(&self, server: &str) -> AsyncSmtpTransport<Tokio1Executor> {
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server)
            .port(self.port)
            .tls(self.tls.clone())
            .hello_name(ClientId::Domain(self.from.email.domain().to_owned()))
            .timeout(Some(COMMAND_TIME_MAX));
        if let Some(credentials) = &self.credentials {
            transport = transport.credentials(credentials.clone());
        }
        transport.build()
    }

    fn message(&self, letter: &Letter) -> Result<Message, SendError> {
        let Letter {
            to,
            subject,
            text,
            sent_at,
            id,
        } = letter;
        if to.len() > ADDRESS_BYTES_MAX {
            return Err(SendError::Address);
        }
        let to: Address = to.parse().map_err(|_| SendError::Address)?;
        let sent_at = Duration::from_secs(sent_at.unsigned_abs());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .date(SystemTime::UNIX_EPOCH + sent_at)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            .body(text.clone())
            .map_err(|_| SendError::Address)
    }
}

/// `address`, or `name <address>`. A name is written as one whatever stands in it.
fn mailbox(text: &str) -> Option<Mailbox> {
    match text.strip_suffix('>').and_then(|rest| rest.split_once('<')) {
        Some((name, address)) => {
            let name = name.trim();
            let name = (!name.is_empty()).then(|| name.to_owned());
            Some(Mailbox::new(name, address.parse().ok()?))
        }
        None => Some(Mailbox::new(None, text.parse().ok()?)),
    }
}

fn tls_parameters(host: &str, ca_bundle: Option<&str>) -> Result<TlsParameters, MailServerError> {
    let error = |error: lettre::transport::smtp::Error| MailServerError::Tls(error.to_string());
    let builder = TlsParameters::builder(host.to_owned());
    let Some(pem) = ca_bundle else {
        let builder = builder.certificate_store(CertificateStore::WebpkiRoots);
        return builder.build_rustls().map_err(error);
    };
    let mut builder = builder.certificate_store(CertificateStore::None);
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()).flatten() {
        let certificate = Certificate::from_der(certificate.to_vec()).map_err(error)?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(error)
}

fn send_error(error: &lettre::transport::smtp::Error) -> SendError {
    if let Some(code) = error.status() {
        let code = u16::from(code);
        return match code {
            500.. => SendError::Refused(code),
            _ => SendError::Later(code),
        };
    }
    if error.is_timeout() {
        return SendError::TimedOut;
    }
    let text = innermost(error);
    if error.is_tls() {
        return SendError::Tls(text);
    }
    // An answer that is none may hold anything.
    if error.is_response() || error.is_client() {
        return SendError::Unreachable("it does not speak SMTP as it should".to_owned());
    }
    SendError::Unreachable(text)
}

/// The innermost cause says most: "connection refused" rather than "network error".
fn innermost(error: &lettre::transport::smtp::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().take(200).collect()
}

impl std::fmt::Debug for MailServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailServer").finish_non_exhaustive()
    }
}

/// Redacted: its text holds a code, and an address is private.
impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
