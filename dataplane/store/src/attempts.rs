//! How often a user may try a second factor, and how often a code is sent: over all challenges, methods and replicas.
//! Pure; each store holds the user's row locked while this decides.
//!
//! | counted | at most | until |
//! |---|---|---|
//! | tries of a method in any 15 minutes | `per_15m` | the oldest of them is 15 minutes old |
//! | tries of a method in any day | `per_day` | the oldest of them is a day old |
//! | tries of a method since its last success | 100 | an administrator unlocks the user |
//! | codes sent | one of a method in 30 s, 5 in any 15 minutes, 20 in any day | the oldest of them is that old |
//!
//! Each method counts for itself, and only one whose codes can be guessed: who knows the first factor and guesses at one
//! method locks no other. Passkeys and recovery codes of 80 bits are not guessed, and so are never locked.
//!
//! A try counts before its code is looked at, so that a thousand at once are no more than one after the other. A success
//! takes its own try back and ends the row of failures; it does not make the failures before it unhappen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vestibule_crds::signin_policy::MfaMethod;

const QUARTER_SECONDS: i64 = 15 * 60;
const DAY_SECONDS: i64 = 24 * 3600;
pub const CONSECUTIVE_MAX: u32 = 100;
/// Between two codes that are sent to one user in one way.
pub const RESEND_SECONDS: i64 = 30;
const SENT_PER_QUARTER: usize = 5;
const SENT_PER_DAY: usize = 20;

/// The policy's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryLimits {
    pub per_challenge: u32,
    pub per_15m: u32,
    pub per_day: u32,
}

/// What is counted of one user. Times are oldest first and none is older than a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// Of passwords; older versions counted all methods here.
    #[serde(flatten)]
    passwords: Tries,
    sent: Vec<(i64, MfaMethod)>,
    #[serde(default)]
    methods: BTreeMap<MfaMethod, Tries>,
}

/// Tries of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tries {
    tried_at: Vec<i64>,
    consecutive: u32,
}

/// A try that was counted, to be taken back if it was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    pub method: MfaMethod,
    pub at: i64,
}

/// Seconds until the next one may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked(pub u32);

impl Tries {
    /// Counts one more try, or says how long none is counted any more.
    fn count(&mut self, limits: TryLimits, now: i64) -> Result<(), Locked> {
        forget(&mut self.tried_at, now);
        if self.consecutive >= CONSECUTIVE_MAX {
            return Err(Locked::for_seconds(DAY_SECONDS));
        }
        let windows = [
            (limits.per_15m as usize, QUARTER_SECONDS),
            (limits.per_day as usize, DAY_SECONDS),
        ];
        room(&self.tried_at, &windows, now)?;
        self.tried_at.push(now);
        self.consecutive += 1;
        Ok(())
    }

    /// The try that was counted at `tried_at` was right.
    fn succeed(&mut self, tried_at: i64) {
        self.consecutive = 0;
        if let Some(index) = self.tried_at.iter().rposition(|at| *at == tried_at) {
            self.tried_at.remove(index);
        }
    }
}

impl Attempts {
    /// Counts one more try of the password, or says how long none is counted any more.
    pub fn count(&mut self, limits: TryLimits, now: i64) -> Result<(), Locked> {
        self.passwords.count(limits, now)
    }

    /// Counts one more guess at a code of this method.
    pub fn guess(&mut self, method: MfaMethod, limits: TryLimits, now: i64) -> Result<(), Locked> {
        self.methods.entry(method).or_default().count(limits, now)
    }

    /// A guess that was counted was right.
    pub fn succeed(&mut self, tried: Tried) {
        self.methods
            .entry(tried.method)
            .or_default()
            .succeed(tried.at);
    }

