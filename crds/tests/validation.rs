//! What the API server would refuse is refused here, at the same field and for a reason that says
//! what to change.

#[path = "validation/cases.rs"]
mod cases;

use std::collections::BTreeSet;

use cases::{cases, valid};
use serde_json::{Value, json};
use vestibule_crds::object::Kind;
use vestibule_crds::schema::{definition, validate};

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("made above").remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn changed(kind: Kind, patch: &Value) -> Value {
    let mut object = valid(kind);
    merge(&mut object, patch);
    object
}

#[test]
fn every_rule_lets_a_manifest_that_keeps_it_pass() {
    for case in cases() {
        let result = validate(case.kind, &changed(case.kind, &case.accepted));
        assert!(result.is_ok(), "{}: {result:?}", case.rule);
    }
}

#[test]
fn every_rule_refuses_a_manifest_that_breaks_it_and_says_where() {
    for case in cases() {
        let errors = validate(case.kind, &changed(case.kind, &case.refused)).err();
        let paths: Vec<String> = errors
            .into_iter()
            .flatten()
            .map(|error| error.path)
            .collect();
        assert_eq!(
            paths.first().map(String::as_str),
            Some(case.field),
            "{}: {paths:?}",
            case.rule
        );
    }
}

#[test]
fn every_cel_rule_of_the_schemas_has_a_case() {
    let mut untried = BTreeSet::new();
    for kind in Kind::ALL {
        let schema = serde_json::to_value(definition(kind)).expect("a definition is plain data");
        collect_messages(&schema, &mut untried);
    }
    assert!(
        untried.len() > 15,
        "the schemas lost their rules: {untried:?}"
    );
    for case in cases() {
        let errors = validate(case.kind, &changed(case.kind, &case.refused)).err();
        for error in errors.into_iter().flatten() {
            untried.remove(&error.message);
        }
    }
    assert_eq!(untried, BTreeSet::new());
}

fn collect_messages(schema: &Value, messages: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "x-kubernetes-validations" {
                    let rules = member.as_array().expect("a list of rules");
                    messages.extend(rules.iter().map(|rule| {
                        rule["message"]
                            .as_str()
                            .expect("a rule has a message")
                            .to_owned()
                    }));
                } else {
                    collect_messages(member, messages);
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}

#[test]
fn every_list_map_and_text_is_bounded_and_every_field_explained() {
    for kind in Kind::ALL {
        let versions = definition(kind).spec.versions;
        let schema = serde_json::to_value(&versions[0].schema).expect("plain data");
        let schema = &schema["openAPIV3Schema"]["properties"];
        check_bounds(&schema["spec"], "spec");
        check_explained(&schema["spec"], "spec");
    }
}

fn check_bounds(schema: &Value, path: &str) {
    match schema["type"].as_str() {
        Some("string") => assert!(
            schema.get("maxLength").is_some() || schema.get("enum").is_some(),
            "{path} needs a maxLength"
        ),
        Some("array") => {
            assert!(schema.get("maxItems").is_some(), "{path} needs a maxItems");
            check_bounds(&schema["items"], &format!("{path}[]"));
        }
        Some("integer" | "number") => assert!(
            schema.get("minimum").is_some() && schema.get("maximum").is_some(),
            "{path} needs a minimum and a maximum"
        ),
        Some("object") => {
            if let Some(values) = schema.get("additionalProperties") {
                assert!(
                    schema.get("maxProperties").is_some(),
                    "{path} needs a maxProperties"
                );
                check_bounds(values, &format!("{path}.*"));
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                check_bounds(property, &format!("{path}.{name}"));
            }
        }
        Some("boolean") => {}
        other => panic!("{path} has type {other:?}"),
    }
}

fn check_explained(schema: &Value, path: &str) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{path} needs a description");
        check_explained(property, &path);
        check_explained(&property["items"], &path);
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let provider = validate(Kind::OidcProvider, &valid(Kind::OidcProvider));
    assert_eq!(
        provider,
        Ok(json!({
            "issuer": "https://login.corp.example",
            "audiences": ["web"],
            "policyRef": {"name": "default"},
            "suspended": false,
            "keys": {"refreshInterval": "10m", "maxStale": "24h"},
            "algorithms": ["RS256"],
            "token": {"clockSkew": "30s", "maxAge": "1h", "nonce": "IfPresent", "nonceForm": "Either", "replay": "Allow"},
            "claims": {"mapping": {
                "username": "claims.preferred_username",
                "email": "claims.email",
                "emailVerified": "claims.email_verified",
                "phone": "claims.phone_number",
            }},
            "linking": {"mode": "Never"},
            "provisioning": "Create",
        }))
    );
    let policy = validate(Kind::SigninPolicy, &valid(Kind::SigninPolicy)).expect("it is valid");
    for (pointer, default) in [
        ("/token/accessTtl", json!("10m")),
        ("/token/refreshTtl", json!("720h")),
        ("/token/sessionMaxTtl", json!("2160h")),
        ("/token/refreshReuseGrace", json!("10s")),
        (
            "/signing/managed",
            json!({"algorithm": "ES256", "rotateEvery": "720h", "prePublish": "24h"}),
        ),
        ("/risk/mode", json!("Off")),
        ("/risk/thresholds", json!({"medium": 30, "high": 70})),
        (
            "/risk/actions",
            json!({"low": "Allow", "medium": "RequireMfa", "high": "RequireMfa"}),
        ),
        ("/risk/onError", json!("Medium")),
        ("/risk/signals/newDevice/points", json!(25)),
        (
            "/risk/signals/ipFailures",
            json!({"points": 40, "count": 20, "window": "15m"}),
        ),
        (
            "/risk/signals/dormant",
            json!({"points": 20, "after": "2160h"}),
        ),
        ("/mfa/mode", json!("Never")),
        (
            "/mfa/methods",
            json!(["webauthn", "totp", "sms_otp", "email_otp", "recovery_code"]),
        ),
        ("/mfa/challengeTtl", json!("5m")),
        (
            "/mfa/attempts",
            json!({"perChallenge": 5, "per15m": 10, "perDay": 50}),
        ),
        (
            "/mfa/noEnrollment",
            json!({"low": "Enroll", "medium": "EmailOtp", "high": "Deny"}),
        ),
        ("/mfa/rememberDevice", json!("720h")),
        ("/account", json!({"maxAuthAge": "15m"})),
        (
            "/limits",
            json!({"failuresPerIpPerMinute": 300, "perUserPerMinute": 60}),
        ),
    ] {
        assert_eq!(policy.pointer(pointer), Some(&default), "{pointer}");
    }
}

