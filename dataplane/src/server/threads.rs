//! Where connections are served: one thread for each core, each with a runtime of its own, and a
//! connection stays where it began. A request that finds its whole work on one core wakes no thread
//! on another; a runtime that shares its work over threads spends as long on that as on the
//! request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Debug)]
pub struct Threads {
    threads: Vec<Thread>,
    /// Ends the threads, and what they still serve, when the last owner goes.
    _end: Option<DropGuard>,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// A connection that its thread counts.
struct Place(Arc<AtomicUsize>);

impl Threads {
    /// One for each core that this process may use.
    pub fn of_cores() -> io::Result<Self> {
        let count = std::thread::available_parallelism()?.get();
        let end = CancellationToken::new();
        let threads = (0..count).map(|number| Thread::start(number, end.clone()));
        Ok(Self {
            threads: threads.collect::<Result<_, _>>()?,
            _end: Some(end.drop_guard()),
        })
    }

    /// The runtime that this is called in: for listeners that have little to do.
    pub fn here() -> Self {
        Self {
            threads: vec![Thread::of(Handle::current())],
            _end: None,
        }
    }

    /// Runs `connection` on the thread that has the fewest.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let least = |thread: &&Thread| thread.connections.load(Ordering::Relaxed);
        let Some(thread) = self.threads.iter().min_by_key(least) else {
            return;
        };
        let place = Place::take(&thread.connections);
        thread.runtime.spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

impl Thread {
    fn of(runtime: Handle) -> Self {
        Self {
            runtime,
            connections: Arc::default(),
        }
    }

    fn start(number: usize, end: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = Self::of(runtime.handle().clone());
        std::thread::Builder::new()
            .name(format!("connections-{number}"))
            .spawn(move || runtime.block_on(end.cancelled()))?;
        Ok(thread)
    }
}

impl Place {
    fn take(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_and_stay_where_they_began() {
        let threads = Threads::of_cores().expect("threads");
        let count = threads.threads.len();
        let mut running = Vec::new();
        for _ in 0..2 * count {
            let (end, ended) = oneshot::channel::<()>();
            let (began, name) = oneshot::channel();
            threads.spawn(async move {
                let name = || std::thread::current().name().map(str::to_owned);
                let before = name();
                let _sent = began.send(before.clone());
                let _ended = ended.await;
                assert_eq!(name(), before);
            });
            running.push((end, name.await.expect("it began")));
        }
        let held = |threads: &Threads| -> Vec<usize> {
            let held = threads.threads.iter();
            held.map(|thread| thread.connections.load(Ordering::Relaxed))
                .collect()
        };
        assert_eq!(held(&threads), vec![2; count]);
        let names: std::collections::BTreeSet<_> =
            running.iter().map(|(_, name)| name.clone()).collect();
        assert_eq!(names.len(), count);
        drop(running);
        while held(&threads).iter().any(|held| *held > 0) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_threads_end_with_their_last_owner() {
        let threads = Threads::of_cores().expect("threads");
        let (end, ended) = oneshot::channel::<()>();
        threads.spawn(async move {
            let _held = end;
            std::future::pending().await
        });
        drop(threads);
        assert!(ended.await.is_err(), "what they served is dropped");
    }
}
