//! The command line. Flag names and the `VESTIBULE_…` variables are a contract.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use url::Url;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_process::log::LogFormat;

use crate::audit::AuditTarget;
use vestibule_store::database::{Database, DatabaseError};
use vestibule_store::refusals::RefusalBounds;

mod installer;

pub use installer::InstallerArgs;

/// Sign-in for the services of a cluster, with an ID token from an OpenID provider.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, about, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked; for check and explain: everything was accepted
  1  it failed, or check or explain found something that is refused
  2  the command line is wrong";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the data plane
    Serve(Box<ServeArgs>),
    /// Start a provider and a data plane on this machine, sign in once step by step, and keep
    /// serving
    Demo(DemoArgs),
    /// Compile manifests and say what would be refused, before it is applied
    Check(CheckArgs),
    /// Show every verification step of one ID token, with what was expected and found
    Explain(ExplainArgs),
    /// Bring a database's schema up to date, which serve does by itself where its user may
    Migrate(MigrateArgs),
    /// Move a store from a SQLite file into an empty PostgreSQL database; what was interrupted goes
    /// on when it is run again
    Copy(CopyArgs),
    /// Write a copy of the SQLite file that a data plane goes on using
    Backup(BackupArgs),
    /// Decide the scored sign-ins of the last days again: whether what was decided stands, and with
    /// --policy what another policy would have decided
    Replay(ReplayArgs),
    /// See and change users, through a data plane that runs or in its PostgreSQL database
    Users(UsersArgs),
    /// Print the OpenAPI 3.1 document of the API
    Openapi,
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Directory of manifests (YAML or JSON) to compile, serve and watch [default: what the
    /// operator publishes in this pod's namespace]
    #[arg(long, value_name = "DIR", env = "VESTIBULE_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// Address of the public listener
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "VESTIBULE_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,
    /// Address of the admin listener: health, readiness, metrics, revision
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "VESTIBULE_ADMIN_LISTEN",
        default_value = "127.0.0.1:8081"
    )]
    pub admin_listen: SocketAddr,
    /// Directory of the SQLite file and the managed signing keys; made when it is missing
    #[arg(
        long,
        value_name = "DIR",
        env = "VESTIBULE_DATA_DIR",
        default_value = "./vestibule-data"
    )]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// PEM file of the server certificate and its chain, reloaded when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "VESTIBULE_TLS_CERT",
        requires = "tls_key",
        conflicts_with = "plain_http"
    )]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the server's private key, reloaded when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "VESTIBULE_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// PEM file of the CA whose client certificates callers must show
    #[arg(
        long,
        value_name = "FILE",
        env = "VESTIBULE_TLS_CLIENT_CA",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,
    /// Serve without TLS
    #[arg(long, env = "VESTIBULE_PLAIN_HTTP")]
    pub plain_http: bool,
    #[command(flatten)]
    pub issuers: IssuerArgs,
    #[command(flatten)]
    pub installer: InstallerArgs,
    /// File with the token that every change through the admin listener requires
    #[arg(long, value_name = "FILE", env = "VESTIBULE_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Geolocation database (MaxMind DB: City, Country or ASN; several in an order of trust) for
    /// risk scores; read again when it changes, and held in memory
    #[arg(
        long,
        value_name = "FILE",
        env = "VESTIBULE_GEOIP_DB",
        value_delimiter = ','
    )]
    pub geoip_db: Vec<PathBuf>,
    /// Form of the log on standard error [default: text on a terminal, json elsewhere]
    #[arg(long, value_name = "FORM", env = "VESTIBULE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Where audit events go besides the database, a line of JSON each: stdout, or a file, opened
    /// again when it was renamed
    #[arg(long, value_name = "stdout|FILE", env = "VESTIBULE_AUDIT_LOG")]
    pub audit_log: Option<AuditTarget>,
    /// Collector of traces (OpenTelemetry, OTLP over HTTP), such as http://collector:4318; headers
    /// for it are read from OTEL_EXPORTER_OTLP_HEADERS
    #[arg(long, value_name = "URL", env = "VESTIBULE_OTLP_ENDPOINT", value_parser = collector)]
    pub otlp_endpoint: Option<Url>,
    /// Share of the requests that are traced, 0 to 1, where the caller's `traceparent` does not say
    /// whether
    #[arg(
        long,
        value_name = "SHARE",
        env = "VESTIBULE_OTLP_SHARE",
        default_value_t = 1.0,
        value_parser = share
    )]
    pub otlp_share: f64,
    /// Connections served at once; a further one takes the place of one that gives nothing, or is
    /// closed
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VESTIBULE_MAX_CONNECTIONS",
        default_value_t = 10_000
    )]
    pub max_connections: usize,
    #[command(flatten)]
    pub audit: AuditArgs,
}

