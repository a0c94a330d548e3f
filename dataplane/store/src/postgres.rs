//! The store in a PostgreSQL database: for any number of data planes at once.
//!
//! Each question is one statement over one of a few connections ([`pool`]), so a read is one round
//! trip and a commit another ([`signin`] says what isolates them); what many callers ask at the
//! same time goes as a batch, one statement for all of them ([`batch`]). Audit events that no
//! caller waits for are written in batches behind ([`events`]). Nothing that is asked here takes
//! longer than 2 s, whatever becomes of the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

use self::batch::{AskBatch, Batcher};
use self::connect::{Connection, Connector};
use self::events::Trail;
use self::fault::Fault;
use self::pool::{Ask, Pool};
use self::sweep::Cursors;
use super::refusals::{RefusalBounds, Refusals};
use super::{
    Event, Gather, HASH_KEY_BYTES, HashKey, Probe, ReadSession, Rotation, RunOn, Signin,
    StoreError, StoreFuture, Work,
};

mod batch;
mod connect;
mod events;
mod fault;
mod history;
mod mfa;
mod operations;
mod passwords;
mod pool;
mod population;
mod private;
pub mod reading;
mod rows;
mod schema;
mod sessions;
mod signin;
mod sweep;
#[cfg(test)]
mod tests;
mod tls;
pub mod url;
mod users;

pub use self::connect::ConnectError;
pub(crate) use self::private::Private;
pub use self::schema::{Schema, SchemaError};
pub use self::url::{PostgresUrl, UrlError};

/// The bounds of a store.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Connections at most: about as many as the server has cores to use, and the disk commits to share.
    pub connections: usize,
    /// Callers that may wait for a connection; one more is answered [`StoreError::Busy`].
    pub waiting_max: usize,
    /// Refusals that may wait to be written, and as many other audit events; more are dropped, and counted.
    pub events_max: usize,
    /// From how many on questions that come at the same time are asked in one statement.
    pub batch_from: usize,
    /// How long a server that cannot be reached is tried at the start.
    pub start_wait: Duration,
    pub refusals: RefusalBounds,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            connections: 16,
            waiting_max: 1024,
            events_max: 4096,
            batch_from: 2,
            start_wait: Duration::from_secs(30),
            refusals: RefusalBounds::default(),
        }
    }
}

/// There while a copy into the database is not finished.
pub(crate) const PROGRESS_TABLE: &str = "vestibule_copy";

/// At the start: between two attempts, and between two lines of the log about it.
const START_RETRY: Duration = Duration::from_millis(500);
const START_LOGGED_EVERY: Duration = Duration::from_secs(5);

/// Why a database cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

#[derive(Debug)]
pub struct PostgresStore {
    pool: Arc<Pool>,
    gathers: Arc<Batcher<Gather>>,
    signins: Arc<Batcher<Signin>>,
    sessions: Arc<Batcher<ReadSession>>,
    rotations: Arc<Batcher<Rotation>>,
    trail: Trail,
    refusals: Refusals,
    cursors: Cursors,
    hash_key: HashKey,
    writes: AtomicU64,
    transactions: AtomicU64,
}

