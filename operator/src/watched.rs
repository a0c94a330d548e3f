//! An object of our kinds as the API server shows it, read by itself: whatever stands in one, the
//! list that it is in is read.

use std::borrow::Cow;

use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::nesting::CUT;

#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    pub(crate) metadata: ObjectMeta,
    /// All members but `metadata`.
    pub(crate) members: Map<String, Value>,
    /// Why it cannot be judged.
    pub(crate) unreadable: Option<String>,
}

impl Watched {
    /// Never fails: what cannot be read keeps the name that it goes by, so that its verdict finds
    /// it.
    pub(crate) fn of(value: Value) -> Self {
        let Value::Object(mut members) = value else {
            return Self::default();
        };
        let metadata = members.remove("metadata").unwrap_or_default();
        let spec = members.get("spec");
        let mut unreadable = spec
            .is_some_and(holds_cut)
            .then(|| "it is nested too deeply to be read: write it flatter".to_owned());
        let metadata = match serde_json::from_value(metadata.clone()) {
            Ok(metadata) => metadata,
            Err(_) => {
                unreadable = Some("its metadata cannot be read".to_owned());
                least(&metadata)
            }
        };
        Self {
            metadata,
            members,
            unreadable,
        }
    }
}

/// What an object is known by.
fn least(metadata: &Value) -> ObjectMeta {
    let text = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    ObjectMeta {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        generation: metadata.get("generation").and_then(Value::as_i64),
        ..ObjectMeta::default()
    }
}

fn holds_cut(value: &Value) -> bool {
    match value {
        Value::String(text) => text == CUT,
        Value::Array(items) => items.iter().any(holds_cut),
        Value::Object(members) => members.values().any(holds_cut),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::of)
    }
}

impl Resource for Watched {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests;
