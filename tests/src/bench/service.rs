//! The service under measurement: its manifests, its tokens, and the process itself; or its request path with a store that
//! keeps nothing, for what the store costs.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::signing_key::SigningKey;
use vestibule_dataplane::admin::Admin;
use vestibule_dataplane::app::App;
use vestibule_dataplane::clock::Clock;
use vestibule_dataplane::config::Manifests;
use vestibule_dataplane::metrics::Metrics;
use vestibule_dataplane::runtime_config::RuntimeConfig;
use vestibule_dataplane::server::bounds::Bounds;
use vestibule_dataplane::server::threads::Threads;
use vestibule_dataplane::server::{Gauge, Server};
use vestibule_store::answers::Answers;
use vestibule_store::{
    Gather, Gathered, IdentityKey, Profile, Signin, SigninOutcome, Store, User, UserStatus,
};

use super::process::{Process, sibling};

/// Users who sign in in turn.
pub const USERS: usize = 512;

/// A provider's key and the manifests that trust it.
#[derive(Debug)]
pub struct Setup {
    key: SigningKey,
}

impl Setup {
    pub fn new() -> anyhow::Result<Self> {
        let pem = SigningKey::generate(SigningAlgorithm::RS256)?;
        let key = SigningKey::parse(&pem, Some(SigningAlgorithm::RS256))?;
        Ok(Self { key })
    }

    /// Writes the manifests; `turn` changes something in them, so that it is a reload.
    pub fn write_manifests(&self, directory: &Path, turn: usize) -> anyhow::Result<()> {
        self.write_manifests_with(directory, turn, "{mode: \"Off\"}")
    }

    /// With this in `spec.risk`.
    pub fn write_manifests_with(
        &self,
        directory: &Path,
        turn: usize,
        risk: &str,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        write!(
            text,
            "\
apiVersion: vestibule.dev/v1alpha1
kind: SigninPolicy
metadata: {{name: default, namespace: bench}}
spec:
  token: {{issuer: https://auth.bench.example, audiences: [internal]}}
  signing: {{managed: {{algorithm: ES256}}}}
  password: {{}}
  limits: {{perUserPerMinute: 1000000}}
  risk: {risk}
---
apiVersion: vestibule.dev/v1alpha1
kind: OidcProvider
metadata: {{name: corp, namespace: bench}}
spec:
  issuer: https://login.bench.example
  displayName: turn {turn}
  audiences: [web]
  keys: {{jwks: {{keys: [{}]}}}}
",
            self.key.jwk
        )?;
        std::fs::create_dir_all(directory)?;
        // As an editor would: a reader never sees half of it.
        let new = directory.join(".new");
        std::fs::write(&new, text)?;
        std::fs::rename(&new, directory.join("bench.yaml"))?;
        Ok(())
    }

    /// Requests with tokens that are good for the next half hour.
    pub fn requests(&self) -> anyhow::Result<Arc<Vec<Bytes>>> {
        self.requests_among(USERS)
    }

    /// Of users who are spread evenly among so many.
    pub fn requests_among(&self, users: usize) -> anyhow::Result<Arc<Vec<Bytes>>> {
        let now = Clock::System.now();
        let header = json!({"alg": "RS256", "kid": self.key.kid, "typ": "JWT"}).to_string();
        let requests = (0..USERS)
            .map(|number| number * (users / USERS))
            .map(|number| {
                let claims = json!({
                    "iss": "https://login.bench.example",
                    "sub": format!("00u{number:017}"),
                    "aud": "web",
                    "iat": now,
                    "exp": now + 1800,
                    "auth_time": now,
                    "preferred_username": format!("user-{number}"),
                    "email": format!("user-{number}@bench.example"),
                    "email_verified": true,
                    "name": "A Person of the Benchmark",
                });
                let input = format!(
                    "{}.{}",
                    URL_SAFE_NO_PAD.encode(&header),
                    URL_SAFE_NO_PAD.encode(claims.to_string())
                );
                let signature = self.key.sign(input.as_bytes())?;
                let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
                Ok(Bytes::from(json!({"id_token": token}).to_string()))
            });
        Ok(Arc::new(requests.collect::<anyhow::Result<_>>()?))
    }
}

/// `vestibule serve`, measured from outside.
#[derive(Debug)]
pub struct ServiceProcess {
    pub process: Process,
    pub address: SocketAddr,
    admin: SocketAddr,
    pub start_to_ready: Duration,
}

/// A port that was free a moment ago may be taken by the load's own connections.
const STARTS_MAX: usize = 5;

impl ServiceProcess {
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::start_with(directory, None).await
    }

    /// `database`: a URL, or none for SQLite in the directory.
    pub async fn start_with(directory: &Path, database: Option<&str>) -> anyhow::Result<Self> {
        let mut last = Self::try_start(directory, database).await;
        for _ in 1..STARTS_MAX {
            if last.is_ok() {
                break;
            }
            last = Self::try_start(directory, database).await;
        }
        last
    }

    async fn try_start(directory: &Path, database: Option<&str>) -> anyhow::Result<Self> {
        let (address, admin) = (free_port().await?, free_port().await?);
        let began = Instant::now();
        let process = Process::start(
            Command::new(sibling("vestibule")?)
                .arg("serve")
                .arg("--manifests")
                .arg(directory.join("manifests"))
                .arg("--data-dir")
                .arg(directory.join("data"))
                .args(["--listen", &address.to_string()])
                .args(["--admin-listen", &admin.to_string()])
                .arg("--plain-http")
                .args(database.into_iter().flat_map(|url| ["--database", url]))
                .env("VESTIBULE_LOG", "warn"),
        )?;
        let mut service = Self {
            process,
            address,
            admin,
            start_to_ready: Duration::ZERO,
        };
        while service.admin_get("/readyz").await.is_err() {
            anyhow::ensure!(
                !service.process.has_ended()?,
                "it ended before it was ready"
            );
            anyhow::ensure!(
                began.elapsed() < Duration::from_secs(20),
                "it does not get ready"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        service.start_to_ready = began.elapsed();
        Ok(service)
    }

    /// A metric without labels.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.admin_get("/metrics").await?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line
            .with_context(|| format!("no metric {name}"))?
            .trim()
            .parse()?)
    }

    pub async fn revision(&self) -> anyhow::Result<String> {
        let body: serde_json::Value = serde_json::from_str(&self.admin_get("/revision").await?)?;
        let revision = body["revision"].as_str();
        Ok(revision.context("a revision is served")?.to_owned())
    }

    async fn admin_get(&self, path: &str) -> anyhow::Result<String> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let uri = format!("http://{}{path}", self.admin);
        let response = client
            .request(Request::get(uri).body(Empty::<Bytes>::new())?)
            .await?;
        anyhow::ensure!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8(body.to_vec())?)
    }
}

async fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

/// The request path with a store that keeps nothing, in this process. Never returns.
pub async fn serve_without_store(directory: &Path) -> anyhow::Result<Infallible> {
    let clock = Clock::System;
    let runtime_config = RuntimeConfig::empty(HttpIssuers::Refuse, clock.clone());
    let app = Arc::new(App::new(
        runtime_config,
        no_store(),
        clock,
        Metrics::default(),
    ));
    let data = directory.join("nostore");
    std::fs::create_dir_all(&data)?;
    let manifests = directory.join("manifests");
    let admin = Arc::new(Admin::default());
    let _serving = Manifests::open(
        &manifests,
        &data,
        HttpIssuers::Refuse.into(),
        Arc::clone(&app),
        admin,
    )?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let server = Server {
        listener,
        tls: None,
        connections_max: 1000,
        bounds: Bounds::default(),
        gauge: Arc::new(NoGauge),
        threads: Arc::new(Threads::of_cores()?),
    };
    let handle = move |peer: IpAddr, request| {
        vestibule_dataplane::http::handle(Arc::clone(&app), peer, request)
    };
    server.run(handle, CancellationToken::new()).await;
    anyhow::bail!("it stopped serving")
}

struct NoGauge;

impl Gauge for NoGauge {
    fn opened(&self) {}
    fn closed(&self) {}
    fn refused(&self) {}
}

/// Knows every user, keeps nothing.
fn no_store() -> Store {
    Answers::default()
        .to(|gather: &Gather| Some(known(&gather.identity)))
        .to(|_: &Signin| Some(SigninOutcome::Committed))
        .into()
}

fn known(identity: &IdentityKey) -> Gathered {
    let name = &identity.subject;
    let number = name.trim_start_matches("00u").parse::<u64>().unwrap_or(0);
    let user = User {
        id: Uuid::from_u64_pair(7, number),
        policy: identity.policy.clone(),
        profile: Profile {
            username: Some(format!("user-{number}")),
            email: Some(format!("user-{number}@bench.example")),
            email_verified: true,
            email_linkable: false,
            phone: None,
            phone_unverified: false,
        },
        status: UserStatus::Active,
        created_at: 1,
        sessions_valid_from: 0,
        password: None,
    };
    Gathered {
        user: Some(user),
        email_owners: Vec::new(),
        history: None,
    }
}