impl PostgresStore {
    /// Connects, brings the schema up to date, and sees whether it can be written to.
    pub async fn open(url: PostgresUrl, options: PostgresOptions) -> Result<Self, OpenError> {
        let PostgresOptions {
            connections,
            waiting_max,
            events_max,
            batch_from,
            start_wait,
            refusals,
        } = options;
        let connector = Connector::new(url);
        let mut first = connect_patiently(&connector, start_wait).await?;
        let user = &connector.url().user;
        let schema = schema::bring_up_to_date(&mut first, user).await?;
        schema::check_whole(&first).await?;
        schema::check_writable(&first, user).await?;
        if schema.migrated > 0 {
            tracing::info!("the database's schema is version {} now", schema.version);
        }
        let mut fresh = [0; HASH_KEY_BYTES];
        SystemRandom::new()
            .fill(&mut fresh)
            .map_err(|_| SchemaError::Database("the system gives no random bytes".to_owned()))?;
        let hash_key = history::hash_key(&first, &fresh)
            .await
            .map_err(|fault| SchemaError::Database(fault.to_string()))?;
        drop(first);
        let pool = Arc::new(Pool::new(connector, connections.max(1), waiting_max));
        Ok(Self {
            gathers: Batcher::new(Arc::clone(&pool), batch_from),
            signins: Batcher::new(Arc::clone(&pool), batch_from),
            sessions: Batcher::new(Arc::clone(&pool), batch_from),
            rotations: Batcher::new(Arc::clone(&pool), batch_from),
            trail: Trail::start(Arc::clone(&pool), events_max.max(1)),
            pool,
            refusals: Refusals::new(refusals),
            cursors: Cursors::default(),
            hash_key,
            writes: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
        })
    }

    /// Only brings the schema up to date.
    pub async fn migrate(url: PostgresUrl, start_wait: Duration) -> Result<Schema, OpenError> {
        let connector = Connector::new(url);
        let mut connection = connect_patiently(&connector, start_wait).await?;
        let user = &connector.url().user;
        Ok(schema::bring_up_to_date(&mut connection, user).await?)
    }

    /// A transaction of its own.
    async fn write<A: Ask>(&self, question: A) -> Result<A::Answer, StoreError> {
        let answer = self.pool.ask(&question).await;
        if answer.is_ok() {
            self.writes.fetch_add(1, Ordering::Relaxed);
            self.transactions.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn write_batched<A: AskBatch>(
        &self,
        batcher: &Arc<Batcher<A>>,
        question: A,
    ) -> Result<A::Answer, StoreError> {
        let answer = batcher.ask(question).await;
        if answer.is_ok() {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

/// What only a person can fix is reported at once.
async fn connect_patiently(
    connector: &Connector,
    wait: Duration,
) -> Result<Connection, ConnectError> {
    let began = Instant::now();
    let mut logged_at = None;
    loop {
        let error = match connector.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let left = wait.saturating_sub(began.elapsed());
        if !error.is_passing() || left.is_zero() {
            return Err(error);
        }
        if logged_at.is_none_or(|logged_at: Instant| logged_at.elapsed() >= START_LOGGED_EVERY) {
            logged_at = Some(Instant::now());
            tracing::warn!("{error}; trying for {} s more", left.as_secs());
        }
        tokio::time::sleep(START_RETRY.min(left)).await;
    }
}

impl PostgresStore {
    pub fn run<O: RunOn<Self>>(&self, operation: O) -> StoreFuture<'_, O::Answer> {
        operation.run_on(self)
    }

    /// See [`crate::Store::record`].
    pub fn record(&self, event: Event) -> bool {
        self.refusals.written(&event);
        self.trail.record(event)
    }

    pub fn flush(&self) -> StoreFuture<'_, ()> {
        Box::pin(async {
            self.trail.flush().await;
            Ok(())
        })
    }

    /// A batch of events is one write.
    pub fn work(&self) -> Work {
        let events = self.trail.written() as u64;
        let batches = self.signins.batches() + self.rotations.batches();
        Work {
            writes: self.writes.load(Ordering::Relaxed) + events,
            transactions: self.transactions.load(Ordering::Relaxed) + batches + events,
            queued: self.pool.waiting()
                + self.signins.waiting()
                + self.rotations.waiting()
                + self.trail.queued(),
            refusals_dropped: self.refusals.dropped_so_far(),
        }
    }

    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }
}

impl Ask for Probe {
    type Answer = ();

    async fn ask(&self, db: &mut Connection) -> Result<(), Fault> {
        let statement = db
            .prepared("UPDATE probe SET times = times + 1 WHERE id = 1")
            .await?;
        db.client.execute(&statement, &[]).await?;
        Ok(())
    }
}
