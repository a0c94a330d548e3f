//! Changes come in bursts: a short wait takes a burst as one change.

use std::time::Duration;

use tokio::time::Instant;

/// Quiet that ends the wait.
const QUIET: Duration = Duration::from_millis(50);
/// The longest wait, however busy it is.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// When the changes so far are to be synced.
#[derive(Debug, Default)]
pub(crate) struct Debounce {
    changed: Option<(Instant, Instant)>,
}

impl Debounce {
    pub(crate) fn note(&mut self, now: Instant) {
        self.changed = match self.changed {
            None => Some((now, now)),
            Some((first, _)) => Some((first, now)),
        };
    }

    /// None while nothing has changed.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        self.changed
            .map(|(first, last)| (last + QUIET).min(first + WAIT_MAX))
    }

    /// Resets it, and returns when the first of the changes came.
    pub(crate) fn take(&mut self) -> Option<Instant> {
        self.changed.take().map(|(first, _)| first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_waits_for_quiet_only() {
        let now = Instant::now();
        let mut debounce = Debounce::default();
        assert_eq!(debounce.ready_at(), None);
        debounce.note(now);
        assert_eq!(debounce.ready_at(), Some(now + QUIET));
        assert_eq!(debounce.take(), Some(now));
        assert_eq!(debounce.ready_at(), None);
    }

    #[test]
    fn changes_without_end_do_not_wait_without_end() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        for step in 0..100 {
            debounce.note(start + Duration::from_millis(20) * step);
        }
        assert_eq!(debounce.ready_at(), Some(start + WAIT_MAX));
    }
}
