//! Opening the database file: private to its owner, held by one process, and of a schema that this build knows.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, OptionalExtension};

use super::connection::{self, FileId, Setup};
use super::fault::{Fault, FaultKind};
use super::history::hash_key;
use crate::{HASH_KEY_BYTES, HashKey};

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// "VEST", as the first migration writes it.
const APPLICATION_ID: i64 = 0x5645_5354;
pub(super) const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Why a database cannot be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process uses {0}: stop it, or choose another data directory")]
    InUse(PathBuf),
    #[error(
        "{0} is not a database, or is damaged: restore it from a backup, or move it away to begin empty"
    )]
    Damaged(PathBuf),
    #[error("{0} is another program's database: choose another file")]
    Foreign(PathBuf),
    #[error("{0} cannot be written to: make the file and its directory writable")]
    ReadOnly(PathBuf),
    #[error("no space is left for {0}: free space on its volume")]
    Full(PathBuf),
    #[error(
        "{path} was written by a newer version (schema {found}, this version knows {known}): upgrade, or restore a backup"
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(
        "{0} is on a file system without shared memory or locks, which the database needs: choose a local volume"
    )]
    Unsuitable(PathBuf),
    #[error("{path} cannot be brought up to date: {reason}")]
    Migration { path: PathBuf, reason: String },
    #[error("{path} cannot be opened: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Other(String),
}

/// Held as long as the database is open; the operating system lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

impl Held {
    /// Of a file that is there already.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        hold(&resolved(path)?)
    }

    /// The schema's version, and the one that this build knows: never an older one.
    pub(crate) fn check_schema(db: &Connection, path: &Path) -> Result<(i64, i64), OpenError> {
        let application: i64 = db
            .pragma_query_value(None, "application_id", |row| row.get(0))
            .map_err(|error| refused(path, &error))?;
        if application != APPLICATION_ID {
            return Err(OpenError::Foreign(path.to_owned()));
        }
        Ok((check_version(db, path)?.unwrap_or(0), known_version()))
    }
}

pub(super) struct Opened {
    pub(super) setup: Setup,
    /// The writer's connection.
    pub(super) db: Connection,
    pub(super) hash_key: HashKey,
    pub(super) held: Held,
}

/// A file that is ours alone and up to date.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    make_directory(path)?;
    let path = &resolved(path)?;
    let held = hold(path)?;
    make_private(path)?;
    let file = FileId::of(path).map_err(|error| unusable(path, error))?;
    let setup = Setup {
        path: path.clone(),
        file,
        log: Arc::default(),
    };
    let mut db = connection::open_writer(&setup).map_err(|error| refused(path, &error))?;
    check_ours(&db, path)?;
    let mode: String = db
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(|error| refused(path, &error))?;
    if mode != "wal" {
        return Err(OpenError::Unsuitable(path.clone()));
    }
    migrate(&mut db, path)?;
    let mut fresh = [0; HASH_KEY_BYTES];
    SystemRandom::new()
        .fill(&mut fresh)
        .map_err(|_| OpenError::Other("the system gives no random bytes".to_owned()))?;
    let hash_key = hash_key(&db, &fresh).map_err(|error| refused(path, &error))?;
    Ok(Opened {
        setup,
        db,
        hash_key,
        held,
    })
}

fn make_directory(path: &Path) -> Result<(), OpenError> {
    let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(|error| unusable(directory, error))
}

/// Without symbolic links: two names of one file must not be two locks.
fn resolved(path: &Path) -> Result<PathBuf, OpenError> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let directory = directory
        .canonicalize()
        .map_err(|error| unusable(directory, error))?;
    let name = path
        .file_name()
        .ok_or_else(|| unusable(path, io::ErrorKind::IsADirectory.into()))?;
    Ok(directory.join(name))
}

fn hold(path: &Path) -> Result<Held, OpenError> {
    let lock = with_suffix(path, ".lock");
    let file = create(&lock)?;
    match file.try_lock() {
        Ok(()) => Ok(Held { _lock: file }),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(&lock, error)),
    }
}

/// Created private before SQLite sees it; SQLite gives the log and the shared memory the mode of the database.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let file = create(path)?;
    let mode = file
        .metadata()
        .map_err(|error| unusable(path, error))?
        .permissions()
        .mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    for path in [
        path.to_owned(),
        with_suffix(path, "-wal"),
        with_suffix(path, "-shm"),
    ] {
        match fs::set_permissions(&path, Permissions::from_mode(FILE_MODE)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Another user's file on a volume that we may write to by our group.
            Err(error) => {
                tracing::warn!(store.path = %path.display(), "others may read the database: {error}")
            }
        }
    }
    Ok(())
}

fn create(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(|error| unusable(path, error))
}

/// An empty file is ours to fill; any other must be ours already, and of a schema that we know.
fn check_ours(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let refused = |error| refused(path, &error);
    if db.is_readonly("main").map_err(refused)? {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    let objects: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(refused)?;
    if objects == 0 {
        return Ok(());
    }
    let application: i64 = db
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(refused)?;
    if application != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    check_version(db, path).map(|_| ())
}

/// None where no migration has been run.
fn check_version(db: &Connection, path: &Path) -> Result<Option<i64>, OpenError> {
    let found: Option<i64> = db
        .query_row(
            "SELECT max(version) FROM refinery_schema_history",
            [],
            |row| row.get(0),
        )
        .optional()
        .map_err(|error| refused(path, &error))?
        .flatten();
    let known = known_version();
    match found {
        Some(found) if found > known => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        }),
        Some(_) | None => Ok(found),
    }
}

fn known_version() -> i64 {
    let runner = migrations::migrations::runner();
    runner
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()))
        .max()
        .unwrap_or(0)
}

/// All that is missing in one transaction, so that a process that dies meanwhile leaves the schema as it was.
fn migrate(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let result = migrations::migrations::runner().set_grouped(true).run(db);
    let Err(error) = result else {
        return Ok(());
    };
    if let refinery::error::Kind::Connection(_, source) = error.kind()
        && let Some(source) = source.downcast_ref::<rusqlite::Error>()
    {
        return Err(refused(path, source));
    }
    Err(OpenError::Migration {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

pub(super) fn refused(path: &Path, error: &rusqlite::Error) -> OpenError {
    let kind = FaultKind::of(error);
    match kind {
        FaultKind::Full => OpenError::Full(path.to_owned()),
        FaultKind::ReadOnly => OpenError::ReadOnly(path.to_owned()),
        FaultKind::Damaged => OpenError::Damaged(path.to_owned()),
        FaultKind::Locked => OpenError::InUse(path.to_owned()),
        FaultKind::InputOutput | FaultKind::Refused => {
            OpenError::Other(Fault { kind, path, error }.to_string())
        }
    }
}

pub(super) fn unusable(path: &Path, source: io::Error) -> OpenError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OpenError::Full(path.to_owned())
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly(path.to_owned())
        }
        _ => OpenError::Io {
            path: path.to_owned(),
            source,
        },
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
