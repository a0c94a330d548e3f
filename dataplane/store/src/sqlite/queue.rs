//! What waits for the writer: bounded, so that a slow disk answers `Busy` at once and never a growing wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::job::Job;
use crate::StoreError;

/// The queue between the callers and the one writer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    jobs_max: usize,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    /// How many of `jobs` no caller waits for.
    records: usize,
    writer_waits: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn new(jobs_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            jobs_max,
        }
    }

    /// Refusals have half of the room at most, so that a flood of them keeps no user from signing
    /// in. What else is recorded (locks, reuses, changes of administrators) has as much room again
    /// when the queue is full.
    pub(super) fn push(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        let is_record = !job.is_awaited();
        let is_full = if job.is_kept() {
            state.jobs.len() >= 2 * self.jobs_max
        } else {
            state.jobs.len() >= self.jobs_max || (is_record && state.records >= self.jobs_max / 2)
        };
        if is_full {
            return Err(StoreError::Busy);
        }
        state.records += usize::from(is_record);
        state.jobs.push_back(job);
        let writer_waits = state.writer_waits;
        drop(state);
        if writer_waits {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for jobs and moves up to `jobs_max` of them into `batch`; false once the queue is closed and empty.
    pub(super) fn take(&self, batch: &mut Vec<Box<dyn Job>>, jobs_max: usize) -> bool {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return false;
            }
            state.writer_waits = true;
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.writer_waits = false;
        let taken = state.jobs.len().min(jobs_max);
        batch.extend(state.jobs.drain(..taken));
        state.records -= batch.iter().filter(|job| !job.is_awaited()).count();
        true
    }

    /// Takes nothing more in; what is queued is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Closes, and drops what is queued: its callers get [`closed`].
    pub(super) fn abandon(&self) {
        self.close();
        let jobs = std::mem::take(&mut self.lock().jobs);
        drop(jobs);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock leaves the state half changed when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it has been closed".to_owned())
}
