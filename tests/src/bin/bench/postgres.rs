//! With PostgreSQL, durable: the data plane's CPU and the server's together.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use uuid::Uuid;
use vestibule_dataplane::clock::Clock;
use vestibule_tests::bench::crowd;
use vestibule_tests::bench::load::{Connection, Load, Pace};
use vestibule_tests::bench::process::{Process, cpu_seconds_with_children, own_cpu_seconds};
use vestibule_tests::bench::report::Report;
use vestibule_tests::bench::service::{ServiceProcess, Setup};
use vestibule_tests::e2e::Client;
use vestibule_tests::e2e::postgres::Postgres;

use super::{RISK, ROUNDS, Seconds, measured, median, signins, target};

/// As many as the pool of a data plane has.
const CONNECTIONS: usize = 16;
const REPLICAS: usize = 3;
/// So many refresh at once, each for the next of so many sessions: nobody refreshes a session again the moment it was refreshed.
const REFRESHING: usize = 64;
const SESSIONS_EACH: usize = 512;
const SIGNIN: &str = "/auth/id-token/signin";
const REFRESH: &str = "/auth/token/refresh";
/// Of what one replica does at saturation, while rows are swept.
const SHARE: f64 = 0.3;
/// A session is kept for a day after its end.
const LONG_AGO: i64 = 3 * 86_400;
const SWEEP_TIME_MAX: Duration = Duration::from_secs(300);

pub(super) async fn measure(
    setup: &Setup,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let server = Server(Postgres::start());
    let directory = TempDir::new_in(target())?;
    let path = directory.path();
    setup.write_manifests(&path.join("manifests"), 0)?;
    let requests = setup.requests()?;
    let url = server.database("costs").await?;
    let service = ServiceProcess::start_with(path, Some(&url)).await?;
    let load = signins(service.address, &requests);
    load.run(Pace::Saturating, Duration::from_secs(1)).await?;

    let (without, address) = Process::start_with_line(
        Command::new(std::env::current_exe()?)
            .arg("no-store")
            .arg(path),
    )?;
    let without_load = signins(address.parse()?, &requests);
    let round = Duration::from_secs(seconds.round);

    let mut refreshing = Refreshing::begin(&service, &requests).await?;
    let (mut no_store, mut inserts, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut signins, mut refreshes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        no_store.push(measured(&without, &without_load, round).await?.0);
        inserts.push(server.insert_us(seconds).await?);
        let (cost, rate) = server.signin_cost(&service, &load, seconds).await?;
        signins.push(cost);
        alone.push(rate);
        refreshes.push(
            server
                .refresh_cost(&service, &mut refreshing, seconds)
                .await?,
        );
    }
    drop(without);
    let (no_store, insert) = (median(&no_store), median(&inserts));
    let (signin, refresh) = (Cost::median(&signins), Cost::median(&refreshes));
    report.figure(
        "sign-in without a store, beside PostgreSQL",
        "µs CPU",
        &[no_store],
    );
    report.figure(
        "one-row insert by 16 connections, PostgreSQL, client and server",
        "µs CPU",
        &[insert],
    );
    report.figure(
        "sign-in with PostgreSQL, data plane and server",
        "µs CPU",
        &[signin.service, signin.server],
    );
    report.bar(
        "sign-in with PostgreSQL / without a store + one insert",
        signin.both() / (no_store + insert),
        1.3,
        "×",
    );
    report.figure(
        "refresh with PostgreSQL, data plane and server",
        "µs CPU",
        &[refresh.service, refresh.server],
    );
    report.bar(
        "refresh / sign-in, PostgreSQL",
        refresh.both() / signin.both(),
        0.7,
        "×",
    );
    let together = replicas(path, &url, &requests, seconds).await?;
    report.figure(
        "sign-ins a second, one replica and three, on one server",
        "/s",
        &[median(&alone), together],
    );
    sweep(
        &url,
        &service,
        &load,
        median(&alone) * SHARE,
        seconds,
        report,
    )
    .await?;
    drop(service);
    crowds(&server, setup, seconds, report).await
}

struct Server(Arc<Postgres>);

impl Server {
    /// An empty database.
    async fn database(&self, name: &str) -> anyhow::Result<String> {
        let db = connect(&self.0.url()).await?;
        db.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let url = self.0.url();
        let (server, _) = url.rsplit_once('/').context("a URL has a path")?;
        Ok(format!("{server}/{name}"))
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds_with_children(self.0.pid()?)
    }

