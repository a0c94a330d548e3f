//! `vestibule copy`: moves a store to another database.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::serve::start_log;
use crate::cli::CopyArgs;
use vestibule_store::copy::{Counted, copy};
use vestibule_store::database::Database;

pub fn run(args: &CopyArgs) -> anyhow::Result<ExitCode> {
    start_log(args.log_format, None);
    let from = Database::parse(Some(&args.from), None, std::path::Path::new("."));
    let password_file = args.to_password_file.as_deref();
    let to = Database::parse(Some(&args.to), password_file, std::path::Path::new("."));
    let (Database::Sqlite(from), Database::Postgres(to)) =
        (from.context("--from")?, to.context("--to")?)
    else {
        bail!("a store is copied from sqlite:PATH to postgres://…, and no other way");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let report = |line: &str| eprintln!("{line}");
    let counts = runtime.block_on(copy(&from, to, &report))?;
    for Counted {
        table,
        source,
        target,
    } in counts.iter().filter(|counted| !counted.agrees())
    {
        println!("{table}: {source} rows at the source, {target} at the target");
    }
    if !counts.iter().all(Counted::agrees) {
        bail!("the target is not the same: data planes do not serve it");
    }
    let rows: u64 = counts.iter().map(|counted| counted.source).sum();
    println!("{rows} rows of {} tables are there", counts.len());
    Ok(ExitCode::SUCCESS)
}
