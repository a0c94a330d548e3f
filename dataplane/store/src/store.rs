//! The store: one of the databases, and where audit events go once they are durable.

use std::fmt;
use std::sync::Arc;

use crate::answers::Answers;
use crate::operation::RunOn;
use crate::postgres::PostgresStore;
use crate::sqlite::SqliteStore;
use crate::{Event, HashKey, StoreFuture, Work};

/// Runs operations. A clone is the same store.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    audit: Option<Arc<dyn AuditSink>>,
}

/// Where audit events go besides the database.
pub trait AuditSink: Send + Sync + fmt::Debug {
    /// Does not wait.
    fn write(&self, event: &Event);
}

#[derive(Debug, Clone)]
enum Database {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
    Answers(Arc<Answers>),
}

impl Store {
    /// The same store, whose events go to `sink` as well, each once its operation is durable.
    pub fn audited(self, sink: Arc<dyn AuditSink>) -> Self {
        Self {
            audit: Some(sink),
            ..self
        }
    }

    /// A write is queued at once, even if the future is never polled.
    pub fn run<O>(&self, operation: O) -> StoreFuture<'_, O::Answer>
    where
        O: RunOn<SqliteStore> + RunOn<PostgresStore>,
    {
        let audited = self.audit.as_ref();
        let audited = audited.and_then(|sink| Some((sink, operation.event()?.clone())));
        let running = match &self.database {
            Database::Sqlite(sqlite) => sqlite.run(operation),
            Database::Postgres(postgres) => postgres.run(operation),
            Database::Answers(answers) => answers.run(&operation),
        };
        match audited {
            None => running,
            Some((sink, event)) => Box::pin(async move {
                let answer = running.await?;
                if O::is_done(&answer) {
                    sink.write(&event);
                }
                Ok(answer)
            }),
        }
    }

    /// Queues an audit event without waiting; false when it was dropped because the queue is full, or because it is a
    /// refusal and the disk has too little room for it. The sink has it all the same.
    pub fn record(&self, event: Event) -> bool {
        if let Some(sink) = &self.audit {
            sink.write(&event);
        }
        match &self.database {
            Database::Sqlite(sqlite) => sqlite.record(event),
            Database::Postgres(postgres) => postgres.record(event),
            Database::Answers(_) => true,
        }
    }

    /// Waits until the audit events queued so far are written, however long a database is away.
    pub fn flush(&self) -> StoreFuture<'_, ()> {
        match &self.database {
            Database::Sqlite(sqlite) => sqlite.flush(),
            Database::Postgres(postgres) => postgres.flush(),
            Database::Answers(_) => Box::pin(std::future::ready(Ok(()))),
        }
    }

    /// What has been written since the start, for the metrics.
    pub fn work(&self) -> Work {
        match &self.database {
            Database::Sqlite(sqlite) => sqlite.work(),
            Database::Postgres(postgres) => postgres.work(),
            Database::Answers(_) => Work::default(),
        }
    }

    pub fn hash_key(&self) -> HashKey {
        match &self.database {
            Database::Sqlite(sqlite) => sqlite.hash_key(),
            Database::Postgres(postgres) => postgres.hash_key(),
            Database::Answers(_) => HashKey::default(),
        }
    }

    /// Whether other processes may write to it, too.
    pub fn is_shared(&self) -> bool {
        match &self.database {
            // A file is held by one process.
            Database::Sqlite(_) | Database::Answers(_) => false,
            Database::Postgres(_) => true,
        }
    }
}

impl From<Database> for Store {
    fn from(database: Database) -> Self {
        Self {
            database,
            audit: None,
        }
    }
}

impl From<Arc<SqliteStore>> for Store {
    fn from(sqlite: Arc<SqliteStore>) -> Self {
        Database::Sqlite(sqlite).into()
    }
}

impl From<Arc<PostgresStore>> for Store {
    fn from(postgres: Arc<PostgresStore>) -> Self {
        Database::Postgres(postgres).into()
    }
}

impl From<SqliteStore> for Store {
    fn from(sqlite: SqliteStore) -> Self {
        Arc::new(sqlite).into()
    }
}

impl From<PostgresStore> for Store {
    fn from(postgres: PostgresStore) -> Self {
        Arc::new(postgres).into()
    }
}

/// For measurements: no database.
impl From<Answers> for Store {
    fn from(answers: Answers) -> Self {
        Database::Answers(Arc::new(answers)).into()
    }
}
