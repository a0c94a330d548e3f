//! The entries of a Secret or a ConfigMap. No message repeats a value.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::secret::Secret;

/// Why the entries of a Secret or ConfigMap cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryError {
    #[error("write {0} as an object of strings")]
    NotAnObject(&'static str),
    #[error("{field}.{key} is not base64: encode it, or write it under stringData")]
    NotBase64 { field: &'static str, key: String },
    #[error("{field}.{key} must be a string: put it in quotes")]
    NotAString { field: &'static str, key: String },
}

/// `data` in base64 and `stringData` in clear, which wins. An entry that is no text (a keystore) is
/// left out: nothing here could use it.
pub(super) fn secret_data(value: &Value) -> Result<BTreeMap<String, Secret>, EntryError> {
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

pub(super) fn config_map_data(value: &Value) -> Result<BTreeMap<String, String>, EntryError> {
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

fn members<'a>(
    value: &'a Value,
    name: &'static str,
) -> Result<Vec<(&'a String, &'a Value)>, EntryError> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(members)) => Ok(Map::iter(members).collect()),
        Some(_) => Err(EntryError::NotAnObject(name)),
    }
}

fn decoded(field: &'static str, key: &str, value: &Value) -> Result<Vec<u8>, EntryError> {
    let text = clear(field, key, value)?;
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(packed).map_err(|_| EntryError::NotBase64 {
        field,
        key: key.to_owned(),
    })
}

fn clear<'a>(field: &'static str, key: &str, value: &'a Value) -> Result<&'a str, EntryError> {
    let text = value.as_str();
    text.ok_or_else(|| EntryError::NotAString {
        field,
        key: key.to_owned(),
    })
}