/// How much of the audit trail refusals may be; what was accepted is kept for its 180 days, however
/// much it is.
#[derive(Debug, Clone, Copy, Args)]
pub struct AuditArgs {
    /// Refused requests that the audit trail keeps at most; the oldest are deleted first
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VESTIBULE_AUDIT_REFUSALS_MAX",
        default_value_t = RefusalBounds::default().rows_max
    )]
    pub audit_refusals_max: u64,
    /// Bytes of refused requests that the audit trail keeps at most
    #[arg(
        long,
        value_name = "BYTES",
        env = "VESTIBULE_AUDIT_REFUSALS_BYTES_MAX",
        default_value_t = RefusalBounds::default().bytes_max
    )]
    pub audit_refusals_bytes_max: u64,
}

impl AuditArgs {
    pub fn refusals(self) -> RefusalBounds {
        RefusalBounds {
            rows_max: self.audit_refusals_max,
            bytes_max: self.audit_refusals_bytes_max,
        }
    }
}

#[derive(Clone, Args)]
pub struct DatabaseArgs {
    /// Where users and sessions are kept: sqlite:PATH, or
    /// postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE with several hosts
    /// if need be [default: sqlite:vestibule.db in the data directory]
    #[arg(
        long = "database",
        value_name = "URL",
        env = "VESTIBULE_DATABASE",
        hide_env_values = true
    )]
    pub url: Option<String>,
    /// File with the password of the postgres:// user, read again for each new connection
    #[arg(long, value_name = "FILE", env = "VESTIBULE_DATABASE_PASSWORD_FILE")]
    pub database_password_file: Option<PathBuf>,
}

impl DatabaseArgs {
    /// `data`: the directory of the SQLite file where nothing else is said.
    pub fn database(&self, data: &Path) -> Result<Database, DatabaseError> {
        let password_file = self.database_password_file.as_deref();
        Database::parse(self.url.as_deref(), password_file, data)
    }
}

/// The URL may hold a password.
impl fmt::Debug for DatabaseArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseArgs")
            .field("url", &self.url.as_ref().map(|_| "…"))
            .field("database_password_file", &self.database_password_file)
            .finish()
    }
}

/// The store that a command works on.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Directory of the SQLite file
    #[arg(
        long,
        value_name = "DIR",
        env = "VESTIBULE_DATA_DIR",
        default_value = "./vestibule-data"
    )]
    pub data_dir: PathBuf,
}

impl StoreArgs {
    pub fn database(&self) -> Result<Database, DatabaseError> {
        self.database.database(&self.data_dir)
    }
}

#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Form of the log on standard error [default: text on a terminal, json elsewhere]
    #[arg(long, value_name = "FORM", env = "VESTIBULE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// The new file
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

#[derive(Clone, Args)]
pub struct CopyArgs {
    /// The store to move: sqlite:PATH, while no data plane uses it
    #[arg(long, value_name = "URL")]
    pub from: String,
    /// An empty database: postgres://USER@HOST:PORT/DATABASE, as serve takes it
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// File with the password of the postgres:// user
    #[arg(long, value_name = "FILE")]
    pub to_password_file: Option<PathBuf>,
    /// Form of the log on standard error [default: text on a terminal, json elsewhere]
    #[arg(long, value_name = "FORM", env = "VESTIBULE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// A URL may hold a password.
impl fmt::Debug for CopyArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CopyArgs")
    }
}

#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Directory of the SQLite file; a data plane may go on using it
    #[arg(
        long,
        value_name = "DIR",
        env = "VESTIBULE_DATA_DIR",
        default_value = "./vestibule-data"
    )]
    pub data_dir: PathBuf,
    /// How many days to look back; events are kept for 180
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=366))]
    pub days: u16,
    /// Only the sign-in of this request (the X-Request-Id of its answer)
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// Only sign-ins of this SigninPolicy
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub of: Option<String>,
    /// File with the SigninPolicy to try instead: its risk.signals, thresholds and actions count,
    /// its ipLists and the windows of its failures do not, since addresses are not stored
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Form of the report
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Where a data plane of a cluster finds what the operator publishes.
#[derive(Debug, Clone, Default, Args)]
pub struct SnapshotArgs {
    /// Directory where the Secrets of the snapshot are mounted: what a pod starts with while the
    /// API server is away
    #[arg(
        long,
        value_name = "DIR",
        env = "VESTIBULE_SNAPSHOT_DIR",
        conflicts_with = "manifests"
    )]
    pub snapshot_dir: Option<PathBuf>,
    /// This pod's name, which its proofs to the operator hold
    #[arg(
        long,
        value_name = "NAME",
        env = "POD_NAME",
        conflicts_with = "manifests"
    )]
    pub pod_name: Option<String>,
    /// Directory in memory for a copy of what is served, for when the container restarts
    #[arg(
        long,
        value_name = "DIR",
        env = "VESTIBULE_LAST_GOOD_DIR",
        conflicts_with = "manifests"
    )]
    pub last_good_dir: Option<PathBuf>,
    /// kubeconfig of the cluster to follow from outside [default: the pod's service account]
    #[arg(
        long,
        value_name = "FILE",
        env = "VESTIBULE_KUBECONFIG",
        conflicts_with = "manifests"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace that the operator publishes in [default: the pod's own]
    #[arg(
        long,
        value_name = "NAME",
        env = "VESTIBULE_NAMESPACE",
        conflicts_with = "manifests"
    )]
    pub namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct IssuerArgs {
    /// Let http issuers and provider endpoints in, on loopback and in-cluster hosts only
    #[arg(long, env = "VESTIBULE_ALLOW_HTTP_ISSUERS")]
    allow_http_issuers: bool,
}

