//! The status that an object should have, from its verdict, the pods and the keys. Pure: no client
//! and no clock.
//!
//! A desired status has no times. It is compared with the current one; only a difference is
//! written, and a condition's `lastTransitionTime` changes only when its status does.

pub(crate) mod discovered;
pub(crate) mod programmed;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use vestibule_crds::compile::{ConditionStatus, Verdict};
use vestibule_crds::snapshot::Revision;
use vestibule_crds::status::{KeyStatus, Status};

pub(crate) const ACCEPTED: &str = "Accepted";
pub(crate) const RESOLVED_REFS: &str = "ResolvedRefs";
pub(crate) const DISCOVERED: &str = "Discovered";
pub(crate) const PROGRAMMED: &str = "Programmed";

/// Longest message of a condition; the API server takes 32 KiB.
const MESSAGE_CHARS_MAX: usize = 2048;
/// As many as the schema lets stand in a status.
const KEYS_MAX: usize = 128;

/// A condition without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DesiredCondition {
    pub(crate) type_: &'static str,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The status that an object should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Desired {
    pub(crate) generation: Option<i64>,
    pub(crate) revision: Option<Revision>,
    pub(crate) keys: Vec<KeyStatus>,
    pub(crate) next_rotation_time: Option<String>,
    pub(crate) conditions: Vec<DesiredCondition>,
}

/// A condition that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) condition: DesiredCondition,
    /// Whether the object had this condition before.
    pub(crate) known: bool,
}

impl Desired {
    pub(crate) fn new(
        verdict: &Verdict,
        programmed: DesiredCondition,
        discovered: Option<DesiredCondition>,
    ) -> Self {
        let mut conditions = vec![accepted(verdict), resolved_refs(verdict)];
        conditions.extend(discovered);
        conditions.push(programmed);
        Self {
            generation: verdict.generation,
            revision: verdict.revision.clone(),
            keys: Vec::new(),
            next_rotation_time: None,
            conditions,
        }
    }

    pub(crate) fn with_keys(mut self, mut keys: Vec<KeyStatus>) -> Self {
        keys.truncate(KEYS_MAX);
        self.keys = keys;
        self
    }

    /// Whether `current` is the same but for its times.
    pub(crate) fn is(&self, current: Option<&Status>) -> bool {
        let Some(current) = current else {
            return false;
        };
        let Self {
            generation,
            revision,
            keys,
            next_rotation_time,
            conditions,
        } = self;
        current.observed_generation == *generation
            && current.revision.as_deref() == revision.as_ref().map(Revision::as_str)
            && current.keys == *keys
            && current.next_rotation_time == *next_rotation_time
            && conditions.iter().all(|condition| {
                current_condition(current, condition.type_).is_some_and(|before| {
                    condition.is(before) && before.observed_generation == *generation
                })
            })
    }

    /// This over `current`, at `now`.
    pub(crate) fn over(&self, current: Option<&Status>, now: Timestamp) -> Status {
        let conditions = self.conditions.iter().map(|condition| {
            let before = current.and_then(|current| current_condition(current, condition.type_));
            let since = before.filter(|before| before.status == condition.status.name());
            Condition {
                type_: condition.type_.to_owned(),
                status: condition.status.name().to_owned(),
                reason: condition.reason.to_owned(),
                message: condition.message.clone(),
                observed_generation: self.generation,
                last_transition_time: since.map_or_else(
                    // The API server keeps whole seconds.
                    || Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
                    |before| before.last_transition_time.clone(),
                ),
            }
        });
        Status {
            observed_generation: self.generation,
            revision: self.revision.as_ref().map(ToString::to_string),
            keys: self.keys.clone(),
            next_rotation_time: self.next_rotation_time.clone(),
            conditions: conditions.collect(),
        }
    }

    /// The conditions whose status or reason differs from `current`.
    pub(crate) fn transitions(&self, current: Option<&Status>) -> Vec<Transition> {
        let changed = self.conditions.iter().filter_map(|condition| {
            let before = current.and_then(|current| current_condition(current, condition.type_));
            let same = before.is_some_and(|before| {
                before.status == condition.status.name() && before.reason == condition.reason
            });
            (!same).then(|| Transition {
                condition: condition.clone(),
                known: before.is_some(),
            })
        });
        changed.collect()
    }
}

impl DesiredCondition {
    pub(crate) fn new(
        type_: &'static str,
        status: ConditionStatus,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status,
            reason,
            message: shortened(message.into()),
        }
    }

    fn is(&self, condition: &Condition) -> bool {
        condition.status == self.status.name()
            && condition.reason == self.reason
            && condition.message == self.message
    }
}

pub(crate) fn current_condition<'a>(status: &'a Status, type_: &str) -> Option<&'a Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == type_)
}

/// With what is probably not meant, which stops nothing.
fn accepted(verdict: &Verdict) -> DesiredCondition {
    let judged = &verdict.accepted;
    let warnings = verdict.warnings.iter().map(ToString::to_string);
    let warnings: Vec<String> = warnings.collect();
    let message = if warnings.is_empty() {
        judged.message.clone().into_owned()
    } else {
        format!("{}; but {}", judged.message, warnings.join("; "))
    };
    DesiredCondition::new(ACCEPTED, judged.status, judged.reason.name(), message)
}

fn resolved_refs(verdict: &Verdict) -> DesiredCondition {
    let judged = &verdict.resolved_refs;
    let message = judged.message.clone();
    DesiredCondition::new(RESOLVED_REFS, judged.status, judged.reason.name(), message)
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
