//! Metrics in the OpenMetrics text format. Every label has a bounded set of
//! values: codes, never names that a caller chose.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use vestibule_crds::signin_policy::MfaMethod;

mod bounded;

use bounded::Bounded;

use crate::failure::Failure;
use vestibule_store::Work;

/// Seconds, from a cached answer to the fetch time limit.
const LATENCY_BUCKETS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 5.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerificationLabels {
    method: &'static str,
    outcome: &'static str,
}

pub struct Metrics {
    registry: Registry,
    signins: Family<OutcomeLabels, Counter>,
    refreshes: Family<OutcomeLabels, Counter>,
    refresh_grace: Counter,
    challenges: Counter,
    verifications: Family<VerificationLabels, Counter>,
    latency: Family<RequestLabels, Histogram, fn() -> Histogram>,
    reloads: Family<OutcomeLabels, Counter>,
    events_dropped: Counter,
    /// Of the audit stream, not of the store.
    pub audit_lines_dropped: Counter,
    store: StoreMetrics,
    pub connections: Gauge,
    connections_refused: Counter,
    pub bounded: Bounded,
    pub providers: Gauge,
    pub refused_objects: Gauge,
}

/// The work of the store.
struct StoreMetrics {
    rows_swept: Counter,
    writes: Counter,
    transactions: Counter,
    queued: Gauge,
}

impl StoreMetrics {
    fn register(registry: &mut Registry) -> Self {
        Self {
            rows_swept: register(
                registry,
                "rows_swept",
                "Expired rows deleted from the store",
                Counter::default(),
            ),
            writes: register(
                registry,
                "store_writes",
                "Writes that the store has committed or refused",
                Counter::default(),
            ),
            transactions: register(
                registry,
                "store_transactions",
                "Transactions that the writes shared",
                Counter::default(),
            ),
            queued: register(
                registry,
                "store_queued",
                "Writes that wait in the store's queue",
                Gauge::default(),
            ),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vestibule");
        register_version(&mut registry);
        Self {
            signins: register(
                &mut registry,
                "signins",
                "Sign-ins by outcome: ok or an error code",
                Family::default(),
            ),
            refreshes: register(
                &mut registry,
                "refreshes",
                "Refreshes by outcome: ok or an error code",
                Family::default(),
            ),
            refresh_grace: register(
                &mut registry,
                "refresh_grace_used",
                "Refresh tokens that led to their successor because they were rotated a moment ago",
                Counter::default(),
            ),
            challenges: register(
                &mut registry,
                "mfa_challenges",
                "Sign-ins that were asked for a second factor",
                Counter::default(),
            ),
            verifications: register(
                &mut registry,
                "mfa_verifications",
                "Answers to challenges by method and outcome: ok or an error code",
                Family::default(),
            ),
            latency: register(
                &mut registry,
                "request_seconds",
                "Time from a request's head to its answer, by route and outcome: ok or an error code",
                Family::new_with_constructor(
                    (|| Histogram::new(LATENCY_BUCKETS)) as fn() -> Histogram,
                ),
            ),
            reloads: register(
                &mut registry,
                "reloads",
                "Reloads of the configuration by outcome: ok, unchanged or failed",
                Family::default(),
            ),
            events_dropped: register(
                &mut registry,
                "audit_events_dropped",
                "Audit events of refusals that were dropped because the store's queue was full",
                Counter::default(),
            ),
            audit_lines_dropped: register(
                &mut registry,
                "audit_lines_dropped",
                "Lines of the audit stream that could not be written",
                Counter::default(),
            ),
            store: StoreMetrics::register(&mut registry),
            connections: register(
                &mut registry,
                "connections",
                "Open connections",
                Gauge::default(),
            ),
            connections_refused: register(
                &mut registry,
                "connections_refused",
                "Connections closed at once because too many were open",
                Counter::default(),
            ),
            providers: register(
                &mut registry,
                "providers",
                "Providers being served",
                Gauge::default(),
            ),
            refused_objects: register(
                &mut registry,
                "refused_objects",
                "Objects of the last configuration that were refused",
                Gauge::default(),
            ),
            bounded: Bounded::register(&mut registry),
            registry,
        }
    }
}

/// Adds the metric to what is exported.
fn register<M: Metric + Clone>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn register_version(registry: &mut Registry) {
    let build = Gauge::<i64, std::sync::atomic::AtomicI64>::default();
    build.set(1);
    let version = vec![("version".into(), env!("CARGO_PKG_VERSION").into())];
    registry
        .sub_registry_with_labels(version.into_iter())
        .register("build_info", "The version that runs", build);
}

impl Metrics {
    pub fn signin(&self, failure: Option<&Failure>) {
        count(&self.signins, outcome_of(failure));
    }

    pub fn refresh(&self, failure: Option<&Failure>) {
        count(&self.refreshes, outcome_of(failure));
    }

    pub fn refresh_grace(&self) {
        self.refresh_grace.inc();
    }

    pub fn challenged(&self) {
        self.challenges.inc();
    }

    /// `method`: `other` for what is none.
    pub fn verification(&self, method: Option<MfaMethod>, failure: Option<&Failure>) {
        let labels = VerificationLabels {
            method: method.map_or("other", MfaMethod::name),
            outcome: outcome_of(failure),
        };
        self.verifications.get_or_create(&labels).inc();
    }

    pub fn reload(&self, outcome: &'static str) {
        count(&self.reloads, outcome);
    }

    pub fn request_seconds(&self, route: &'static str, outcome: &'static str, seconds: f64) {
        let labels = RequestLabels { route, outcome };
        self.latency.get_or_create(&labels).observe(seconds);
    }

    pub fn events_dropped(&self, events: u64) {
        self.events_dropped.inc_by(events);
    }

    pub fn rows_swept(&self, rows: usize) {
        self.store
            .rows_swept
            .inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
    }

    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// In the OpenMetrics text format.
    pub fn render(&self, store: Work) -> String {
        // The store counts for itself; these only show its numbers.
        self.store
            .writes
            .inner()
            .store(store.writes, Ordering::Relaxed);
        self.store
            .transactions
            .inner()
            .store(store.transactions, Ordering::Relaxed);
        self.bounded.refusals_dropped(store.refusals_dropped);
        self.store
            .queued
            .set(i64::try_from(store.queued).unwrap_or(i64::MAX));
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(fmt::Error) => String::new(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn outcome_of(failure: Option<&Failure>) -> &'static str {
    failure.map_or("ok", Failure::code)
}

fn count(family: &Family<OutcomeLabels, Counter<u64, AtomicU64>>, outcome: &'static str) {
    family.get_or_create(&OutcomeLabels { outcome }).inc();
}