#[test]
fn a_null_is_as_good_as_left_out() {
    let provider =
        json!({"spec": {"displayName": null, "token": null, "keys": {"maxStale": null}}});
    let mut object = valid(Kind::OidcProvider);
    for (name, value) in provider["spec"].as_object().expect("an object") {
        object["spec"][name] = value.clone();
    }
    let mut wanted = validate(Kind::OidcProvider, &valid(Kind::OidcProvider)).expect("it is valid");
    wanted["keys"] = json!({"refreshInterval": "10m", "maxStale": "24h"});
    assert_eq!(validate(Kind::OidcProvider, &object), Ok(wanted));
}

#[test]
fn the_columns_are_those_of_the_documentation() {
    let columns = |kind| -> Vec<(String, i32)> {
        let mut versions = definition(kind).spec.versions;
        let version = versions.pop().expect("one version");
        let columns = version.additional_printer_columns.unwrap_or_default();
        columns
            .into_iter()
            .map(|column| (column.name, column.priority.unwrap_or(0)))
            .collect()
    };
    let named = |names: &[(&str, i32)]| -> Vec<(String, i32)> {
        names
            .iter()
            .map(|(name, priority)| ((*name).to_owned(), *priority))
            .collect()
    };
    assert_eq!(
        columns(Kind::OidcProvider),
        named(&[
            ("Issuer", 0),
            ("Policy", 0),
            ("Accepted", 0),
            ("Programmed", 0),
            ("Age", 0),
            ("Keys", 1),
            ("Reason", 1),
        ])
    );
    assert_eq!(
        columns(Kind::SigninPolicy),
        named(&[
            ("Issuer", 0),
            ("Mode", 0),
            ("Accepted", 0),
            ("Programmed", 0),
            ("Age", 0),
        ])
    );
    let names = definition(Kind::OidcProvider).spec.names;
    assert_eq!(names.short_names, Some(vec!["oidcp".to_owned()]));
    assert_eq!(names.categories, Some(vec!["vestibule".to_owned()]));
    let names = definition(Kind::SigninPolicy).spec.names;
    assert_eq!(
        (names.plural.as_str(), names.short_names),
        ("signinpolicies", Some(vec!["sip".to_owned()]))
    );
}
