//! A copy of the file while a data plane keeps running: whole, and as it was at one moment.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::open::{FILE_MODE, Held, OpenError, refused, unusable, with_suffix};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is no file {0}")]
    NoSource(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{0} is there already: name another file")]
    Exists(PathBuf),
    #[error("the copy is damaged ({0}): the store itself may be")]
    Damaged(String),
}

/// Writes the store to a new file that only its owner can read. The name is given once all is on the disk: what has it is whole.
pub fn backup(from: &Path, to: &Path) -> Result<(), BackupError> {
    if !from.is_file() {
        return Err(BackupError::NoSource(from.to_owned()));
    }
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let partial = Partial::create(with_suffix(to, ".partial"))?;
    write(from, &partial.0)?;
    let synced = File::open(&partial.0).and_then(|file| file.sync_all());
    synced.map_err(|error| unusable(&partial.0, error))?;
    name(&partial.0, to)
}

/// What is written until it has its name; it goes if it never gets one.
struct Partial(PathBuf);

impl Partial {
    fn create(path: PathBuf) -> Result<Self, BackupError> {
        let mut options = OpenOptions::new();
        let created = options.write(true).create_new(true).mode(FILE_MODE);
        match created.open(&path) {
            Ok(_) => Ok(Self(path)),
            // Of a backup that is under way, or was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Exists(path))
            }
            Err(error) => Err(unusable(&path, error).into()),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

fn write(from: &Path, to: &Path) -> Result<(), BackupError> {
    let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(from, access).map_err(|error| refused(from, &error))?;
    Held::check_schema(&db, from)?;
    // Reads as of one moment; the data plane's writer goes on meanwhile.
    db.execute("VACUUM INTO ?1", [to.to_string_lossy()])
        .map_err(|error| refused(to, &error))?;
    let copy = Connection::open_with_flags(to, access).map_err(|error| refused(to, &error))?;
    let found: String = copy
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| refused(to, &error))?;
    if found == "ok" {
        Ok(())
    } else {
        Err(BackupError::Damaged(found))
    }
}

/// A second name for the same file: unlike a renaming, it never takes the place of a file that came meanwhile.
fn name(partial: &Path, to: &Path) -> Result<(), BackupError> {
    let named = fs::hard_link(partial, to).and_then(|()| match to.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    });
    named.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => unusable(to, error).into(),
    })
}
