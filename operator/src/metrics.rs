//! The operator's metrics, in the OpenMetrics text format. No label has a value that a user chose.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds, from one object's change to that of ten thousand on a slow API server.
const SECONDS_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Published,
    Unchanged,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Outcome,
}

pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<OutcomeLabels, Counter>,
    pub(crate) compile_seconds: Histogram,
    pub(crate) publish_seconds: Histogram,
    pub(crate) proof_seconds: Histogram,
    pub(crate) unproved_seconds: Gauge,
    pub(crate) objects: Gauge,
    pub(crate) refused_objects: Gauge,
    pub(crate) signing_key_age_seconds: Gauge,
    pub(crate) leader: Gauge,
    pub(crate) ready_pods: Gauge,
    pub(crate) status_patches: Counter,
    pub(crate) status_queue: Gauge,
    pub(crate) events_dropped: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vestibule_operator");
        let build = Gauge::<i64, std::sync::atomic::AtomicI64>::default();
        build.set(1);
        let version = vec![("version".into(), env!("CARGO_PKG_VERSION").into())];
        registry
            .sub_registry_with_labels(version.into_iter())
            .register("build_info", "The version that runs", build);
        let mut metrics = Self {
            registry,
            reconciles: Family::default(),
            compile_seconds: Histogram::new(SECONDS_BUCKETS),
            publish_seconds: Histogram::new(SECONDS_BUCKETS),
            proof_seconds: Histogram::new(SECONDS_BUCKETS),
            unproved_seconds: Gauge::default(),
            objects: Gauge::default(),
            refused_objects: Gauge::default(),
            signing_key_age_seconds: Gauge::default(),
            leader: Gauge::default(),
            ready_pods: Gauge::default(),
            status_patches: Counter::default(),
            status_queue: Gauge::default(),
            events_dropped: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let Self {
            registry,
            reconciles,
            compile_seconds,
            publish_seconds,
            proof_seconds,
            unproved_seconds,
            objects,
            refused_objects,
            signing_key_age_seconds,
            leader,
            ready_pods,
            status_patches,
            status_queue,
            events_dropped,
        } = self;
        registry.register(
            "reconciles",
            "Syncs of the whole configuration by outcome: Published, Unchanged or Failed",
            reconciles.clone(),
        );
        registry.register(
            "compile_seconds",
            "Time to compile the configuration",
            compile_seconds.clone(),
        );
        registry.register(
            "publish_seconds",
            "Time from the first of the changes that were taken together until they were published",
            publish_seconds.clone(),
        );
        registry.register(
            "proof_seconds",
            "Time from publication until every ready pod had proved that it serves it",
            proof_seconds.clone(),
        );
        registry.register(
            "unproved_seconds",
            "Time since a publication that not every ready pod has proved yet, 0 once all have",
            unproved_seconds.clone(),
        );
        registry.register(
            "objects",
            "OidcProviders and SigninPolicies in the watched namespaces",
            objects.clone(),
        );
        registry.register(
            "refused_objects",
            "Objects that do not compile as they are",
            refused_objects.clone(),
        );
        registry.register(
            "signing_key_age_seconds",
            "Time that the oldest managed key that signs has signed",
            signing_key_age_seconds.clone(),
        );
        registry.register("leader", "1 while this replica leads", leader.clone());
        registry.register(
            "ready_pods",
            "Ready pods of the data plane",
            ready_pods.clone(),
        );
        registry.register(
            "status_patches",
            "Statuses written to the API server",
            status_patches.clone(),
        );
        registry.register(
            "status_queue",
            "Statuses that wait to be written",
            status_queue.clone(),
        );
        registry.register(
            "events_dropped",
            "Kubernetes Events that were not written, because of their number or a failure",
            events_dropped.clone(),
        );
    }

    pub(crate) fn reconciled(&self, outcome: Outcome) {
        let counter: &Family<OutcomeLabels, Counter<u64, AtomicU64>> = &self.reconciles;
        counter.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(crate) fn render(&self) -> String {
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

pub(crate) fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_there_from_the_start() {
        let metrics = Metrics::default();
        metrics.reconciled(Outcome::Published);
        let text = metrics.render();
        for name in [
            "vestibule_operator_reconciles_total{outcome=\"Published\"} 1",
            "vestibule_operator_leader 0",
            "vestibule_operator_status_patches_total 0",
            "vestibule_operator_proof_seconds_count 0",
            "vestibule_operator_refused_objects 0",
            "vestibule_operator_signing_key_age_seconds 0",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }
}
