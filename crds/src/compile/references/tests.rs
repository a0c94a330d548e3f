use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::compile::{Compiled, ConditionStatus, Inputs, compile};
use crate::manifests::{ManifestFile, read};
use crate::schema::definition;
use crate::secret::Secret;

fn named(kind: &str, spec: Value) -> Vec<String> {
    let body = json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "a", "namespace": "auth"},
        "spec": spec,
    });
    let object = Object::from_value(body, None).expect("an object");
    references(&object)
        .into_iter()
        .map(|found| format!("{} {} {}", found.data.kind, found.data.id, found.key))
        .collect()
}

#[test]
fn each_reference_of_a_client_is_found_and_not_without_bounds() {
    let client = |number: usize| json!({"secretRefs": [{"name": format!("s-{number}"), "key": "new"}, {"name": format!("s-{number}"), "key": "old"}]});
    let clients =
        |clients: Vec<Value>| named("SigninPolicy", json!({"oauth": {"clients": clients}}));
    let keys = json!({"privateKeyJwt": {"configMapRef": {"name": "keys", "key": "jwks.json"}}});
    assert_eq!(
        clients(vec![
            client(1),
            keys,
            json!({"serviceAccount": {"name": "a"}}),
            json!(1)
        ]),
        [
            "Secret auth/s-1 new",
            "Secret auth/s-1 old",
            "ConfigMap auth/keys jwks.json"
        ]
    );
    let many = clients((0..1000).map(client).collect());
    assert_eq!(many.len(), 2 * CLIENTS_MAX);
}

#[test]
fn each_reference_of_a_provider_is_found() {
    let spec = json!({
        "keys": {"configMapRef": {"name": "jwks", "key": "jwks.json"}},
        "tls": {"caBundle": {"secretRef": {"name": "ca", "key": "ca.crt"}}},
    });
    assert_eq!(
        named("OidcProvider", spec),
        ["ConfigMap auth/jwks jwks.json", "Secret auth/ca ca.crt"]
    );
}

#[test]
fn each_signing_key_of_a_policy_is_found_and_their_number_is_bounded() {
    let refs = |count: usize| {
        let refs: Vec<Value> = (0..count)
            .map(|number| json!({"name": format!("k{number}"), "key": "tls.key"}))
            .collect();
        named("SigninPolicy", json!({"signing": {"secretRefs": refs}}))
    };
    assert_eq!(refs(1), ["Secret auth/k0 tls.key"]);
    assert_eq!(refs(1000).len(), ITEMS_MAX);
}

#[test]
fn each_reference_of_second_factors_is_found() {
    let spec = json!({"mfa": {
        "encryptionKeys": [{"name": "new", "key": "key"}, {"name": "old", "key": "key"}],
        "email": {
            "credentialsRef": {"name": "smtp"},
            "caBundle": {"configMapRef": {"name": "mail-ca", "key": "ca.crt"}},
        },
        "sms": {
            "secretRef": {"name": "sms", "key": "hmac"},
            "caBundle": {"secretRef": {"name": "sms-ca", "key": "ca.crt"}},
        },
    }});
    assert_eq!(
        named("SigninPolicy", spec),
        [
            "Secret auth/new key",
            "Secret auth/old key",
            "Secret auth/smtp username",
            "Secret auth/smtp password",
            "ConfigMap auth/mail-ca ca.crt",
            "Secret auth/sms hmac",
            "Secret auth/sms-ca ca.crt",
        ]
    );
    let odd = json!({"mfa": {"email": {"credentialsRef": "smtp"}, "sms": []}});
    assert_eq!(named("SigninPolicy", odd), Vec::<String>::new());
}

#[test]
fn what_cannot_be_a_name_is_not_asked_for() {
    for name in ["", "../x", "a/b", "A", "a..b", ".", "a?b", "-a"] {
        let spec = json!({"keys": {"configMapRef": {"name": name, "key": "k"}}});
        assert_eq!(named("OidcProvider", spec), Vec::<String>::new(), "{name}");
    }
    for odd in [
        json!(null),
        json!(7),
        json!([]),
        json!({"name": 7, "key": "k"}),
    ] {
        let spec = json!({"keys": {"configMapRef": odd}, "tls": odd});
        assert_eq!(named("OidcProvider", spec), Vec::<String>::new());
    }
}

