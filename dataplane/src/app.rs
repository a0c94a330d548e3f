//! What the request handlers share, and who is calling.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use http::HeaderMap;
use uuid::{Builder, Uuid};

use crate::clock::Clock;
use crate::failure::{Code, Failure};
use crate::limits::Counters;
use crate::live::Serving;
use crate::metrics::Metrics;
use crate::store::Store;

#[derive(Debug)]
pub struct App {
    pub serving: Serving,
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub random: SystemRandom,
    /// Failures by client address.
    pub failures: Counters,
    /// Sign-ins by user.
    pub signins: Counters,
    pub metrics: Metrics,
}

/// The other end of a request.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub peer: IpAddr,
    pub headers: &'a HeaderMap,
    pub request_id: &'a str,
}

impl App {
    pub fn new(serving: Serving, store: Arc<dyn Store>, clock: Clock, metrics: Metrics) -> Self {
        Self {
            serving,
            store,
            clock,
            random: SystemRandom::new(),
            failures: Counters::default(),
            signins: Counters::default(),
            metrics,
        }
    }

    pub fn random<const N: usize>(&self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.random
            .fill(&mut bytes)
            .map_err(|_| Code::Internal.because("the system gives no random bytes"))?;
        Ok(bytes)
    }

    /// A version 7 id: ordered by time, so that rows are inserted in order.
    pub fn id(&self, now: i64) -> Result<Uuid, Failure> {
        let milliseconds = u64::try_from(now).unwrap_or(0).saturating_mul(1000);
        Ok(Builder::from_unix_timestamp_millis(milliseconds, &self.random()?).into_uuid())
    }
}
