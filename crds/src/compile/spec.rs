//! The body of an object becomes its spec, or says why it is none.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::verdict::{Problems, ResolvedRefsReason};
use crate::object::Object;
use crate::schema;

/// Deepest nesting of an object that is read: more than people write, and less than any reader of
/// it fails at.
const NESTING_MAX: usize = 64;

pub(super) fn spec<T: DeserializeOwned>(object: &Object) -> Result<T, Problems> {
    if let Some(why) = &object.unreadable {
        return Err(Problems::unreadable(why));
    }
    if is_nested_deeper(&object.body, NESTING_MAX) {
        let why = format!("it is nested deeper than {NESTING_MAX} levels: write it flatter");
        return Err(Problems::unreadable(&why));
    }
    let spec = schema::validate(object.kind, &object.body).map_err(Problems::of_schema)?;
    // The schema let something through that the type does not take: a defect of ours, and still no
    // harm.
    serde_json::from_value(spec).map_err(|error| Problems::unreadable(&error.to_string()))
}

fn is_nested_deeper(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Array(items) => items.iter().any(|item| is_nested_deeper(item, below)),
        Value::Object(members) => members
            .values()
            .any(|member| is_nested_deeper(member, below)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl Problems {
    /// Nothing of it was read.
    fn unreadable(why: &str) -> Self {
        let mut problems = Self::default();
        problems.invalid("spec", why);
        problems.unresolved(
            ResolvedRefsReason::NotAccepted,
            "spec",
            "its references are looked at once it is valid",
        );
        problems
    }
}
