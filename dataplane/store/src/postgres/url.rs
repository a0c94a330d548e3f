//! `postgres://user[:password]@host[:port][,host[:port]…]/database[?option=value&…]`
//!
//! | option | meaning |
//! |---|---|
//! | `sslmode` | `verify-full`: TLS, and the certificate is for the host that was dialled; `require`: TLS with whatever certificate; `disable` |
//! | `sslrootcert` | PEM file of the CA, for `verify-full`; the public CAs without it |
//! | `target_session_attrs` | `read-write`, which holds anyway: of several hosts the first that takes writes is used |
//! | `application_name` | what the server's own views show |
//!
//! Without `sslmode` it is `verify-full`, and `disable` when every host is this machine: no certificate is for `127.0.0.1`,
//! and what listens to loopback traffic can read our memory as well.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use zeroize::Zeroizing;

const DEFAULT_PORT: u16 = 5432;
const APPLICATION_NAME: &str = "vestibule";

/// Where the database is, and how to get in.
#[derive(Clone)]
pub struct PostgresUrl {
    pub user: String,
    pub database: String,
    /// At least one; the first that takes writes is used.
    pub hosts: Vec<Address>,
    pub tls: TlsMode,
    pub application_name: String,
    pub password: Password,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: Host,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// Encrypted, but open to anyone who can get in between.
    Require,
    VerifyFull {
        /// PEM certificates instead of the public CAs.
        roots: Option<PathBuf>,
    },
}

#[derive(Clone)]
pub enum Password {
    /// For servers that trust the network or a local user.
    Absent,
    Given(Zeroizing<String>),
    /// Read whenever a connection is made, so that it may change.
    File(PathBuf),
}

/// None of these repeats a part of the URL: where it is wrong, any part may be the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error(
        "the database URL is not of the form postgres://user@host:port/database (percent-encode special characters of a password)"
    )]
    Form,
    #[error("the database URL names no user: postgres://user@host:port/database")]
    NoUser,
    #[error("the database URL names no database: postgres://user@host:port/database")]
    NoDatabase,
    #[error(
        "the database URL has an option that is not known: there are sslmode, sslrootcert, target_session_attrs and application_name"
    )]
    UnknownOption,
    #[error("the database URL has an option twice")]
    RepeatedOption,
    #[error("sslmode of the database URL is disable, require or verify-full")]
    SslMode,
    #[error(
        "sslrootcert of the database URL needs sslmode=verify-full: no other mode verifies a certificate"
    )]
    UnusedRoots,
    #[error("target_session_attrs of the database URL is read-write, or left out")]
    SessionAttributes,
    #[error("the database password is given twice: in the URL and as a file")]
    TwoPasswords,
}

impl PostgresUrl {
    /// Whether the text claims to be one.
    pub fn is_meant(text: &str) -> bool {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        matches!(scheme, Some("postgres" | "postgresql"))
    }

    pub fn parse(text: &str, password_file: Option<&Path>) -> Result<Self, UrlError> {
        let (address, options) = match text.split_once('?') {
            // A `?` of a password that was not encoded.
            Some((_, options)) if options.contains('@') => return Err(UrlError::Form),
            Some((address, options)) => (address, options),
            None => (text, ""),
        };
        if !Self::is_meant(text) {
            return Err(UrlError::Form);
        }
        let config: Config = address.parse().map_err(|_| UrlError::Form)?;
        let options = Options::parse(options)?;
        let hosts = hosts(&config)?;
        let user = config.get_user().filter(|user| !user.is_empty());
        let database = config.get_dbname().filter(|name| !name.is_empty());
        Ok(Self {
            user: user.ok_or(UrlError::NoUser)?.to_owned(),
            database: database.ok_or(UrlError::NoDatabase)?.to_owned(),
            tls: tls_mode(options.ssl_mode.as_deref(), options.roots, &hosts)?,
            hosts,
            application_name: options
                .application_name
                .unwrap_or_else(|| APPLICATION_NAME.to_owned()),
            password: password(&config, password_file)?,
        })
    }

