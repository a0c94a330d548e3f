//! What goes wrong with a database file, reported in sentences that say what to do, and logged once
//! for each change of state.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use rusqlite::ErrorCode;

use crate::StoreError;

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
            // A row that holds what this program never wrote.
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

/// Whether reading, writing and copying of one file go well, so that only changes are logged.
#[derive(Debug)]
pub(super) struct Health {
    path: PathBuf,
    writes: State,
    copies: State,
    reads: State,
    reads_well: AtomicU32,
}

impl Health {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            writes: State::default(),
            copies: State::default(),
            reads: State::default(),
            reads_well: AtomicU32::new(0),
        }
    }

    pub(super) fn write_failed(&self, error: &rusqlite::Error) -> StoreError {
        let fault = self.fault(error);
        if self.writes.becomes(Some(fault.kind)) {
            tracing::error!(store.fault = ?fault.kind, "the store cannot be written to: {fault}");
        }
        StoreError::Unavailable(fault.to_string())
    }

    pub(super) fn wrote(&self) {
        if self.writes.becomes(None) {
            tracing::info!("the store can be written to again");
        }
    }

    /// Commits go on, into a log that grows.
    pub(super) fn copy_failed(&self, error: &rusqlite::Error) {
        let fault = self.fault(error);
        // The writer or a reader was in the way; the next copy comes soon.
        if fault.kind != FaultKind::Locked && self.copies.becomes(Some(fault.kind)) {
            tracing::error!(store.fault = ?fault.kind, "the store's log cannot be copied and grows: {fault}");
        }
    }

    pub(super) fn copied(&self) {
        if self.copies.becomes(None) {
            tracing::info!("the store's log can be copied again");
        }
    }

    pub(super) fn read_failed(&self, error: &rusqlite::Error) -> StoreError {
        let fault = self.fault(error);
        self.reads_well.store(0, Ordering::Relaxed);
        if self.reads.becomes(Some(fault.kind)) {
            tracing::error!(store.fault = ?fault.kind, "the store cannot be read: {fault}");
        }
        StoreError::Unavailable(fault.to_string())
    }

    pub(super) fn read_succeeded(&self) {
        if self.reads.is_well()
            || self.reads_well.fetch_add(1, Ordering::Relaxed) + 1 < READS_UNTIL_WELL
        {
            return;
        }
        if self.reads.becomes(None) {
            tracing::info!("the store can be read again");
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

/// The kind of fault that was logged last; 0 while all is well.
#[derive(Debug, Default)]
struct State(AtomicU8);

impl State {
    fn is_well(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Whether that is a change.
    fn becomes(&self, kind: Option<FaultKind>) -> bool {
        let kind = kind.map_or(0, |kind| kind as u8);
        // Well and well again is by far the most frequent, and writes to nothing that other threads read.
        self.0.load(Ordering::Relaxed) != kind && self.0.swap(kind, Ordering::Relaxed) != kind
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use rusqlite::ffi;

    use super::*;

    #[test]
    fn codes_of_sqlite_are_told_apart() {
        for (code, kind) in [
            (ffi::SQLITE_FULL, FaultKind::Full),
            (ffi::SQLITE_READONLY, FaultKind::ReadOnly),
            (ffi::SQLITE_READONLY_DBMOVED, FaultKind::ReadOnly),
            (ffi::SQLITE_CORRUPT, FaultKind::Damaged),
            (ffi::SQLITE_NOTADB, FaultKind::Damaged),
            (ffi::SQLITE_IOERR_FSYNC, FaultKind::InputOutput),
            (ffi::SQLITE_CANTOPEN, FaultKind::InputOutput),
            (ffi::SQLITE_BUSY, FaultKind::Locked),
            (ffi::SQLITE_CONSTRAINT_PRIMARYKEY, FaultKind::Refused),
            (ffi::SQLITE_TOOBIG, FaultKind::Refused),
        ] {
            assert_eq!(FaultKind::of(&failure(code)), kind, "{code}");
        }
        assert_eq!(
            FaultKind::of(&rusqlite::Error::IntegralValueOutOfRange(0, 7)),
            FaultKind::Damaged
        );
        assert_eq!(
            FaultKind::of(&rusqlite::Error::InvalidQuery),
            FaultKind::Refused
        );
    }

    #[test]
    fn each_change_is_logged_once() {
        let health = Health::new("vestibule.db".into());
        let lines = logged(|| {
            health.wrote();
            for code in [ffi::SQLITE_FULL, ffi::SQLITE_FULL, ffi::SQLITE_READONLY] {
                health.write_failed(&failure(code));
            }
            health.wrote();
            health.wrote();
            health.copied();
            health.copy_failed(&failure(ffi::SQLITE_BUSY));
            health.copy_failed(&failure(ffi::SQLITE_IOERR));
            health.copied();
        });
        let expected = [
            "the store cannot be written to: no space is left for vestibule.db",
            "the store cannot be written to: vestibule.db cannot be written to",
            "the store can be written to again",
            "the store's log cannot be copied and grows: reading or writing vestibule.db failed",
            "the store's log can be copied again",
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn reads_that_fail_now_and_then_are_logged_once() {
        let health = Health::new("vestibule.db".into());
        let damaged = failure(ffi::SQLITE_CORRUPT);
        let lines = logged(|| {
            for _ in 0..10 {
                health.read_failed(&damaged);
                (1..READS_UNTIL_WELL).for_each(|_| health.read_succeeded());
            }
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let lines = logged(|| health.read_succeeded());
        assert!(
            lines
                .iter()
                .all(|line| line.contains("the store can be read again")),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 1);
    }

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    fn logged(run: impl FnOnce()) -> Vec<String> {
        let log = Log::default();
        let made = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || made.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, run);
        let text =
            String::from_utf8(log.0.lock().expect("no test panicked").clone()).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[derive(Debug, Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
