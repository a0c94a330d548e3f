//! The condition `Programmed`: whether every ready pod of the data plane reports that it serves
//! this object as it is now.
//!
//! | reason | status | when |
//! |---|---|---|
//! | Serving | True | every ready pod serves a snapshot with this revision of the object |
//! | Propagating | False | some ready pod does not yet, or does not answer |
//! | NoReplicas | False | no pod is ready |
//! | ServingPrevious | False | it does not compile; its last good revision is served |
//! | NotAccepted | False | it does not compile, and nothing was served for it before |
//!
//! A pod reports which snapshot it serves. The last few snapshots are remembered, so that a change
//! of one object does not change the conditions of all others while pods load it.

use std::collections::VecDeque;
use std::sync::Arc;

use vestibule_crds::compile::{ConditionStatus, Serving, Verdict};
use vestibule_crds::object::{Kind, NamespacedName};
use vestibule_crds::snapshot::{KeyState, Policy, Revision, Snapshot};

use super::{DesiredCondition, PROGRAMMED};

/// Snapshots that are remembered: what pods may still serve while changes come one after another.
const REMEMBERED_MAX: usize = 32;

/// The last few snapshots that were published.
#[derive(Debug, Default)]
pub(crate) struct History {
    snapshots: VecDeque<Arc<Snapshot>>,
}

impl History {
    pub(crate) fn remember(&mut self, snapshot: &Arc<Snapshot>) {
        self.snapshots
            .retain(|other| other.revision != snapshot.revision);
        if self.snapshots.len() == REMEMBERED_MAX {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(Arc::clone(snapshot));
    }

    pub(crate) fn find(&self, revision: &Revision) -> Option<&Arc<Snapshot>> {
        let mut snapshots = self.snapshots.iter().rev();
        snapshots.find(|snapshot| snapshot.revision == *revision)
    }
}

/// What one ready pod has reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PodProof {
    /// Empty for those that may be there unseen.
    pub(crate) name: String,
    /// What it serves, if that is one of ours.
    pub(crate) serves: Option<Arc<Snapshot>>,
    /// Why it serves nothing newer, in its own words, or why it cannot be asked.
    pub(crate) error: Option<String>,
}

impl PodProof {
    /// While the pods cannot be watched, an unknown one may be ready and serve anything.
    pub(crate) fn unseen(error: String) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }
}

/// Whether every ready pod, and at least one, serves a snapshot of which `holds` is true.
pub(crate) fn is_proved(proofs: &[PodProof], holds: impl Fn(&Snapshot) -> bool) -> bool {
    !proofs.is_empty()
        && proofs
            .iter()
            .all(|pod| pod.serves.as_deref().is_some_and(&holds))
}

/// Whether every ready pod publishes this key of a policy, and whether every one signs with it.
pub(crate) fn key_proof(
    proofs: &[PodProof],
    (namespace, name): (&str, &str),
    kid: &str,
) -> (bool, bool) {
    let state = |snapshot: &Snapshot| {
        let policy: &Policy = snapshot.policy(&NamespacedName::new(namespace, name))?;
        let mut keys = policy.signing_keys.iter();
        Some(keys.find(|key| key.kid == kid)?.state)
    };
    (
        is_proved(proofs, |snapshot| state(snapshot).is_some()),
        is_proved(proofs, |snapshot| {
            state(snapshot) == Some(KeyState::Current)
        }),
    )
}

pub(crate) fn programmed(verdict: &Verdict, proofs: &[PodProof]) -> DesiredCondition {
    let condition = |status, reason, message: String| {
        DesiredCondition::new(PROGRAMMED, status, reason, message)
    };
    match &verdict.serving {
        Serving::Nothing => condition(
            ConditionStatus::False,
            "NotAccepted",
            "nothing is served for it: put right what Accepted and ResolvedRefs report".to_owned(),
        ),
        Serving::Previous(revision) => condition(
            ConditionStatus::False,
            "ServingPrevious",
            format!(
                "its last good revision {revision} is served: put right what Accepted and ResolvedRefs report"
            ),
        ),
        Serving::Current if proofs.is_empty() => condition(
            ConditionStatus::False,
            "NoReplicas",
            "no pod of the data plane is ready: look at its Deployment".to_owned(),
        ),
        Serving::Current => match proofs.iter().find(|pod| !serves(pod, verdict)) {
            None => condition(
                ConditionStatus::True,
                "Serving",
                "every ready pod of the data plane serves it".to_owned(),
            ),
            Some(pod) => {
                let message = match &pod.error {
                    Some(error) if pod.name.is_empty() => {
                        format!("the pods of the data plane cannot be watched: {error}")
                    }
                    Some(error) => {
                        format!("pod {} does not serve it yet: {error}", pod.name)
                    }
                    None => format!("pod {} does not serve it yet", pod.name),
                };
                condition(ConditionStatus::False, "Propagating", message)
            }
        },
    }
}

fn serves(pod: &PodProof, verdict: &Verdict) -> bool {
    let Some(snapshot) = &pod.serves else {
        return false;
    };
    let id = NamespacedName::new(&verdict.namespace, &verdict.name);
    let served = match verdict.kind {
        Kind::SigninPolicy => snapshot.policy(&id).map(|policy| &policy.revision),
        Kind::OidcProvider => snapshot.provider(&id).map(|provider| &provider.revision),
    };
    served.is_some() && served == verdict.revision.as_ref()
}
