//! The progress of one connection, so that one timer can end it when it makes none.
//!
//! | state | waits for | ends after |
//! |---|---|---|
//! | no request head yet | client | `first_head` after accept |
//! | a request is worked on | service | the handler's own limits |
//! | a request body is read | client | the body's own limit |
//! | an answer is not taken | client | `answer` after it was given |
//! | none of these | client | `idle` after the last answer was taken |
//! | a write makes no progress | client | `answer` after it stopped |
//!
//! It is changed a few times for each request and read after each poll of the connection; no timer
//! is touched for that.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::bounds::{Bounds, Ended};

/// Orders to a connection; a later one replaces an earlier one.
const GO_ON: u8 = 0;
/// To end once the requests under way are answered.
const PART: u8 = 1;
/// To end now.
const END: u8 = 2;

tokio::task_local! {
    /// The connection whose request is handled.
    static CONNECTION: Arc<Progress>;
}

#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    order: AtomicU8,
    /// Whether a write makes no progress now.
    blocked: AtomicBool,
    /// Of the task that serves the connection.
    pub(super) task: AtomicWaker,
}

#[derive(Debug)]
struct State {
    accepted: Instant,
    has_sent_head: bool,
    /// Requests that are worked on.
    working: usize,
    /// Of these, requests whose body is being read.
    reading: usize,
    /// Answers that are not taken, the oldest first.
    untaken: Vec<(u64, Instant)>,
    /// Numbers the answers.
    answers: u64,
    /// Since when nothing of the above has changed.
    since: Instant,
    blocked_since: Option<Instant>,
    parting_since: Option<Instant>,
}

/// A connection that waits for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) since: Instant,
    /// It has sent requests and all were answered: what any client keeps for its next request.
    pub(super) is_idle: bool,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                accepted: now,
                has_sent_head: false,
                working: 0,
                reading: 0,
                untaken: Vec::new(),
                answers: 0,
                since: now,
                blocked_since: None,
                parting_since: None,
            }),
            order: AtomicU8::new(GO_ON),
            blocked: AtomicBool::new(false),
            task: AtomicWaker::new(),
        })
    }

    /// A request head is here.
    pub(super) fn begin(self: &Arc<Self>) -> Turn {
        let mut state = self.lock();
        state.has_sent_head = true;
        state.working += 1;
        state.since = Instant::now();
        drop(state);
        Turn(Some(Arc::clone(self)))
    }

    /// When the connection ends if nothing changes, and why. `None` while the service itself is at
    /// work.
    pub(super) fn deadline(&self, bounds: &Bounds) -> Option<(Instant, Ended)> {
        let state = self.lock();
        let blocked = state
            .blocked_since
            .map(|at| (at + bounds.answer, Ended::Answer));
        let untaken = state
            .untaken
            .first()
            .map(|(_, at)| (*at + bounds.answer, Ended::Answer));
        let quiet = state.working == 0 && state.untaken.is_empty();
        let waiting = if !state.has_sent_head {
            Some((state.accepted + bounds.first_head, Ended::FirstHead))
        } else if !quiet {
            None
        } else if let Some(since) = state.parting_since {
            Some((since.max(state.since) + bounds.parting, Ended::Idle))
        } else {
            Some((state.since + bounds.idle, Ended::Idle))
        };
        let deadlines = [blocked, untaken, waiting].into_iter().flatten();
        deadlines.min_by_key(|(at, _)| *at)
    }

    /// `None` while the service works for it.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        let state = self.lock();
        let quiet = state.working == 0 && state.untaken.is_empty();
        let waits = state.working == state.reading || state.blocked_since.is_some();
        waits.then(|| Waiting {
            since: state.blocked_since.unwrap_or(state.since),
            is_idle: state.has_sent_head && quiet && state.blocked_since.is_none(),
        })
    }

    pub(super) fn part(&self) {
        // An order to end is not taken back.
        if self
            .order
            .compare_exchange(GO_ON, PART, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            self.lock().parting_since = Some(Instant::now());
            self.task.wake();
        }
    }

    pub(super) fn end(&self) {
        self.order.store(END, Ordering::Relaxed);
        self.task.wake();
    }

    pub(super) fn is_to_part(&self) -> bool {
        self.order.load(Ordering::Relaxed) != GO_ON
    }

    pub(super) fn is_to_end(&self) -> bool {
        self.order.load(Ordering::Relaxed) == END
    }

    pub(super) fn blocked(&self) {
        if !self.blocked.swap(true, Ordering::Relaxed) {
            self.lock().blocked_since = Some(Instant::now());
        }
    }

    pub(super) fn unblocked(&self) {
        if self.blocked.swap(false, Ordering::Relaxed) {
            self.lock().blocked_since = None;
            // A request may wait in `writable`.
            self.task.wake();
        }
    }

    /// Until the answers so far are in the socket: a client that sends requests in a pipeline and
    /// takes no answer would otherwise have them pile up here. Woken by [`Self::unblocked`], so
    /// only for the connection's own task.
    pub(super) async fn writable(&self) {
        poll_fn(|_| {
            if self.blocked.load(Ordering::Relaxed) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is worked on, until it is dropped or answered.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Progress>>);

impl Turn {
    /// Runs the handler, which can say with [`reading_body`] that it waits for the client.
    pub(super) async fn run<T>(&self, handler: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(progress) => CONNECTION.scope(Arc::clone(progress), handler).await,
            None => handler.await,
        }
    }

    pub(super) fn answered(mut self) -> Option<Untaken> {
        let progress = self.0.take()?;
        let now = Instant::now();
        let mut state = progress.lock();
        state.working -= 1;
        state.since = now;
        state.answers += 1;
        let number = state.answers;
        state.untaken.push((number, now));
        drop(state);
        Some(Untaken { progress, number })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(progress) = self.0.take() {
            let mut state = progress.lock();
            state.working -= 1;
            state.since = Instant::now();
        }
    }
}

/// An answer whose bytes are not all on their way.
#[derive(Debug)]
pub(super) struct Untaken {
    progress: Arc<Progress>,
    number: u64,
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let mut state = self.progress.lock();
        state.untaken.retain(|(number, _)| *number != self.number);
        state.since = Instant::now();
    }
}