    /// Counts one more code, or says how long none is sent.
    pub fn send(&mut self, method: MfaMethod, now: i64) -> Result<(), Locked> {
        self.sent.retain(|(at, _)| is_of_the_day(*at, now));
        let times = |wanted: &dyn Fn(MfaMethod) -> bool| -> Vec<i64> {
            let sent = self.sent.iter().filter(|(_, method)| wanted(*method));
            sent.map(|(at, _)| *at).collect()
        };
        // Of another method the next one may come at once: the first may not work.
        room(&times(&|sent| sent == method), &[(1, RESEND_SECONDS)], now)?;
        let windows = [
            (SENT_PER_QUARTER, QUARTER_SECONDS),
            (SENT_PER_DAY, DAY_SECONDS),
        ];
        room(&times(&|_| true), &windows, now)?;
        self.sent.push((now, method));
        Ok(())
    }

    /// As it is stored.
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `None` for a value that this program did not write.
    pub(super) fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Locked {
    fn for_seconds(seconds: i64) -> Self {
        Self(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX))
    }
}

fn forget(times: &mut Vec<i64>, now: i64) {
    times.retain(|at| is_of_the_day(*at, now));
}

fn is_of_the_day(at: i64, now: i64) -> bool {
    now.saturating_sub(at) < DAY_SECONDS
}

