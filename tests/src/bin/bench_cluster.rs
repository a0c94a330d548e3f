//! `make bench-cluster`: how long a change takes to be served in a real cluster, and what ten thousand providers cost there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};
use vestibule_crds::compile::{Compiler, Inputs};
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::object::Object;
use vestibule_tests::bench::report::Report;
use vestibule_tests::cluster::changes::{Many, Taken, operator_metric, resident_mebibytes};
use vestibule_tests::cluster::objects::address;
use vestibule_tests::cluster::{Release, fleet};
use vestibule_tests::e2e::manifests::policy;

const PODS: usize = 3;
const CHANGES: usize = 200;
const CHANGES_QUICK: usize = 40;
const FEW: usize = 10;
const MANY: usize = 10_000;
/// Compiles after one change.
const COMPILES: usize = 41;
const PATCHES: &str = "vestibule_operator_status_patches_total";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (output, count) = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--output"), Some(path)) => (Some(PathBuf::from(path)), CHANGES),
        (Some("--quick"), None) => (None, CHANGES_QUICK),
        (None, None) => (None, CHANGES),
        _ => anyhow::bail!("usage: bench_cluster [--output FILE | --quick]"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(bench(output, count))
}

async fn bench(output: Option<PathBuf>, count: usize) -> anyhow::Result<()> {
    let mut report = Report::default();
    let release = fleet::install("bench", PODS);
    release.namespace.apply(&[policy()]).ok();
    let many = Many::of(&release).await;
    println!("{PODS} pods over PostgreSQL, {count} changes");

    many.apply(FEW).await;
    many.all_programmed(FEW).await;
    changes(&release, &many, (FEW, count), 1.0, &mut report).await;

    let began = Instant::now();
    many.apply(MANY).await;
    report.figure(
        "apply of 10 000 providers",
        "s",
        &[began.elapsed().as_secs_f64()],
    );
    many.all_programmed(MANY).await;
    let name = "apply of 10 000 providers until all are Programmed";
    report.figure(name, "s", &[began.elapsed().as_secs_f64()]);
    changes(&release, &many, (MANY, count), 3.0, &mut report).await;

    // As they were before the changes: from here on an apply changes nothing.
    many.apply(MANY).await;
    many.change(&release, 0, "the last but one").await;
    many.change(&release, 0, "Corp").await;
    many.all_programmed(MANY).await;
    let before = operator_metric(&release, PATCHES).await;
    many.apply(MANY).await;
    // It comes after whatever the others might have caused, and is written about itself.
    many.change(&release, 0, "the last one").await;
    let patches = operator_metric(&release, PATCHES).await - before;
    let name = "10 000 unchanged applied again and one changed: status patches";
    report.bar(name, patches, 3.0, "");
    let mebibytes = resident_mebibytes(&release, "operator");
    report.bar(
        "10 000 providers: resident, operator",
        mebibytes,
        400.0,
        "MiB",
    );
    let mebibytes = resident_mebibytes(&release, "dataplane");
    report.bar(
        "10 000 providers: resident, data plane",
        mebibytes,
        200.0,
        "MiB",
    );
    compiles(&many, &mut report);

    if let Some(path) = output {
        std::fs::write(&path, format!("{:#}\n", report.json()))
            .with_context(|| path.display().to_string())?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// One after another, each of another provider.
async fn changes(
    release: &Release,
    many: &Many,
    (providers, count): (usize, usize),
    bar: f64,
    report: &mut Report,
) {
    let pods = release.namespace.pods("dataplane");
    let pods: Vec<String> = pods
        .iter()
        .map(|pod| format!("http://{}:8081/revision", address(pod)))
        .collect();
    let mut taken = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("change {number}");
        taken.push(many.change_at(&pods, number * 37 % providers, &name).await);
    }
    let name = |what: &str| format!("{providers} providers, apply until {what}, p99");
    for (what, seconds) in [
        ("every pod serves it", sorted(&taken, |taken| taken.served)),
        (
            "Programmed is True",
            sorted(&taken, |taken| taken.programmed),
        ),
    ] {
        let at = |share: f64| seconds[((seconds.len() - 1) as f64 * share) as usize];
        let median = format!("{providers} providers, apply until {what}, p50");
        report.figure(&median, "s", &[at(0.5)]);
        report.bar(&name(what), at(0.99), bar, "s");
    }
}

fn sorted(taken: &[Taken], of: impl Fn(&Taken) -> f64) -> Vec<f64> {
    let mut seconds: Vec<f64> = taken.iter().map(of).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// In this process: what the operator does with them.
fn compiles(many: &Many, report: &mut Report) {
    let object = |mut body: Value| {
        body["metadata"]["namespace"] = json!("bench");
        Object::from_value(body, None).expect("an object of ours")
    };
    let providers = (0..MANY).map(|number| many.provider(number, "Corp"));
    let mut inputs = Inputs {
        objects: [policy()]
            .into_iter()
            .chain(providers)
            .map(object)
            .collect(),
        http_issuers: HttpIssuers::Refuse,
        ..Inputs::default()
    };
    let mut compiler = Compiler::default();
    let began = Instant::now();
    let compiled = compiler.compile(&inputs);
    let seconds = began.elapsed().as_secs_f64();
    report.bar(
        "compile of 10 000 providers from nothing",
        seconds,
        1.0,
        "s",
    );
    inputs.previous = Some(Arc::new(compiled.snapshot));
    let mut milliseconds = Vec::with_capacity(COMPILES);
    for number in 0..COMPILES {
        // The policy is the first.
        inputs.objects[1 + number] = object(many.provider(number, "changed"));
        let began = Instant::now();
        let compiled = compiler.compile(&inputs);
        milliseconds.push(began.elapsed().as_secs_f64() * 1000.0);
        inputs.previous = Some(Arc::new(compiled.snapshot));
    }
    milliseconds.sort_by(f64::total_cmp);
    report.bar(
        "compile after one change of 10 000 providers, p50",
        milliseconds[COMPILES / 2],
        50.0,
        "ms",
    );
}
