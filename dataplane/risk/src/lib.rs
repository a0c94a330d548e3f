//! How risky a sign-in is: one pure function of what is seen now, what was seen before, and the
//! policy.
//!
//! Groups of signals are joined by a noisy OR, `score = round(100·(1 − Π(1 − p)))`; in a group the
//! strongest counts, so that facts which come together count once. Missing data is neutral: it
//! never raises a score by itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vestibule_crds::signin_policy::{OnError, RiskAction};
use vestibule_crds::snapshot::Risk;

pub mod facts;
pub mod failures;
mod freeman;
pub mod history;
pub mod population;
mod record;
mod score;
mod signals;
#[cfg(test)]
mod tests;

use facts::Facts;
use history::{Kind, Population, UserHistory};
pub use record::{RECORD_BYTES_MAX, Record, Replayed, record};
use score::Signal;

/// Changes whenever the same input may get another score; recorded with each assessment.
pub const ENGINE_VERSION: u32 = 2;

/// What is seen of the sign-in.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// Seconds since the Unix epoch.
    pub now: i64,
    pub values: Values,
    pub place: Option<Place>,
    pub listed: Listed,
    /// When the provider asked for the user's credentials last.
    pub auth_time: Option<i64>,
    /// Whether the provider asked for a second factor, as far as the operator honours that.
    pub provider_mfa: bool,
    /// Whether the device was remembered after a second factor.
    pub remembered_device: bool,
    /// Recent failures, within the windows of the policy.
    pub user_failures: u32,
    /// None of an address that is no evidence.
    pub address_failures: u32,
}

/// By [`Kind`]: the keyed hash of the value, or none where there is no evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values(pub [Option<u64>; Kind::COUNT]);

impl Values {
    pub fn of(&self, kind: Kind) -> Option<u64> {
        self.0[kind as usize]
    }
}

/// Where an address is, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub latitude: f64,
    pub longitude: f64,
}

/// All codes that a reason may have.
pub fn reason_codes() -> impl Iterator<Item = &'static str> {
    Signal::ALL.iter().map(|signal| signal.code())
}

/// Whether the policy's lists name the address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listed {
    Denied,
    Allowed,
    #[default]
    No,
}

impl Listed {
    /// Who stands in both lists is denied.
    pub fn of(address: IpAddr, policy: &Risk) -> Self {
        let in_list = |list: &[ipnet::IpNet]| list.iter().any(|net| net.contains(&address));
        if in_list(&policy.deny) {
            Self::Denied
        } else if in_list(&policy.allow) {
            Self::Allowed
        } else {
            Self::No
        }
    }
}

/// What was seen before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// None before the first sign-in that was recorded.
    pub user: Option<UserHistory>,
    /// All users of the policy, where that is counted.
    pub population: Option<Population>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// 0 to 100.
    pub score: u8,
    pub level: Level,
    /// What the policy has follow.
    pub action: RiskAction,
    /// The heaviest first; their points sum to the score.
    pub reasons: Vec<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Low,
    Medium,
    High,
}

impl Level {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    const fn action(self, policy: &Risk) -> RiskAction {
        match self {
            Self::Low => policy.actions.low,
            Self::Medium => policy.actions.medium,
            Self::High => policy.actions.high,
        }
    }
}

impl Assessment {
    /// Whether it has a reason that no trust makes weigh less, such as travel: no factor of the
    /// provider explains that.
    pub fn is_hard(&self) -> bool {
        let mut hard = Signal::ALL.iter().filter(|signal| signal.group().is_hard());
        hard.any(|signal| {
            self.reasons
                .iter()
                .any(|reason| reason.code == signal.code())
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// Stable, snake_case.
    pub code: &'static str,
    pub points: u8,
}

pub fn assess(context: &Context, history: &History, policy: &Risk) -> Assessment {
    assess_facts(&Facts::of(context, history), policy)
}

/// The same with what the audit trail has kept.
pub fn assess_facts(facts: &Facts, policy: &Risk) -> Assessment {
    let fired = signals::fired(facts, policy);
    let (score, reasons) = score::combine(&fired);
    let level = if score >= policy.thresholds.high {
        Level::High
    } else if score >= policy.thresholds.medium {
        Level::Medium
    } else {
        Level::Low
    };
    let action = match facts.listed {
        Listed::Denied => RiskAction::Deny,
        Listed::Allowed | Listed::No => level.action(policy),
    };
    Assessment {
        score,
        level,
        action,
        reasons,
    }
}

/// The policy's level for a sign-in that cannot be scored; its score is where that level begins.
pub fn unscored(context: &Context, policy: &Risk) -> Assessment {
    // What needs no history is known all the same.
    if context.listed == Listed::Denied {
        return assess(context, &History::default(), policy);
    }
    let (level, score) = match policy.on_error {
        OnError::Low => (Level::Low, 0),
        OnError::Medium => (Level::Medium, policy.thresholds.medium),
        OnError::High => (Level::High, policy.thresholds.high),
    };
    Assessment {
        score,
        level,
        action: level.action(policy),
        reasons: vec![Reason {
            code: Signal::NotScored.code(),
            points: score,
        }],
    }
}
