//! Taking the Lease, keeping it, and giving it back.

use std::sync::Mutex;
use std::sync::PoisonError;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::{Candidate, RENEW_DEADLINE, RETRY_PERIOD, Step};
use crate::clock;

/// Until when this replica may write. Asked before each write, so that one which was held up does
/// not write after another has begun.
#[derive(Debug, Default)]
pub(crate) struct Fence(Mutex<Option<Instant>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not lead any more")]
pub(crate) struct NotLeading;

/// Why the Lease could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum LeaseError {
    #[error("{0}")]
    Refused(String),
    #[error("the API server did not answer in time")]
    TimedOut,
}

impl Fence {
    pub(crate) fn check(&self) -> Result<(), NotLeading> {
        if self.is_leading() {
            Ok(())
        } else {
            Err(NotLeading)
        }
    }

    pub(crate) fn is_leading(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// One replica and its Lease.
#[derive(Debug)]
pub(crate) struct Election<'a> {
    candidate: Candidate,
    api: Api<Lease>,
    name: String,
    fence: &'a Fence,
}

impl<'a> Election<'a> {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        fence: &'a Fence,
    ) -> Self {
        Self {
            candidate: Candidate::new(identity),
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            fence,
        }
    }

    /// Waits until this replica leads.
    pub(crate) async fn win(&mut self) {
        let mut complained = false;
        loop {
            match self.step().await {
                Ok(true) => return,
                Ok(false) => complained = false,
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!(
                        lease = self.name,
                        %error,
                        "the Lease cannot be read or written: trying again"
                    );
                }
                Err(_) => {}
            }
            sleep(RETRY_PERIOD).await;
        }
    }

    /// Renews until that fails for as long as it may, or another holds the Lease: then this replica
    /// leads no more.
    pub(crate) async fn keep(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(RETRY_PERIOD).await;
            let began = Instant::now();
            match self.step().await {
                Ok(true) => renewed = began,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(
                        lease = self.name,
                        %error,
                        "the Lease could not be renewed: trying again"
                    );
                }
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                break;
            }
        }
        self.fence.set(None);
    }

    pub(crate) async fn release(&mut self) {
        self.fence.set(None);
        let releasing = async {
            let lease = self.api.get(&self.name).await?;
            let now = clock::timestamp();
            if let Some(released) = self.candidate.released(&lease, &self.name, now) {
                let params = PostParams::default();
                self.api.replace(&self.name, &params, &released).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match timeout(RETRY_PERIOD, releasing).await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "the Lease is given back"),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    lease = self.name,
                    "the Lease could not be given back: another replica waits until it expires"
                );
            }
        }
    }

    /// Whether this replica leads after one read and at most one write.
    async fn step(&mut self) -> Result<bool, LeaseError> {
        // The time counts from before the write: its answer may be late.
        let began = Instant::now();
        let step = self.read_and_write();
        let leads = match timeout(RENEW_DEADLINE / 2, step).await {
            Ok(Ok(leads)) => leads,
            // Another was quicker.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => false,
            Ok(Err(error)) => return Err(LeaseError::Refused(crate::failure::describe(&error))),
            Err(_elapsed) => return Err(LeaseError::TimedOut),
        };
        self.fence.set(leads.then(|| began + RENEW_DEADLINE));
        Ok(leads)
    }

    async fn read_and_write(&mut self) -> kube::Result<bool> {
        let lease = self.api.get_opt(&self.name).await?;
        let step = self.candidate.decide(lease.as_ref(), Instant::now());
        let held = || {
            let now = clock::timestamp();
            self.candidate.held(lease.as_ref(), &self.name, now)
        };
        let params = PostParams::default();
        match step {
            Step::Wait => return Ok(false),
            Step::Create => drop(self.api.create(&params, &held()).await?),
            Step::Take | Step::Renew => {
                drop(self.api.replace(&self.name, &params, &held()).await?);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::testing::Shelf;

    const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/auth/leases/l";

    fn election<'a>(shelf: &Shelf, identity: &str, fence: &'a Fence) -> Election<'a> {
        Election::new(shelf.client(), "auth", "l", identity.to_owned(), fence)
    }

    fn holder(shelf: &Shelf) -> String {
        let lease = shelf.get(PATH).expect("a Lease");
        let holder = lease["spec"]["holderIdentity"].as_str();
        holder.unwrap_or_default().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_the_other_follows_when_it_gives_the_lease_back() {
        let shelf = Shelf::default();
        let fences = (Fence::default(), Fence::default());
        let mut first = election(&shelf, "first", &fences.0);
        let mut second = election(&shelf, "second", &fences.1);
        first.win().await;
        assert!(fences.0.is_leading());
        assert_eq!(second.step().await, Ok(false));
        assert!(!fences.1.is_leading());
        first.release().await;
        assert!(!fences.0.is_leading());
        assert_eq!(second.step().await, Ok(true));
        assert_eq!(holder(&shelf), "second");
        first.release().await;
        assert_eq!(holder(&shelf), "second", "only its own is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_cannot_renew_stops_before_another_begins() {
        let shelf = Shelf::default();
        let fences = (Fence::default(), Fence::default());
        let mut first = election(&shelf, "first", &fences.0);
        let mut second = election(&shelf, "second", &fences.1);
        first.win().await;
        assert_eq!(second.step().await, Ok(false));
        shelf.fail.store(503, Ordering::SeqCst);
        let began = Instant::now();
        first.keep().await;
        assert!(!fences.0.is_leading());
        assert!(began.elapsed() < crate::lease::LEASE_DURATION);
        shelf.fail.store(0, Ordering::SeqCst);
        second.win().await;
        assert!(began.elapsed() >= crate::lease::LEASE_DURATION - RETRY_PERIOD);
        assert_eq!(holder(&shelf), "second");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_another_in_the_lease_leads_no_more() {
        let shelf = Shelf::default();
        let fence = Fence::default();
        let mut first = election(&shelf, "first", &fence);
        first.win().await;
        let mut stolen = shelf.get(PATH).expect("a Lease");
        stolen["spec"]["holderIdentity"] = "thief".into();
        shelf.put(PATH, stolen);
        first.keep().await;
        assert_eq!(fence.check(), Err(NotLeading));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_is_good_for_its_time_only() {
        let shelf = Shelf::default();
        let fence = Fence::default();
        election(&shelf, "first", &fence).win().await;
        assert_eq!(fence.check(), Ok(()));
        tokio::time::advance(RENEW_DEADLINE).await;
        assert_eq!(fence.check(), Err(NotLeading));
    }
}
