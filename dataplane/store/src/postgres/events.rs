//! The audit trail: events of sign-ins go with their commit, those that nobody waits for in batches behind it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::connect::Connection;
use super::fault::Fault;
use super::pool::{Ask, Pool, Refusal};
use super::together::column;
use crate::{EVENT_DETAIL_BYTES_MAX, Event};

/// Events of one insert.
const BATCH_MAX: usize = 256;
/// While the database is away, the next attempt comes after this; what comes meanwhile waits in the queue, which is bounded.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// An event as the database takes it: text without the character 0, which PostgreSQL has not.
pub(super) struct Line<'a> {
    pub(super) event: &'a Event,
    pub(super) policy: Cow<'a, str>,
    pub(super) provider: Cow<'a, str>,
    pub(super) request_id: Cow<'a, str>,
    pub(super) network: Cow<'a, str>,
    pub(super) detail: Cow<'a, str>,
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        let detail = &event.detail[..event.detail.floor_char_boundary(EVENT_DETAIL_BYTES_MAX)];
        Self {
            event,
            policy: text(&event.policy),
            provider: text(&event.provider),
            request_id: text(&event.request_id),
            network: text(&event.network),
            detail: text(detail),
        }
    }
}

pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The columns of many lines, as arrays.
pub(super) struct Columns<'l> {
    at: Vec<i64>,
    kind: Vec<&'l str>,
    outcome: Vec<&'l str>,
    policy: Vec<&'l str>,
    provider: Vec<&'l str>,
    user: Vec<Option<Uuid>>,
    session: Vec<Option<Uuid>>,
    request: Vec<&'l str>,
    network: Vec<&'l str>,
    detail: Vec<&'l str>,
}

impl<'l> Columns<'l> {
    pub(super) fn of(lines: &'l [Line<'l>]) -> Self {
        Self {
            at: column(lines, |line| line.event.at),
            kind: column(lines, |line| line.event.kind.as_str()),
            outcome: column(lines, |line| line.event.outcome),
            policy: column(lines, |line| line.policy.as_ref()),
            provider: column(lines, |line| line.provider.as_ref()),
            user: column(lines, |line| line.event.user_id),
            session: column(lines, |line| line.event.session_id),
            request: column(lines, |line| line.request_id.as_ref()),
            network: column(lines, |line| line.network.as_ref()),
            detail: column(lines, |line| line.detail.as_ref()),
        }
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.at,
            &self.kind,
            &self.outcome,
            &self.policy,
            &self.provider,
            &self.user,
            &self.session,
            &self.request,
            &self.network,
            &self.detail,
        ]
    }
}

/// One event, with whatever else its transaction writes.
pub(super) const EVENT: &str = "\
    INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

pub(super) async fn insert_event(
    client: &Client,
    statement: &Statement,
    event: &Event,
) -> Result<(), Fault> {
    let line = Line::from(event);
    client
        .execute(
            statement,
            &[
                &event.at,
                &event.kind.as_str(),
                &event.outcome,
                &line.policy.as_ref(),
                &line.provider.as_ref(),
                &event.user_id,
                &event.session_id,
                &line.request_id.as_ref(),
                &line.network.as_ref(),
                &line.detail.as_ref(),
            ],
        )
        .await?;
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
            // Whoever asked may have stopped waiting.
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
        let statement = db
            .prepared(
                "INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail, \
                 count, refusal_bytes) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], \
                 $6::uuid[], $7::uuid[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[])",
            )
            .await?;
        let lines = column(&self.0, Line::from);
        let columns = Columns::of(&lines);
        let counts = column(&self.0, |event| event.count);
        let bytes = column(&self.0, Event::refusal_bytes);
        let mut parameters = columns.parameters().to_vec();
        parameters.extend([&counts as &(dyn ToSql + Sync), &bytes]);
        db.client.execute(&statement, &parameters).await?;
        Ok(())
    }
}
