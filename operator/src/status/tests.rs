use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_crds::compile::{Compiled, Inputs, Serving, compile};
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::object::{Kind, Object};
use vestibule_crds::report::KeysState;
use vestibule_crds::snapshot::{Provider, Snapshot};

use super::discovered::{Finding, discovered};
use super::programmed::{History, PodProof, is_proved, key_proof, programmed};
use super::*;

fn policy() -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "SigninPolicy",
        "metadata": {"name": "default", "namespace": "auth", "generation": 1},
        "spec": {
            "token": {"issuer": "https://auth.example.com", "audiences": ["internal"]},
            "signing": {"managed": {"algorithm": "ES256"}},
            "risk": {"mode": "Off"},
            "mfa": {"mode": "Never"},
        },
    })
}

fn provider(name: &str) -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "OidcProvider",
        "metadata": {"name": name, "namespace": "auth", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"issuer": format!("https://{name}.example"), "audiences": ["web"]},
    })
}

fn compiled(bodies: Vec<Value>, previous: Option<Arc<Snapshot>>) -> Compiled {
    let objects = bodies
        .into_iter()
        .map(|body| Object::from_value(body, None).expect("an object"));
    let inputs = Inputs {
        objects: objects.collect(),
        previous,
        http_issuers: HttpIssuers::Refuse,
        ..Inputs::default()
    };
    compile(&inputs)
}

fn verdict(compiled: &Compiled, name: &str) -> Verdict {
    let mut verdicts = compiled.verdicts.iter();
    verdicts
        .find(|verdict| verdict.kind == Kind::OidcProvider && verdict.name == name)
        .expect("a verdict")
        .clone()
}

fn pod(name: &str, serves: Option<&Snapshot>) -> PodProof {
    PodProof {
        name: name.to_owned(),
        serves: serves.cloned().map(Arc::new),
        error: None,
    }
}

fn reason(condition: &DesiredCondition) -> (ConditionStatus, &str) {
    (condition.status, condition.reason)
}

#[test]
fn it_is_programmed_once_every_ready_pod_serves_this_revision() {
    let compiled = compiled(vec![policy(), provider("corp")], None);
    let verdict = verdict(&compiled, "corp");
    let serving = || pod("a", Some(&compiled.snapshot));
    assert_eq!(
        reason(&programmed(&verdict, &[serving(), serving()])),
        (ConditionStatus::True, "Serving")
    );
    let condition = programmed(&verdict, &[serving(), pod("b", None)]);
    assert_eq!(reason(&condition), (ConditionStatus::False, "Propagating"));
    assert!(condition.message.contains("pod b"), "{}", condition.message);
    assert_eq!(
        reason(&programmed(&verdict, &[])),
        (ConditionStatus::False, "NoReplicas")
    );
}

#[test]
fn a_change_of_one_object_leaves_the_others_programmed() {
    let before = compiled(vec![policy(), provider("corp"), provider("other")], None);
    let mut changed = provider("other");
    changed["spec"]["audiences"] = json!(["mobile"]);
    let after = compiled(vec![policy(), provider("corp"), changed], None);
    let proofs = [pod("a", Some(&before.snapshot))];
    assert_eq!(
        programmed(&verdict(&after, "corp"), &proofs).reason,
        "Serving"
    );
    assert_eq!(
        programmed(&verdict(&after, "other"), &proofs).reason,
        "Propagating"
    );
}

#[test]
fn nothing_is_programmed_while_pods_may_be_there_unseen() {
    let compiled = compiled(vec![policy(), provider("corp")], None);
    let verdict = verdict(&compiled, "corp");
    let serving = pod("a", Some(&compiled.snapshot));
    let unseen = PodProof::unseen("connection refused".to_owned());
    let condition = programmed(&verdict, &[serving, unseen]);
    assert_eq!(reason(&condition), (ConditionStatus::False, "Propagating"));
    let expected = "the pods of the data plane cannot be watched: connection refused";
    assert_eq!(condition.message, expected);
}

