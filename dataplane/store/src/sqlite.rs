//! The store in one SQLite file: for a data plane of one process, with nothing else to run.
//!
//! Reads run on the caller's thread ([`readers`]); writes queue for one thread ([`writer`]), which commits whatever has
//! queued as one transaction and answers after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::watch;

use self::checkpoint::checkpoints;
use self::connection::Setup;
use self::fault::Health;
use self::job::{Awaited, Record, Write};
pub(crate) use self::open::Held;
use self::open::Opened;
use self::queue::{Queue, closed};
use self::readers::Readers;
use self::space::Space;
use self::sweep::Cursors;
use self::writer::{Tally, Writer};
use super::refusals::{RefusalBounds, Refusals};
use super::{Event, HashKey, Probe, RunOn, StoreFuture, Work};
use crate::trace;

mod backup;
mod checkpoint;
mod connection;
mod events;
mod fault;
mod history;
mod job;
mod mfa;
mod open;
mod operations;
mod passwords;
mod population;
mod queue;
mod readers;
mod rows;
mod sessions;
mod signin;
mod space;
mod sweep;
#[cfg(test)]
mod tests;
mod users;
mod writer;

pub use self::backup::{BackupError, backup};
pub use self::open::OpenError;

/// The bounds of a store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Writes that may wait; one more is answered [`StoreError::Busy`].
    pub queue_max: usize,
    /// Writes that share a transaction.
    pub batch_max: usize,
    /// Connections for reading: as many as threads that serve.
    pub readers: usize,
    pub refusals: RefusalBounds,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            queue_max: 4096,
            batch_max: 256,
            readers: thread::available_parallelism().map_or(2, usize::from),
            refusals: RefusalBounds::default(),
        }
    }
}

#[derive(Debug)]
pub struct SqliteStore {
    setup: Setup,
    queue: Arc<Queue>,
    readers: Readers,
    cursors: Cursors,
    health: Arc<Health>,
    tally: Arc<Tally>,
    records_dropped: AtomicU64,
    refusals: Refusals,
    space: Space,
    hash_key: HashKey,
    died: watch::Receiver<bool>,
    threads: Vec<JoinHandle<()>>,
    /// Last: let go of when all else is closed.
    _held: Held,
}

/// What a store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteStats {
    pub jobs: u64,
    pub transactions: u64,
    pub queued: usize,
    pub records_dropped: u64,
    /// Pages in the write-ahead log.
    pub log_frames: u32,
    pub log_copies: u64,
    pub log_restarts: u64,
}

impl SqliteStore {
    /// Creates the file, private to its owner, when there is none, and brings its schema up to date.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        let SqliteOptions {
            queue_max,
            batch_max,
            readers,
            refusals,
        } = options;
        let Opened {
            setup,
            db,
            hash_key,
            held,
        } = open::open(path)?;
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let queue = Arc::new(Queue::new(queue_max));
        let health = Arc::new(Health::new(setup.path.clone()));
        let tally = Arc::<Tally>::default();
        let (checkpoints, copier) = checkpoints(&setup, &health);
        let writer = Writer {
            setup: setup.clone(),
            queue: Arc::clone(&queue),
            batch_max: batch_max.max(1),
            health: Arc::clone(&health),
            tally: Arc::clone(&tally),
            checkpoints,
            db: Some(db),
        };
        let (death, died) = watch::channel(false);
        let mut store = Self {
            readers: Readers::new(setup.clone(), Arc::clone(&health), readers),
            health,
            setup,
            queue,
            cursors: Cursors::default(),
            tally,
            records_dropped: AtomicU64::new(0),
            refusals: Refusals::new(refusals),
            space: Space::of(path),
            hash_key,
            died,
            threads: Vec::with_capacity(2),
            _held: held,
        };
        store
            .supervise("store-writer", &death, || writer.run())
            .map_err(io)?;
        store
            .supervise("store-copier", &death, || copier.run())
            .map_err(io)?;
        Ok(store)
    }

    /// Resolves when a thread of the store has panicked: nothing can be written any more, and the process should end.
    pub fn died(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut died = self.died.clone();
        async move {
            if died.wait_for(|died| *died).await.is_err() {
                // The store was closed in good order.
                std::future::pending().await
            }
        }
    }

    pub fn stats(&self) -> SqliteStats {
        SqliteStats {
            jobs: self.tally.jobs.load(Ordering::Relaxed),
            transactions: self.tally.transactions.load(Ordering::Relaxed),
            queued: self.queue.len(),
            records_dropped: self.records_dropped.load(Ordering::Relaxed),
            log_frames: self.setup.log.frames(),
            log_copies: self.setup.log.copies.load(Ordering::Relaxed),
            log_restarts: self.setup.log.restarts.load(Ordering::Relaxed),
        }
    }

    fn supervise(
        &mut self,
        name: &str,
        death: &watch::Sender<bool>,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let queue = Arc::clone(&self.queue);
        let death = death.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if catch_unwind(AssertUnwindSafe(run)).is_err() {
                    queue.abandon();
                    death.send_replace(true);
                }
            })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Queued at once, even if the future is never polled.
    fn submit<W: Write>(&self, write: W) -> StoreFuture<'static, W::Answer> {
        let (job, answer) = Awaited::new(write);
        if let Err(error) = self.queue.push(Box::new(job)) {
            return Box::pin(std::future::ready(Err(error)));
        }
        // The writer drops a job unanswered only when it panics.
        let answered = async move { answer.await.unwrap_or_else(|_| Err(closed())) };
        Box::pin(trace::query::<W, _>("sqlite", answered))
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> StoreFuture<'static, T> {
        Box::pin(std::future::ready(self.readers.read(read)))
    }
}

impl SqliteStore {
    /// A write is queued at once, even if the future is never polled.
    pub fn run<O: RunOn<Self>>(&self, operation: O) -> StoreFuture<'_, O::Answer> {
        operation.run_on(self)
    }

    /// See [`crate::Store::record`].
    pub fn record(&self, event: Event) -> bool {
        let has_room = !event.is_refusal() || self.space.missing() == 0;
        self.refusals.written(&event);
        let queued = has_room && self.queue.push(Box::new(Record(event))).is_ok();
        if !queued {
            self.records_dropped.fetch_add(1, Ordering::Relaxed);
        }
        queued
    }

    /// Writes are done in the order in which they were asked for.
    pub fn flush(&self) -> StoreFuture<'static, ()> {
        self.submit(Nothing)
    }

    pub fn work(&self) -> Work {
        let stats = self.stats();
        Work {
            writes: stats.jobs,
            transactions: stats.transactions,
            queued: stats.queued,
            refusals_dropped: self.refusals.dropped_so_far(),
        }
    }

    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }
}

impl Drop for SqliteStore {
    /// Waits until what was queued is written.
    fn drop(&mut self) {
        self.readers.close();
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A panic has been reported through `died`.
            let _ = thread.join();
        }
    }
}

struct Nothing;

impl Write for Nothing {
    type Answer = ();

    fn write(&self, _: &Connection) -> rusqlite::Result<()> {
        Ok(())
    }
}

impl Write for Probe {
    type Answer = ();

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached("UPDATE probe SET times = times + 1 WHERE id = 1")?
            .execute([])?;
        Ok(())
    }
}
