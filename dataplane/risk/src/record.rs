//! An assessment as an audit event keeps it: what was decided, why, by which engine and policy, and
//! all that it takes to decide it again, with that policy or another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vestibule_crds::signin_policy::RiskAction;
use vestibule_crds::snapshot::{Acting, Revision, Risk};

use super::facts::Facts;
use super::score::{self, Fired, Signal};
use super::{Assessment, ENGINE_VERSION, Level, signals};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub engine: u32,
    /// The policy's revision.
    pub policy: String,
    pub acting: Acting,
    pub level: String,
    pub score: u8,
    pub action: RiskAction,
    /// Points by reason.
    pub reasons: BTreeMap<String, u8>,
    /// The points that each signal had by itself, after trust.
    #[serde(default)]
    fired: BTreeMap<String, f64>,
    /// Where the policy's levels medium and high began, and what it had follow of low, medium and
    /// high.
    #[serde(default)]
    levels: Option<(u8, u8, [RiskAction; 3])>,
    /// None of a sign-in that could not be scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// What comes of a record when it is decided again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// The same.
    Stands,
    /// Something else: the record was changed, or made by another engine than it says.
    Differs,
    /// It was not scored, or by another version of the engine.
    Unknown,
}

/// No record is longer.
pub const RECORD_BYTES_MAX: usize = 1900;

/// One line of JSON, of at most [`RECORD_BYTES_MAX`]. `policy`: the revision of the policy.
pub fn record(
    assessment: &Assessment,
    facts: Option<Facts>,
    risk: &Risk,
    policy: &Revision,
) -> String {
    let Assessment {
        score,
        level,
        action,
        reasons,
    } = assessment;
    let fired = facts.as_ref().map(|facts| signals::fired(facts, risk));
    let (thresholds, actions) = (&risk.thresholds, &risk.actions);
    let record = Record {
        engine: ENGINE_VERSION,
        policy: policy.as_str().to_owned(),
        acting: risk.acting,
        level: level.name().to_owned(),
        score: *score,
        action: *action,
        reasons: reasons
            .iter()
            .map(|reason| (reason.code.to_owned(), reason.points))
            .collect(),
        fired: fired
            .into_iter()
            .flatten()
            .map(|fired| (fired.signal.code().to_owned(), fired.p * 100.0))
            .collect(),
        levels: Some((
            thresholds.medium,
            thresholds.high,
            [actions.low, actions.medium, actions.high],
        )),
        facts,
    };
    serde_json::to_string(&record).unwrap_or_default()
}

impl Record {
    /// None for what is no record.
    pub fn read(detail: &str) -> Option<Self> {
        serde_json::from_str(detail).ok()
    }

    /// Decides it again as the policy of that time had it.
    pub fn replay(&self) -> Replayed {
        let (Some(_), Some((medium, high, actions))) = (&self.facts, self.levels) else {
            return Replayed::Unknown;
        };
        if self.engine != ENGINE_VERSION {
            return Replayed::Unknown;
        }
        let fired = self.fired.iter().map(|(code, points)| {
            let signal = Signal::ALL.iter().find(|signal| signal.code() == code)?;
            Some(Fired {
                signal: *signal,
                p: points / 100.0,
            })
        });
        let Some(fired) = fired.collect::<Option<Vec<_>>>() else {
            return Replayed::Differs;
        };
        let (score, reasons) = score::combine(&fired);
        let (level, action) = if score >= high {
            (Level::High, actions[2])
        } else if score >= medium {
            (Level::Medium, actions[1])
        } else {
            (Level::Low, actions[0])
        };
        let denied = fired.iter().any(|fired| fired.signal == Signal::IpDenied);
        let action = if denied { RiskAction::Deny } else { action };
        let reasons = reasons
            .iter()
            .map(|reason| (reason.code.to_owned(), reason.points));
        let same = score == self.score
            && level.name() == self.level
            && action == self.action
            && reasons.collect::<BTreeMap<_, _>>() == self.reasons;
        if same {
            Replayed::Stands
        } else {
            Replayed::Differs
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_crds::signin_policy::{Actions, OnError, Signals, Thresholds};

    use super::super::facts::{Known, Travel};
    use super::super::{Listed, Reason, assess_facts};
    use super::*;

    fn risk() -> Risk {
        Risk {
            acting: Acting::Observe,
            thresholds: Thresholds::default(),
            actions: Actions::default(),
            on_error: OnError::default(),
            signals: Signals::default(),
            deny: Vec::new(),
            allow: Vec::new(),
            mfa_methods: Vec::new(),
        }
    }

    fn everything() -> Facts {
        Facts {
            listed: Listed::Denied,
            provider_mfa: true,
            remembered_device: true,
            user_failures: u32::MAX,
            address_failures: u32::MAX,
            auth_age: Some(u64::MAX),
            known: Some(Known {
                signins: u32::MAX,
                last_age: u64::MAX,
                new_device: true,
                new_ip: true,
                new_asn: true,
                new_country: true,
                unknown_hour: true,
                travel: Some(Travel {
                    kilometres: 12_345.678_901_234_567,
                    seconds: u64::MAX,
                }),
                likelihood: Some(1.234_567_890_123_456_7e-100),
            }),
        }
    }

    fn recorded(facts: Facts) -> Record {
        let risk = risk();
        let assessment = assess_facts(&facts, &risk);
        let text = record(&assessment, Some(facts), &risk, &Revision::of(b"a policy"));
        Record::read(&text).expect("a record")
    }

    #[test]
    fn the_longest_record_is_bounded() {
        let reasons = Signal::ALL.iter().map(|signal| Reason {
            code: signal.code(),
            points: 100,
        });
        let assessment = Assessment {
            score: 100,
            level: Level::Medium,
            action: RiskAction::RequireMfa,
            reasons: reasons.collect(),
        };
        let policy = Revision::of(b"a policy");
        let text = record(&assessment, Some(everything()), &risk(), &policy);
        assert!(text.len() <= RECORD_BYTES_MAX, "{}", text.len());
        assert!(text.contains(r#""action":"RequireMfa""#), "{text}");
    }

    #[test]
    fn what_was_decided_stands_when_it_is_decided_again() {
        for facts in [Facts::default(), everything()] {
            let record = recorded(facts.clone());
            assert_eq!(record.replay(), Replayed::Stands, "{record:?}");
            assert_eq!(record.facts, Some(facts));
        }
    }

    #[test]
    fn a_record_that_was_changed_does_not_stand() {
        let record = recorded(Facts::default());
        let score = Record {
            score: record.score + 1,
            ..record.clone()
        };
        let action = Record {
            action: RiskAction::Deny,
            ..record.clone()
        };
        let signal = Record {
            fired: BTreeMap::from([("made_up".to_owned(), 1.0)]),
            ..record.clone()
        };
        for changed in [score, action, signal] {
            assert_eq!(changed.replay(), Replayed::Differs, "{changed:?}");
        }
        let newer = Record {
            engine: ENGINE_VERSION + 1,
            ..record
        };
        assert_eq!(newer.replay(), Replayed::Unknown);
    }

    #[test]
    fn an_older_record_is_read_and_not_judged() {
        let text = r#"{"engine":1,"policy":"sha256:x","acting":"Enforce","level":"low","score":8,"action":"Allow","reasons":{"new_ip":8}}"#;
        let record = Record::read(text).expect("a record");
        assert_eq!(record.replay(), Replayed::Unknown);
        assert_eq!(Record::read("the token has expired"), None);
    }
}