#[test]
fn what_a_pod_refuses_is_in_the_message() {
    let compiled = compiled(vec![policy(), provider("corp")], None);
    let mut refusing = pod("a", None);
    refusing.error = Some("key 1 cannot be read".to_owned());
    let condition = programmed(&verdict(&compiled, "corp"), &[refusing]);
    assert_eq!(condition.reason, "Propagating");
    assert!(condition.message.contains("key 1 cannot be read"));
}

#[test]
fn a_bad_update_says_what_is_served_instead() {
    let good = compiled(vec![policy(), provider("corp")], None);
    let mut bad = provider("corp");
    bad["spec"]["audiences"] = json!([]);
    let proofs = [pod("a", Some(&good.snapshot))];
    let previous = Some(Arc::new(good.snapshot));
    let after = compiled(vec![policy(), bad.clone()], previous);
    let judged = verdict(&after, "corp");
    assert!(matches!(judged.serving, Serving::Previous(_)));
    assert_eq!(
        reason(&programmed(&judged, &proofs)),
        (ConditionStatus::False, "ServingPrevious")
    );
    let never_good = compiled(vec![policy(), bad], None);
    assert_eq!(
        reason(&programmed(&verdict(&never_good, "corp"), &proofs)),
        (ConditionStatus::False, "NotAccepted")
    );
}

#[test]
fn history_forgets_the_oldest() {
    let mut history = History::default();
    let first = compiled(vec![policy()], None).snapshot;
    history.remember(&Arc::new(first.clone()));
    for number in 0..40 {
        let bodies = vec![policy(), provider(&format!("p{number}"))];
        history.remember(&Arc::new(compiled(bodies, None).snapshot));
    }
    assert!(history.find(&first.revision).is_none());
    let last = compiled(vec![policy(), provider("p39")], None).snapshot;
    assert!(history.find(&last.revision).is_some());
}

#[test]
fn nothing_is_proved_by_no_pod() {
    let compiled = compiled(vec![policy()], None);
    assert!(!is_proved(&[], |_| true));
    let proofs = [pod("a", Some(&compiled.snapshot)), pod("b", None)];
    assert!(!is_proved(&proofs, |_| true));
    assert!(is_proved(&proofs[..1], |_| true));
    assert_eq!(
        key_proof(&proofs[..1], ("auth", "default"), "k"),
        (false, false)
    );
}

fn finding(provider: &Provider, state: KeysState, error: Option<&str>) -> Finding {
    Finding {
        source: provider.key_source_revision(),
        state,
        error: error.map(str::to_owned),
    }
}

fn discovered_for(provider: &Provider, findings: &[Finding]) -> DesiredCondition {
    let findings: Vec<&Finding> = findings.iter().collect();
    discovered(
        Some((&provider.keys, &provider.key_source_revision())),
        &findings,
    )
}

#[test]
fn the_gravest_finding_of_the_pods_counts() {
    let compiled = compiled(vec![policy(), provider("corp")], None);
    let corp = &*compiled.snapshot.providers["auth/corp"];
    let condition = |states: &[KeysState]| {
        let findings: Vec<Finding> = states
            .iter()
            .map(|state| finding(corp, *state, Some("refused")))
            .collect();
        let condition = discovered_for(corp, &findings);
        (condition.status, condition.reason)
    };
    use KeysState::{Fresh, IssuerMismatch, NotYet, ServingStale, Unreachable};
    assert_eq!(condition(&[]), (ConditionStatus::Unknown, "NotYet"));
    assert_eq!(condition(&[NotYet]), (ConditionStatus::Unknown, "NotYet"));
    assert_eq!(
        condition(&[NotYet, Fresh]),
        (ConditionStatus::True, "Discovered")
    );
    assert_eq!(
        condition(&[Fresh, ServingStale]),
        (ConditionStatus::False, "ServingStale")
    );
    assert_eq!(
        condition(&[Fresh, Unreachable]),
        (ConditionStatus::False, "Unreachable")
    );
    assert_eq!(
        condition(&[IssuerMismatch, Unreachable]),
        (ConditionStatus::False, "IssuerMismatch")
    );
}