/// Manifests that use every field, with all bundles of certificates in ConfigMaps or all of them in
/// Secrets.
fn every_field(bundles: DataKind) -> Inputs {
    let text = include_str!("../../../tests/golden/every_field/input.yaml");
    let source = match bundles {
        DataKind::ConfigMap => "caBundle: {configMapRef:",
        DataKind::Secret => "caBundle: {secretRef:",
    };
    let file = ManifestFile {
        path: "input.yaml".to_owned(),
        text: text.replace("caBundle: {configMapRef:", source),
    };
    let (mut manifests, errors) = read(&[file]);
    assert_eq!(errors, []);
    if bundles == DataKind::Secret {
        let id = NamespacedName::new("auth", "corp-ca");
        let bundle = manifests.config_maps.remove(&id).expect("a bundle");
        let bundle = bundle
            .into_iter()
            .map(|(key, text)| (key, Secret::new(text)));
        manifests.secrets.insert(id, bundle.collect());
    }
    Inputs {
        objects: manifests.objects,
        secrets: manifests.secrets,
        config_maps: manifests.config_maps,
        ..Inputs::default()
    }
}

#[test]
fn an_object_without_one_of_its_references_says_which_one_is_missing() {
    let unresolved = |compiled: &Compiled| -> Vec<String> {
        let verdicts = compiled.verdicts.iter();
        let unresolved =
            verdicts.filter(|verdict| verdict.resolved_refs.status != ConditionStatus::True);
        unresolved
            .map(|verdict| verdict.resolved_refs.message.to_string())
            .collect()
    };
    let mut places_seen = BTreeSet::new();
    for bundles in [DataKind::ConfigMap, DataKind::Secret] {
        let whole = every_field(bundles);
        assert_eq!(unresolved(&compile(&whole)), Vec::<String>::new());
        for object in &whole.objects {
            let places = places(object.kind).iter();
            let used = places.filter(|place| !values_at(&object.body, place.path).is_empty());
            places_seen.extend(used.map(|place| (object.kind, place.path)));
            for Reference { data, key } in references(object) {
                let mut inputs = whole.clone();
                let removed = match data.kind {
                    DataKind::Secret => inputs.secrets.remove(&data.id).is_some(),
                    DataKind::ConfigMap => inputs.config_maps.remove(&data.id).is_some(),
                };
                assert!(removed, "{data:?} {key}");
                let messages = unresolved(&compile(&inputs));
                let named = format!("there is no {} {}", data.kind, data.id);
                assert!(
                    messages.iter().any(|message| message.contains(&named)),
                    "{named}: {messages:?}"
                );
            }
        }
    }
    let all = Kind::ALL.map(|kind| places(kind).iter().map(move |place| (kind, place.path)));
    assert_eq!(places_seen, all.into_iter().flatten().collect());
}

/// The places of a schema that name another object, by the members that stand there.
fn naming_places(schema: &Value, path: &str, found: &mut BTreeMap<String, Vec<String>>) {
    if let Some(items) = schema.get("items") {
        naming_places(items, &format!("{path}[]"), found);
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    let members: Vec<String> = properties.keys().cloned().collect();
    if members == ["key", "name"] || members == ["name"] {
        found.insert(path.to_owned(), members);
    }
    for (name, property) in properties {
        naming_places(property, &format!("{path}.{name}"), found);
    }
}

#[test]
fn every_place_where_the_schema_takes_a_reference_is_listed() {
    for kind in Kind::ALL {
        let definition = serde_json::to_value(definition(kind)).expect("a definition is JSON");
        let pointer = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
        let schema = definition.pointer(pointer).expect("a schema");
        let mut taken = BTreeMap::new();
        naming_places(schema, "spec", &mut taken);
        // These name objects of this group, which the operator watches in any case.
        taken.retain(|path, _| !path.ends_with(".policyRef") && !path.ends_with(".providerRef"));
        let listed = places(kind).iter().map(|place| place.path.to_owned());
        assert_eq!(
            taken.into_keys().collect::<BTreeSet<_>>(),
            listed.collect(),
            "{kind}"
        );
    }
}
