//! What ran into a limit: connections that gave nothing.

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
        bounded
    }

    pub fn connection_ended(&self, reason: &'static str) {
        self.connections_ended
            .get_or_create(&Reason { reason })
            .inc();
    }
}
