//! A custom resource as it was read, before anything in it is trusted.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const GROUP: &str = "vestibule.dev";
pub const API_VERSION: &str = "vestibule.dev/v1alpha1";

/// The kinds of this group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    SigninPolicy,
    OidcProvider,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::SigninPolicy, Self::OidcProvider];

    pub const fn name(self) -> &'static str {
        match self {
            Self::SigninPolicy => "SigninPolicy",
            Self::OidcProvider => "OidcProvider",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an object of a namespaced kind stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespacedName {
    pub namespace: String,
    pub name: String,
}

impl NamespacedName {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A custom resource of this group, its body still unchecked.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub kind: Kind,
    pub id: NamespacedName,
    /// `metadata.generation`; none in a manifest that no API server has seen.
    pub generation: Option<i64>,
    /// `metadata.uid`; none in a manifest that no API server has seen.
    pub uid: Option<String>,
    /// `metadata.creationTimestamp`, RFC 3339.
    pub created_at: Option<String>,
    /// The file that it was read from.
    pub source: Option<String>,
    /// Why nothing more of it can be read.
    pub unreadable: Option<String>,
    /// The whole object, `metadata` and `status` included; shared, since it is kept to see what
    /// changed.
    pub body: Arc<Value>,
}

/// Why a value is no object of this group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error("write apiVersion: {API_VERSION}, kind: OidcProvider or kind: SigninPolicy")]
    UnknownKind,
    #[error("write a metadata.name")]
    NameMissing,
    #[error("metadata.{0} must be a string")]
    NotAString(&'static str),
}

impl Object {
    /// Sorts the oldest first; one without a time stands before all others.
    pub fn age(&self) -> (Option<&str>, Option<&str>, &NamespacedName) {
        (self.created_at.as_deref(), self.uid.as_deref(), &self.id)
    }

    /// Takes a whole custom resource apart as far as every object has the same parts. A missing
    /// namespace is `default`.
    pub fn from_value(body: Value, source: Option<String>) -> Result<Self, ObjectError> {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| {
                text("kind") == Some(kind.name()) && text("apiVersion") == Some(API_VERSION)
            })
            .ok_or(ObjectError::UnknownKind)?;
        let metadata = |name: &'static str| match body.get("metadata").and_then(|all| all.get(name))
        {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ObjectError::NotAString(name)),
        };
        let name = metadata("name")?.filter(|name| !name.is_empty());
        let namespace = metadata("namespace")?.filter(|namespace| !namespace.is_empty());
        let id = NamespacedName::new(
            namespace.unwrap_or_else(|| "default".to_owned()),
            name.ok_or(ObjectError::NameMissing)?,
        );
        Ok(Self {
            kind,
            id,
            generation: body.pointer("/metadata/generation").and_then(Value::as_i64),
            uid: metadata("uid")?,
            created_at: metadata("creationTimestamp")?,
            source,
            unreadable: None,
            body: Arc::new(body),
        })
    }
}
