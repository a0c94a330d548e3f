//! One issuer, several policies: which of them it is does not depend on who waits, nor on the order
//! of a map.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::compile::{AcceptedReason, Compiled, compile};
use crate::object::Object;

const ISSUER: &str = "https://auth.example.com";
const DAY: i64 = 24 * 3600;

fn policy(namespace: &str, uid: &str, created: &str) -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "SigninPolicy",
        "metadata": {"name": "default", "namespace": namespace, "uid": uid, "creationTimestamp": created},
        "spec": {
            "token": {"issuer": ISSUER, "audiences": ["internal"]},
            "signing": {"managed": {}},
        },
    })
}

fn with_issuer(mut policy: Value, issuer: &str) -> Value {
    policy["spec"]["token"]["issuer"] = json!(issuer);
    policy
}

fn compiled(bodies: &[Value], previous: Option<&Compiled>, now: i64) -> Compiled {
    compiled_by(&Installer::default(), bodies, previous, now)
}

fn compiled_by(
    installer: &Installer,
    bodies: &[Value],
    previous: Option<&Compiled>,
    now: i64,
) -> Compiled {
    let objects = bodies.iter().cloned();
    let objects = objects.map(|body| Object::from_value(body, None).expect("an object"));
    compile(&Inputs {
        objects: objects.collect(),
        previous: previous.map(|compiled| Arc::new(compiled.snapshot.clone())),
        installer: installer.clone(),
        now: Some(now),
        ..Inputs::default()
    })
}

fn owners(compiled: &Compiled) -> Vec<&str> {
    compiled
        .snapshot
        .policies
        .keys()
        .map(String::as_str)
        .collect()
}

/// What is said to the policy of a namespace.
fn refusal<'c>(compiled: &'c Compiled, namespace: &str) -> &'c str {
    let mut verdicts = compiled.verdicts.iter();
    let verdict = verdicts.find(|verdict| verdict.namespace == namespace);
    let verdict = verdict.expect("a verdict");
    assert_eq!(verdict.accepted.reason, AcceptedReason::IssuerConflict);
    &verdict.accepted.message
}

#[test]
fn a_policy_that_is_created_again_never_loses_its_issuer_to_one_that_waited() {
    let (owner, waiting) = (
        policy("a", "1", "2026-01-01T00:00:00Z"),
        policy("b", "2", "2026-02-01T00:00:00Z"),
    );
    let before = compiled(&[owner, waiting.clone()], None, 0);
    assert_eq!(owners(&before), ["a/default"]);
    let between = compiled(std::slice::from_ref(&waiting), Some(&before), 2);
    assert_eq!(
        owners(&between),
        [] as [&str; 0],
        "nobody has it for the two seconds between"
    );
    assert!(refusal(&between, "b").contains("was published for namespace a last"));
    let again = policy("a", "3", "2026-03-01T00:00:00Z");
    let after = compiled(&[again, waiting], Some(&between), 4);
    assert_eq!(owners(&after), ["a/default"]);
    refusal(&after, "b");
}

#[test]
fn an_issuer_that_nobody_had_for_long_goes_to_the_one_that_waits() {
    let (owner, waiting) = (
        policy("a", "1", "2026-01-01T00:00:00Z"),
        policy("b", "2", "2026-02-01T00:00:00Z"),
    );
    let before = compiled(&[owner], None, 0);
    let waiting = [waiting];
    let gone = compiled(&waiting, Some(&before), DAY);
    let held = compiled(&waiting, Some(&gone), 30 * DAY);
    assert_eq!(owners(&held), [] as [&str; 0]);
    let free = compiled(&waiting, Some(&held), 31 * DAY);
    assert_eq!(owners(&free), ["b/default"]);
    assert_eq!(free.snapshot.issuers["auth.example.com"].namespace, "b");
}

#[test]
fn of_two_new_policies_with_one_issuer_the_older_has_it_and_then_the_smaller_uid() {
    for (left, right, winner) in [
        (
            ("1", "2026-01-01T00:00:00Z"),
            ("2", "2026-02-01T00:00:00Z"),
            "a/default",
        ),
        (
            ("1", "2026-02-01T00:00:00Z"),
            ("2", "2026-01-01T00:00:00Z"),
            "b/default",
        ),
        (
            ("2", "2026-01-01T00:00:00Z"),
            ("1", "2026-01-01T00:00:00Z"),
            "b/default",
        ),
    ] {
        let bodies = [policy("a", left.0, left.1), policy("b", right.0, right.1)];
        assert_eq!(owners(&compiled(&bodies, None, 0)), [winner]);
        let [first, second] = bodies;
        assert_eq!(owners(&compiled(&[second, first], None, 0)), [winner]);
    }
}

#[test]
fn the_release_s_own_namespace_has_an_issuer_before_all_others() {
    let installer = Installer {
        own_namespace: Some("own".to_owned()),
        ..Installer::default()
    };
    let tenant = policy("a", "1", "2026-01-01T00:00:00Z");
    let before = compiled_by(&installer, std::slice::from_ref(&tenant), None, 0);
    assert_eq!(owners(&before), ["a/default"]);
    let own = policy("own", "2", "2026-02-01T00:00:00Z");
    let after = compiled_by(&installer, &[tenant, own], Some(&before), 1);
    assert_eq!(owners(&after), ["own/default"]);
    assert!(refusal(&after, "a").contains("SigninPolicy own/default has this issuer"));
}

