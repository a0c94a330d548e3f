//! The Secrets and ConfigMaps that objects name, read from their raw bodies: `compile` judges them, and must find them there
//! to judge.

use std::fmt;

use serde_json::{Value, json};
use vestibule_crds::object::{Kind, NamespacedName, Object};

/// Names of one list of an object that are followed; the schema allows fewer.
const NAMES_MAX: usize = 16;
/// OAuth clients of a policy that are looked at: as many as the schema allows.
const CLIENTS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 253;

/// Kinds that hold what objects refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum MaterialKind {
    Secret,
    ConfigMap,
}

impl fmt::Display for MaterialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// A Secret or ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MaterialId {
    pub(crate) kind: MaterialKind,
    pub(crate) id: NamespacedName,
}

/// One entry that an object names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) material: MaterialId,
    pub(crate) key: String,
}

/// What an object names, as far as it can be a name at all.
pub(crate) fn references(object: &Object) -> Vec<Reference> {
    let at = |kind, pointer: &str| {
        let value = object.body.pointer(pointer)?;
        reference(kind, &object.id.namespace, value)
    };
    match object.kind {
        Kind::OidcProvider => [
            at(MaterialKind::ConfigMap, "/spec/keys/configMapRef"),
            at(MaterialKind::ConfigMap, "/spec/tls/caBundle/configMapRef"),
            at(MaterialKind::Secret, "/spec/tls/caBundle/secretRef"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        Kind::SigninPolicy => {
            let list = |pointer: &str| {
                let values = object.body.pointer(pointer).and_then(Value::as_array);
                let values = values.into_iter().flatten().take(NAMES_MAX);
                values.filter_map(|value| {
                    reference(MaterialKind::Secret, &object.id.namespace, value)
                })
            };
            let entry = |pointer: &str, key: &str| {
                let name = object.body.pointer(pointer)?.get("name")?;
                let value = json!({"name": name, "key": key});
                reference(MaterialKind::Secret, &object.id.namespace, &value)
            };
            let others = [
                entry("/spec/mfa/email/credentialsRef", "username"),
                entry("/spec/mfa/email/credentialsRef", "password"),
                at(
                    MaterialKind::ConfigMap,
                    "/spec/mfa/email/caBundle/configMapRef",
                ),
                at(MaterialKind::Secret, "/spec/mfa/email/caBundle/secretRef"),
                at(MaterialKind::Secret, "/spec/mfa/sms/secretRef"),
                at(
                    MaterialKind::ConfigMap,
                    "/spec/mfa/sms/caBundle/configMapRef",
                ),
                at(MaterialKind::Secret, "/spec/mfa/sms/caBundle/secretRef"),
            ];
            list("/spec/signing/secretRefs")
                .chain(list("/spec/mfa/encryptionKeys"))
                .chain(others.into_iter().flatten())
                .chain(of_clients(object))
                .collect()
        }
    }
}

/// What the OAuth clients of a policy name.
fn of_clients(object: &Object) -> impl Iterator<Item = Reference> {
    let namespace = &object.id.namespace;
    let clients = object.body.pointer("/spec/oauth/clients");
    let clients = clients.and_then(Value::as_array).into_iter().flatten();
    clients.take(CLIENTS_MAX).flat_map(move |client| {
        let secrets = client.get("secretRefs").and_then(Value::as_array);
        let secrets = secrets.into_iter().flatten().take(NAMES_MAX);
        let secrets =
            secrets.filter_map(|secret| reference(MaterialKind::Secret, namespace, secret));
        let keys = client.pointer("/privateKeyJwt/configMapRef");
        let keys = keys.and_then(|keys| reference(MaterialKind::ConfigMap, namespace, keys));
        secrets.chain(keys)
    })
}

fn reference(kind: MaterialKind, namespace: &str, value: &Value) -> Option<Reference> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let name = text("name").filter(|name| is_name(name))?;
    let key = text("key").filter(|key| key.len() <= NAME_BYTES_MAX)?;
    Some(Reference {
        material: MaterialId {
            kind,
            id: NamespacedName::new(namespace, name),
        },
        key: key.to_owned(),
    })
}

/// It becomes part of a path: nothing that means anything there.
fn is_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| inside(byte) || b"-.".contains(&byte))
        && name.bytes().next().is_some_and(inside)
        && name.bytes().last().is_some_and(inside)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            .map(|found| {
                format!(
                    "{} {} {}",
                    found.material.kind, found.material.id, found.key
                )
            })
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
        assert_eq!(refs(1000).len(), NAMES_MAX);
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
}
