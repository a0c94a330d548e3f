//! Connections for reading: in WAL a reader waits for no other connection, so reads run on the
//! caller's own thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::Connection;

use super::connection::{self, Setup};
use super::fault::{FaultKind, Health};
use crate::StoreError;

/// Absent before the first use and after a fault that a new connection may cure.
type Slot = Mutex<Option<Connection>>;

#[derive(Debug)]
pub(super) struct Readers {
    setup: Setup,
    health: Arc<Health>,
    slots: Box<[Slot]>,
}

impl Readers {
    pub(super) fn new(setup: Setup, health: Arc<Health>, connections: usize) -> Self {
        let slots = (0..connections.max(1)).map(|_| Slot::default()).collect();
        Self {
            setup,
            health,
            slots,
        }
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut slot = self.slot();
        let result = match slot.take() {
            Some(db) => Ok(db),
            None => connection::open_reader(&self.setup),
        }
        .and_then(|db| read(slot.insert(db)));
        match result {
            Ok(found) => {
                self.health.read_succeeded();
                Ok(found)
            }
            Err(error) => {
                if FaultKind::of(&error).wants_reopening() {
                    *slot = None;
                }
                Err(self.health.read_failed(&error))
            }
        }
    }

    /// Closes them all, so that the writer's is the last to close: only that one can put the log away.
    pub(super) fn close(&mut self) {
        self.slots = Box::default();
    }

    /// The one that this thread used last time, when it is free: its pages are the warmest.
    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        let first = thread_number() % self.slots.len();
        let (before, after) = self.slots.split_at(first);
        for slot in after.iter().chain(before) {
            match slot.try_lock() {
                Ok(slot) => return slot,
                Err(TryLockError::Poisoned(_)) => return recovered(slot),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        // A read takes microseconds.
        self.slots[first]
            .lock()
            .unwrap_or_else(|_| recovered(&self.slots[first]))
    }
}

/// Whatever a panic left of a connection is not used again.
fn recovered(slot: &Slot) -> MutexGuard<'_, Option<Connection>> {
    let mut connection = slot.lock().unwrap_or_else(PoisonError::into_inner);
    *connection = None;
    slot.clear_poison();
    connection
}

fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}
