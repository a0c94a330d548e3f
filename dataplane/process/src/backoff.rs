//! Pauses between two tries to watch the cluster: short, since the caches are only as fresh as
//! their watches.

use std::time::Duration;

use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::ExponentialBackoff;

const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest pause; the next try may come up to twice as late, because pauses are jittered.
pub const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A watch that has worked for this long begins with the first pause again.
const CALM: Duration = Duration::from_secs(10);

/// Doubling pauses without end, jittered so that replicas do not retry in step.
pub fn watch_backoff() -> impl Backoff {
    let pauses = backon::ExponentialBuilder::default()
        .with_min_delay(PAUSE_FIRST)
        .with_max_delay(PAUSE_MAX)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times();
    ResetTimerBackoff::new(ExponentialBackoff::from(pauses), CALM)
}
