//! What compiling came to, for each object: what `status`, Events and `vestibule check` say.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::object::Kind;
use crate::schema::FieldError;
use crate::snapshot::Revision;

/// Longest message of a condition; the findings have the rest.
const MESSAGE_CHARS_MAX: usize = 2048;

/// One object, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// The file that it was read from.
    pub source: Option<String>,
    pub generation: Option<i64>,
    pub accepted: Judgement<AcceptedReason>,
    pub resolved_refs: Judgement<ResolvedRefsReason>,
    /// Everything that keeps it from being served, each with its place.
    pub findings: Vec<Finding>,
    /// What is probably not meant, and stops nothing.
    pub warnings: Vec<Finding>,
    /// Of what this object compiles to now; none when it does not compile.
    pub revision: Option<Revision>,
    pub serving: Serving,
}

/// A condition of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement<R> {
    pub status: ConditionStatus,
    pub reason: R,
    pub message: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    True,
    False,
    /// Something else must be put right before it can be judged.
    Unknown,
}

/// Reasons of the condition `Accepted`, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AcceptedReason {
    Accepted,
    ExampleFailed,
    PolicyNotFound,
    ExpressionInvalid,
    Invalid,
    IssuerConflict,
    QuotaExceeded,
}

/// Reasons of the condition `ResolvedRefs`, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ResolvedRefsReason {
    ResolvedRefs,
    InvalidCaBundle,
    KeyInvalid,
    RefNotFound,
    /// With status Unknown: the references of an object that is not accepted were not looked at.
    NotAccepted,
}

/// What the snapshot holds for an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Serving {
    Current,
    /// What was served before, less what was suspended or removed since.
    Previous(Revision),
    Nothing,
}

/// Something about one field, such as `spec.issuer`.
pub type Finding = FieldError;

impl Verdict {
    /// Whether the object as it stands now is not what is served.
    pub fn is_refused(&self) -> bool {
        self.revision.is_none()
    }
}

impl ConditionStatus {
    pub const fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl AcceptedReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ExampleFailed => "ExampleFailed",
            Self::PolicyNotFound => "PolicyNotFound",
            Self::ExpressionInvalid => "ExpressionInvalid",
            Self::Invalid => "Invalid",
            Self::IssuerConflict => "IssuerConflict",
            Self::QuotaExceeded => "QuotaExceeded",
        }
    }
}

impl ResolvedRefsReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResolvedRefs => "ResolvedRefs",
            Self::InvalidCaBundle => "InvalidCaBundle",
            Self::KeyInvalid => "KeyInvalid",
            Self::RefNotFound => "RefNotFound",
            Self::NotAccepted => "NotAccepted",
        }
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for AcceptedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ResolvedRefsReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What keeps an object from being compiled, gathered while it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Problems {
    accepted: Vec<(AcceptedReason, Finding)>,
    references: Vec<(ResolvedRefsReason, Finding)>,
    pub(super) warnings: Vec<Finding>,
    /// What is added to the message of an accepted object.
    remarks: Vec<&'static str>,
}

impl Problems {
    pub(super) fn refuse(&mut self, reason: AcceptedReason, path: &str, message: impl ToString) {
        self.accepted.push((reason, finding(path, message)));
    }

    pub(super) fn invalid(&mut self, path: &str, message: impl ToString) {
        self.refuse(AcceptedReason::Invalid, path, message);
    }

    pub(super) fn unresolved(
        &mut self,
        reason: ResolvedRefsReason,
        path: &str,
        message: impl ToString,
    ) {
        self.references.push((reason, finding(path, message)));
    }

    pub(super) fn warn(&mut self, path: &str, message: impl ToString) {
        self.warnings.push(finding(path, message));
    }

    pub(super) fn remark(&mut self, sentence: &'static str) {
        self.remarks.push(sentence);
    }

    pub(super) fn of_schema(errors: Vec<FieldError>) -> Self {
        let mut problems = Self::default();
        for error in errors {
            problems.accepted.push((AcceptedReason::Invalid, error));
        }
        let not_looked_at = finding("spec", "its references are looked at once it is valid");
        problems
            .references
            .push((ResolvedRefsReason::NotAccepted, not_looked_at));
        problems
    }

    pub(super) fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.references.is_empty()
    }

    pub(super) fn accepted(&self) -> Judgement<AcceptedReason> {
        match self.accepted.iter().map(|(reason, _)| *reason).max() {
            Some(reason) => Judgement {
                status: ConditionStatus::False,
                reason,
                message: message(self.accepted.iter().map(|(_, finding)| finding)).into(),
            },
            None => Judgement {
                status: ConditionStatus::True,
                reason: AcceptedReason::Accepted,
                message: match self.remarks.as_slice() {
                    [] => "it is valid".into(),
                    remarks => format!("it is valid; {}", remarks.join("; ")).into(),
                },
            },
        }
    }

    pub(super) fn resolved_refs(&self) -> Judgement<ResolvedRefsReason> {
        let gravest = self.references.iter().map(|(reason, _)| *reason).max();
        Judgement {
            status: match gravest {
                None => ConditionStatus::True,
                Some(ResolvedRefsReason::NotAccepted) => ConditionStatus::Unknown,
                Some(_) => ConditionStatus::False,
            },
            reason: gravest.unwrap_or(ResolvedRefsReason::ResolvedRefs),
            message: match gravest {
                None => "everything that it refers to is there and usable".into(),
                Some(_) => message(self.references.iter().map(|(_, finding)| finding)).into(),
            },
        }
    }

    /// All findings; what was not looked at is none.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let accepted = self.accepted.iter().map(|(_, finding)| finding.clone());
        let references = self
            .references
            .iter()
            .filter(|(reason, _)| *reason != ResolvedRefsReason::NotAccepted)
            .map(|(_, finding)| finding.clone());
        accepted.chain(references).collect()
    }
}

/// A verdict's place among the others.
pub(super) fn order(verdict: &Verdict) -> (Kind, &str, &str) {
    (verdict.kind, &verdict.namespace, &verdict.name)
}

pub(super) fn finding(path: &str, message: impl ToString) -> Finding {
    Finding {
        path: path.to_owned(),
        message: message.to_string(),
    }
}

fn message<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let all: Vec<String> = findings.map(Finding::to_string).collect();
    let all = all.join("; ");
    match all.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &all[..end]),
        None => all,
    }
}