impl IssuerArgs {
    pub fn http_issuers(self) -> HttpIssuers {
        if self.allow_http_issuers {
            HttpIssuers::LoopbackAndCluster
        } else {
            HttpIssuers::Refuse
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Address of the public listener; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Sign in once, then stop instead of serving on
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Directory of manifests, or one file
    #[arg(value_name = "DIR")]
    pub path: PathBuf,
    #[command(flatten)]
    pub issuers: IssuerArgs,
    #[command(flatten)]
    pub installer: InstallerArgs,
    /// Form of the answer
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Directory of manifests
    #[arg(long, value_name = "DIR", env = "VESTIBULE_MANIFESTS")]
    pub manifests: PathBuf,
    /// The ID token; - reads it from standard input, so that it stays out of the shell's history
    #[arg(value_name = "TOKEN")]
    pub token: String,
    /// Name of the provider [default: the one that the token points to]
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// The nonce that the request would carry
    #[arg(long, value_name = "NONCE")]
    pub nonce: Option<String>,
    #[command(flatten)]
    pub issuers: IssuerArgs,
    /// Form of the answer
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: Output,
}

#[derive(Debug, Clone, Args)]
pub struct UsersArgs {
    /// Admin listener of a data plane
    #[arg(
        long,
        value_name = "URL",
        env = "VESTIBULE_ADMIN",
        default_value = "http://127.0.0.1:8081",
        global = true
    )]
    pub admin: String,
    /// File with the token that the data plane was given with the same flag
    #[arg(
        long,
        value_name = "FILE",
        env = "VESTIBULE_ADMIN_TOKEN_FILE",
        global = true
    )]
    pub admin_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub database: UsersDatabaseArgs,
    /// Form of the answer
    #[arg(long, value_name = "FORM", default_value = "text", global = true)]
    pub output: Output,
    #[command(subcommand)]
    pub command: UsersCommand,
}

/// Not from the environment of a data plane: a database is named on purpose.
#[derive(Clone, Args)]
pub struct UsersDatabaseArgs {
    /// The database itself, instead of a data plane: postgres://…
    #[arg(long = "database", value_name = "URL", global = true)]
    pub url: Option<String>,
    /// File with the password of the postgres:// user
    #[arg(long, value_name = "FILE", global = true)]
    pub database_password_file: Option<PathBuf>,
}

impl UsersDatabaseArgs {
    pub fn database(&self, data: &Path) -> Result<Database, DatabaseError> {
        let password_file = self.database_password_file.as_deref();
        Database::parse(self.url.as_deref(), password_file, data)
    }
}

/// The URL may hold a password.
impl fmt::Debug for UsersDatabaseArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsersDatabaseArgs")
            .field("url", &self.url.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Args)]
pub struct UserArgs {
    /// Id, user name or email address
    #[arg(value_name = "USER")]
    pub user: String,
    /// SigninPolicy of the user, as namespace/name or name; not needed with an id
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum UsersCommand {
    /// Users in the order of their ids
    List {
        /// Of this SigninPolicy only, as namespace/name or name
        #[arg(long, value_name = "POLICY")]
        policy: Option<String>,
        /// With this status only: active, disabled or locked
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// The last id of the page before
        #[arg(long, value_name = "ID")]
        after: Option<Uuid>,
        /// Users of the page
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// All that is known of a user
    Show(UserArgs),
    /// End a user's sessions and refuse new ones
    Disable(UserArgs),
    /// Let a disabled user sign in again
    Enable(UserArgs),
    /// Let a locked user sign in again, and forget wrong codes and passwords
    Unlock(UserArgs),
    /// Have a user change the local password at the next sign-in
    RequirePasswordChange(UserArgs),
    /// Set a user's local password, read from standard input or a file; the user's sessions end
    SetPassword {
        #[command(flatten)]
        user: UserArgs,
        /// File with the password [default: standard input]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Have the user change it at the next sign-in
        #[arg(long)]
        require_change: bool,
    },
    /// A user's live sessions, the newest first: when and where each was used last, and from which
    /// device
    Sessions {
        #[command(flatten)]
        user: UserArgs,
        /// The last id of the page before
        #[arg(long, value_name = "ID")]
        after: Option<Uuid>,
        /// Sessions of the page
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// End all sessions of a user, or one; the user may sign in again
    RevokeSessions {
        #[command(flatten)]
        user: UserArgs,
        /// This one alone
        #[arg(long, value_name = "ID")]
        session: Option<Uuid>,
    },
    /// Add users from JSON lines, with argon2id or bcrypt hashes; who is there already stays as is
    Import {
        /// File of JSON objects, one a line; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// SigninPolicy of the users, as namespace/name or name
        #[arg(long, value_name = "POLICY")]
        policy: String,
    },
}

fn collector(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("it must begin with http:// or https://".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("it must be between 0 and 1".to_owned())
    }
}
