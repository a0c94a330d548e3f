//! What goes wrong with a database on the network: what it means for the connection, whether asking again is safe, and a
//! sentence that says what to do.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::connect::ConnectError;
use crate::StoreError;

/// Why something asked of the database came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("a row of {0} holds what Vestibule did not write: restore the database from a backup")]
    Unreadable(&'static str),
    #[error("the database did not answer in time")]
    Late,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// No connection can be made.
    Unreachable,
    /// The connection broke off: whether the last statement was carried out is not known.
    Broken,
    /// The connection knows less than the server asks of it (a statement is gone, a plan is out of date); nothing was done.
    Stale,
    /// The server takes no writes: it is a standby, or became one.
    ReadOnly,
    /// Another transaction was first; nothing was done.
    Conflict,
    /// A statement took longer than it may; nothing was done.
    Slow,
    /// No answer came; whether the statement is carried out is not known.
    Late,
    Full,
    Denied,
    Damaged,
    Refused,
}

impl Fault {
    pub(super) fn kind(&self) -> FaultKind {
        match self {
            Self::Connect(_) => FaultKind::Unreachable,
            Self::Unreadable(_) => FaultKind::Damaged,
            Self::Late => FaultKind::Late,
            Self::Database(error) => error.code().map_or(FaultKind::Broken, kind_of),
        }
    }

    /// A unique key that was taken meanwhile, by the table's name.
    pub(super) fn takes(&self, table: &str) -> bool {
        let Self::Database(error) = self else {
            return false;
        };
        let Some(error) = error.as_db_error() else {
            return false;
        };
        // Compatible servers name the constraint and not always the table; its name begins with the table's.
        *error.code() == SqlState::UNIQUE_VIOLATION
            && (error.table() == Some(table)
                || error
                    .constraint()
                    .is_some_and(|name| name.starts_with(table)))
    }
}

fn kind_of(code: &SqlState) -> FaultKind {
    match code.code() {
        "25006" => FaultKind::ReadOnly,
        "40001" | "40P01" => FaultKind::Conflict,
        "55P03" | "57014" => FaultKind::Slow,
        // The statement was forgotten (by a pooler in between), or its tables changed under it.
        "26000" | "0A000" => FaultKind::Stale,
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => FaultKind::Broken,
        "53100" => FaultKind::Full,
        "42501" => FaultKind::Denied,
        code if code.starts_with("08") => FaultKind::Broken,
        code if code.starts_with("28") => FaultKind::Denied,
        code if code.starts_with("XX") => FaultKind::Damaged,
        _ => FaultKind::Refused,
    }
}

impl FaultKind {
    /// Whether the connection is of no more use.
    pub(super) fn ends_connection(self) -> bool {
        match self {
            Self::Broken | Self::Stale | Self::ReadOnly | Self::Late => true,
            Self::Unreachable
            | Self::Conflict
            | Self::Slow
            | Self::Full
            | Self::Denied
            | Self::Damaged
            | Self::Refused => false,
        }
    }

    /// Whether nothing was done, and the next attempt may well succeed.
    pub(super) fn may_be_repeated(self) -> bool {
        match self {
            Self::Stale | Self::ReadOnly | Self::Conflict => true,
            Self::Unreachable
            | Self::Broken
            | Self::Slow
            | Self::Late
            | Self::Full
            | Self::Denied
            | Self::Damaged
            | Self::Refused => false,
        }
    }

    /// Whether it is the database's trouble, and not that of what was asked.
    pub(super) fn is_outage(self) -> bool {
        match self {
            Self::Unreachable
            | Self::Broken
            | Self::Stale
            | Self::ReadOnly
            | Self::Conflict
            | Self::Slow
            | Self::Late
            | Self::Full
            | Self::Denied => true,
            Self::Damaged | Self::Refused => false,
        }
    }
}

