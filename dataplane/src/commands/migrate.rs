//! `vestibule migrate`: the schema alone, for setups where the data plane has no right to change
//! it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::serve::start_log;
use crate::cli::MigrateArgs;

/// How long a server that cannot be reached is tried.
const WAIT: Duration = Duration::from_secs(30);

pub fn run(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    start_log(args.log_format, None);
    let database = args.store.database()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let done = runtime.block_on(database.migrate(WAIT))?;
    println!("{done}");
    Ok(ExitCode::SUCCESS)
}
