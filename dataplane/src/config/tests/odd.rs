//! Whatever stands in the fields where anything may stand: it is checked, published and loaded, and
//! all others are served.

use proptest::prelude::*;
use serde_json::{Value, json};
use vestibule_crds::compile::compile;
use vestibule_crds::publication::{ProofKey, Published, Seeds, pack};
use vestibule_crds::snapshot::Revision;

use super::*;
use crate::clock::Clock;
use crate::runtime_config::RuntimeConfig;

const PLACES: usize = 4;

fn odd(place: usize, anything: &Value) -> Value {
    let metadata = json!({"name": "odd", "namespace": "auth"});
    let provider = |spec: Value| json!({"apiVersion": "vestibule.dev/v1alpha1", "kind": "OidcProvider", "metadata": metadata, "spec": spec});
    let issuer = "https://odd.example";
    match place {
        0 => {
            let example = json!({"name": "a", "claims": anything, "expect": {"allowed": true}});
            provider(json!({"issuer": issuer, "audiences": ["web"], "examples": [example]}))
        }
        1 => {
            let keys = json!({"jwks": {"keys": [anything]}});
            provider(json!({"issuer": issuer, "audiences": ["web"], "keys": keys}))
        }
        2 => {
            let keys = json!({"jwks": {"keys": [anything]}});
            let clients = json!([{"clientId": "c", "privateKeyJwt": keys}]);
            json!({
                "apiVersion": "vestibule.dev/v1alpha1",
                "kind": "SigninPolicy",
                "metadata": metadata,
                "spec": {
                    "token": {"issuer": issuer, "audiences": ["internal"]},
                    "signing": {"managed": {}},
                    "oauth": {"clients": clients},
                },
            })
        }
        _ => provider(anything.clone()),
    }
}

/// As a file of manifests, checked, packed for the pods, unpacked and served.
fn is_served_to_others(odd: &Value) -> bool {
    let corp = "\
---
apiVersion: vestibule.dev/v1alpha1
kind: OidcProvider
metadata: {name: corp, namespace: auth}
spec: {issuer: https://corp.example, audiences: [web]}
";
    let file = |path: &str, text: String| ManifestFile {
        path: path.to_owned(),
        text,
    };
    let files = [
        file("odd.json", odd.to_string()),
        file("all.yaml", format!("{POLICY}{corp}")),
    ];
    let (objects, errors) = manifests::read(&files);
    let compiled = compile(&inputs(objects, None, HttpIssuers::Refuse));
    let published = Published {
        snapshot: compiled.snapshot.clone(),
        seeds: Seeds::new(),
        proof_key: ProofKey::generate().expect("random bytes"),
    };
    let packed = pack(&published, 1).expect("it fits");
    let part = packed.secrets[0].data["part-0"].clone();
    let read = packed.head.unpack(&[part]).expect("it is read back");
    let runtime_config = RuntimeConfig::empty(HttpIssuers::Refuse, Clock::set_to(NOW));
    let served = runtime_config.serve_published(read, Revision::of(b"publication"));
    let active = runtime_config.active();
    errors.is_empty()
        && compiled.verdicts.len() == 3
        && served == Ok(true)
        && active.provider("auth/corp").is_some()
        && active.policy("auth/default").is_some()
}

#[test]
fn a_key_that_means_something_to_a_library_means_nothing_here() {
    for anything in [
        json!({"$serde_json::private::RawValue": 5}),
        json!({"sub": "a", "$serde_json::private::RawValue": "{"}),
        json!({"$serde_json::private::Number": "x"}),
        json!({"<<": {"sub": "b"}}),
    ] {
        for place in 0..PLACES {
            assert!(
                is_served_to_others(&odd(place, &anything)),
                "{place} {anything}"
            );
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        "<<",
        "kty",
        "sub",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
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
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_json_in_any_free_field_is_checked_published_and_loaded(anything in any_json(), place in 0..PLACES) {
        prop_assert!(is_served_to_others(&odd(place, &anything)), "{}", anything);
    }
}
