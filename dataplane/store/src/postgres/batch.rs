//! What many callers ask at the same time is asked of the database as a batch: one round trip, one
//! transaction, one wait for the disk.
//!
//! A question goes at once while fewer than [`BATCHES_MAX`] batches of its kind are under way, and
//! alone when no other caller asks. What comes meanwhile goes with the next batch, so that batches
//! grow with the load and no question waits for others to come.
//!
//! A batch is all or nothing, and what one of its questions meets must not become the others'
//! trouble: no batch waits for the row of a user or of a session that another transaction has
//! locked, none holds up those that follow for longer than [`PATIENCE`], and when the database
//! refuses a batch, each question is asked again alone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_postgres::Row;

use super::connect::Connection;
use super::fault::{Fault, FaultKind};
use super::pool::{ANSWER_WAIT, Ask, Pool};
use crate::StoreError;
use crate::trace;

/// Batches of one kind of question that are under way at once: while the disk writes one, the next is on its way.
const BATCHES_MAX: usize = 2;
/// How long a batch keeps the next from being under way: in a moment in which the database is slow, more are, up to the connections that
/// there are.
const PATIENCE: Duration = Duration::from_millis(25);
/// Questions of one batch.
const QUESTIONS_MAX: usize = 64;

/// Something that can be asked alone, or with others of its kind in one statement.
pub(super) trait AskBatch: Ask + 'static {
    /// False for two that must not be in one statement, since one changes what the other finds.
    fn goes_with(&self, other: &Self) -> bool;

    /// An answer to each, in their order; none for what must be asked alone, of which nothing has been written.
    fn ask_batch(
        questions: &[&Self],
        db: &mut Connection,
    ) -> impl Future<Output = Result<Vec<Option<Self::Answer>>, Fault>> + Send;
}

/// Questions of one kind, on their way to the database.
pub(super) struct Batcher<A: Ask> {
    pool: Arc<Pool>,
    /// From how many on questions are asked in one statement.
    from: usize,
    queue: Mutex<Queue<A>>,
    /// What was asked of the database, each for one or for many.
    batches: AtomicU64,
}

struct Queue<A: Ask> {
    waiting: VecDeque<Asked<A>>,
    under_way: usize,
}

struct Asked<A: Ask> {
    question: A,
    answer: oneshot::Sender<Result<A::Answer, StoreError>>,
}

impl<A: AskBatch> Batcher<A> {
    pub(super) fn new(pool: Arc<Pool>, from: usize) -> Arc<Self> {
        Arc::new(Self {
            pool,
            from,
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                under_way: 0,
            }),
            batches: AtomicU64::new(0),
        })
    }

    pub(super) async fn ask(self: &Arc<Self>, question: A) -> Result<A::Answer, StoreError> {
        let _place = self.pool.place().ok_or(StoreError::Busy)?;
        let (answer, answered) = oneshot::channel();
        if self.enqueue(Asked { question, answer }) {
            // A task of its own: the caller may stop waiting, and the batch also asks for other
            // callers.
            tokio::spawn(Lane::new(Arc::clone(self)).run());
        }
        let answered = trace::query::<A, _>("postgresql", answered);
        match tokio::time::timeout(ANSWER_WAIT, answered).await {
            Ok(Ok(result)) => result,
            // The task ended with the process, or it panicked.
            Ok(Err(_)) | Err(_) => Err(self.pool.failed(&Fault::Late)),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Whether one more batch may be under way for it.
    fn enqueue(&self, asked: Asked<A>) -> bool {
        let mut queue = self.queue();
        queue.waiting.push_back(asked);
        let more = queue.under_way < BATCHES_MAX;
        queue.under_way += usize::from(more);
        more
    }

    fn queue(&self) -> MutexGuard<'_, Queue<A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: Arc<Self>, batch: Vec<Asked<A>>) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        if batch.len() < self.from {
            for asked in batch {
                asked.ask_alone(&self.pool).await;
            }
            return;
        }
        let questions = Batch(batch.iter().map(|asked| &asked.question).collect());
        let answers = match self.pool.answer(&questions).await {
            Ok(answers) => answers,
            // Nothing was done, and it may be for the sake of one of them.
            Err(fault) if fault.kind().may_be_of_one() => batch.iter().map(|_| None).collect(),
            Err(fault) => {
                let error = self.pool.failed(&fault);
                for asked in batch {
                    asked.tell(Err(error.clone()));
                }
                return;
            }
        };
        for (asked, answer) in batch.into_iter().zip(answers) {
            match answer {
                Some(answer) => asked.tell(Ok(answer)),
                None => {
                    self.batches.fetch_add(1, Ordering::Relaxed);
                    let pool = Arc::clone(&self.pool);
                    tokio::spawn(async move { asked.ask_alone(&pool).await });
                }
            }
        }
    }
}