    /// What nothing durable is cheaper than: one row, inserted and committed.
    async fn insert_us(&self, seconds: Seconds) -> anyhow::Result<f64> {
        let db = connect(&self.0.url()).await?;
        db.batch_execute(
            "DROP TABLE IF EXISTS floor; CREATE TABLE floor (id UUID PRIMARY KEY, a UUID, b BIGINT, c BYTEA, d TEXT)",
        )
        .await?;
        let inserted = Arc::new(AtomicUsize::new(0));
        let round = Duration::from_secs(seconds.round);
        let mut running = JoinSet::new();
        let before = own_cpu_seconds()? + self.cpu_seconds()?;
        for _ in 0..CONNECTIONS {
            let (url, inserted) = (self.0.url(), Arc::clone(&inserted));
            running.spawn(async move {
                let db = connect(&url).await?;
                let insert = db
                    .prepare("INSERT INTO floor (id, a, b, c, d) VALUES ($1, $2, $3, $4, $5)")
                    .await?;
                let began = Instant::now();
                let (digest, carried) = ([7_u8; 32].as_slice(), "x".repeat(200));
                while began.elapsed() < round {
                    let id = Uuid::now_v7();
                    db.execute(&insert, &[&id, &id, &1_i64, &digest, &carried])
                        .await?;
                    inserted.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        let cpu = own_cpu_seconds()? + self.cpu_seconds()? - before;
        Ok(cpu * 1e6 / inserted.load(Ordering::Relaxed) as f64)
    }

    /// Also sign-ins a second.
    async fn signin_cost(
        &self,
        service: &ServiceProcess,
        load: &Load,
        seconds: Seconds,
    ) -> anyhow::Result<(Cost, f64)> {
        let before = self.spent(service)?;
        let outcome = load
            .run(Pace::Saturating, Duration::from_secs(seconds.round))
            .await?;
        let spent = self.spent(service)?.since(before);
        anyhow::ensure!(outcome.failed == 0, "{} sign-ins failed", outcome.failed);
        Ok((spent.of_each(outcome.answered), outcome.per_second()))
    }

    async fn refresh_cost(
        &self,
        service: &ServiceProcess,
        refreshing: &mut Refreshing,
        seconds: Seconds,
    ) -> anyhow::Result<Cost> {
        let before = self.spent(service)?;
        let refreshed = refreshing.run(Duration::from_secs(seconds.round)).await?;
        Ok(self.spent(service)?.since(before).of_each(refreshed))
    }

    /// So far, in microseconds.
    fn spent(&self, service: &ServiceProcess) -> anyhow::Result<Cost> {
        Ok(Cost {
            service: service.process.cpu_seconds()? * 1e6,
            server: self.cpu_seconds()? * 1e6,
        })
    }
}

/// CPU microseconds of the data plane and of the database's server.
#[derive(Debug, Clone, Copy)]
struct Cost {
    service: f64,
    server: f64,
}

impl Cost {
    fn both(self) -> f64 {
        self.service + self.server
    }

    fn since(self, before: Self) -> Self {
        Self {
            service: self.service - before.service,
            server: self.server - before.server,
        }
    }

    fn of_each(self, answered: usize) -> Self {
        Self {
            service: self.service / answered as f64,
            server: self.server / answered as f64,
        }
    }

    /// The round whose sum is the median.
    fn median(rounds: &[Self]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(|one, other| one.both().total_cmp(&other.both()));
        sorted[sorted.len() / 2]
    }
}

/// Those who refresh at once: each has a connection, and refresh tokens, the next one first.
struct Refreshing(Vec<(Connection, VecDeque<String>)>);

/// What is wanted of an answer.
#[derive(serde::Deserialize)]
struct Answered {
    refresh_token: String,
}

impl Refreshing {
    /// Everybody signs in often enough.
    async fn begin(service: &ServiceProcess, requests: &Arc<Vec<Bytes>>) -> anyhow::Result<Self> {
        let mut running = JoinSet::new();
        for number in 0..REFRESHING {
            let mut connection = Connection::open(service.address).await?;
            let requests = Arc::clone(requests);
            running.spawn(async move {
                let mut tokens = VecDeque::new();
                for at in 0..SESSIONS_EACH {
                    let body = &requests[(number * SESSIONS_EACH + at) % requests.len()];
                    tokens.push_back(token(&mut connection, SIGNIN, body.clone()).await?);
                }
                anyhow::Ok((connection, tokens))
            });
        }
        let mut each = Vec::new();
        while let Some(ended) = running.join_next().await {
            each.push(ended??);
        }
        Ok(Self(each))
    }

    /// How many were refreshed, each with the token that its last refresh gave.
    async fn run(&mut self, round: Duration) -> anyhow::Result<usize> {
        let mut running = JoinSet::new();
        for (mut connection, mut tokens) in self.0.drain(..) {
            running.spawn(async move {
                let (began, mut refreshed) = (Instant::now(), 0);
                while began.elapsed() < round {
                    let last = tokens.pop_front().context("a session each")?;
                    let body = Bytes::from(json!({"refresh_token": last}).to_string());
                    tokens.push_back(token(&mut connection, REFRESH, body).await?);
                    refreshed += 1;
                }
                anyhow::Ok((connection, tokens, refreshed))
            });
        }
        let mut refreshed = 0;
        while let Some(ended) = running.join_next().await {
            let (connection, tokens, by_one) = ended??;
            self.0.push((connection, tokens));
            refreshed += by_one;
        }
        Ok(refreshed)
    }
}

/// The refresh token that is answered.
async fn token(connection: &mut Connection, path: &str, body: Bytes) -> anyhow::Result<String> {
    let (status, body) = connection.post(path, body).await?;
    anyhow::ensure!(
        status == StatusCode::OK,
        "{status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(serde_json::from_slice::<Answered>(&body)?.refresh_token)
}

async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        // How it ends shows in the next statement.
        let _ended = connection.await;
    });
    Ok(client)
}

/// Sign-ins a second of three data planes together.
async fn replicas(
    path: &Path,
    url: &str,
    requests: &Arc<Vec<Bytes>>,
    seconds: Seconds,
) -> anyhow::Result<f64> {
    let mut services = Vec::new();
    let mut running = JoinSet::new();
    for _ in 0..REPLICAS {
        let service = ServiceProcess::start_with(path, Some(url)).await?;
        let mut load = signins(service.address, requests);
        load.connections = load.connections.div_ceil(REPLICAS);
        services.push(service);
        let round = Duration::from_secs(seconds.round);
        running.spawn(async move { load.run(Pace::Saturating, round).await });
    }
    let mut rate = 0.0;
    while let Some(ended) = running.join_next().await {
        let outcome = ended??;
        anyhow::ensure!(outcome.failed == 0, "{} sign-ins failed", outcome.failed);
        rate += outcome.per_second();
    }
    Ok(rate)
}

/// Sign-ins while expired sessions are deleted, against the same rate without.
async fn sweep(
    url: &str,
    service: &ServiceProcess,
    load: &Load,
    rate: f64,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let rows = seconds.crowds.1;
    let (pace, part) = (
        Pace::PerSecond(rate),
        Duration::from_secs(seconds.paced / 2),
    );
    let quiet = load.run(pace, part).await?.quantile_ms(0.99);
    let db = connect(url).await?;
    let long_ago = Clock::System.now() - LONG_AGO;
    crowd::sessions(&db, i64::try_from(rows)?, long_ago, long_ago).await?;
    db.batch_execute("CHECKPOINT").await?;
    let swept = || service.metric("vestibule_rows_swept_total");
    let before = swept().await?;
    let (began, mut meanwhile) = (Instant::now(), Vec::new());
    while swept().await? - before < rows as f64 {
        anyhow::ensure!(
            began.elapsed() < SWEEP_TIME_MAX,
            "{} of {rows} rows are swept after {SWEEP_TIME_MAX:?}",
            swept().await? - before
        );
        let sweeping = swept().await? > before;
        let outcome = load.run(pace, Duration::from_secs(2)).await?;
        anyhow::ensure!(outcome.failed == 0, "{} sign-ins failed", outcome.failed);
        if sweeping {
            meanwhile.push(outcome.quantile_ms(0.99));
        }
    }
    let meanwhile = median(&meanwhile);
    report.figure(
        &format!("p99 of sign-ins without and with {rows} expired rows being swept, PostgreSQL"),
        "ms",
        &[quiet, meanwhile],
    );
    report.bar(
        "p99 while rows are swept / without",
        meanwhile / quiet,
        2.0,
        "×",
    );
    Ok(())
}

async fn crowds(
    server: &Server,
    setup: &Setup,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (few, many) = seconds.crowds;
    let mut crowds = Vec::new();
    for (name, users) in [("few", few), ("many", many)] {
        let directory = TempDir::new_in(target())?;
        setup.write_manifests_with(&directory.path().join("manifests"), 0, RISK)?;
        let url = server.database(name).await?;
        let requests = setup.requests_among(users)?;
        // Makes the schema, and a history to take as a pattern.
        let first = ServiceProcess::start_with(directory.path(), Some(&url)).await?;
        let body: Value = serde_json::from_slice(requests.first().context("somebody")?)?;
        let signin = format!("http://{}/auth/id-token/signin", first.address);
        for _ in 0..2 {
            let request = Client::new().post(&signin, &body).await?;
            anyhow::ensure!(request.status == 200, "{}", request.body);
        }
        drop(first);
        let db = connect(&url).await?;
        let row = db
            .query_opt("SELECT content FROM risk_history LIMIT 1", &[])
            .await?;
        let history: Vec<u8> = row.context("a history was kept")?.get(0);
        db.batch_execute("TRUNCATE users, identities, risk_history, sessions, events")
            .await?;
        println!("making {users} users in PostgreSQL");
        crowd::fill_postgres(&db, users, &history, Clock::System.now()).await?;
        let service = ServiceProcess::start_with(directory.path(), Some(&url)).await?;
        let load = signins(service.address, &requests);
        load.run(Pace::Saturating, Duration::from_secs(1)).await?;
        crowds.push((service, load, directory));
    }
    let mut rounds: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for ((service, load, _), figures) in crowds.iter().zip(&mut rounds) {
            let (cost, _rate) = server.signin_cost(service, load, seconds).await?;
            figures.push(cost.both());
        }
    }
    let [small, large] = rounds.map(|figures| median(&figures));
    report.figure(
        &format!("sign-in with risk, PostgreSQL, among {few} and {many} users"),
        "µs CPU",
        &[small, large],
    );
    report.bar(
        &format!("sign-in among {many} users / among {few}, PostgreSQL"),
        large / small,
        1.3,
        "×",
    );
    Ok(())
}
