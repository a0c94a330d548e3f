//! How often sign-ins of a subject failed lately: in memory, for each process, and bounded.
//!
//! A sliding count made of two fixed windows: all of this one, and as much of the last one as still
//! reaches into the time that is asked about.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 16;
/// Sixteen shards of these hold 65 536 counts.
const COUNTS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub struct RecentFailures {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Count>>; SHARDS],
}

#[derive(Debug, Clone, Copy)]
struct Count {
    window_seconds: i64,
    /// Which window since the epoch `current` counts.
    window: i64,
    current: u32,
    previous: u32,
}

impl Count {
    /// As it stands in this window.
    fn moved_to(self, window: i64) -> Self {
        let (current, previous) = match window.saturating_sub(self.window) {
            ..=0 => (self.current, self.previous),
            1 => (0, self.current),
            2.. => (0, 0),
        };
        Self {
            window: self.window.max(window),
            current,
            previous,
            ..self
        }
    }

    fn is_over(self, now: i64) -> bool {
        now.div_euclid(self.window_seconds) > self.window.saturating_add(1)
    }
}

impl RecentFailures {
    /// One more failure of `subject`, for those who ask about this window.
    pub fn count(&self, subject: impl Hash, window_seconds: u64, now: i64) {
        let window_seconds = bounded(window_seconds);
        let window = now.div_euclid(window_seconds);
        let (key, mut shard) = self.shard(subject, window_seconds);
        if shard.len() >= COUNTS_MAX && !shard.contains_key(&key) {
            shard.retain(|_, count| !count.is_over(now));
            if shard.len() >= COUNTS_MAX {
                shard.clear();
            }
        }
        let count = shard.entry(key).or_insert(Count {
            window_seconds,
            window,
            current: 0,
            previous: 0,
        });
        *count = count.moved_to(window);
        count.current = count.current.saturating_add(1);
    }

    /// Failures of `subject` in the last `window_seconds`.
    pub fn recent(&self, subject: impl Hash, window_seconds: u64, now: i64) -> u32 {
        let window_seconds = bounded(window_seconds);
        let (key, shard) = self.shard(subject, window_seconds);
        let Some(count) = shard.get(&key) else {
            return 0;
        };
        let count = count.moved_to(now.div_euclid(window_seconds));
        let left = window_seconds - now.rem_euclid(window_seconds);
        let previous = i64::from(count.previous).saturating_mul(left) / window_seconds;
        count
            .current
            .saturating_add(u32::try_from(previous).unwrap_or(u32::MAX))
    }

    fn shard(
        &self,
        subject: impl Hash,
        window_seconds: i64,
    ) -> (u64, MutexGuard<'_, HashMap<u64, Count>>) {
        let key = self.hasher.hash_one((subject, window_seconds));
        let index = usize::try_from(key % SHARDS as u64).unwrap_or(0);
        let shard = self.shards[index].lock();
        (key, shard.unwrap_or_else(PoisonError::into_inner))
    }
}

/// A second to a year: what a policy asks beyond that is no recent failure.
fn bounded(window_seconds: u64) -> i64 {
    i64::try_from(window_seconds)
        .unwrap_or(i64::MAX)
        .clamp(1, 366 * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 900;

    #[test]
    fn failures_are_counted_for_one_and_not_for_another() {
        let failures = RecentFailures::default();
        for _ in 0..5 {
            failures.count("ann", WINDOW, 9000);
        }
        assert_eq!(failures.recent("ann", WINDOW, 9100), 5);
        assert_eq!(failures.recent("bob", WINDOW, 9100), 0);
        assert_eq!(failures.recent("ann", 60, 9100), 0, "another window");
    }

    #[test]
    fn failures_fade_over_the_window_and_are_gone_after_two() {
        let failures = RecentFailures::default();
        for _ in 0..10 {
            failures.count("ann", WINDOW, 9000);
        }
        assert_eq!(failures.recent("ann", WINDOW, 9899), 10);
        assert_eq!(failures.recent("ann", WINDOW, 9900 + 450), 5);
        assert_eq!(failures.recent("ann", WINDOW, 9900 + 900), 0);
        failures.count("ann", WINDOW, 90_000);
        assert_eq!(failures.recent("ann", WINDOW, 90_000), 1);
    }

    #[test]
    fn asking_does_not_count() {
        let failures = RecentFailures::default();
        for _ in 0..10 {
            assert_eq!(failures.recent("ann", WINDOW, 0), 0);
        }
    }

    #[test]
    fn memory_is_bounded_under_a_flood() {
        let failures = RecentFailures::default();
        for subject in 0..200_000_u32 {
            failures.count(subject, WINDOW, 0);
        }
        let held: usize = failures
            .shards
            .iter()
            .map(|shard| shard.lock().expect("no holder of the lock panicked").len())
            .sum();
        assert!(held <= SHARDS * COUNTS_MAX, "{held}");
    }

    #[test]
    fn any_window_is_taken() {
        let failures = RecentFailures::default();
        for window in [0, 60, u64::MAX] {
            failures.count("ann", window, i64::MAX);
            assert_eq!(failures.recent("ann", window, i64::MAX), 1);
        }
    }
}
