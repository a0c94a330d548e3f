//! The audit trail: events of sign-ins go with their commit, those that no caller waits for in
//! batches behind it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_postgres::{Client, Statement};

use super::batch::column;
use super::connect::Connection;
use super::fault::Fault;
use super::pool::{Ask, Pool, Refusal};
use crate::Event;
use crate::statements::events::{INSERT_MANY, row};
use crate::statements::value::{arrays, parameters};

/// Events of one insert.
const BATCH_MAX: usize = 256;
/// While the database is away, the next attempt comes after this; what comes meanwhile waits in the queue, which is bounded.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// Without the character 0, which PostgreSQL has not.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

pub(super) async fn insert_event(
    client: &Client,
    statement: &Statement,
    event: &Event,
) -> Result<(), Fault> {
    let row = row(event);
    client.execute(statement, &parameters(&row)).await?;
    Ok(())
}

pub(super) enum Message {
    /// A refusal holds its place until it is taken from the queue.
    Event(Box<Event>, Option<OwnedSemaphorePermit>),
    /// Answered once all before it are written.
    Flush(oneshot::Sender<()>),
}

/// The way into the queue.
#[derive(Debug)]
pub(super) struct Trail {
    queue: mpsc::Sender<Message>,
    /// Places of `queue` that refusals take: half of them at most.
    refusals: Arc<Semaphore>,
    written: Arc<AtomicUsize>,
}

impl Trail {
    /// Starts the task that writes; it ends when the trail is dropped and the queue is empty.
    pub(super) fn start(pool: Arc<Pool>, queue_max: usize) -> Self {
        let (queue, messages) = mpsc::channel(2 * queue_max);
        let written = Arc::<AtomicUsize>::default();
        tokio::spawn(write(pool, messages, Arc::clone(&written)));
        Self {
            queue,
            refusals: Arc::new(Semaphore::new(queue_max)),
            written,
        }
    }

    /// What is no refusal (locks, reuses, changes of administrators) has room though refusals find none.
    pub(super) fn record(&self, event: Event) -> bool {
        let place = if event.is_refusal() {
            let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else {
                return false;
            };
            Some(place)
        } else {
            None
        };
        let message = Message::Event(Box::new(event), place);
        self.queue.try_send(message).is_ok()
    }

    /// Until all that was recorded before is written.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // The task answers, or has ended with nothing left to write.
            let _ = written.await;
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Batches written since the start.
    pub(super) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }
}

async fn write(pool: Arc<Pool>, mut messages: mpsc::Receiver<Message>, written: Arc<AtomicUsize>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while messages.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (mut events, mut flushed) = (Vec::with_capacity(batch.len()), Vec::new());
        for message in batch.drain(..) {
            match message {
                Message::Event(event, _place) => events.push(*event),
                Message::Flush(done) => flushed.push(done),
            }
        }
        if !events.is_empty() {
            insert(&pool, Batch(events)).await;
            written.fetch_add(1, Ordering::Relaxed);
        }
        for done in flushed {
            // The caller may have stopped waiting.
            let _ = done.send(());
        }
    }
}

/// Again until the database is there (a batch whose answer was lost may stand there twice); what it refuses for its own sake
/// is dropped, so that it holds up nothing else.
async fn insert(pool: &Pool, batch: Batch) {
    loop {
        match pool.ask_told(&batch).await {
            Ok(()) => return,
            Err(Refusal::Fault(kind, error)) if !kind.is_outage() => {
                tracing::error!("{} audit events cannot be written: {error}", batch.0.len());
                return;
            }
            Err(Refusal::Busy | Refusal::Fault(..)) => tokio::time::sleep(RETRY_WAIT).await,
        }
    }
}

struct Batch(Vec<Event>);

impl Ask for Batch {
    type Answer = ();

    async fn ask(&self, db: &mut Connection) -> Result<(), Fault> {
        let statement = db.prepared(INSERT_MANY.postgres()).await?;
        let columns = arrays(&column(&self.0, row));
        db.client.execute(&statement, &parameters(&columns)).await?;
        Ok(())
    }
}
