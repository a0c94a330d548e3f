//! Whatever stands in the fields where anything may stand: it comes from the API server as a list
//! does, and all others are served.

use bytes::Bytes;
use kube::core::ObjectList;
use proptest::prelude::*;
use serde_json::json;
use vestibule_crds::compile::{AcceptedReason, Compiled, Inputs, compile};
use vestibule_crds::object::{Kind, Object};
use vestibule_crds::publication::{ProofKey, Published, Seeds, pack};

use super::*;
use crate::cache::Cache;
use crate::nesting::Nesting;

fn policy() -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "SigninPolicy",
        "metadata": {"name": "default", "namespace": "auth", "uid": "u0", "resourceVersion": "1"},
        "spec": {
            "token": {"issuer": "https://auth.example.com", "audiences": ["internal"]},
            "signing": {"managed": {}},
        },
    })
}

fn provider(name: &str) -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "OidcProvider",
        "metadata": {"name": name, "namespace": "auth", "uid": name, "resourceVersion": "2"},
        "spec": {"issuer": format!("https://{name}.example"), "audiences": ["web"]},
    })
}

/// The object with anything at one of the places where the schema lets anything stand.
fn odd(place: usize, anything: &str) -> (Kind, String) {
    const MARK: &str = "\"anything\"";
    let mut policy = policy();
    policy["metadata"] =
        json!({"name": "odd", "namespace": "auth", "uid": "u1", "resourceVersion": "3"});
    policy["spec"]["token"]["issuer"] = json!("https://odd.example.com");
    let mut provider = provider("odd");
    let (kind, body) = match place {
        0 => {
            let expect = json!({"allowed": true});
            provider["spec"]["examples"] =
                json!([{"name": "a", "claims": "anything", "expect": expect}]);
            (Kind::OidcProvider, provider)
        }
        1 => {
            provider["spec"]["keys"] = json!({"jwks": {"keys": ["anything"]}});
            (Kind::OidcProvider, provider)
        }
        2 => {
            let keys = json!({"jwks": {"keys": ["anything"]}});
            policy["spec"]["oauth"] =
                json!({"clients": [{"clientId": "c", "privateKeyJwt": keys}]});
            (Kind::SigninPolicy, policy)
        }
        3 => {
            provider["status"] = json!("anything");
            (Kind::OidcProvider, provider)
        }
        4 => {
            provider["metadata"]["managedFields"] =
                json!([{"manager": "a", "fieldsV1": "anything"}]);
            (Kind::OidcProvider, provider)
        }
        5 => {
            provider["metadata"]["annotations"] = json!("anything");
            (Kind::OidcProvider, provider)
        }
        _ => {
            provider["spec"] = json!("anything");
            (Kind::OidcProvider, provider)
        }
    };
    (kind, body.to_string().replacen(MARK, anything, 1))
}

const PLACES: usize = 7;

/// Through a list's text into the watch's cache, compiled.
fn listed(kind: Kind, odd: &str) -> Compiled {
    let cache = Cache::default();
    let list = |kind: Kind, bodies: &[String]| {
        let items = bodies.join(",");
        let text =
            format!(r#"{{"kind":"List","apiVersion":"v1","metadata":{{}},"items":[{items}]}}"#);
        let bounded = Nesting::default().cut(Bytes::from(text));
        let list: ObjectList<Watched> = serde_json::from_slice(&bounded).expect("the list is read");
        for object in list.items {
            cache.apply(kind, object);
        }
    };
    let mut bodies = [
        (Kind::SigninPolicy, vec![policy().to_string()]),
        (Kind::OidcProvider, vec![provider("corp").to_string()]),
    ];
    for (of, bodies) in &mut bodies {
        if *of == kind {
            bodies.insert(0, odd.to_owned());
        }
        list(*of, bodies);
    }
    let objects: Vec<Object> =
        cache.with_objects(|all| all.values().map(|entry| entry.object.clone()).collect());
    compile(&Inputs {
        objects,
        ..Inputs::default()
    })
}

fn is_served_to_others(compiled: &Compiled) -> bool {
    let published = Published {
        snapshot: compiled.snapshot.clone(),
        seeds: Seeds::new(),
        proof_key: ProofKey::generate().expect("random bytes"),
    };
    let packed = pack(&published, 1).expect("it fits");
    let parts: Vec<Vec<u8>> = packed
        .secrets
        .iter()
        .map(|secret| secret.data["part-0"].clone())
        .collect();
    let read = packed.head.unpack(&parts).expect("it is read back");
    read.snapshot == compiled.snapshot
        && read.snapshot.providers.contains_key("auth/corp")
        && read.snapshot.policies.contains_key("auth/default")
        && compiled.verdicts.len() == 3
}

#[test]
fn one_odd_object_leaves_the_others_readable() {
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let oddities = [
        r#"{"$serde_json::private::RawValue":5}"#.to_owned(),
        r#"{"$serde_json::private::RawValue":"{"}"#.to_owned(),
        r#"{"$serde_json::private::Number":"x"}"#.to_owned(),
        r#"{"a":{"$serde_json::private::RawValue":[]}}"#.to_owned(),
        deep(60),
        deep(90),
        deep(130),
        deep(5000),
        "18446744073709551615".to_owned(),
        "-0.0".to_owned(),
        "null".to_owned(),
        r#""\u0000""#.to_owned(),
    ];
    for oddity in &oddities {
        for place in 0..PLACES {
            let (kind, odd) = odd(place, oddity);
            let compiled = listed(kind, &odd);
            assert!(is_served_to_others(&compiled), "{place} {oddity:.40}");
            let verdict = compiled
                .verdicts
                .iter()
                .find(|verdict| verdict.name == "odd");
            let verdict = verdict.expect("it has a verdict of its own");
            if verdict.is_refused() {
                let reason = verdict.accepted.reason;
                let resolved = verdict.resolved_refs.status;
                assert!(reason != AcceptedReason::Accepted || resolved.name() == "False");
            }
        }
    }
}

#[test]
fn an_object_that_is_nested_too_deeply_has_a_verdict_of_its_own() {
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let (kind, odd) = odd(0, &deep);
    let compiled = listed(kind, &odd);
    let verdict = compiled
        .verdicts
        .iter()
        .find(|verdict| verdict.name == "odd");
    let accepted = &verdict.expect("a verdict").accepted;
    assert_eq!(accepted.reason, AcceptedReason::Invalid);
    assert!(
        accepted.message.contains("nested too deeply"),
        "{}",
        accepted.message
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        "$__toml_private_datetime",
        "<<",
        "__proto__",
        "kty",
        "sub",
        "",
        "metadata",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                let members = members.into_iter();
                Value::Object(
                    members
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_in_any_free_field_is_listed_compiled_published_and_read(anything in any_json(), place in 0..PLACES) {
        let (kind, odd) = odd(place, &anything.to_string());
        prop_assert!(is_served_to_others(&listed(kind, &odd)), "{}", odd);
    }
}
