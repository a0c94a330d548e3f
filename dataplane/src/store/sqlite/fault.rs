//! What goes wrong with a database file, told in sentences that say what to do, and logged once for each change of state.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Reads in a row that must succeed before reads count as well again: where one page is damaged, good and bad reads alternate.
const READS_UNTIL_WELL: u32 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FaultKind {
    Full = 1,
    ReadOnly,
    Damaged,
    InputOutput,
    Locked,
    Refused,
}

impl FaultKind {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DiskFull => Self::Full,
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged,
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::NoLargeFileSupport => Self::InputOutput,
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed => Self::Locked,
                _ => Self::Refused,
            },
            // A row that holds what nobody wrote.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => Self::Damaged,
            _ => Self::Refused,
        }
    }

    /// Whether trying the other writes of the batch is pointless, since all of them need the same disk.
    pub(super) fn concerns_all(self) -> bool {
        match self {
            Self::Full | Self::ReadOnly | Self::InputOutput | Self::Locked => true,
            Self::Damaged | Self::Refused => false,
        }
    }

    /// Whether a new connection may fare better than this one.
    pub(super) fn wants_reopening(self) -> bool {
        match self {
            Self::ReadOnly | Self::Damaged | Self::InputOutput => true,
            Self::Full | Self::Locked | Self::Refused => false,
        }
    }

    fn from_u8(kind: u8) -> Option<Self> {
        [
            Self::Full,
            Self::ReadOnly,
            Self::Damaged,
            Self::InputOutput,
            Self::Locked,
            Self::Refused,
        ]
        .into_iter()
        .find(|known| *known as u8 == kind)
    }
}

/// A fault of one database file.
#[derive(Debug)]
pub(super) struct Fault<'a> {
    pub(super) kind: FaultKind,
    pub(super) path: &'a Path,
    pub(super) error: &'a rusqlite::Error,
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let error = self.error;
        match self.kind {
            FaultKind::Full => write!(
                f,
                "no space is left for {path}: free space on its volume ({error})"
            ),
            FaultKind::ReadOnly => write!(
                f,
                "{path} cannot be written to: make the file and its directory writable ({error})"
            ),
            FaultKind::Damaged => write!(
                f,
                "{path} is damaged: restore it from a backup, or move it away to begin empty ({error})"
            ),
            FaultKind::InputOutput => write!(
                f,
                "reading or writing {path} failed: check its volume ({error})"
            ),
            FaultKind::Locked => write!(
                f,
                "another program holds a lock on {path}: stop it ({error})"
            ),
            FaultKind::Refused => write!(f, "the database refused a statement ({error})"),
        }
    }
}

/// Whether reads and writes of one file go well, so that only changes are logged.
#[derive(Debug)]
pub(super) struct Health {
    path: PathBuf,
    /// The kind of fault, 0 while all is well.
    writes: AtomicU8,
    reads: AtomicU8,
    reads_well: AtomicU32,
}

impl Health {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            writes: AtomicU8::new(0),
            reads: AtomicU8::new(0),
            reads_well: AtomicU32::new(0),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write_failed(&self, error: &rusqlite::Error) -> StoreError {
        let fault = self.fault(error);
        if self.writes.swap(fault.kind as u8, Ordering::Relaxed) != fault.kind as u8 {
            tracing::error!(store.fault = ?fault.kind, "the store cannot be written to: {fault}");
        }
        StoreError::Unavailable(fault.to_string())
    }

    pub(super) fn wrote(&self) {
        if self.writes.load(Ordering::Relaxed) != 0 {
            let was = FaultKind::from_u8(self.writes.swap(0, Ordering::Relaxed));
            tracing::info!(store.fault = ?was, "the store can be written to again");
        }
    }

    pub(super) fn read_failed(&self, error: &rusqlite::Error) -> StoreError {
        let fault = self.fault(error);
        self.reads_well.store(0, Ordering::Relaxed);
        if self.reads.swap(fault.kind as u8, Ordering::Relaxed) != fault.kind as u8 {
            tracing::error!(store.fault = ?fault.kind, "the store cannot be read: {fault}");
        }
        StoreError::Unavailable(fault.to_string())
    }

    pub(super) fn read_succeeded(&self) {
        if self.reads.load(Ordering::Relaxed) != 0
            && self.reads_well.fetch_add(1, Ordering::Relaxed) + 1 == READS_UNTIL_WELL
        {
            let was = FaultKind::from_u8(self.reads.swap(0, Ordering::Relaxed));
            tracing::info!(store.fault = ?was, "the store can be read again");
        }
    }

    fn fault<'a>(&'a self, error: &'a rusqlite::Error) -> Fault<'a> {
        Fault {
            kind: FaultKind::of(error),
            path: &self.path,
            error,
        }
    }
}
