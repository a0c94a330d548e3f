//! Metrics of limits that were reached: connections that gave nothing, and refusals that were too
//! many to audit one by one.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Default)]
pub struct Bounded {
    connections_ended: Family<Reason, Counter>,
    events_aggregated: Counter,
    refusals_dropped: Counter,
}

impl Bounded {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let bounded = Self::default();
        registry.register(
            "connections_ended",
            "Connections that the service ended because the client gave nothing, by reason: first_head, answer, idle or \
             displaced (its place was needed)",
            bounded.connections_ended.clone(),
        );
        registry.register(
            "audit_events_aggregated",
            "Refusals that were counted in a row of the audit trail instead of having one of their own",
            bounded.events_aggregated.clone(),
        );
        registry.register(
            "audit_refusals_deleted",
            "Rows of refusals that were deleted before their time: the audit trail had too many, or the disk too little room",
            bounded.refusals_dropped.clone(),
        );
        bounded
    }

    pub fn event_aggregated(&self) {
        self.events_aggregated.inc();
    }

    /// The store counts for itself.
    pub(super) fn refusals_dropped(&self, so_far: u64) {
        self.refusals_dropped
            .inner()
            .store(so_far, Ordering::Relaxed);
    }

    pub fn connection_ended(&self, reason: &'static str) {
        self.connections_ended
            .get_or_create(&Reason { reason })
            .inc();
    }
}