/// Whether one more fits into each window; otherwise how long until it fits into all of them.
fn room(times: &[i64], windows: &[(usize, i64)], now: i64) -> Result<(), Locked> {
    let mut wait = None;
    for (most, seconds) in windows {
        // The one that must have grown old before there is room.
        let Some(index) = times.len().checked_sub(*most) else {
            continue;
        };
        let Some(at) = times.get(index) else {
            continue;
        };
        let left = at.saturating_add(*seconds).saturating_sub(now);
        if left > 0 {
            wait = wait.max(Some(left));
        }
    }
    match wait {
        None => Ok(()),
        Some(seconds) => Err(Locked::for_seconds(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_900_000_000;
    const TOTP: MfaMethod = MfaMethod::Totp;
    const LIMITS: TryLimits = TryLimits {
        per_challenge: 5,
        per_15m: 10,
        per_day: 50,
    };

    /// How many of `tries`, this many seconds apart, are counted, and the wait after the last.
    fn counted(tries: u32, seconds_apart: i64) -> (u32, Option<u32>) {
        let mut attempts = Attempts::default();
        let (mut counted, mut now, mut wait) = (0, NOW, None);
        for _ in 0..tries {
            match attempts.guess(TOTP, LIMITS, now) {
                Ok(()) => (counted, wait) = (counted + 1, None),
                Err(Locked(seconds)) => wait = Some(seconds),
            }
            now += seconds_apart;
        }
        (counted, wait)
    }

    #[test]
    fn the_limits_are_a_table() {
        for (tries, seconds_apart, expected) in [
            (10, 0, (10, None)),
            (11, 0, (10, Some(900))),
            (1000, 0, (10, Some(900))),
            // One every 90 s is ten in 15 minutes: the day's fifty end it.
            (50, 90, (50, None)),
            (51, 90, (50, Some(86_400 - 50 * 90))),
            // One every 29 minutes is 49 a day: only the hundred in a row end it.
            (100, 1740, (100, None)),
            (101, 1740, (100, Some(86_400))),
            (5000, 1740, (100, Some(86_400))),
        ] {
            assert_eq!(
                counted(tries, seconds_apart),
                expected,
                "{tries} every {seconds_apart} s"
            );
        }
    }

    #[test]
    fn any_15_minutes_count_not_those_of_the_clock() {
        let mut attempts = Attempts::default();
        for at in [0, 0, 0, 0, 0, 800, 800, 800, 800, 800] {
            assert_eq!(attempts.guess(TOTP, LIMITS, NOW + at), Ok(()));
        }
        assert_eq!(attempts.guess(TOTP, LIMITS, NOW + 899), Err(Locked(1)));
        for _ in 0..5 {
            assert_eq!(attempts.guess(TOTP, LIMITS, NOW + 900), Ok(()));
        }
        assert_eq!(attempts.guess(TOTP, LIMITS, NOW + 900), Err(Locked(800)));
    }

    #[test]
    fn a_success_takes_back_its_own_try_and_no_failure() {
        let mut attempts = Attempts::default();
        for at in 0..10 {
            assert_eq!(attempts.guess(TOTP, LIMITS, NOW + at), Ok(()));
        }
        attempts.succeed(Tried {
            method: TOTP,
            at: NOW + 9,
        });
        assert_eq!(attempts.guess(TOTP, LIMITS, NOW + 10), Ok(()));
        assert!(attempts.guess(TOTP, LIMITS, NOW + 10).is_err());
    }

    #[test]
    fn a_success_ends_the_row_of_failures() {
        let (mut attempts, mut now) = (Attempts::default(), NOW);
        for _ in 0..5 {
            for _ in 0..99 {
                assert_eq!(attempts.guess(TOTP, LIMITS, now), Ok(()));
                now += 1740;
            }
            attempts.succeed(Tried {
                method: TOTP,
                at: now - 1740,
            });
        }
    }

    #[test]
    fn codes_are_sent_now_and_then() {
        for (codes, seconds_apart, sent) in [
            (2, 29, 1),
            (2, 30, 2),
            (6, 30, 5),
            (6, 225, 6),
            (30, 225, 20),
        ] {
            let (mut attempts, mut done) = (Attempts::default(), 0);
            for number in 0..codes {
                let now = NOW + number * seconds_apart;
                done += i64::from(attempts.send(MfaMethod::EmailOtp, now).is_ok());
            }
            assert_eq!(done, sent, "{codes} every {seconds_apart} s");
        }
    }

    #[test]
    fn a_code_of_another_method_may_come_at_once_and_counts_with_the_others() {
        let mut attempts = Attempts::default();
        for method in [MfaMethod::EmailOtp, MfaMethod::SmsOtp] {
            assert_eq!(attempts.send(method, NOW), Ok(()));
            assert_eq!(attempts.send(method, NOW), Err(Locked(30)));
        }
        for seconds in [30, 60, 90] {
            assert_eq!(attempts.send(MfaMethod::EmailOtp, NOW + seconds), Ok(()));
        }
        assert_eq!(attempts.send(MfaMethod::SmsOtp, NOW + 90), Err(Locked(810)));
    }

    #[test]
    fn guesses_at_one_method_lock_no_other_and_no_password() {
        let mut attempts = Attempts::default();
        while attempts.guess(TOTP, LIMITS, NOW).is_ok() {}
        assert_eq!(attempts.guess(MfaMethod::SmsOtp, LIMITS, NOW), Ok(()));
        assert_eq!(attempts.count(LIMITS, NOW), Ok(()));
        assert_eq!(attempts.guess(TOTP, LIMITS, NOW), Err(Locked(900)));
    }

    #[test]
    fn what_an_older_version_stored_reads_back() {
        let stored = r#"{"tried_at":[1],"consecutive":1,"sent":[[1,"email_otp"]]}"#;
        assert!(Attempts::decode(stored).is_some());
    }

    #[test]
    fn what_is_stored_reads_back_and_is_bounded() {
        let most = TryLimits {
            per_challenge: 100,
            per_15m: 100,
            per_day: 100,
        };
        let mut attempts = Attempts::default();
        for number in 0..100_000 {
            let now = NOW + number * 60;
            if attempts.guess(TOTP, most, now).is_ok() {
                attempts.succeed(Tried {
                    method: TOTP,
                    at: now - 1,
                });
            }
            let _ = attempts.send(MfaMethod::SmsOtp, now);
        }
        let text = attempts.encode();
        assert!(text.len() < 2048, "{}", text.len());
        assert_eq!(Attempts::decode(&text), Some(attempts));
        assert_eq!(Attempts::decode("{}"), None);
    }
}