impl<A: Ask> Asked<A> {
    async fn ask_alone(self, pool: &Pool) {
        let answer = pool.answer(&self.question).await;
        let answer = answer.map_err(|fault| pool.failed(&fault));
        self.tell(answer);
    }

    fn tell(self, answer: Result<A::Answer, StoreError>) {
        // The caller may have stopped waiting.
        let _told = self.answer.send(answer);
    }
}

impl FaultKind {
    /// Whether a batch may have been refused for what one question asks, with nothing written.
    fn may_be_of_one(self) -> bool {
        match self {
            Self::Conflict | Self::Slow | Self::Damaged | Self::Refused => true,
            Self::Unreachable
            | Self::Broken
            | Self::Stale
            | Self::ReadOnly
            | Self::Late
            | Self::Full
            | Self::Denied => false,
        }
    }
}

/// One of the batches under way, and those that follow it.
struct Lane<A: AskBatch> {
    batcher: Arc<Batcher<A>>,
    counted: bool,
}

impl<A: AskBatch> Lane<A> {
    fn new(batcher: Arc<Batcher<A>>) -> Self {
        Self {
            batcher,
            counted: true,
        }
    }

    async fn run(mut self) {
        while let Some(batch) = self.next() {
            let answering = tokio::spawn(Arc::clone(&self.batcher).answer(batch));
            // A batch that waits for a row that another transaction has locked does not keep other
            // batches waiting.
            let _answered = tokio::time::timeout(PATIENCE, answering).await;
        }
    }

    /// The next batch: those that have waited longest. Without any the lane is closed, in the same
    /// moment.
    fn next(&mut self) -> Option<Vec<Asked<A>>> {
        let mut queue = self.batcher.queue();
        let mut batch: Vec<Asked<A>> = Vec::new();
        let mut next = 0;
        while batch.len() < QUESTIONS_MAX {
            let Some(asked) = queue.waiting.get(next) else {
                break;
            };
            let wanted = !asked.answer.is_closed();
            let fits = |other: &Asked<A>| asked.question.goes_with(&other.question);
            if wanted && !batch.iter().all(fits) {
                next += 1;
                continue;
            }
            let asked = queue.waiting.remove(next).filter(|_| wanted);
            batch.extend(asked);
        }
        if batch.is_empty() {
            queue.under_way -= 1;
            self.counted = false;
            return None;
        }
        Some(batch)
    }
}

impl<A: AskBatch> Drop for Lane<A> {
    fn drop(&mut self) {
        if self.counted {
            self.batcher.queue().under_way -= 1;
        }
    }
}

impl<A: AskBatch> fmt::Debug for Batcher<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batcher({} waiting)", self.waiting())
    }
}

/// Questions of one statement.
struct Batch<'a, A>(Vec<&'a A>);

impl<A: AskBatch> Ask for Batch<'_, A> {
    type Answer = Vec<Option<A::Answer>>;
    const ONLY_READS: bool = A::ONLY_READS;

    async fn ask(&self, db: &mut Connection) -> Result<Self::Answer, Fault> {
        A::ask_batch(&self.0, db).await
    }
}

/// A column of a batch.
pub(super) fn column<'q, Q, T>(questions: &'q [Q], of: impl Fn(&'q Q) -> T) -> Vec<T> {
    questions.iter().map(of).collect()
}

/// Which question a row answers whose first column is its place among them: the database counts from 1.
pub(super) fn place_of(row: &Row) -> Result<usize, Fault> {
    let place: i64 = row.try_get(0)?;
    Ok(usize::try_from(place - 1).unwrap_or(usize::MAX))
}
