//! The condition `Discovered` of a provider: what the pods that verify its tokens have seen of its
//! keys. It never stops what is being served.
//!
//! | reason | status | when |
//! |---|---|---|
//! | IssuerMismatch | False | for some pod, its discovery document names a different issuer |
//! | Unreachable | False | some pod has no keys of it and cannot fetch them |
//! | ServingStale | False | some pod cannot fetch its keys and uses those that it has |
//! | Discovered | True | every pod that has looked has its keys |
//! | Static | True | its keys stand in the manifest or a ConfigMap |
//! | NotYet | Unknown | no pod has looked yet |
//! | NotAccepted | Unknown | nothing is served for it |

use vestibule_crds::compile::ConditionStatus;
use vestibule_crds::report::KeysState;
use vestibule_crds::snapshot::{KeySource, Revision};

use super::{DISCOVERED, DesiredCondition};

/// Longest error of a pod that is repeated.
const ERROR_CHARS_MAX: usize = 512;

/// What one pod has seen of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Of what it fetched them for.
    pub(crate) source: Revision,
    pub(crate) state: KeysState,
    pub(crate) error: Option<String>,
}

/// `served` is where the keys of what is served come from, and the revision of that. `findings` are
/// those of the ready pods, in any order; those about another source do not count.
pub(crate) fn discovered(
    served: Option<(&KeySource, &Revision)>,
    findings: &[&Finding],
) -> DesiredCondition {
    let condition = |status, reason, message: String| {
        DesiredCondition::new(DISCOVERED, status, reason, message)
    };
    let Some((keys, source)) = served else {
        let message = "its keys are looked for once it is served".to_owned();
        return condition(ConditionStatus::Unknown, "NotAccepted", message);
    };
    let address = match keys {
        KeySource::Static { .. } => {
            let message = "its keys stand in the configuration".to_owned();
            return condition(ConditionStatus::True, "Static", message);
        }
        KeySource::Discovery { url } | KeySource::JwksUri { url } => url,
    };
    // Of equally grave ones always the same, so that the message does not change by itself.
    let gravest = findings
        .iter()
        .filter(|finding| finding.source == *source)
        .max_by_key(|finding| (gravity(finding.state), finding.error.as_deref()));
    let Some(finding) = gravest else {
        return condition(ConditionStatus::Unknown, "NotYet", not_yet(address));
    };
    let error: String = finding
        .error
        .as_deref()
        .unwrap_or("the fetch failed")
        .chars()
        .take(ERROR_CHARS_MAX)
        .collect();
    match finding.state {
        KeysState::NotYet => condition(ConditionStatus::Unknown, "NotYet", not_yet(address)),
        KeysState::Fresh => condition(
            ConditionStatus::True,
            "Discovered",
            format!("the data plane has its keys from {address}"),
        ),
        KeysState::ServingStale => condition(
            ConditionStatus::False,
            "ServingStale",
            format!(
                "{address}: {error}; the keys fetched before are used until spec.keys.maxStale has passed"
            ),
        ),
        KeysState::Unreachable => condition(
            ConditionStatus::False,
            "Unreachable",
            format!(
                "{address}: {error}; check the address, the network policy and spec.tls.caBundle"
            ),
        ),
        KeysState::IssuerMismatch => condition(
            ConditionStatus::False,
            "IssuerMismatch",
            format!("{address}: {error}; write spec.issuer exactly as the provider does"),
        ),
    }
}

const fn gravity(state: KeysState) -> u8 {
    match state {
        KeysState::NotYet => 0,
        KeysState::Fresh => 1,
        KeysState::ServingStale => 2,
        KeysState::Unreachable => 3,
        KeysState::IssuerMismatch => 4,
    }
}

fn not_yet(address: &str) -> String {
    format!("no pod of the data plane has fetched its keys from {address} yet")
}
