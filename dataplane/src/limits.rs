//! How often a client address may fail, and a user may sign in, in a minute. In memory, for each
//! process, and bounded: a flood of addresses forgets old counts before it takes memory.
//!
//! Of N data planes at most N times a limit is let through. Sharing the counts now and then would
//! not lower that: a caller that asks all of them at once is through before they have shared
//! anything, and asking the store at each failure would make a flood its load. What must be exact
//! is counted in the store: wrong codes and passwords of a user, and the single use of a token.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

const WINDOW_SECONDS: i64 = 60;
const SHARDS: usize = 16;
/// Sixteen shards of these hold 65 536 counts.
const COUNTS_MAX: usize = 4096;

/// Counts in fixed windows of one minute, by the keyed hash of their subject.
#[derive(Debug)]
pub struct Counters {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Window>>; SHARDS],
}

#[derive(Debug, Clone, Copy)]
struct Window {
    minute: i64,
    count: u32,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }
}

/// An IPv6 client has a whole /64 to choose from.
pub fn of_address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => (u128::from(ip) >> 64 << 64).to_be_bytes(),
    }
}

impl Counters {
    /// Seconds until `subject` may try again; `None` while the count is below `limit`.
    pub fn exceeded(&self, subject: impl Hash, limit: u32, now: i64) -> Option<u32> {
        let key = self.hasher.hash_one(subject);
        let minute = now.div_euclid(WINDOW_SECONDS);
        let shard = self.shard(key);
        let window = shard.get(&key).filter(|window| window.minute == minute)?;
        (window.count >= limit).then(|| retry_after(now))
    }

    /// Counts one more, unless `subject` has used the limit up: then seconds until the next try.
    pub fn count(&self, subject: impl Hash, limit: u32, now: i64) -> Option<u32> {
        let key = self.hasher.hash_one(subject);
        let minute = now.div_euclid(WINDOW_SECONDS);
        let mut shard = self.shard(key);
        if shard.len() >= COUNTS_MAX && !shard.contains_key(&key) {
            shard.retain(|_, window| window.minute == minute);
            if shard.len() >= COUNTS_MAX {
                shard.clear();
            }
        }
        let window = shard.entry(key).or_insert(Window { minute, count: 0 });
        if window.minute != minute {
            *window = Window { minute, count: 0 };
        }
        if window.count >= limit {
            return Some(retry_after(now));
        }
        window.count += 1;
        None
    }

    fn shard(&self, key: u64) -> std::sync::MutexGuard<'_, HashMap<u64, Window>> {
        let index = usize::try_from(key % SHARDS as u64).unwrap_or(0);
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn retry_after(now: i64) -> u32 {
    u32::try_from(WINDOW_SECONDS - now.rem_euclid(WINDOW_SECONDS)).unwrap_or(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_for_one_and_not_for_another() {
        let counters = Counters::default();
        for _ in 0..3 {
            assert_eq!(counters.count("a", 3, 120), None);
        }
        assert_eq!(counters.count("a", 3, 130), Some(50));
        assert_eq!(counters.exceeded("a", 3, 130), Some(50));
        assert_eq!(counters.count("b", 3, 130), None);
        assert_eq!(counters.count("a", 3, 180), None, "a new minute");
    }

    #[test]
    fn asking_does_not_count() {
        let counters = Counters::default();
        for _ in 0..10 {
            assert_eq!(counters.exceeded("a", 1, 0), None);
        }
    }

    #[test]
    fn memory_is_bounded_under_a_flood() {
        let counters = Counters::default();
        for subject in 0..200_000_u32 {
            let _ = counters.count(subject, 10, 0);
        }
        let held: usize = (0..SHARDS as u64)
            .map(|key| counters.shard(key).len())
            .sum();
        assert!(held <= SHARDS * COUNTS_MAX, "{held}");
    }

    #[test]
    fn ipv6_counts_by_its_64() {
        let of = |text: &str| of_address(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
