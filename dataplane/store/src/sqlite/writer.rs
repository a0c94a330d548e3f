//! The one writer: commits whatever has queued as one transaction, so that many sign-ins share one wait for the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::checkpoint::Checkpoints;
use super::connection::{self, Setup};
use super::fault::{FaultKind, Health};
use super::job::Job;
use super::queue::Queue;

/// What the writer has done since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) transactions: AtomicU64,
    pub(super) jobs: AtomicU64,
}

/// Under load a commit waits this long for company: a transaction costs as much as several sign-ins, and the wait is a
/// fraction of the disk's own.
const COMPANY_WAIT: Duration = Duration::from_micros(300);
/// A batch of this many was under load.
const COMPANY_MIN: usize = 3;

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) setup: Setup,
    pub(super) queue: Arc<Queue>,
    pub(super) batch_max: usize,
    pub(super) health: Arc<Health>,
    pub(super) tally: Arc<Tally>,
    pub(super) checkpoints: Checkpoints,
    /// Absent after a fault that a new connection may cure.
    pub(super) db: Option<Connection>,
}

impl Writer {
    /// Until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch_max);
        while self.queue.take(&mut batch, self.batch_max) {
            let loaded = batch.len() >= COMPANY_MIN;
            self.write(&mut batch);
            if let Some(db) = &self.db {
                self.checkpoints.after_commit(db);
            }
            if loaded {
                std::thread::sleep(COMPANY_WAIT);
            }
        }
    }

    /// Commits the batch and answers, or finds out which of its jobs is to blame. Leaves `batch` empty.
    fn write(&mut self, batch: &mut Vec<Box<dyn Job>>) {
        let Err(error) = self.commit(batch) else {
            succeed(batch);
            return;
        };
        if batch.len() == 1 || FaultKind::of(&error).concerns_all() {
            self.fail(batch, &error);
            return;
        }
        // One job cannot be written: the others must not suffer for it, so each gets a transaction of its own.
        let mut alone = Vec::with_capacity(1);
        for job in batch.drain(..) {
            alone.push(job);
            match self.commit(&mut alone) {
                Ok(()) => succeed(&mut alone),
                Err(error) => self.fail(&mut alone, &error),
            }
        }
    }

    /// One transaction; after an error nothing of it is left.
    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let result = self.attempt(batch);
        match &result {
            Ok(()) => {
                self.health.wrote();
                self.tally.transactions.fetch_add(1, Ordering::Relaxed);
                self.tally
                    .jobs
                    .fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            Err(error) => {
                let usable = self.db.as_ref().is_some_and(|db| rolled_back(db).is_ok());
                if !usable || FaultKind::of(error).wants_reopening() {
                    self.db = None;
                }
            }
        }
        result
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let db = match self.db.take() {
            Some(db) => db,
            None => connection::open_writer(&self.setup)?,
        };
        let db = self.db.insert(db);
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for job in batch {
            job.run(db)?;
        }
        db.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn fail(&self, batch: &mut Vec<Box<dyn Job>>, error: &rusqlite::Error) {
        let error = self.health.write_failed(error);
        for job in batch.drain(..) {
            job.fail(error.clone());
        }
    }
}

fn succeed(batch: &mut Vec<Box<dyn Job>>) {
    for job in batch.drain(..) {
        job.succeed();
    }
}

fn rolled_back(db: &Connection) -> rusqlite::Result<()> {
    // SQLite has already rolled back after some faults of the disk.
    if db.is_autocommit() {
        return Ok(());
    }
    db.execute_batch("ROLLBACK")
}