#[test]
fn an_issuer_that_the_installer_bound_is_for_its_namespaces_alone() {
    let installer = Installer {
        own_namespace: Some("own".to_owned()),
        issuers: vec!["https://auth.example.com=b".parse().expect("a binding")],
        ..Installer::default()
    };
    let (own, older) = (
        policy("own", "1", "2026-01-01T00:00:00Z"),
        policy("a", "2", "2026-01-01T00:00:00Z"),
    );
    let alone = compiled_by(&installer, &[own.clone(), older.clone()], None, 0);
    assert_eq!(owners(&alone), [] as [&str; 0]);
    assert!(refusal(&alone, "a").contains("the installer gave this issuer to namespace b"));
    let before = compiled(std::slice::from_ref(&older), None, 0);
    let bound = policy("b", "3", "2026-03-01T00:00:00Z");
    let after = compiled_by(&installer, &[own, older, bound], Some(&before), 1);
    assert_eq!(owners(&after), ["b/default"]);
}

#[test]
fn issuers_that_share_a_document_are_one_issuer() {
    for (one, other) in [
        (ISSUER, "https://auth.example.com/"),
        (ISSUER, "https://auth.example.com//"),
        ("https://auth.example.com/t", "https://auth.example.com/t/"),
        (
            "https://auth.example.com/jwks.json",
            "https://auth.example.com/.well-known/oauth-authorization-server",
        ),
    ] {
        let bodies = [
            with_issuer(policy("a", "1", "2026-01-01T00:00:00Z"), one),
            with_issuer(policy("b", "2", "2026-02-01T00:00:00Z"), other),
        ];
        let compiled = compiled(&bodies, None, 0);
        assert_eq!(owners(&compiled), ["a/default"], "{one} {other}");
        refusal(&compiled, "b");
    }
    let apart = [
        with_issuer(
            policy("a", "1", "2026-01-01T00:00:00Z"),
            "https://auth.example.com/a",
        ),
        with_issuer(
            policy("b", "2", "2026-02-01T00:00:00Z"),
            "https://auth.example.com/b",
        ),
    ];
    assert_eq!(owners(&compiled(&apart, None, 0)).len(), 2);
}

#[test]
fn another_spelling_of_an_owned_issuer_is_invalid_with_the_right_one() {
    let bodies = [
        policy("a", "1", "2026-01-01T00:00:00Z"),
        with_issuer(
            policy("b", "2", "2026-01-01T00:00:00Z"),
            "https://AUTH.example.com:443",
        ),
    ];
    let compiled = compiled(&bodies, None, 0);
    assert_eq!(owners(&compiled), ["a/default"]);
    let verdict = &compiled.verdicts[1];
    assert_eq!(verdict.accepted.reason, AcceptedReason::Invalid);
    assert!(
        verdict
            .accepted
            .message
            .contains("write https://auth.example.com:"),
        "{}",
        verdict.accepted.message
    );
}

#[test]
fn two_namespaces_may_use_one_name() {
    let bodies = [
        policy("a", "1", "2026-01-01T00:00:00Z"),
        with_issuer(
            policy("b", "2", "2026-01-01T00:00:00Z"),
            "https://b.example.com",
        ),
    ];
    assert_eq!(
        owners(&compiled(&bodies, None, 0)),
        ["a/default", "b/default"]
    );
}

#[test]
fn a_namespace_that_gives_up_one_issuer_after_another_holds_no_more_than_some() {
    let mut before = None;
    for number in 0..2 * HELD_MAX {
        let issuer = format!("https://a{number}.example.com");
        let bodies = [with_issuer(
            policy("a", "1", "2026-01-01T00:00:00Z"),
            &issuer,
        )];
        let now = i64::try_from(number).expect("small");
        before = Some(compiled(&bodies, before.as_ref(), now));
    }
    let issuers = before.expect("compiled").snapshot.issuers;
    assert_eq!(issuers.len(), HELD_MAX + 1);
    assert!(
        issuers.contains_key("a126.example.com"),
        "the last to be given up is held"
    );
}

#[test]
fn what_an_earlier_version_published_is_remembered_too() {
    let (owner, waiting) = (
        policy("a", "1", "2026-01-01T00:00:00Z"),
        policy("b", "2", "2025-01-01T00:00:00Z"),
    );
    let mut before = compiled(std::slice::from_ref(&owner), None, 0);
    before.snapshot.issuers.clear();
    assert_eq!(
        owners(&compiled(&[owner, waiting.clone()], Some(&before), 0)),
        ["a/default"]
    );
    assert_eq!(
        owners(&compiled(&[waiting], Some(&before), 0)),
        [] as [&str; 0]
    );
}

#[test]
fn in_a_directory_of_manifests_a_policy_moves_between_namespaces() {
    let inputs = |namespace: &str, previous: Option<Arc<Snapshot>>| Inputs {
        objects: vec![
            Object::from_value(policy(namespace, "1", "2026-01-01T00:00:00Z"), None)
                .expect("an object"),
        ],
        previous,
        ..Inputs::default()
    };
    let before = compile(&inputs("a", None));
    let after = compile(&inputs("b", Some(Arc::new(before.snapshot))));
    assert_eq!(owners(&after), ["b/default"]);
}
