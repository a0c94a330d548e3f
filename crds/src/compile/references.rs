//! What an object refers to: the one list of places where an object names an entry of a Secret or
//! ConfigMap.
//!
//! The operator reads from the cluster what [`references`] lists, and compiling resolves nothing
//! else. A place that is missing here is therefore not resolved anywhere: not in a test, not by
//! `vestibule check`, not on a cluster.

use std::fmt;

use serde_json::Value;

use crate::object::{Kind, NamespacedName, Object};

/// Items of one list that are followed; the schema allows fewer.
const ITEMS_MAX: usize = 16;
/// OAuth clients of a policy that are followed: as many as the schema allows.
const CLIENTS_MAX: usize = 64;
/// Longest name of an object (RFC 1123), and longest key of an entry.
const NAME_BYTES_MAX: usize = 253;

/// Kinds that hold what objects refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataKind {
    Secret,
    ConfigMap,
}

impl fmt::Display for DataKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// A Secret or ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataId {
    pub kind: DataKind,
    pub id: NamespacedName,
}

/// One entry of a Secret or ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    pub data: DataId,
    pub key: String,
}

/// A place in an object, as in `spec.oauth.clients[].secretRefs[]`, and what stands there.
struct Place {
    path: &'static str,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    /// Name and key of an entry.
    Entry(DataKind),
    /// Name of a Secret with a user name and a password.
    Login,
}

/// Keys of a Secret with a user name and a password.
pub(super) const USERNAME_KEY: &str = "username";
pub(super) const PASSWORD_KEY: &str = "password";

const OF_PROVIDER: [Place; 3] = [
    config_map("spec.keys.configMapRef"),
    config_map("spec.tls.caBundle.configMapRef"),
    secret("spec.tls.caBundle.secretRef"),
];

const OF_POLICY: [Place; 10] = [
    secret("spec.signing.secretRefs[]"),
    secret("spec.mfa.encryptionKeys[]"),
    login("spec.mfa.email.credentialsRef"),
    config_map("spec.mfa.email.caBundle.configMapRef"),
    secret("spec.mfa.email.caBundle.secretRef"),
    secret("spec.mfa.sms.secretRef"),
    config_map("spec.mfa.sms.caBundle.configMapRef"),
    secret("spec.mfa.sms.caBundle.secretRef"),
    secret("spec.oauth.clients[].secretRefs[]"),
    config_map("spec.oauth.clients[].privateKeyJwt.configMapRef"),
];

const fn secret(path: &'static str) -> Place {
    let form = Form::Entry(DataKind::Secret);
    Place { path, form }
}

const fn config_map(path: &'static str) -> Place {
    let form = Form::Entry(DataKind::ConfigMap);
    Place { path, form }
}

const fn login(path: &'static str) -> Place {
    let form = Form::Login;
    Place { path, form }
}

const fn places(kind: Kind) -> &'static [Place] {
    match kind {
        Kind::OidcProvider => &OF_PROVIDER,
        Kind::SigninPolicy => &OF_POLICY,
    }
}

/// What an object refers to, read from its raw body as far as it can be a name at all: an object
/// that does not compile may still have been served before, and its references count then.
pub fn references(object: &Object) -> Vec<Reference> {
    let namespace = object.id.namespace.as_str();
    let places = places(object.kind).iter();
    let named = places.flat_map(|place| {
        let values = values_at(&object.body, place.path);
        let references = values.into_iter().map(|value| match place.form {
            Form::Entry(kind) => [reference(kind, namespace, value, text(value, "key")), None],
            Form::Login => [USERNAME_KEY, PASSWORD_KEY]
                .map(|key| reference(DataKind::Secret, namespace, value, Some(key))),
        });
        references.flatten().flatten().collect::<Vec<_>>()
    });
    named.collect()
}

/// The values at a path; `name[]` stands for each item of the list `name`.
fn values_at<'v>(body: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('.').fold(vec![body], |values, step| {
        let (name, items_max) = match step.strip_suffix("[]") {
            Some("clients") => ("clients", Some(CLIENTS_MAX)),
            Some(name) => (name, Some(ITEMS_MAX)),
            None => (step, None),
        };
        let members = values.into_iter().filter_map(|value| value.get(name));
        match items_max {
            None => members.collect(),
            Some(items_max) => members
                .filter_map(Value::as_array)
                .flat_map(|items| items.iter().take(items_max))
                .collect(),
        }
    })
}

fn text<'v>(value: &'v Value, member: &str) -> Option<&'v str> {
    value.get(member).and_then(Value::as_str)
}

fn reference(
    kind: DataKind,
    namespace: &str,
    value: &Value,
    key: Option<&str>,
) -> Option<Reference> {
    let name = text(value, "name").filter(|name| is_name(name))?;
    let key = key.filter(|key| key.len() <= NAME_BYTES_MAX)?;
    Some(Reference {
        data: DataId {
            kind,
            id: NamespacedName::new(namespace, name),
        },
        key: key.to_owned(),
    })
}

/// The name becomes part of a URL's path: nothing in it may mean anything there.
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
mod tests;
