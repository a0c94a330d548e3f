//! What the API server does to an object before it judges it: nulls are dropped and defaults filled
//! in.

use serde_json::Value;

use super::node::{Node, NodeKind};

/// Drops nulls where the schema has a field, since no field is nullable, and fills in defaults,
/// outermost first.
pub(super) fn prepare(node: &Node, value: &mut Value) {
    match (&node.kind, value) {
        (NodeKind::Object { properties, .. }, Value::Object(members)) => {
            for (name, property) in properties {
                if members.get(name).is_some_and(Value::is_null) {
                    members.remove(name);
                }
                if let Some(default) = &property.default {
                    members.entry(name).or_insert_with(|| default.clone());
                }
                if let Some(member) = members.get_mut(name) {
                    prepare(property, member);
                }
            }
        }
        (NodeKind::Map { values, .. }, Value::Object(members)) => {
            members.retain(|_, member| !member.is_null());
            for member in members.values_mut() {
                prepare(values, member);
            }
        }
        (NodeKind::List { items, .. }, Value::Array(members)) => {
            for member in members {
                prepare(items, member);
            }
        }
        (
            NodeKind::Object { .. }
            | NodeKind::Map { .. }
            | NodeKind::List { .. }
            | NodeKind::String { .. }
            | NodeKind::Integer(_)
            | NodeKind::Number(_)
            | NodeKind::Boolean
            | NodeKind::IntOrString,
            _,
        ) => {}
    }
}
