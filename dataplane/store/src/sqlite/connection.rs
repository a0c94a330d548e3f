//! How a connection is set up: the writer's, the readers' and the checkpointer's.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use super::checkpoint::Log;

/// How long a statement waits for a lock that another program holds (a backup, a person's shell).
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(250);
/// More than there are statements, so that none is ever prepared twice.
const STATEMENTS_MAX: usize = 64;
/// A log that grew past its bound shrinks back to this size, in bytes; below it, it is written over in place, which spares
/// the file system the work of growing it again.
const LOG_BYTES_KEPT: i64 = 32 * 1024 * 1024;

/// What a connection needs to be opened, again after a fault too.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) path: PathBuf,
    pub(super) file: FileId,
    pub(super) log: Arc<Log>,
}

impl Setup {
    /// A file that was moved away or replaced can still be written to, but what was written would
    /// never be found.
    pub(super) fn unmoved(&self) -> rusqlite::Result<()> {
        if FileId::of(&self.path).is_ok_and(|file| file == self.file) {
            return Ok(());
        }
        let reason =
            "it was moved or replaced while it was in use: move it back, or restart".to_owned();
        Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_CANTOPEN),
            Some(reason),
        ))
    }
}

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// WAL, and `FULL`: what was answered is on the disk. Checkpoints are left to [`super::checkpoint`].
pub(super) fn open_writer(setup: &Setup) -> rusqlite::Result<Connection> {
    let mut db = open(setup, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let log = Arc::clone(&setup.log);
    // This also switches SQLite's own checkpoints inside commits off.
    db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, frames| {
        log.written(frames);
        Ok(())
    }))?;
    Ok(db)
}

pub(super) fn open_reader(setup: &Setup) -> rusqlite::Result<Connection> {
    open(setup, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

pub(super) fn open_checkpointer(setup: &Setup) -> rusqlite::Result<Connection> {
    let db = open(setup, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

fn open(setup: &Setup, access: OpenFlags) -> rusqlite::Result<Connection> {
    setup.unmoved()?;
    // Each connection is used by one thread at a time, so SQLite need not lock it; a path is a path and never a URI.
    let db = Connection::open_with_flags(&setup.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(LOCK_WAIT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Without this guarantee, every value bound to a statement on a table with a partial index has
    // it planned again, which costs more than running it.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A file that an attacker prepared cannot make us run its functions or write its schema.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    Ok(db)
}
