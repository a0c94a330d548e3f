//! Requests from several connections, over and over, until the test has seen enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use super::{Client, eventually};

#[derive(Debug)]
pub struct Load<T> {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Vec<T>>>,
}

impl<T: Send + 'static> Load<T> {
    /// Each worker has a client, and so a connection, of its own; `request` is told a number that no other request has.
    pub fn start<R, F>(connections: usize, request: R) -> Self
    where
        R: Fn(Client, usize) -> F + Clone + Send + 'static,
        F: Future<Output = T> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let number = Arc::new(AtomicUsize::new(0));
        let workers = (0..connections)
            .map(|_| {
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                let (number, request) = (Arc::clone(&number), request.clone());
                tokio::spawn(async move {
                    let client = Client::new();
                    let mut results = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        let number = number.fetch_add(1, Ordering::SeqCst);
                        results.push(request(client.clone(), number).await);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    results
                })
            })
            .collect();
        Self {
            stop,
            done,
            workers,
        }
    }

    /// Waits until this many more requests have ended.
    pub async fn more(&self, count: usize) {
        let wanted = self.done.load(Ordering::SeqCst) + count;
        eventually("the load goes on", || async {
            let done = self.done.load(Ordering::SeqCst);
            if done >= wanted { Ok(()) } else { Err(done) }
        })
        .await;
    }

    /// Ends the load and hands over every result.
    pub async fn finish(self) -> Vec<T> {
        self.stop.store(true, Ordering::SeqCst);
        let mut results = Vec::new();
        for worker in self.workers {
            results.extend(worker.await.expect("a worker does not panic"));
        }
        results
    }
}
