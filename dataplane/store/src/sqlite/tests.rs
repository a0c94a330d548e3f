//! What is particular to SQLite: one file, one writer, and the faults of a disk.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::job::Write;
use super::{SqliteOptions, SqliteStore};
use crate::conformance::{self, Fixture};
use crate::refusals::RefusalBounds;
use crate::{Store, StoreError, StoreFuture};

mod faults;
mod files;
mod writing;

mod conforms {
    use super::{Sqlite, conformance};

    conformance::suite!(Sqlite::empty());
}

/// A database in a directory that goes with it.
#[derive(Debug)]
struct Sqlite {
    directory: TempDir,
    store: Option<Arc<SqliteStore>>,
}

impl Sqlite {
    fn empty() -> Self {
        Self::with(SqliteOptions::default())
    }

    fn with(options: SqliteOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let path = directory.path().join("vestibule.db");
        let store = SqliteStore::open(&path, options).expect("an empty database opens");
        Self {
            directory,
            store: Some(Arc::new(store)),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("vestibule.db")
    }

    fn sqlite(&self) -> Arc<SqliteStore> {
        Arc::clone(self.store.as_ref().expect("the store is open"))
    }

    fn close(&mut self) {
        let store = self.store.take().expect("the store is open");
        drop(Arc::try_unwrap(store).expect("no clone of the store is left"));
    }

    fn open(&mut self) {
        self.open_with(SqliteOptions::default());
    }

    fn open_with(&mut self, options: SqliteOptions) {
        let store = SqliteStore::open(&self.path(), options).expect("the database opens");
        self.store = Some(Arc::new(store));
    }

    /// The one number that a query of another connection finds.
    fn number(&self, sql: &str) -> i64 {
        let db = Connection::open_with_flags(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("it opens");
        db.query_row(sql, [], |row| row.get(0))
            .expect("it finds a number")
    }
}

impl Fixture for Sqlite {
    fn store(&self) -> Arc<Store> {
        Arc::new(self.sqlite().into())
    }

    fn reopen(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.close();
            self.open();
        })
    }

    fn reopen_with(
        &mut self,
        refusals: RefusalBounds,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.close();
            self.open_with(SqliteOptions {
                refusals,
                ..SqliteOptions::default()
            });
        })
    }

    fn ask(&self, sql: &'static str) -> Pin<Box<dyn Future<Output = i64> + Send + '_>> {
        Box::pin(async { self.number(sql) })
    }

    fn events(&self) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(async {
            usize::try_from(self.number("SELECT count(*) FROM events")).expect("a count")
        })
    }
}

/// Holds the writer until it is let go, so that what is submitted meanwhile is one batch.
struct Hold {
    holding: Sender<()>,
    release: Receiver<()>,
}

impl Write for Hold {
    type Answer = ();

    fn write(&self, _: &Connection) -> rusqlite::Result<()> {
        let _ = self.holding.send(());
        let _ = self.release.recv();
        Ok(())
    }
}

/// Once this returns, the writer is busy with nothing but waiting.
fn hold(store: &SqliteStore) -> (Sender<()>, StoreFuture<'static, ()>) {
    let (holding, held) = channel();
    let (released, release) = channel();
    let done = store.submit(Hold { holding, release });
    held.recv().expect("the writer takes the job");
    (released, done)
}

/// Any statements, inside the writer's transaction.
struct Run(String);

impl Write for Run {
    type Answer = ();

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        db.execute_batch(&self.0)
    }
}

fn unavailable<T>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(sentence)) => sentence,
        Err(StoreError::Busy) => panic!("the store is busy"),
        Ok(_) => panic!("the store is available"),
    }
}