/// A request body that is waited for.
#[derive(Debug)]
pub struct Reading(Arc<Progress>);

/// Says that the request of this task waits for its client, for as long as the answer lives.
pub fn reading_body() -> Option<Reading> {
    let progress = CONNECTION.try_with(Arc::clone).ok()?;
    let mut state = progress.lock();
    state.reading += 1;
    state.since = Instant::now();
    drop(state);
    Some(Reading(progress))
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reading -= 1;
        state.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        first_head: Duration::from_secs(10),
        answer: Duration::from_secs(30),
        idle: Duration::from_secs(60),
        parting: Duration::from_secs(5),
    };

    fn left(progress: &Progress) -> Option<(u64, Ended)> {
        let (at, why) = progress.deadline(&BOUNDS)?;
        Some(((at - Instant::now()).as_secs(), why))
    }

    #[tokio::test(start_paused = true)]
    async fn each_state_has_its_own_limit() {
        let progress = Progress::new(Instant::now());
        assert_eq!(left(&progress), Some((10, Ended::FirstHead)));
        let turn = progress.begin();
        assert_eq!((left(&progress), progress.waiting()), (None, None));
        let untaken = turn.answered();
        assert_eq!(left(&progress), Some((30, Ended::Answer)));
        drop(untaken);
        assert_eq!(left(&progress), Some((60, Ended::Idle)));
        progress.blocked();
        assert_eq!(left(&progress), Some((30, Ended::Answer)));
        progress.unblocked();
        progress.part();
        assert_eq!(left(&progress), Some((5, Ended::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_answer_that_is_not_taken_counts() {
        let progress = Progress::new(Instant::now());
        let first = progress.begin().answered();
        tokio::time::advance(Duration::from_secs(20)).await;
        let second = progress.begin().answered();
        assert_eq!(left(&progress), Some((10, Ended::Answer)));
        drop(first);
        assert_eq!(left(&progress), Some((30, Ended::Answer)));
        drop(second);
        assert_eq!(left(&progress), Some((60, Ended::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_dropped_leaves_an_idle_connection() {
        let progress = Progress::new(Instant::now());
        drop(progress.begin());
        assert_eq!(left(&progress), Some((60, Ended::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_the_client_while_a_body_is_read() {
        let progress = Progress::new(Instant::now());
        let turn = progress.begin();
        turn.run(async {
            let reading = reading_body();
            let waiting = progress.waiting().expect("it waits");
            assert!(!waiting.is_idle);
            drop(reading);
            assert_eq!(progress.waiting(), None);
        })
        .await;
        assert!(reading_body().is_none(), "outside of a request");
    }
}
