//! Manifests that are valid as they come; a test changes one word of them.

use serde_json::{Value, json};

/// A policy named `default` with the issuer `https://auth.example.com` and a managed ES256 key.
pub fn policy() -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "SigninPolicy",
        "metadata": {"name": "default", "namespace": "auth"},
        "spec": {
            "token": {"issuer": "https://auth.example.com", "audiences": ["internal"]},
            "signing": {"managed": {"algorithm": "ES256"}},
            "password": {},
        },
    })
}

/// A provider with the audience `web` and keys from discovery.
pub fn provider(name: &str, issuer: &str) -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "OidcProvider",
        "metadata": {"name": name, "namespace": "auth"},
        "spec": {"issuer": issuer, "audiences": ["web"]},
    })
}

/// A Secret with one entry.
pub fn secret(name: &str, key: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "auth"},
        "stringData": {key: text},
    })
}

/// The manifest with the value at a JSON pointer changed; what leads there is made.
pub fn with(mut manifest: Value, pointer: &str, value: impl Into<Value>) -> Value {
    let mut place = &mut manifest;
    for name in pointer.split('/').skip(1) {
        place = match place {
            Value::Array(entries) => {
                let index: usize = name.parse().expect("an array has numbers");
                &mut entries[index]
            }
            other => &mut other[name],
        };
    }
    *place = value.into();
    manifest
}

/// One file of several documents.
pub fn file(manifests: &[Value]) -> String {
    let documents: Vec<String> = manifests
        .iter()
        .map(|manifest| format!("{manifest:#}\n"))
        .collect();
    documents.join("---\n")
}
