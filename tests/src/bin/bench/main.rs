//! `make bench`: what a sign-in costs against the floor of the same run, and how the service behaves under load.
//!
//! CPU time is the measured process's own; the load comes from this process. Figures are medians of interleaved rounds.

mod crowds;
mod passwords;
mod postgres;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use tempfile::TempDir;
use vestibule_tests::bench::floor::{self, Between, Statements};
use vestibule_tests::bench::load::{Load, Outcome, Pace};
use vestibule_tests::bench::process::Process;
use vestibule_tests::bench::report::Report;
use vestibule_tests::bench::service::{ServiceProcess, Setup, USERS, serve_without_store};

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
const RELOADS: usize = 1000;

/// The same as the service's, since this program also runs the request path without a store.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("exchange"), None) => runtime
            .block_on(floor::serve_exchange(Between::Nothing))
            .map(|_| ()),
        (Some("crypto-exchange"), None) => runtime
            .block_on(floor::serve_exchange(Between::Crypto))
            .map(|_| ()),
        (Some("no-store"), Some(directory)) => runtime
            .block_on(serve_without_store(Path::new(&directory)))
            .map(|_| ()),
        _ => runtime.block_on(bench(NewChallenge::parse(std::env::args().skip(1))?)),
    }
}

/// What is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Costs,
    Latency,
    Start,
    Reloads,
    Passwords,
    Crowds,
    Postgres,
}

impl Part {
    const ALL: [(&str, Self); 7] = [
        ("costs", Self::Costs),
        ("latency", Self::Latency),
        ("start", Self::Start),
        ("reloads", Self::Reloads),
        ("passwords", Self::Passwords),
        ("crowds", Self::Crowds),
        ("postgres", Self::Postgres),
    ];

    /// Whether it goes by how much the service can do.
    fn needs_costs(self) -> bool {
        match self {
            Self::Costs | Self::Latency | Self::Reloads | Self::Passwords => true,
            Self::Start | Self::Crowds | Self::Postgres => false,
        }
    }
}

/// The command line.
struct NewChallenge {
    output: Option<PathBuf>,
    seconds: Seconds,
    /// All parts without it.
    only: Option<Part>,
}

impl NewChallenge {
    fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let names = Part::ALL.map(|(name, _)| name).join("|");
        let usage = format!("usage: bench [--quick] [--only {names}] [--output FILE]");
        let mut asked = Self {
            output: None,
            seconds: Seconds::FULL,
            only: None,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => asked.seconds = Seconds::QUICK,
                "--output" => {
                    asked.output = Some(arguments.next().context(usage.clone())?.into());
                }
                "--only" => {
                    let name = arguments.next().context(usage.clone())?;
                    let part = Part::ALL.into_iter().find(|(known, _)| *known == name);
                    asked.only = Some(part.context(usage.clone())?.1);
                }
                _ => anyhow::bail!(usage),
            }
        }
        Ok(asked)
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

/// How long each part takes.
#[derive(Clone, Copy)]
struct Seconds {
    round: u64,
    paced: u64,
    reloads: usize,
    /// Users: few, and many.
    crowds: (usize, usize),
}

impl Seconds {
    const FULL: Self = Self {
        round: 5,
        paced: 20,
        reloads: RELOADS,
        crowds: (1_000, 1_000_000),
    };
    const QUICK: Self = Self {
        round: 1,
        paced: 3,
        reloads: 30,
        crowds: (1_000, 20_000),
    };
}

/// Scores every sign-in, and lets each pass.
const RISK: &str = "{mode: Enforce, actions: {low: Allow, medium: Allow, high: Allow}, trustedProxies: [127.0.0.0/8]}";

