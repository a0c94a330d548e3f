//! Makes a generated schema structural in the way that reads best in the API server: no nulls, no
//! formats that it does not know, plain enums.

use schemars::Schema;
use serde_json::{Map, Value};

/// The transform of each kind's spec and status.
///
/// An optional field is left out rather than nullable: the API server then drops a null and applies
/// the default.
pub(crate) fn structural(schema: &mut Schema) {
    if let Some(object) = schema.as_object_mut() {
        rewrite(object);
    }
}

fn rewrite(object: &mut Map<String, Value>) {
    drop_null_type(object);
    unwrap_optional(object);
    plain_enum(object);
    for noise in ["title", "format"] {
        if object.get(noise).is_some_and(Value::is_string) {
            object.remove(noise);
        }
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for property in properties.values_mut() {
            rewrite_value(property);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(value) = object.get_mut(name) {
            rewrite_value(value);
        }
    }
}

fn rewrite_value(value: &mut Value) {
    if let Value::Object(object) = value {
        rewrite(object);
    }
}

/// `type: [string, "null"]` becomes `type: string`.
fn drop_null_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get("type") else {
        return;
    };
    let mut kept = types.iter().filter(|name| *name != "null").cloned();
    if let (Some(only), None) = (kept.next(), kept.next()) {
        object.insert("type".to_owned(), only);
    }
}

/// `anyOf: [X, {type: "null"}]` becomes `X`.
fn unwrap_optional(object: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = object.get("anyOf") else {
        return;
    };
    let null = serde_json::json!({"type": "null"});
    let mut kept = branches.iter().filter(|branch| **branch != null);
    let (Some(Value::Object(only)), None) = (kept.next(), kept.next()) else {
        return;
    };
    let only = only.clone();
    object.remove("anyOf");
    for (name, value) in only {
        // The field's own description stands before that of its type.
        object.entry(name).or_insert(value);
    }
}

/// `oneOf: [{const: A}, {const: B}]`, what documented variants make, becomes `enum: [A, B]`.
fn plain_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = object.get("oneOf") else {
        return;
    };
    let mut values = Vec::new();
    for branch in branches {
        match (branch.get("const"), branch.get("enum")) {
            (Some(value), _) => values.push(value.clone()),
            (None, Some(Value::Array(several))) => values.extend(several.iter().cloned()),
            _ => return,
        }
    }
    object.remove("oneOf");
    object.insert("type".to_owned(), "string".into());
    object.insert("enum".to_owned(), values.into());
}
