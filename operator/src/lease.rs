//! Which replica leads: the one that holds the Lease. Pure: what was read and the time are passed
//! in.
//!
//! | the Lease | what this replica does |
//! |---|---|
//! | is not there | makes it, and leads |
//! | names this replica | renews it |
//! | has no holder | takes it |
//! | names another, and changes | waits |
//! | names another, and has not changed for as long as it is good for | takes it |
//!
//! Clocks of two machines are never compared: a holder's time runs from when this replica saw it
//! renew. Every write carries the resource version that was read, so of two that take it one fails.

pub(crate) mod hold;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// How long a holder leads without renewing.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long the holder itself believes in a renewal: it stops before another may begin.
pub(crate) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// What a Lease that was given back is good for.
const RELEASED_SECONDS: i32 = 1;

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    /// Write with this replica as the holder.
    Take,
    Renew,
    Wait,
}

/// A replica that wants to lead.
#[derive(Debug)]
pub(crate) struct Candidate {
    identity: String,
    /// The holder and its renewal as they were seen last, and since when.
    seen: Option<(String, Option<MicroTime>, Instant)>,
}

impl Candidate {
    pub(crate) fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
        }
    }

    pub(crate) fn decide(&mut self, lease: Option<&Lease>, now: Instant) -> Step {
        let Some(lease) = lease else {
            return Step::Create;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() {
            return Step::Take;
        }
        if holder == self.identity {
            return Step::Renew;
        }
        let since = match &self.seen {
            Some((seen_holder, renewed, since))
                if *seen_holder == holder && *renewed == spec.renew_time =>
            {
                *since
            }
            _ => {
                self.seen = Some((holder, spec.renew_time, now));
                now
            }
        };
        // A Lease names its duration; how long this replica waits is bounded all the same.
        let seconds = spec.lease_duration_seconds.unwrap_or_default().clamp(1, 60);
        let good_for = Duration::from_secs(u64::from(seconds.unsigned_abs()));
        if now.duration_since(since) >= good_for {
            Step::Take
        } else {
            Step::Wait
        }
    }

    /// The Lease with this replica as its holder, to be written over `before`.
    pub(crate) fn held(&self, before: Option<&Lease>, name: &str, now: Timestamp) -> Lease {
        let old = before
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        let is_mine = old.holder_identity.as_ref() == Some(&self.identity);
        let transitions = old.lease_transitions.unwrap_or_default();
        let seconds = i32::try_from(LEASE_DURATION.as_secs()).unwrap_or(i32::MAX);
        Lease {
            metadata: metadata(before, name),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(seconds),
                acquire_time: old
                    .acquire_time
                    .filter(|_| is_mine)
                    .or(Some(MicroTime(now))),
                renew_time: Some(MicroTime(now)),
                lease_transitions: Some(if is_mine || before.is_none() {
                    transitions
                } else {
                    transitions.saturating_add(1)
                }),
                ..LeaseSpec::default()
            }),
        }
    }

    /// The Lease given back, so that another takes it at once; none when it is not ours.
    pub(crate) fn released(&self, before: &Lease, name: &str, now: Timestamp) -> Option<Lease> {
        let old = before.spec.clone()?;
        if old.holder_identity.as_ref() != Some(&self.identity) {
            return None;
        }
        Some(Lease {
            metadata: metadata(Some(before), name),
            spec: Some(LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(RELEASED_SECONDS),
                renew_time: Some(MicroTime(now)),
                ..old
            }),
        })
    }
}

fn metadata(before: Option<&Lease>, name: &str) -> ObjectMeta {
    before.map_or_else(
        || ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        |before| ObjectMeta {
            managed_fields: None,
            ..before.metadata.clone()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn held_by(identity: &str, renewed: i64) -> Lease {
        Candidate::new(identity.to_owned()).held(None, "l", at(renewed))
    }

    fn me() -> Candidate {
        Candidate::new("me".to_owned())
    }

    #[test]
    fn a_lease_that_is_not_there_is_made() {
        assert_eq!(me().decide(None, Instant::now()), Step::Create);
    }

    #[test]
    fn the_holder_renews_and_keeps_its_time() {
        let now = Instant::now();
        let lease = held_by("me", 5);
        assert_eq!(me().decide(Some(&lease), now), Step::Renew);
        let renewed = me().held(Some(&lease), "l", at(9)).spec.expect("a spec");
        assert_eq!(renewed.acquire_time, Some(MicroTime(at(5))));
        assert_eq!(renewed.renew_time, Some(MicroTime(at(9))));
        assert_eq!(renewed.lease_transitions, Some(0));
    }

    #[test]
    fn a_holder_that_renews_is_waited_for() {
        let mut me = me();
        let start = Instant::now();
        for step in 0..100_u32 {
            let lease = held_by("other", i64::from(step));
            let now = start + RETRY_PERIOD * step;
            assert_eq!(me.decide(Some(&lease), now), Step::Wait);
        }
    }

    #[test]
    fn a_holder_that_renews_no_more_is_followed_after_its_time() {
        let mut me = me();
        let start = Instant::now();
        // However old or far ahead the holder's clock is.
        let lease = held_by("other", 4_000_000_000);
        assert_eq!(me.decide(Some(&lease), start), Step::Wait);
        let almost = start + LEASE_DURATION - Duration::from_millis(1);
        assert_eq!(me.decide(Some(&lease), almost), Step::Wait);
        assert_eq!(me.decide(Some(&lease), start + LEASE_DURATION), Step::Take);
        let taken = me.held(Some(&lease), "l", at(9)).spec.expect("a spec");
        assert_eq!(taken.holder_identity.as_deref(), Some("me"));
        assert_eq!(taken.lease_transitions, Some(1));
        assert_eq!(taken.acquire_time, Some(MicroTime(at(9))));
    }

    #[test]
    fn a_lease_given_back_is_taken_at_once() {
        let other = Candidate::new("other".to_owned());
        let lease = held_by("other", 5);
        let released = other.released(&lease, "l", at(6)).expect("it is ours");
        assert_eq!(me().decide(Some(&released), Instant::now()), Step::Take);
        assert!(me().released(&lease, "l", at(6)).is_none(), "another's");
    }

    #[test]
    fn a_lease_that_says_nothing_of_its_time_does_not_wait_for_ever() {
        let mut me = me();
        let start = Instant::now();
        for seconds in [None, Some(-5), Some(i32::MAX)] {
            let mut lease = held_by("other", 5);
            lease.spec.as_mut().expect("a spec").lease_duration_seconds = seconds;
            me.seen = None;
            assert_eq!(me.decide(Some(&lease), start), Step::Wait);
            assert_eq!(
                me.decide(Some(&lease), start + Duration::from_secs(60)),
                Step::Take
            );
        }
    }
}
