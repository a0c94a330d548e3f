//! Moving committed pages from the write-ahead log into the database file, without making commits wait.
//!
//! SQLite's own checkpoints run inside a commit, which is then slow by the time of two waits for the disk. Here a second
//! thread copies (`PASSIVE`) whenever enough is new, while commits go on. As long as commits go on, though, such a copy
//! never catches up, and only a log that has been copied whole starts again from its beginning; so when the log is long and
//! all but its last part has been copied, the writer copies that last part itself between two commits (`RESTART`).
//!
//! | frames in the log | what happens |
//! |---|---|
//! | [`COPY_AFTER`] not copied | the second thread copies |
//! | [`RESTART_AFTER`], and at most [`COPY_AFTER`] not copied | the writer copies the rest, and the log starts again |
//! | [`FRAMES_MAX`] | the writer copies all of it, however much, and truncates the log |

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use super::connection::{self, LOCK_WAIT, Setup};
use super::fault::Health;

/// 4 MiB of pages: little enough that one copy does not keep the disk from commits for long.
const COPY_AFTER: u32 = 1000;
/// 16 MiB. Also what one block of SQLite's index of the log holds, so that readers look into one block only.
const RESTART_AFTER: u32 = 4000;
/// 64 MiB: reached only when the second thread cannot keep up, or a reader holds the log for minutes.
const FRAMES_MAX: u32 = 16_000;

/// How long a restart waits for readers, while commits wait for it. Ours take microseconds; a backup is waited out by
/// letting the log grow.
const RESTART_WAIT: Duration = Duration::from_millis(10);

/// How long the log is and how much of it has been copied, in frames (pages).
#[derive(Debug, Default)]
pub(super) struct Log {
    frames: AtomicU32,
    copied: AtomicU32,
    pub(super) copies: AtomicU64,
    pub(super) restarts: AtomicU64,
}

impl Log {
    pub(super) fn written(&self, frames: i32) {
        let frames = u32::try_from(frames).unwrap_or(0);
        if self.frames.swap(frames, Ordering::Relaxed) > frames {
            // SQLite began the log again by itself, which it does when it finds all of it copied.
            self.copied.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn frames(&self) -> u32 {
        self.frames.load(Ordering::Relaxed)
    }

    fn left(&self) -> u32 {
        self.frames()
            .saturating_sub(self.copied.load(Ordering::Relaxed))
    }

    fn restarted(&self) {
        self.frames.store(0, Ordering::Relaxed);
        self.copied.store(0, Ordering::Relaxed);
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Checkpoints {
    log: Arc<Log>,
    health: Arc<Health>,
    copier: SyncSender<()>,
    /// After an attempt that a reader stood in the way of: not again before the log is this long.
    not_before: u32,
}

impl Checkpoints {
    pub(super) fn after_commit(&mut self, db: &Connection) {
        match step(self.log.frames(), self.log.left(), self.not_before) {
            Step::Nothing => {}
            Step::Copy => {
                // Full: the copier already has a reason to look.
                let _ = self.copier.try_send(());
            }
            Step::Restart => self.restart(db, CheckpointMode::RESTART),
            Step::Truncate => self.restart(db, CheckpointMode::TRUNCATE),
        }
    }

    fn restart(&mut self, db: &Connection, mode: CheckpointMode) {
        let restarted = db
            .busy_timeout(RESTART_WAIT)
            .and_then(|()| db.wal_checkpoint_v2(None::<&str>, mode));
        let restored = db.busy_timeout(LOCK_WAIT);
        match restarted.and(restored) {
            Ok(()) => {
                self.log.restarted();
                self.not_before = 0;
                self.health.copied();
            }
            Err(error) => {
                self.not_before = self.log.frames() + COPY_AFTER;
                self.health.copy_failed(&error);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Copy,
    Restart,
    Truncate,
}

/// The table above. `left`: frames that are not copied.
fn step(frames: u32, left: u32, not_before: u32) -> Step {
    let may_restart = frames >= not_before;
    if frames >= FRAMES_MAX && may_restart {
        Step::Truncate
    } else if frames >= RESTART_AFTER && left <= COPY_AFTER && may_restart {
        Step::Restart
    } else if left >= COPY_AFTER {
        Step::Copy
    } else {
        Step::Nothing
    }
}

/// The second thread's side.
#[derive(Debug)]
pub(super) struct Copier {
    setup: Setup,
    health: Arc<Health>,
    wanted: Receiver<()>,
    db: Option<Connection>,
}

impl Copier {
    /// Until the writer is gone.
    pub(super) fn run(mut self) {
        while self.wanted.recv().is_ok() {
            self.copy();
        }
    }

    fn copy(&mut self) {
        match self.attempt() {
            Ok(copied) => {
                self.setup.log.copied.store(copied, Ordering::Relaxed);
                self.setup.log.copies.fetch_add(1, Ordering::Relaxed);
                self.health.copied();
            }
            Err(error) => {
                self.db = None;
                self.health.copy_failed(&error);
            }
        }
    }

    fn attempt(&mut self) -> rusqlite::Result<u32> {
        let db = match self.db.take() {
            Some(db) => db,
            None => connection::open_checkpointer(&self.setup)?,
        };
        let (_, copied) = self
            .db
            .insert(db)
            .wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE)?;
        Ok(u32::try_from(copied).unwrap_or(0))
    }
}

/// Both sides.
pub(super) fn checkpoints(setup: &Setup, health: &Arc<Health>) -> (Checkpoints, Copier) {
    let (copier, wanted) = sync_channel(1);
    let writers = Checkpoints {
        log: Arc::clone(&setup.log),
        health: Arc::clone(health),
        copier,
        not_before: 0,
    };
    let copiers = Copier {
        setup: setup.clone(),
        health: Arc::clone(health),
        wanted,
        db: None,
    };
    (writers, copiers)
}

#[cfg(test)]
mod tests;