async fn bench(asked: NewChallenge) -> anyhow::Result<()> {
    let seconds = asked.seconds;
    // Not the system's temporary folder, which may be memory: what is measured writes to a disk.
    let directory = TempDir::new_in(target())?;
    let setup = Setup::new()?;
    setup.write_manifests(&directory.path().join("manifests"), 0)?;
    let requests = setup.requests()?;
    println!(
        "cores {}, {CONNECTIONS} connections, {USERS} users, medians of {ROUNDS} rounds of {} s",
        std::thread::available_parallelism()?,
        seconds.round
    );

    let mut report = Report::default();
    if asked.only.is_none_or(Part::needs_costs) {
        setup.write_manifests_with(&directory.path().join("risk/manifests"), 0, RISK)?;
        let costs = costs(directory.path(), &requests, seconds).await?;
        costs.report(&mut report);
        let saturation = costs.saturation;
        if asked.wants(Part::Latency) {
            let path = directory.path();
            latency(path, &requests, saturation, seconds, &mut report).await?;
        }
        if asked.wants(Part::Reloads) {
            reloads(&setup, &requests, saturation, seconds, &mut report).await?;
        }
        if asked.wants(Part::Passwords) {
            passwords::measure(&setup, &requests, saturation, seconds, &mut report).await?;
        }
    }
    if asked.wants(Part::Start) {
        start_and_memory(&setup, seconds, &mut report).await?;
    }
    if asked.wants(Part::Crowds) {
        crowds::measure(&setup, seconds, &mut report).await?;
    }
    if asked.wants(Part::Postgres) {
        postgres::measure(&setup, seconds, &mut report).await?;
    }

    if let Some(path) = asked.output {
        std::fs::write(&path, format!("{:#}\n", report.json()))
            .with_context(|| path.display().to_string())?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Medians, in CPU microseconds.
struct Costs {
    verify: f64,
    sign: f64,
    exchange: f64,
    /// All three in one process.
    together: f64,
    no_store: f64,
    sqlite: f64,
    /// With risk scored and enforced.
    risk: f64,
    statements: f64,
    one_row: f64,
    batch: f64,
    /// Sign-ins a second with SQLite when it is given all that it takes.
    saturation: f64,
}

async fn costs(
    directory: &Path,
    requests: &Arc<Vec<Bytes>>,
    seconds: Seconds,
) -> anyhow::Result<Costs> {
    let round = Duration::from_secs(seconds.round);
    let own = std::env::current_exe()?;
    let (exchange, address) = Process::start_with_line(Command::new(&own).arg("exchange"))?;
    let exchange_load = exchanges(address.parse()?);
    let (together, address) = Process::start_with_line(Command::new(&own).arg("crypto-exchange"))?;
    let together_load = exchanges(address.parse()?);
    let (no_store, address) =
        Process::start_with_line(Command::new(&own).arg("no-store").arg(directory))?;
    let no_store_load = signins(address.parse()?, requests);
    let service = ServiceProcess::start(directory).await?;
    let sqlite_load = signins(service.address, requests);
    // Everybody signs in once first: what is measured is a known user.
    sqlite_load
        .run(Pace::Saturating, Duration::from_secs(1))
        .await?;

    let scoring = ServiceProcess::start(&directory.join("risk")).await?;
    let scoring_load = signins(scoring.address, requests);
    scoring_load
        .run(Pace::Saturating, Duration::from_secs(1))
        .await?;

    let mut rounds: [Vec<f64>; 7] = Default::default();
    let (mut saturation, mut batch) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (verify, sign) = floor::crypto_us(5_000)?;
        let exchange_us = measured(&exchange, &exchange_load, round).await?.0;
        let together_us = measured(&together, &together_load, round).await?.0;
        let no_store_us = measured(&no_store, &no_store_load, round).await?.0;
        let before = (
            service.metric("vestibule_store_writes_total").await?,
            service.metric("vestibule_store_transactions_total").await?,
        );
        let (sqlite_us, outcome) = measured(&service.process, &sqlite_load, round).await?;
        let after = (
            service.metric("vestibule_store_writes_total").await?,
            service.metric("vestibule_store_transactions_total").await?,
        );
        let risk_us = measured(&scoring.process, &scoring_load, round).await?.0;
        batch.push((after.0 - before.0) / (after.1 - before.1).max(1.0));
        saturation.push(outcome.per_second());
        for (figures, figure) in rounds.iter_mut().zip([
            verify,
            sign,
            exchange_us,
            together_us,
            no_store_us,
            sqlite_us,
            risk_us,
        ]) {
            figures.push(figure);
        }
    }
    drop(service);
    let batch = median(&batch);
    let rows = batch.round().max(1.0) as usize;
    let mut statements = Statements::open(&directory.join("data/vestibule.db"))?;
    let (mut signin, mut one_row) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        signin.push(statements.signin_us(20_000, rows)?);
        one_row.push(statements.one_row_us(20_000, rows)?);
    }
    let [verify, sign, exchange, together, no_store, sqlite, risk] =
        rounds.map(|figures| median(&figures));
    Ok(Costs {
        verify,
        sign,
        exchange,
        together,
        no_store,
        sqlite,
        risk,
        statements: median(&signin),
        one_row: median(&one_row),
        batch,
        saturation: median(&saturation),
    })
}

