//! One connection: to the first server that takes writes, with a session set up so that nothing on it can hang.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use tokio::time::Instant;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Socket, Statement};
use zeroize::Zeroizing;

use super::tls::{self, RootsError};
use super::url::{Address, Password, PostgresUrl, TlsMode};

/// One server has this long to take a connection, log us in and set the session up, so that a second one is reached within
/// the wait for an answer.
const SERVER_WAIT: Duration = Duration::from_millis(800);
/// How long bytes may stay unacknowledged, so that a server that vanished is noticed.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(3);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_TRIES: u32 = 2;

/// A plan is made for tables as large as they are then. The server makes a new one once it has
/// counted a table again, which can take it minutes; a new database grows a thousandfold in one.
pub(super) const PLANNED_FOR: Duration = Duration::from_secs(30);

/// Server-side limits, each shorter than the client's own wait for an answer: a statement that no
/// caller waits for any more must not go on. What is answered is on the disk whatever the server's
/// default is. All that is asked here goes by an index. One simple query: one round trip.
const SESSION: &str = "\
    SET statement_timeout = '1500ms'; \
    SET lock_timeout = '1000ms'; \
    SET idle_in_transaction_session_timeout = '5s'; \
    SET default_transaction_isolation = 'read committed'; \
    SET timezone = 'UTC'; \
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
    SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('enable_seqscan', 'jit'); \
    SELECT current_setting('transaction_read_only'), pg_is_in_recovery()::text";

/// Why there is no connection, and what to do about it. No variant holds the password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the file with the database's password, {path}, cannot be read: {source}")]
    PasswordFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error("the database at {address} cannot be reached: {reason}")]
    Unreachable { address: Address, reason: String },
    #[error("the database at {address} did not answer within {SERVER_WAIT:?}")]
    Late { address: Address },
    #[error(
        "the database at {address} cannot be trusted: {reason} (sslmode and sslrootcert of the URL say what is asked of it)"
    )]
    Untrusted { address: Address, reason: String },
    #[error(
        "the database at {address} asks {user} for a password: give it in the URL or by --database-password-file"
    )]
    NoPassword { address: Address, user: String },
    #[error("the database at {address} refuses the password of {user}")]
    WrongPassword { address: Address, user: String },
    #[error("the database at {address} does not let {user} in: {reason}")]
    NotLetIn {
        address: Address,
        user: String,
        reason: String,
    },
    #[error("there is no database {database} at {address}")]
    NoDatabase { address: Address, database: String },
    #[error("the database at {address} is a standby, which takes no writes")]
    Standby { address: Address },
    #[error(
        "the database at {address} is read-only for {user}: default_transaction_read_only is on"
    )]
    ReadOnly { address: Address, user: String },
    #[error("the database at {address} cannot be used: {reason}")]
    Unusable { address: Address, reason: String },
}

impl ConnectError {
    /// Whether time alone may mend it.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Late { .. } | Self::Standby { .. } => true,
            Self::PasswordFile { .. }
            | Self::Roots(_)
            | Self::Untrusted { .. }
            | Self::NoPassword { .. }
            | Self::WrongPassword { .. }
            | Self::NotLetIn { .. }
            | Self::NoDatabase { .. }
            | Self::ReadOnly { .. }
            | Self::Unusable { .. } => false,
        }
    }
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Connector {
    url: PostgresUrl,
    /// Which host is tried first: the one that took us last, or the one after those that did not, so that a server that
    /// answers nothing does not use up the wait of every attempt.
    first: AtomicUsize,
}

/// A connection and the statements that it has prepared.
pub(super) struct Connection {
    pub(super) client: Client,
    /// There are as many as this crate has texts.
    prepared: Mutex<Vec<Prepared>>,
}

struct Prepared {
    text: &'static str,
    statement: Statement,
    at: Instant,
}

impl Connector {
    pub(super) fn new(url: PostgresUrl) -> Self {
        Self {
            url,
            first: AtomicUsize::new(0),
        }
    }

    pub(super) fn url(&self) -> &PostgresUrl {
        &self.url
    }