    /// `host:port`, as many as there are.
    pub fn places(&self) -> String {
        let places: Vec<String> = self.hosts.iter().map(Address::to_string).collect();
        places.join(", ")
    }
}

fn hosts(config: &Config) -> Result<Vec<Address>, UrlError> {
    let (hosts, ports) = (config.get_hosts(), config.get_ports());
    let hosts: Vec<Address> = hosts
        .iter()
        .enumerate()
        .map(|(index, host)| Address {
            host: host.clone(),
            port: *ports
                .get(index)
                .or_else(|| ports.first())
                .unwrap_or(&DEFAULT_PORT),
        })
        .collect();
    let named = |address: &Address| match &address.host {
        Host::Tcp(name) => !name.is_empty() && !name.contains(char::is_whitespace),
        Host::Unix(_) => true,
    };
    if hosts.is_empty() || !hosts.iter().all(named) {
        return Err(UrlError::Form);
    }
    Ok(hosts)
}

fn tls_mode(
    mode: Option<&str>,
    roots: Option<PathBuf>,
    hosts: &[Address],
) -> Result<TlsMode, UrlError> {
    let mode = match mode {
        Some("verify-full") => TlsMode::VerifyFull { roots },
        None if roots.is_some() => TlsMode::VerifyFull { roots },
        Some(_) | None if roots.is_some() => return Err(UrlError::UnusedRoots),
        Some("require") => TlsMode::Require,
        Some("disable") => TlsMode::Disable,
        Some(_) => return Err(UrlError::SslMode),
        None if hosts.iter().all(Address::is_this_machine) => TlsMode::Disable,
        None => TlsMode::VerifyFull { roots: None },
    };
    Ok(mode)
}

fn password(config: &Config, file: Option<&Path>) -> Result<Password, UrlError> {
    match (config.get_password(), file) {
        (Some(_), Some(_)) => Err(UrlError::TwoPasswords),
        (None, Some(file)) => Ok(Password::File(file.to_owned())),
        (None, None) => Ok(Password::Absent),
        (Some(bytes), None) => {
            let text = std::str::from_utf8(bytes).map_err(|_| UrlError::Form)?;
            Ok(Password::Given(Zeroizing::new(text.to_owned())))
        }
    }
}

#[derive(Default)]
struct Options {
    ssl_mode: Option<String>,
    roots: Option<PathBuf>,
    application_name: Option<String>,
    session_attributes: Option<String>,
}

impl Options {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let mut options = Self::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let value = value.into_owned();
            let before = match name.as_ref() {
                "sslmode" => options.ssl_mode.replace(value).is_some(),
                "sslrootcert" => options.roots.replace(value.into()).is_some(),
                "application_name" => options.application_name.replace(value).is_some(),
                "target_session_attrs" => options.session_attributes.replace(value).is_some(),
                _ => return Err(UrlError::UnknownOption),
            };
            if before {
                return Err(UrlError::RepeatedOption);
            }
        }
        match options.session_attributes.as_deref() {
            None | Some("read-write") => Ok(options),
            Some(_) => Err(UrlError::SessionAttributes),
        }
    }
}

