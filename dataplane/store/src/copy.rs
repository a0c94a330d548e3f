//! Moving a store: every table of a SQLite file into an empty PostgreSQL database, in batches that
//! each carry on where the one before ended, so that an interrupted copy is just run again.
//!
//! The source is held like a data plane holds it, so that no other process writes to it meanwhile,
//! and it is only read. How far each table has come stands in the target, in a table that is
//! written in the transactions of the rows themselves: a row is copied once. The same table keeps a
//! data plane from serving what is half there, and is dropped when all rows have been counted.

use std::path::{Path, PathBuf};

mod source;
mod target;

use self::source::Source;
use self::target::Target;
use super::postgres::{self, PostgresUrl};
use super::sqlite;

/// Rows of one transaction.
const BATCH_ROWS: usize = 5000;
/// Between two reports of one table.
const REPORT_ROWS: u64 = 50_000;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("there is no file {0}")]
    NoSource(PathBuf),
    #[error(transparent)]
    Source(#[from] sqlite::OpenError),
    #[error("{path} cannot be read: {source}")]
    Read {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error(
        "{path} has schema {found} and this version knows {known}: run `vestibule migrate --database sqlite:{path}` first"
    )]
    OldSource {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(transparent)]
    Target(#[from] postgres::OpenError),
    #[error("the target holds data already ({0} has rows): name an empty database")]
    TargetInUse(String),
    #[error(
        "the target holds a part of another store, or of this one before it was written to again: empty it and begin anew"
    )]
    OtherSource,
    #[error("another copy into this database is running")]
    Running,
    #[error("the target has no table or column for {0}: both must be of one version")]
    Mismatch(String),
    #[error("{table} cannot be copied: {reason}")]
    Row { table: String, reason: String },
    #[error("the target: {0}")]
    Database(String),
}

/// How many rows a table has here and there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub table: String,
    pub source: u64,
    pub target: u64,
}

impl Counted {
    pub fn agrees(&self) -> bool {
        self.source == self.target
    }
}

/// Copies what is missing, and counts. `report` is called with a line now and then. Where all
/// counts agree the target is ready to serve.
pub async fn copy(
    from: &Path,
    to: PostgresUrl,
    report: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Counted>, CopyError> {
    let source = Source::open(from)?;
    let mut target = Target::open(to).await?;
    let tables = source.tables()?;
    let mut progress = target.begin(&tables, &source.fingerprint()?).await?;
    for table in &tables {
        let total = source.count(table)?;
        let mut done = progress.remove(table).unwrap_or(0);
        if done > 0 && done < total {
            report(&format!("{table}: going on after {done} rows"));
        }
        let shape = target.shape(table).await?;
        let columns = shape.iter().map(|column| column.name.as_str()).collect();
        source.check_columns(table, &columns)?;
        let mut statement = source.rows(table, &columns)?;
        let mut rows = statement.from(done)?;
        loop {
            let batch = rows.next(&shape, BATCH_ROWS)?;
            if batch.is_empty() {
                break;
            }
            let before = done;
            done += batch.len() as u64;
            target.write(table, &shape, &batch, done).await?;
            if done / REPORT_ROWS > before / REPORT_ROWS && done < total {
                report(&format!("{table}: {done} of {total} rows"));
            }
        }
        report(&format!("{table}: {done} rows"));
    }
    let mut counts = Vec::with_capacity(tables.len());
    for table in tables {
        counts.push(Counted {
            source: source.count(&table)?,
            target: target.count(&table).await?,
            table,
        });
    }
    if counts.iter().all(Counted::agrees) {
        target.finish(&counts).await?;
    }
    Ok(counts)
}
