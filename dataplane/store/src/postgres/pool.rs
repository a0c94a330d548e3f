//! How the database is asked: over a bounded number of connections, with a bounded wait, again where that is safe.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool::managed::{Object, PoolError};

use super::connect::{Connection, Connector};
use super::fault::{Fault, FaultKind, Health};
use crate::StoreError;
use crate::trace;

/// From the question to the answer, the wait for a connection and new attempts included: the caller
/// knows within 2 s.
pub(super) const ANSWER_WAIT: Duration = Duration::from_millis(1800);
/// Attempts at what conflicts with other transactions.
const ATTEMPTS_MAX: u32 = 8;
const CONFLICT_WAIT: Duration = Duration::from_millis(2);

/// Something to ask of the database, over and over if need be.
pub(super) trait Ask: Send + Sync {
    type Answer: Send;
    /// Whether nothing is written, so that it may be asked again when a connection broke off before its answer.
    const ONLY_READS: bool = false;

    fn ask(&self, db: &mut Connection) -> impl Future<Output = Result<Self::Answer, Fault>> + Send;
}

pub(super) struct Pool {
    connections: deadpool::managed::Pool<Connector>,
    asking: AtomicUsize,
    asking_max: usize,
    health: Health,
}

impl Pool {
    /// `connections` at most are open, and `waiting_max` callers wait for one; one more is answered [`StoreError::Busy`].
    pub(super) fn new(connector: Connector, connections: usize, waiting_max: usize) -> Self {
        let pool = deadpool::managed::Pool::builder(connector)
            .max_size(connections)
            .build()
            .expect("without time limits of its own it needs no runtime");
        Self {
            connections: pool,
            asking: AtomicUsize::new(0),
            asking_max: connections.saturating_add(waiting_max),
            health: Health::default(),
        }
    }

    pub(super) async fn ask<A: Ask>(&self, question: &A) -> Result<A::Answer, StoreError> {
        match self.ask_told(question).await {
            Ok(answer) => Ok(answer),
            Err(Refusal::Busy) => Err(StoreError::Busy),
            Err(Refusal::Fault(_, error)) => Err(error),
        }
    }

    /// As [`Self::ask`], with the kind of what went wrong.
    pub(super) async fn ask_told<A: Ask>(&self, question: &A) -> Result<A::Answer, Refusal> {
        let _place = self.place().ok_or(Refusal::Busy)?;
        let answering = trace::query::<A, _>("postgresql", self.answer(question));
        let answer = answering.await;
        answer.map_err(|fault| Refusal::Fault(fault.kind(), self.failed(&fault)))
    }

    /// For a caller that has a place already.
    pub(super) async fn answer<A: Ask>(&self, question: &A) -> Result<A::Answer, Fault> {
        // Out here, so that a connection whose answer did not come in time can be distinguished
        // from one at rest.
        let mut held = None;
        let answering = self.attempts(question, &mut held);
        let result = match tokio::time::timeout(ANSWER_WAIT, answering).await {
            Ok(result) => result,
            Err(_) => Err(Fault::Late),
        };
        match &result {
            Ok(_) => self.health.succeeded(),
            Err(fault) => self.part_with(held, fault.kind()),
        }
        result
    }

    /// The error that the caller gets for it; it is logged as well.
    pub(super) fn failed(&self, fault: &Fault) -> StoreError {
        self.health.failed(fault)
    }

    pub(super) fn waiting(&self) -> usize {
        self.connections.status().waiting
    }

    async fn attempts<A: Ask>(
        &self,
        question: &A,
        held: &mut Option<Object<Connector>>,
    ) -> Result<A::Answer, Fault> {
        let mut attempt = 1;
        loop {
            let connection = held.insert(self.connection().await?);
            let fault = match question.ask(connection).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let kind = fault.kind();
            let again = kind.may_be_repeated() || (A::ONLY_READS && kind == FaultKind::Broken);
            if !again || attempt >= ATTEMPTS_MAX {
                return Err(fault);
            }
            self.part_with(held.take(), kind);
            if kind == FaultKind::Conflict {
                tokio::time::sleep(CONFLICT_WAIT * attempt).await;
            }
            attempt += 1;
        }
    }

    async fn connection(&self) -> Result<Object<Connector>, Fault> {
        self.connections.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Fault::Connect(error),
            // Without hooks, time limits and anybody who closes it, there is nothing else.
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => Fault::Late,
        })
    }

    /// Back to the others, or closed when it is of no more use.
    fn part_with(&self, held: Option<Object<Connector>>, kind: FaultKind) {
        let Some(connection) = held else { return };
        if kind.ends_connection() {
            drop(Object::take(connection));
        }
        if kind == FaultKind::ReadOnly {
            // What became a standby, or stands behind a name that leads elsewhere now, is so for all connections.
            self.connections.retain(|_, _| false);
        }
    }

    pub(super) fn place(&self) -> Option<Place<'_>> {
        let place = Place(&self.asking);
        let before = self.asking.fetch_add(1, Ordering::Relaxed);
        (before < self.asking_max).then_some(place)
    }
}

pub(super) enum Refusal {
    Busy,
    Fault(FaultKind, StoreError),
}

/// One of those who ask or wait.
pub(super) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({:?})", self.connections.status())
    }
}
