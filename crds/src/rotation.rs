//! When managed signing keys are made, begin to sign and are dropped. Pure: the keeper passes the
//! clock in.
//!
//! | state | from | until |
//! |---|---|---|
//! | Next | `pre_publish` before it signs | it signs |
//! | Current | it signs | the next one signs |
//! | Previous | the next one signs | the last token it signed has expired |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::algorithm::SigningAlgorithm;
use crate::duration::Duration;
use crate::secret::Secret;
use crate::signing_key::{SigningKey, SigningKeyError};

/// Kept after the last token has expired, for verifiers whose clocks run behind.
const RETIRE_MARGIN_SECONDS: i64 = 300;

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum KeyState {
    /// Signs.
    Current,
    /// Published, and signs after the next rotation.
    Next,
    /// Published until the last token that it signed has expired.
    Previous,
}

/// How a policy wants its keys managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub algorithm: SigningAlgorithm,
    pub rotate_every: Duration,
    pub pre_publish: Duration,
}

/// A managed key and its times, in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedKey {
    pub algorithm: SigningAlgorithm,
    /// PKCS#8 PEM.
    pub pem: Secret,
    pub created_at: i64,
    /// When it begins to sign.
    pub signs_from: i64,
    /// The longest lifetime of any access token that it may have signed, in seconds.
    pub longest_token_seconds: u64,
}

impl ManagedKey {
    /// A new key that begins to sign at `signs_from`.
    pub fn generate(
        algorithm: SigningAlgorithm,
        created_at: i64,
        signs_from: i64,
    ) -> Result<Self, SigningKeyError> {
        Ok(Self {
            algorithm,
            pem: SigningKey::generate(algorithm)?,
            created_at,
            signs_from,
            longest_token_seconds: 0,
        })
    }

    /// Before a longer lifetime is served it is known here, so that no key goes before its tokens.
    pub fn note_token_lifetime(&mut self, lifetime: Duration) {
        self.longest_token_seconds = self.longest_token_seconds.max(lifetime.as_secs());
    }
}

/// What to do to the keys of one policy now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Indices of keys to drop: nothing that they signed is still valid.
    pub retire: Vec<usize>,
    /// Make a key that begins to sign at this time.
    pub make: Option<i64>,
    /// When to look again.
    pub next_look: i64,
}

/// The state of each key at `now`, in the order of `keys`.
pub fn states(keys: &[ManagedKey], now: i64) -> Vec<KeyState> {
    let current = current(keys, now);
    keys.iter()
        .enumerate()
        .map(|(index, key)| {
            if Some(index) == current {
                KeyState::Current
            } else if key.signs_from > now {
                KeyState::Next
            } else {
                KeyState::Previous
            }
        })
        .collect()
}

/// The key that signs: of those whose time has come, the one whose time came last.
fn current(keys: &[ManagedKey], now: i64) -> Option<usize> {
    keys.iter()
        .enumerate()
        .filter(|(_, key)| key.signs_from <= now)
        .max_by_key(|(index, key)| (key.signs_from, *index))
        .map(|(index, _)| index)
}

pub fn plan(keys: &[ManagedKey], schedule: Schedule, now: i64) -> Plan {
    let rotate_every = seconds(schedule.rotate_every);
    let pre_publish = seconds(schedule.pre_publish);
    let Some(current) = current(keys, now) else {
        // The first key has no verifier to wait for.
        return Plan {
            retire: Vec::new(),
            make: Some(now),
            next_look: now.saturating_add(rotate_every.saturating_sub(pre_publish)),
        };
    };

    // A key signed until the one after it began, however long ago that was.
    let retires_at = |key: &ManagedKey| {
        let successor = keys
            .iter()
            .map(|other| other.signs_from)
            .filter(|from| *from > key.signs_from)
            .min()
            .unwrap_or(i64::MAX);
        successor
            .saturating_add_unsigned(key.longest_token_seconds)
            .saturating_add(RETIRE_MARGIN_SECONDS)
    };
    let previous = || {
        keys.iter()
            .enumerate()
            .filter(|(index, key)| *index != current && key.signs_from <= now)
    };
    let retire = previous()
        .filter(|(_, key)| retires_at(key) <= now)
        .map(|(index, _)| index)
        .collect();

    let next = keys.iter().find(|key| key.signs_from > now);
    let wrong_algorithm = keys[current].algorithm != schedule.algorithm;
    let due = keys[current].signs_from.saturating_add(rotate_every);
    let publish_at = due.saturating_sub(pre_publish);
    let make = (next.is_none() && (wrong_algorithm || publish_at <= now))
        .then(|| now.saturating_add(pre_publish));

    let next_look = previous()
        .map(|(_, key)| retires_at(key))
        .filter(|at| *at > now)
        .chain(next.map(|key| key.signs_from))
        .chain(make)
        .chain((publish_at > now).then_some(publish_at))
        .min()
        .unwrap_or(now.saturating_add(pre_publish.max(1)));
    Plan {
        retire,
        make,
        next_look,
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;
    const SCHEDULE: Schedule = Schedule {
        algorithm: SigningAlgorithm::ES256,
        rotate_every: Duration::from_secs(30 * 24 * 3600),
        pre_publish: Duration::from_secs(24 * 3600),
    };

    fn key(signs_from: i64) -> ManagedKey {
        ManagedKey {
            algorithm: SigningAlgorithm::ES256,
            pem: Secret::new(""),
            created_at: signs_from,
            signs_from,
            longest_token_seconds: 600,
        }
    }

    #[test]
    fn the_first_key_signs_at_once() {
        assert_eq!(plan(&[], SCHEDULE, 5).make, Some(5));
    }

    #[test]
    fn a_young_key_is_left_alone() {
        let plan = plan(&[key(0)], SCHEDULE, DAY);
        assert_eq!((plan.make, plan.retire.len()), (None, 0));
        assert_eq!(plan.next_look, 29 * DAY);
    }

    #[test]
    fn the_next_key_is_published_before_it_signs() {
        let plan = plan(&[key(0)], SCHEDULE, 29 * DAY);
        assert_eq!(plan.make, Some(30 * DAY));
        let keys = [key(0), key(30 * DAY)];
        assert_eq!(
            states(&keys, 30 * DAY - 1),
            [KeyState::Current, KeyState::Next]
        );
        assert_eq!(
            states(&keys, 30 * DAY),
            [KeyState::Previous, KeyState::Current]
        );
    }

    #[test]
    fn a_key_outlives_the_last_token_it_signed() {
        let keys = [key(0), key(30 * DAY)];
        let last_expiry = 30 * DAY + 600;
        assert!(plan(&keys, SCHEDULE, last_expiry).retire.is_empty());
        let gone = last_expiry + RETIRE_MARGIN_SECONDS;
        assert_eq!(plan(&keys, SCHEDULE, gone).retire, [0]);
        assert_eq!(plan(&keys, SCHEDULE, last_expiry).next_look, gone);
    }

    #[test]
    fn a_long_sleep_still_pre_publishes() {
        let plan = plan(&[key(0)], SCHEDULE, 400 * DAY);
        assert_eq!(plan.make, Some(401 * DAY));
    }

    #[test]
    fn a_changed_algorithm_rotates_at_the_next_chance() {
        let schedule = Schedule {
            algorithm: SigningAlgorithm::EdDSA,
            ..SCHEDULE
        };
        assert_eq!(plan(&[key(0)], schedule, DAY).make, Some(2 * DAY));
        assert_eq!(plan(&[key(0), key(2 * DAY)], schedule, DAY).make, None);
    }
}
