//! Whether sign-ins wait while passwords are hashed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use vestibule_tests::bench::load::Pace;
use vestibule_tests::bench::report::Report;
use vestibule_tests::bench::service::{ServiceProcess, Setup};
use vestibule_tests::e2e::Client;

use super::{Seconds, median, signins, target};

/// More than are hashed at once, so that there is always one.
const CHANGING: usize = 8;
/// Of saturation: what is left is for the hashes.
const SHARE: f64 = 0.3;
const PAIRS: usize = 3;

pub(super) async fn measure(
    setup: &Setup,
    requests: &Arc<Vec<Bytes>>,
    saturation: f64,
    seconds: Seconds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let directory = TempDir::new_in(target())?;
    setup.write_manifests(&directory.path().join("manifests"), 0)?;
    let service = ServiceProcess::start(directory.path()).await?;
    let load = signins(service.address, requests);
    load.run(Pace::Saturating, Duration::from_secs(1)).await?;
    let base = format!("http://{}", service.address);
    let pace = Pace::PerSecond(saturation * SHARE);
    let part = Duration::from_secs(seconds.paced / 2);
    let changed = Arc::new(AtomicUsize::new(0));
    let (mut quiet, mut hashing) = (Vec::new(), Vec::new());
    for people in requests.chunks(CHANGING).take(PAIRS) {
        quiet.push(load.run(pace, part).await?.quantile_ms(0.99));
        let stop = CancellationToken::new();
        let mut changing = tokio::task::JoinSet::new();
        for body in people {
            let person = change_passwords(
                base.clone(),
                serde_json::from_slice(body)?,
                Arc::clone(&changed),
                stop.clone(),
            );
            changing.spawn(person);
        }
        hashing.push(load.run(pace, part).await?.quantile_ms(0.99));
        stop.cancel();
        while let Some(ended) = changing.join_next().await {
            ended??;
        }
    }
    let (quiet, hashing) = (median(&quiet), median(&hashing));
    report.figure(
        "passwords changed meanwhile",
        "",
        &[changed.load(Ordering::Relaxed) as f64],
    );
    report.figure(
        "p99 of sign-ins at 30 %, without and with passwords being hashed",
        "ms",
        &[quiet, hashing],
    );
    report.bar(
        "p99 while passwords are hashed / without",
        hashing / quiet,
        2.0,
        "×",
    );
    Ok(())
}

/// Somebody who changes the password over and over.
async fn change_passwords(
    base: String,
    mut signin: Value,
    changed: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let client = Client::new();
    signin["scope"] = json!("account");
    let reply = client
        .post(&format!("{base}/auth/id-token/signin"), &signin)
        .await?;
    let mut token = reply.text("access_token");
    let mut current: Option<String> = None;
    let mut turn = 0_u64;
    while !stop.is_cancelled() {
        turn += 1;
        let new = format!("correct horse battery staple {turn}");
        let mut body = json!({"new_password": new});
        if let Some(current) = &current {
            body["current_password"] = json!(current);
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{base}/auth/password"))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::from(body.to_string())))?;
        let reply = client.send(request).await?;
        anyhow::ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
        let refresh = json!({"refresh_token": reply.text("refresh_token"), "scope": "account"});
        let reply = client
            .post(&format!("{base}/auth/token/refresh"), &refresh)
            .await?;
        token = reply.text("access_token");
        current = Some(new);
        changed.fetch_add(1, Ordering::Relaxed);
    }
    anyhow::ensure!(turn > 0, "nobody changed a password");
    Ok(())
}