impl Address {
    fn is_this_machine(&self) -> bool {
        match &self.host {
            Host::Unix(_) => true,
            Host::Tcp(name) if name.eq_ignore_ascii_case("localhost") => true,
            Host::Tcp(name) => name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PostgresUrl({}@{}/{}, {:?})",
            self.user,
            self.places(),
            self.database,
            self.tls
        )
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Given(_) => f.write_str("Given"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cret";

    fn parsed(text: &str) -> PostgresUrl {
        PostgresUrl::parse(text, None).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn parts_are_taken_apart_and_decoded() {
        let url = parsed("postgres://app:p%40ss%2F%3F@db.example:6432/vestibule?sslmode=require");
        assert_eq!(
            (url.user.as_str(), url.database.as_str()),
            ("app", "vestibule")
        );
        assert_eq!(url.places(), "db.example:6432");
        assert_eq!(url.tls, TlsMode::Require);
        let Password::Given(password) = url.password else {
            panic!("there is one");
        };
        assert_eq!(password.as_str(), "p@ss/?");
    }

    #[test]
    fn several_hosts_each_have_their_port() {
        let url =
            parsed("postgresql://app@a.example:1,b.example:2/v?target_session_attrs=read-write");
        assert_eq!(url.places(), "a.example:1, b.example:2");
        assert_eq!(parsed("postgres://app@a.example/v").hosts[0].port, 5432);
    }

    #[test]
    fn tls_is_verified_unless_the_server_is_on_this_machine() {
        let verified = TlsMode::VerifyFull { roots: None };
        for (host, mode) in [
            ("db.example", verified.clone()),
            ("10.0.0.7", verified.clone()),
            ("127.0.0.1", TlsMode::Disable),
            ("[::1]", TlsMode::Disable),
            ("localhost", TlsMode::Disable),
            ("%2Frun%2Fpostgresql", TlsMode::Disable),
            ("localhost,db.example", verified.clone()),
        ] {
            assert_eq!(
                parsed(&format!("postgres://app@{host}/v")).tls,
                mode,
                "{host}"
            );
        }
        let asked = parsed("postgres://app@localhost/v?sslmode=verify-full&sslrootcert=%2Fca.pem");
        let roots = Some(PathBuf::from("/ca.pem"));
        assert_eq!(asked.tls, TlsMode::VerifyFull { roots });
    }

    #[test]
    fn what_is_wrong_is_said_without_a_word_of_the_url() {
        for (text, error) in [
            ("postgres://app:s3cret@host:port/v", UrlError::Form),
            ("postgres://app:s3cret?x@host/v", UrlError::Form),
            ("postgres://app:s3cret@/v", UrlError::Form),
            ("postgres:app:s3cret@host/v", UrlError::Form),
            ("postgres://app:s3cret@host", UrlError::NoDatabase),
            ("postgres://app:s3cret@host/", UrlError::NoDatabase),
            ("postgres://host/v", UrlError::NoUser),
            (
                "postgres://app@host/v?sslmod=s3cret",
                UrlError::UnknownOption,
            ),
            (
                "postgres://app@host/v?password=s3cret",
                UrlError::UnknownOption,
            ),
            ("postgres://app@host/v?sslmode=s3cret", UrlError::SslMode),
            ("postgres://app@host/v?sslmode=prefer", UrlError::SslMode),
            (
                "postgres://app@host/v?sslmode=require&sslmode=disable",
                UrlError::RepeatedOption,
            ),
            (
                "postgres://app@host/v?sslmode=require&sslrootcert=/s3cret",
                UrlError::UnusedRoots,
            ),
            (
                "postgres://app@host/v?target_session_attrs=any",
                UrlError::SessionAttributes,
            ),
        ] {
            let found = PostgresUrl::parse(text, None).expect_err(text);
            assert_eq!(found, error, "{text}");
            assert!(!found.to_string().contains(SECRET), "{found}");
        }
    }

    #[test]
    fn the_password_comes_from_one_place() {
        let file = Path::new("/run/password");
        let both = PostgresUrl::parse("postgres://app:s3cret@host/v", Some(file));
        assert_eq!(both.expect_err("two"), UrlError::TwoPasswords);
        let one = PostgresUrl::parse("postgres://app@host/v", Some(file)).expect("one");
        assert!(matches!(one.password, Password::File(path) if path == file));
    }

    #[test]
    fn debug_shows_no_password() {
        let url = parsed("postgres://app:s3cret@host/v");
        let shown = format!("{url:?} {:?}", url.password);
        assert!(shown.contains("app@host:5432/v"), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