    /// To the first server that takes writes.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        let password = self.password()?;
        let hosts = &self.url.hosts;
        let first = self.first.load(Ordering::Relaxed);
        let mut last = None;
        for index in (first..hosts.len()).chain(0..first) {
            let address = &hosts[index];
            self.first
                .store((index + 1) % hosts.len(), Ordering::Relaxed);
            let connecting = self.connect_to(address, password.as_ref());
            let result = tokio::time::timeout(SERVER_WAIT, connecting).await;
            match result.unwrap_or_else(|_| {
                Err(ConnectError::Late {
                    address: address.clone(),
                })
            }) {
                Ok(connection) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                // What a person must fix is reported, whatever the other servers say.
                Err(error) if last.as_ref().is_none_or(ConnectError::is_passing) => {
                    last = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(last.expect("a URL has at least one host"))
    }

    /// A file is read each time, so that the password may change.
    fn password(&self) -> Result<Option<Zeroizing<String>>, ConnectError> {
        match &self.url.password {
            Password::Absent => Ok(None),
            Password::Given(password) => Ok(Some(password.clone())),
            Password::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => {
                    let text = Zeroizing::new(text);
                    Ok(Some(Zeroizing::new(
                        text.trim_end_matches(['\r', '\n']).to_owned(),
                    )))
                }
                Err(source) => Err(ConnectError::PasswordFile {
                    path: path.clone(),
                    source,
                }),
            },
        }
    }

    async fn connect_to(
        &self,
        address: &Address,
        password: Option<&Zeroizing<String>>,
    ) -> Result<Connection, ConnectError> {
        let mut config = Config::new();
        config
            .user(&self.url.user)
            .dbname(&self.url.database)
            .application_name(&self.url.application_name)
            .port(address.port)
            .tcp_user_timeout(ACKNOWLEDGE_WAIT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_EVERY)
            .keepalives_retries(KEEPALIVE_TRIES);
        match &address.host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(path) => config.host_path(path),
        };
        if let Some(password) = password {
            config.password(password.as_bytes());
        }
        let over_network = matches!(address.host, Host::Tcp(_));
        let client = match &self.url.tls {
            TlsMode::Require if over_network => {
                config.ssl_mode(SslMode::Require);
                self.open(&config, tls::encrypting(), address).await?
            }
            TlsMode::VerifyFull { roots } if over_network => {
                config.ssl_mode(SslMode::Require);
                // Read each time, so that a CA may be replaced.
                let tls = tls::verifying(roots.as_deref())?;
                self.open(&config, tls, address).await?
            }
            TlsMode::Disable | TlsMode::Require | TlsMode::VerifyFull { .. } => {
                config.ssl_mode(SslMode::Disable);
                self.open(&config, NoTls, address).await?
            }
        };
        self.set_up(&client, address).await?;
        Ok(Connection {
            client,
            prepared: Mutex::default(),
        })
    }

    async fn open<T>(
        &self,
        config: &Config,
        tls: T,
        address: &Address,
    ) -> Result<Client, ConnectError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let connected = config.connect(tls).await;
        let (client, connection) = connected.map_err(|error| self.refused(address, &error))?;
        // It ends with the client, or when the connection breaks off, of which the client tells.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to the database ended: {error}");
            }
        });
        Ok(client)
    }

    async fn set_up(&self, client: &Client, address: &Address) -> Result<(), ConnectError> {
        let answers = client.simple_query(SESSION).await;
        let answers = answers.map_err(|error| self.refused(address, &error))?;
        let last = answers.iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let (read_only, standby) = last.map_or((None, None), |row| (row.get(0), row.get(1)));
        if standby == Some("true") {
            return Err(ConnectError::Standby {
                address: address.clone(),
            });
        }
        if read_only != Some("off") {
            return Err(ConnectError::ReadOnly {
                address: address.clone(),
                user: self.url.user.clone(),
            });
        }
        Ok(())
    }

    fn refused(&self, address: &Address, error: &tokio_postgres::Error) -> ConnectError {
        let (address, user) = (address.clone(), self.url.user.clone());
        let Some(answer) = error.as_db_error() else {
            return unanswered(address, user, error);
        };
        let reason = answer.message().to_owned();
        let code = answer.code();
        if *code == SqlState::INVALID_PASSWORD {
            ConnectError::WrongPassword { address, user }
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            let database = self.url.database.clone();
            ConnectError::NoDatabase { address, database }
        } else if code.code().starts_with("28") || *code == SqlState::INSUFFICIENT_PRIVILEGE {
            ConnectError::NotLetIn {
                address,
                user,
                reason,
            }
        } else if code.code().starts_with("57P") || code.code().starts_with("53") {
            // It starts, stops, or has no place left.
            ConnectError::Unreachable { address, reason }
        } else {
            ConnectError::Unusable { address, reason }
        }
    }
}

/// Without a word of the server's own.
fn unanswered(address: Address, user: String, error: &tokio_postgres::Error) -> ConnectError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let is_rustls = error.is::<rustls::Error>()
            || error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .is_some_and(|inner| inner.is::<rustls::Error>());
        if is_rustls {
            let reason = error.to_string();
            return ConnectError::Untrusted { address, reason };
        }
        reason = error.to_string();
        cause = error.source();
    }
    match reason.as_str() {
        "password missing" => ConnectError::NoPassword { address, user },
        "server does not support TLS" => ConnectError::Untrusted {
            address,
            reason: "it offers no TLS".to_owned(),
        },
        _ => ConnectError::Unreachable { address, reason },
    }
}

impl Connection {
    /// Prepared at its first use and now and then again, one round trip more.
    pub(super) async fn prepared(
        &self,
        text: &'static str,
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.known(text, PLANNED_FOR) {
            return Ok(statement);
        }
        let statement = self.client.prepare(text).await?;
        let mut prepared = self.locked();
        prepared.retain(|known| !std::ptr::eq(known.text, text));
        prepared.push(Prepared {
            text,
            statement: statement.clone(),
            at: Instant::now(),
        });
        Ok(statement)
    }

    /// One that was prepared less than this ago.
    fn known(&self, text: &'static str, ago: Duration) -> Option<Statement> {
        let prepared = self.locked();
        // A text is the same one when it stands at the same place.
        let known = prepared
            .iter()
            .find(|known| std::ptr::eq(known.text, text))?;
        (known.at.elapsed() < ago).then(|| known.statement.clone())
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = ConnectError;

    async fn create(&self) -> Result<Connection, ConnectError> {
        self.connect().await
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<ConnectError> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("it broke off"));
        }
        Ok(())
    }
}
