//! What the request handlers share, and who is calling.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use http::HeaderMap;
use tokio::sync::Semaphore;
use uuid::{Builder, Uuid};

use crate::audit::condense::{Condensed, Condenser};
use crate::clock::Clock;
use crate::encoding::hex;
use crate::evidence::Hashing;
use crate::failure::{Code, Failure};
use crate::geography::Geography;
use crate::limits::Counters;
use crate::metrics::Metrics;
use crate::password;
use crate::runtime_config::RuntimeConfig;
use vestibule_risk::failures::RecentFailures;
use vestibule_risk::population::Populations;
use vestibule_store::{Event, Store};

/// Mails to users that are sent at the same time, apart from the requests that caused them.
const NOTICES_MAX: usize = 16;

#[derive(Debug)]
pub struct App {
    pub runtime_config: RuntimeConfig,
    pub store: Store,
    pub clock: Clock,
    pub random: SystemRandom,
    /// Failures by client address and provider.
    pub failures: Counters,
    /// Sign-ins by user.
    pub signins: Counters,
    /// Failures to prove oneself, by OAuth client.
    pub client_failures: Counters,
    /// Failures by policy and client address, and by user, where a policy scores them.
    pub recent_failures: RecentFailures,
    /// With the store's key.
    pub hashing: Hashing,
    pub hashing_passwords: password::hashing::Hashing,
    /// What all users have shown, where a policy scores sign-ins.
    pub populations: Populations,
    /// Where addresses are.
    pub geography: Arc<Geography>,
    pub metrics: Metrics,
    /// Mails to users that are under way, apart from their requests.
    pub notices: Arc<Semaphore>,
    /// Refusals that are counted instead of written.
    pub condenser: Condenser,
    /// Of this process, in front of the request ids that it gives out.
    process_id: String,
    requests: AtomicU64,
}

/// The other end of a request.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub peer: IpAddr,
    pub headers: &'a HeaderMap,
    pub request_id: &'a str,
}

impl App {
    pub fn new(
        runtime_config: RuntimeConfig,
        store: Store,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let random = SystemRandom::new();
        let mut process_id = [0; 8];
        // Without it ids are still unique in this process.
        let _random = random.fill(&mut process_id);
        Self {
            hashing: Hashing::new(&store.hash_key()),
            hashing_passwords: password::hashing::Hashing::default(),
            runtime_config,
            store,
            clock,
            random,
            failures: Counters::default(),
            signins: Counters::default(),
            client_failures: Counters::default(),
            recent_failures: RecentFailures::default(),
            populations: Populations::default(),
            geography: Arc::default(),
            metrics,
            notices: Arc::new(Semaphore::new(NOTICES_MAX)),
            condenser: Condenser::default(),
            process_id: hex(&process_id),
            requests: AtomicU64::new(0),
        }
    }

    /// Of this process, and of no other.
    pub fn process_id(&self) -> &str {
        &self.process_id
    }

    /// An id for a request that came without one: unique, which is all that it is for.
    pub fn request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.process_id)
    }

    pub fn random<const N: usize>(&self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.random
            .fill(&mut bytes)
            .map_err(|_| Code::Internal.because("the system gives no random bytes"))?;
        Ok(bytes)
    }

    /// Queues an audit event, or counts it where many are equal; one that the store has no room for
    /// is counted as dropped.
    pub fn record(&self, event: Event) {
        match self.condenser.take(event) {
            Condensed::Write(event) => self.write_event(event),
            Condensed::Counted => self.metrics.bounded.event_aggregated(),
            Condensed::Left => {}
        }
    }

    /// Queues the rows of refusals that were counted, of all minutes that are over.
    pub fn record_counted(&self, now: i64) {
        for event in self.condenser.ended(now) {
            self.write_event(event);
        }
    }

    fn write_event(&self, event: Event) {
        let stands_for = event.count.unsigned_abs();
        if !self.store.record(event) {
            self.metrics.events_dropped(stands_for);
        }
    }

    pub fn id(&self, now: i64) -> Result<Uuid, Failure> {
        Ok(time_ordered(now, &self.random()?))
    }
}

/// A version 7 id: ordered by time, so that rows are inserted in order.
pub fn time_ordered(now: i64, random: &[u8; 10]) -> Uuid {
    let milliseconds = u64::try_from(now).unwrap_or(0).saturating_mul(1000);
    Builder::from_unix_timestamp_millis(milliseconds, random).into_uuid()
}