impl Costs {
    fn report(&self, report: &mut Report) {
        let floor = self.verify + self.sign + self.exchange;
        report.figure(
            "RS256 verify, ES256 sign, bare exchange",
            "µs CPU",
            &[self.verify, self.sign, self.exchange],
        );
        report.figure(
            "floor without a store: their sum, and all three in one process",
            "µs CPU",
            &[floor, self.together],
        );
        report.figure("sign-in without a store", "µs CPU", &[self.no_store]);
        report.bar(
            "sign-in without a store / floor",
            self.no_store / floor,
            1.35,
            "×",
        );
        report.figure(
            "sign-in without a store / all three in one process",
            "×",
            &[self.no_store / self.together],
        );
        report.figure("writes to a commit", "", &[self.batch]);
        report.figure(
            "a sign-in's own statements, one row",
            "µs CPU",
            &[self.statements, self.one_row],
        );
        report.figure("sign-in with SQLite FULL", "µs CPU", &[self.sqlite]);
        report.bar(
            "sign-in with SQLite FULL / its statements' floor",
            self.sqlite / (floor + self.statements),
            1.45,
            "×",
        );
        report.bar(
            "sign-in with SQLite FULL / one-row floor",
            self.sqlite / (floor + self.one_row),
            2.0,
            "×",
        );
        report.figure(
            "sign-in with risk Enforce, SQLite FULL",
            "µs CPU",
            &[self.risk],
        );
        report.bar(
            "sign-in with risk Enforce / with risk Off",
            self.risk / self.sqlite,
            1.25,
            "×",
        );
        report.figure(
            "sign-ins at saturation, SQLite FULL",
            "/s",
            &[self.saturation],
        );
    }
}

async fn latency(
    directory: &Path,
    requests: &Arc<Vec<Bytes>>,
    saturation: f64,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let service = ServiceProcess::start(directory).await?;
    let load = signins(service.address, requests);
    let rate = saturation * 0.7;
    let outcome = load
        .run(Pace::PerSecond(rate), Duration::from_secs(seconds.paced))
        .await?;
    report.figure(
        "offered at 70 % of saturation, answered",
        "/s",
        &[rate, outcome.per_second()],
    );
    report.figure(
        "p50, p99, p99.9 at 70 %, SQLite FULL",
        "ms",
        &[
            outcome.quantile_ms(0.5),
            outcome.quantile_ms(0.99),
            outcome.quantile_ms(0.999),
        ],
    );
    report.bar(
        "p99 at 70 % of saturation, SQLite FULL",
        outcome.quantile_ms(0.99),
        5.0,
        "ms",
    );
    report.bar("failed at 70 %", outcome.failed as f64, 0.0, "");
    drop(service);
    what_else_takes_time(directory, requests, rate, seconds, report).await
}

/// What the wait would be without the store, on this machine with the load beside it, and what the disk alone takes.
async fn what_else_takes_time(
    directory: &Path,
    requests: &Arc<Vec<Bytes>>,
    rate: f64,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let (_no_store, address) =
        Process::start_with_line(Command::new(&own).arg("no-store").arg(directory))?;
    let outcome = signins(address.parse()?, requests)
        .run(Pace::PerSecond(rate), Duration::from_secs(seconds.paced))
        .await?;
    report.figure(
        "p50, p99, p99.9 at the same rate without a store",
        "ms",
        &[
            outcome.quantile_ms(0.5),
            outcome.quantile_ms(0.99),
            outcome.quantile_ms(0.999),
        ],
    );
    let waits = floor::disk_waits_ms(&directory.join("disk"), 2000)?;
    report.figure(
        "the disk's own p50, p99, p99.9 (16 KiB and fdatasync, idle)",
        "ms",
        &waits,
    );
    Ok(())
}

