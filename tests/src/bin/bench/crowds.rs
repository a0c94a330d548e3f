//! A sign-in among a thousand users, and among a million.

use std::time::Duration;

use tempfile::TempDir;
use vestibule_dataplane::clock::Clock;
use vestibule_tests::bench::crowd::fill_sqlite;
use vestibule_tests::bench::load::Pace;
use vestibule_tests::bench::report::Report;
use vestibule_tests::bench::service::{ServiceProcess, Setup};

use super::{RISK, ROUNDS, Seconds, measured, median, signins, target};

pub(super) async fn measure(
    setup: &Setup,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (few, many) = seconds.crowds;
    let (small, large) = (
        Crowd::gather(setup, few).await?,
        Crowd::gather(setup, many).await?,
    );
    let mut rounds: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (crowd, figures) in [&small, &large].into_iter().zip(&mut rounds) {
            figures.push(crowd.signin_us(seconds).await?);
        }
    }
    let [small, large] = rounds.map(|figures| median(&figures));
    report.figure(
        &format!("sign-in with risk, SQLite, among {few} and {many} users"),
        "µs CPU",
        &[small, large],
    );
    report.bar(
        &format!("sign-in among {many} users / among {few}, SQLite"),
        large / small,
        1.3,
        "×",
    );
    Ok(())
}

struct Crowd {
    service: ServiceProcess,
    load: vestibule_tests::bench::load::Load,
    _directory: TempDir,
}

impl Crowd {
    async fn gather(setup: &Setup, users: usize) -> anyhow::Result<Self> {
        let directory = TempDir::new_in(target())?;
        let path = directory.path();
        setup.write_manifests_with(&path.join("manifests"), 0, RISK)?;
        let requests = setup.requests_among(users)?;
        // Makes the schema, and a history to take as a pattern.
        let first = ServiceProcess::start(path).await?;
        signins(first.address, &requests)
            .run(Pace::Saturating, Duration::from_secs(1))
            .await?;
        drop(first);
        println!("making {users} users");
        fill_sqlite(&path.join("data/vestibule.db"), users, Clock::System.now())?;
        let service = ServiceProcess::start(path).await?;
        let load = signins(service.address, &requests);
        load.run(Pace::Saturating, Duration::from_secs(1)).await?;
        Ok(Self {
            service,
            load,
            _directory: directory,
        })
    }

    async fn signin_us(&self, seconds: Seconds) -> anyhow::Result<f64> {
        let round = Duration::from_secs(seconds.round);
        Ok(measured(&self.service.process, &self.load, round).await?.0)
    }
}