/// In the server's own words: the driver's are `db error`.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    let Some(database_error) = error.as_db_error() else {
        let cause = error.source().map(|source| format!(": {source}"));
        return format!(
            "the connection to the database broke off ({error}{})",
            cause.unwrap_or_default()
        );
    };
    let (message, code) = (database_error.message(), database_error.code().code());
    let advice = match kind_of(database_error.code()) {
        FaultKind::ReadOnly => "the database takes no writes: is it a standby?",
        FaultKind::Conflict => "other transactions were first, time and again",
        FaultKind::Slow => "the database took longer than it may",
        FaultKind::Full => "no space is left for the database: free space on its volume",
        FaultKind::Denied => "the database does not let its user do this: grant it",
        FaultKind::Damaged => "the database is damaged: see its log",
        FaultKind::Broken | FaultKind::Stale | FaultKind::Unreachable | FaultKind::Late => {
            "the connection to the database broke off"
        }
        FaultKind::Refused => "the database refused a statement",
    };
    format!("{advice} ({code}: {message})")
}

/// Faults are logged this often at most: what one caller meets, a thousand others may meet as well.
const LOGGED_EVERY: Duration = Duration::from_secs(5);

/// Tells of an outage and of its end in the log, a bounded number of times.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Whether a fault was logged, and its end was not.
    ill: AtomicBool,
    logged_at: Mutex<Option<Instant>>,
}

impl Health {
    pub(super) fn failed(&self, fault: &Fault) -> StoreError {
        let mut logged_at = self
            .logged_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if logged_at.is_none_or(|logged_at| logged_at.elapsed() >= LOGGED_EVERY) {
            *logged_at = Some(Instant::now());
            self.ill.store(true, Ordering::Relaxed);
            tracing::error!(store.fault = ?fault.kind(), "the store cannot be used: {fault}");
        }
        StoreError::Unavailable(fault.to_string())
    }

    pub(super) fn succeeded(&self) {
        // Well and well again is by far the most frequent, and writes to nothing that other threads read.
        if self.ill.load(Ordering::Relaxed) && self.ill.swap(false, Ordering::Relaxed) {
            tracing::info!("the store can be used again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn codes_of_the_server_are_told_apart() {
        for (code, kind) in [
            ("25006", FaultKind::ReadOnly),
            ("40001", FaultKind::Conflict),
            ("40P01", FaultKind::Conflict),
            ("57014", FaultKind::Slow),
            ("55P03", FaultKind::Slow),
            ("57P01", FaultKind::Broken),
            ("57P03", FaultKind::Broken),
            ("08006", FaultKind::Broken),
            ("26000", FaultKind::Stale),
            ("53100", FaultKind::Full),
            ("42501", FaultKind::Denied),
            ("28P01", FaultKind::Denied),
            ("XX001", FaultKind::Damaged),
            ("22021", FaultKind::Refused),
            ("23505", FaultKind::Refused),
        ] {
            assert_eq!(kind_of(&SqlState::from_code(code)), kind, "{code}");
        }
    }

    #[test]
    fn what_may_have_been_done_is_not_repeated() {
        for kind in [FaultKind::Conflict, FaultKind::ReadOnly, FaultKind::Stale] {
            assert!(kind.may_be_repeated(), "{kind:?}");
        }
        for kind in [FaultKind::Broken, FaultKind::Late, FaultKind::Slow] {
            assert!(!kind.may_be_repeated(), "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_faults_is_told_now_and_then_and_each_end_once() {
        let log = Log::default();
        let made = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || made.clone())
            .finish();
        let _logged = tracing::subscriber::set_default(subscriber);
        let health = Health::default();
        health.succeeded();
        for _ in 0..2 {
            for _ in 0..1000 {
                let error = health.failed(&Fault::Late);
                assert!(matches!(error, StoreError::Unavailable(_)));
                health.succeeded();
            }
            tokio::time::advance(LOGGED_EVERY).await;
        }
        let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        for pair in lines.chunks(2) {
            assert!(
                pair[0].contains("cannot be used: the database did not answer"),
                "{text}"
            );
            assert!(pair[1].contains("can be used again"), "{text}");
        }
    }

    #[derive(Debug, Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
