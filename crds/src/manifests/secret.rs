//! The entries of a Secret or a ConfigMap. No message repeats a value.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::secret::Secret;

/// `data` in base64 and `stringData` in clear, which wins. An entry that is no text (a keystore) is left out: nothing here
/// could use it.
pub(super) fn secret_data(value: &Value) -> Result<BTreeMap<String, Secret>, String> {
    let mut entries = BTreeMap::new();
    for (key, value) in members(value, "data")? {
        if let Some(secret) = Secret::of_entry(decoded("data", key, value)?) {
            entries.insert(key.clone(), secret);
        }
    }
    for (key, value) in members(value, "stringData")? {
        let text = clear("stringData", key, value)?;
        entries.insert(key.clone(), Secret::new(text));
    }
    Ok(entries)
}

pub(super) fn config_map_data(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut entries = BTreeMap::new();
    for (key, value) in members(value, "binaryData")? {
        if let Ok(text) = String::from_utf8(decoded("binaryData", key, value)?) {
            entries.insert(key.clone(), text);
        }
    }
    for (key, value) in members(value, "data")? {
        entries.insert(key.clone(), clear("data", key, value)?.to_owned());
    }
    Ok(entries)
}

fn members<'a>(value: &'a Value, name: &str) -> Result<Vec<(&'a String, &'a Value)>, String> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(members)) => Ok(Map::iter(members).collect()),
        Some(_) => Err(format!("write {name} as an object of strings")),
    }
}

fn decoded(field: &str, key: &str, value: &Value) -> Result<Vec<u8>, String> {
    let text = clear(field, key, value)?;
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(packed).map_err(|_| {
        format!("{field}.{key} is not base64: encode it, or write it under stringData")
    })
}

fn clear<'a>(field: &str, key: &str, value: &'a Value) -> Result<&'a str, String> {
    let text = value.as_str();
    text.ok_or_else(|| format!("{field}.{key} must be a string: put it in quotes"))
}