#[test]
fn a_finding_about_another_source_does_not_count() {
    let compiled = compiled(vec![policy(), provider("corp")], None);
    let corp = &*compiled.snapshot.providers["auth/corp"];
    let mut stale = finding(corp, KeysState::Unreachable, None);
    stale.source = Revision::of(b"before");
    let condition = discovered_for(corp, &[stale]);
    assert_eq!(reason(&condition), (ConditionStatus::Unknown, "NotYet"));
    let condition = discovered(None, &[]);
    assert_eq!(
        reason(&condition),
        (ConditionStatus::Unknown, "NotAccepted")
    );
}

fn desired(compiled: &Compiled, proofs: &[PodProof]) -> Desired {
    let verdict = verdict(compiled, "corp");
    let programmed = programmed(&verdict, proofs);
    let discovered = discovered_for(&compiled.snapshot.providers["auth/corp"], &[]);
    Desired::new(&verdict, programmed, Some(discovered))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

#[test]
fn every_condition_has_its_generation_and_reason() {
    let compiled = compiled(vec![policy(), provider("corp")], None);
    let status = desired(&compiled, &[]).over(None, at(5));
    let types: Vec<&str> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(types, [ACCEPTED, RESOLVED_REFS, DISCOVERED, PROGRAMMED]);
    for condition in &status.conditions {
        assert_eq!(condition.observed_generation, Some(3));
        assert!(!condition.reason.is_empty() && !condition.message.is_empty());
    }
    assert_eq!(status.observed_generation, Some(3));
    assert!(status.revision.is_some());
}

#[test]
fn what_stands_there_already_is_not_written_again() {
    let compiled = compiled(vec![policy(), provider("corp")], None);
    let desired = desired(&compiled, &[pod("a", Some(&compiled.snapshot))]);
    assert!(!desired.is(None));
    let mut status = desired.over(None, at(5));
    // As the API server gives it back, with a condition of somebody else beside.
    status.conditions.reverse();
    let mut foreign = status.conditions[0].clone();
    foreign.type_ = "Foreign".to_owned();
    status.conditions.push(foreign);
    let status: Status = serde_json::from_value(json!(status)).expect("a status");
    assert!(desired.is(Some(&status)));
    let mut newer = desired.clone();
    newer.generation = Some(4);
    assert!(!newer.is(Some(&status)));
    let mut otherwise = status.clone();
    otherwise.conditions[0].message = "edited by hand".to_owned();
    assert!(!desired.is(Some(&otherwise)));
}

#[test]
fn a_transition_time_moves_with_the_status_only() {
    let compiled = compiled(vec![policy(), provider("corp")], None);
    let none = desired(&compiled, &[]);
    let first = none.over(None, at(5));
    let propagating = desired(&compiled, &[pod("a", None)]);
    let second = propagating.over(Some(&first), at(9));
    let serving = desired(&compiled, &[pod("a", Some(&compiled.snapshot))]);
    let third = serving.over(Some(&second), at(12));
    let since = |status: &Status, type_| {
        let condition = current_condition(status, type_).expect("a condition");
        condition.last_transition_time.0.as_second()
    };
    assert_eq!(since(&second, PROGRAMMED), 5, "False before and after");
    assert_eq!(since(&third, PROGRAMMED), 12);
    assert_eq!(since(&third, ACCEPTED), 5);
    let changed = serving.transitions(Some(&second));
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].condition.reason, "Serving");
    assert!(changed[0].known);
    assert!(serving.transitions(Some(&third)).is_empty());
}

#[test]
fn warnings_are_in_the_message_of_what_is_accepted() {
    let mut newer = provider("newer");
    newer["spec"]["issuer"] = json!("https://corp.example");
    newer["metadata"]["creationTimestamp"] = json!("2026-02-01T00:00:00Z");
    let compiled = compiled(vec![policy(), provider("corp"), newer], None);
    let condition = accepted(&verdict(&compiled, "newer"));
    assert_eq!(condition.status, ConditionStatus::True);
    assert!(
        condition.message.contains("OidcProvider auth/corp"),
        "{}",
        condition.message
    );
    let condition = accepted(&verdict(&compiled, "corp"));
    assert!(
        !condition.message.contains("newer"),
        "{}",
        condition.message
    );
}