async fn start_and_memory(
    setup: &Setup,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut starts = Vec::new();
    let mut idle = 0.0;
    for _ in 0..5 {
        let directory = TempDir::new_in(target())?;
        setup.write_manifests(&directory.path().join("manifests"), 0)?;
        let service = ServiceProcess::start(directory.path()).await?;
        starts.push(service.start_to_ready.as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_secs(seconds.round.min(2))).await;
        idle = service.process.resident_bytes()? as f64 / MIB;
    }
    report.bar(
        "start to ready, empty data directory",
        median(&starts),
        150.0,
        "ms",
    );
    report.bar("idle memory", idle, 32.0, "MiB");
    Ok(())
}

const MIB: f64 = 1024.0 * 1024.0;

/// Reloads while half of the saturating load goes on; the same load without reloads is what the p99 is compared to.
async fn reloads(
    setup: &Setup,
    requests: &Arc<Vec<Bytes>>,
    saturation: f64,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let directory = TempDir::new_in(target())?;
    let manifests = directory.path().join("manifests");
    setup.write_manifests(&manifests, 0)?;
    let service = ServiceProcess::start(directory.path()).await?;
    let load = signins(service.address, requests);
    let pace = Pace::PerSecond(saturation * 0.5);
    let quiet = load.run(pace, Duration::from_secs(seconds.paced)).await?;
    let before = service.process.resident_bytes()? as f64 / MIB;

    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let under_load = tokio::spawn(async move {
        let mut all = Vec::new();
        while !*stopped.borrow_and_update() {
            all.push(load.run(pace, Duration::from_secs(2)).await?);
        }
        anyhow::Ok(all)
    });
    let began = Instant::now();
    let mut last = service.revision().await?;
    for turn in 1..=seconds.reloads {
        setup.write_manifests(&manifests, turn)?;
        loop {
            let now = service.revision().await?;
            if now != last {
                last = now;
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let reloading = began.elapsed().as_secs_f64();
    stop.send_replace(true);
    let outcomes: Vec<Outcome> = under_load.await??;
    let answered: usize = outcomes.iter().map(|outcome| outcome.answered).sum();
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed).sum();
    let p99 = median(
        &outcomes
            .iter()
            .map(|outcome| outcome.quantile_ms(0.99))
            .collect::<Vec<_>>(),
    );
    let after = service.process.resident_bytes()? as f64 / MIB;
    report.figure(
        "reloads under load, sign-ins meanwhile",
        "",
        &[seconds.reloads as f64, answered as f64],
    );
    report.figure(
        "a reload, from the rename until it is served",
        "ms",
        &[reloading * 1000.0 / seconds.reloads as f64],
    );
    report.bar("failed sign-ins over the reloads", failed as f64, 0.0, "");
    report.bar(
        "p99 with reloads / without",
        p99 / quiet.quantile_ms(0.99),
        1.5,
        "×",
    );
    report.figure(
        "memory before and after the reloads",
        "MiB",
        &[before, after],
    );
    Ok(())
}

fn exchanges(address: std::net::SocketAddr) -> Load {
    Load {
        address,
        path: "/",
        bodies: Arc::new(vec![Bytes::from(vec![b'x'; floor::REQUEST_BYTES])]),
        connections: CONNECTIONS,
    }
}

fn signins(address: std::net::SocketAddr, requests: &Arc<Vec<Bytes>>) -> Load {
    Load {
        address,
        path: "/auth/id-token/signin",
        bodies: Arc::clone(requests),
        connections: CONNECTIONS,
    }
}

/// CPU microseconds of the process for each answer.
async fn measured(
    process: &Process,
    load: &Load,
    round: Duration,
) -> anyhow::Result<(f64, Outcome)> {
    let before = process.cpu_seconds()?;
    let outcome = load.run(Pace::Saturating, round).await?;
    let cpu = process.cpu_seconds()? - before;
    anyhow::ensure!(
        outcome.failed == 0,
        "{} of {} requests failed",
        outcome.failed,
        outcome.answered
    );
    Ok((cpu * 1e6 / outcome.answered as f64, outcome))
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
