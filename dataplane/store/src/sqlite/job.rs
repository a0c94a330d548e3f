//! A write on its way: what to do inside the transaction, and who waits for the answer.

use std::fmt;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{Event, Operation, StoreError};

/// Something to read, on the caller's thread.
pub(super) trait Read: Operation {
    fn read(&self, db: &Connection) -> rusqlite::Result<Self::Answer>;
}

/// Something to write inside the transaction of a batch.
pub(super) trait Write: Send + 'static {
    type Answer: Send + 'static;

    /// Checks first and writes after, so that what does not apply leaves nothing behind. An error undoes the whole batch,
    /// which is then run again without its culprit: this may be called more than once.
    fn write(&self, db: &Connection) -> rusqlite::Result<Self::Answer>;
}

/// A [`Write`] with its answer's type erased, so that one queue holds all of them.
pub(super) trait Job: Send {
    /// Runs inside the transaction and keeps the answer.
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;
    /// Answers after the commit.
    fn succeed(self: Box<Self>);
    fn fail(self: Box<Self>, error: StoreError);
    fn is_awaited(&self) -> bool;
    /// Whether it has room though the queue is full: few, and not to be lost.
    fn is_kept(&self) -> bool {
        false
    }
}

impl fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// A write that a caller waits for.
pub(super) struct Awaited<W: Write> {
    write: W,
    answer: Option<W::Answer>,
    caller: oneshot::Sender<Result<W::Answer, StoreError>>,
}

impl<W: Write> Awaited<W> {
    pub(super) fn new(write: W) -> (Self, oneshot::Receiver<Result<W::Answer, StoreError>>) {
        let (caller, answer) = oneshot::channel();
        (
            Self {
                write,
                answer: None,
                caller,
            },
            answer,
        )
    }
}

impl<W: Write> Job for Awaited<W> {
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.answer = Some(self.write.write(db)?);
        Ok(())
    }

    fn succeed(self: Box<Self>) {
        let answer = self
            .answer
            .expect("a batch is committed after each of its jobs has run");
        // A caller that went away wants no answer.
        let _ = self.caller.send(Ok(answer));
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.caller.send(Err(error));
    }

    fn is_awaited(&self) -> bool {
        true
    }
}

/// An event that no caller waits for.
pub(super) struct Record(pub(super) Event);

impl Job for Record {
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.0.write(db).map(drop)
    }

    fn succeed(self: Box<Self>) {}

    fn fail(self: Box<Self>, _: StoreError) {}

    fn is_awaited(&self) -> bool {
        false
    }

    fn is_kept(&self) -> bool {
        !self.0.is_refusal()
    }
}
