//! `vestibule backup`: a copy of the store, made while the data plane runs.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::BackupArgs;
use vestibule_store::database::Database;
use vestibule_store::sqlite::backup;

pub fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    match args.store.database()? {
        Database::Sqlite(path) => backup(&path, &args.to)?,
        Database::Postgres(_) => bail!(
            "a PostgreSQL database is backed up by its own programs: pg_dump --format=custom, and pg_restore into an empty database"
        ),
    }
    println!("{}", args.to.display());
    Ok(ExitCode::SUCCESS)
}
