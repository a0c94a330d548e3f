//! An assessment as the audit trail keeps it: what was decided, why, and by which engine and policy.

use std::collections::BTreeMap;

use serde::Serialize;
use vestibule_crds::signin_policy::RiskAction;
use vestibule_crds::snapshot::{Acting, Policy};

use super::{Assessment, ENGINE_VERSION};

#[derive(Serialize)]
struct Record<'a> {
    engine: u32,
    /// The policy's revision.
    policy: &'a str,
    acting: Acting,
    level: &'static str,
    score: u8,
    action: RiskAction,
    /// Points by reason.
    reasons: BTreeMap<&'static str, u8>,
}

/// One line of JSON, shorter than an event's detail may be.
pub fn record(assessment: &Assessment, acting: Acting, policy: &Policy) -> String {
    let Assessment {
        score,
        level,
        action,
        reasons,
    } = assessment;
    let record = Record {
        engine: ENGINE_VERSION,
        policy: policy.revision.as_str(),
        acting,
        level: level.name(),
        score: *score,
        action: *action,
        reasons: reasons
            .iter()
            .map(|reason| (reason.code, reason.points))
            .collect(),
    };
    serde_json::to_string(&record).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::score::Signal;
    use super::super::{Level, Reason};
    use super::*;
    use crate::store::EVENT_DETAIL_BYTES_MAX;

    #[test]
    fn the_longest_record_fits_into_an_event() {
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
        let text = record(&assessment, Acting::Observe, &crate::testing::policy());
        assert!(text.len() <= EVENT_DETAIL_BYTES_MAX, "{}", text.len());
        assert!(text.contains(r#""action":"RequireMfa""#), "{text}");
    }
}
