//! YAML and JSON to one JSON value, with a bound on what aliases expand to and without a word on
//! duplicate keys' values.
//!
//! `serde_yaml` bounds how often aliases are followed at a hundred times the events of the
//! document, and not how much text they copy: a file within the limits could still become
//! gigabytes. So every value and every byte is counted here.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most values of one file, expanded.
pub const VALUES_MAX: usize = 1_000_000;
/// Most bytes of text of one file, expanded.
pub const EXPANDED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What may still be read of a file.
#[derive(Debug)]
pub(super) struct Budget {
    values: Cell<usize>,
    bytes: Cell<usize>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            values: Cell::new(VALUES_MAX),
            bytes: Cell::new(EXPANDED_BYTES_MAX),
        }
    }
}

impl Budget {
    fn spend<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let values = self.values.get().checked_sub(1);
        let bytes = self.bytes.get().checked_sub(bytes);
        let (Some(values), Some(bytes)) = (values, bytes) else {
            return Err(E::custom(
                "the file is too large once its aliases are expanded: split it, or write fewer aliases",
            ));
        };
        self.values.set(values);
        self.bytes.set(bytes);
        Ok(())
    }
}

/// Reads one value out of `budget`.
#[derive(Clone, Copy)]
pub(super) struct Bounded<'b> {
    pub(super) budget: &'b Budget,
    pub(super) language: Language,
}

/// What a key means depends on it: `<<` merges in YAML, and is a name like others in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Yaml,
    Json,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a number, a string, a list or an object, without a YAML tag")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.budget.spend(0).map(|()| Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.budget.spend(0).map(|()| value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.budget.spend(0).map(|()| value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.budget.spend(0).map(|()| value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.budget.spend(0)?;
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.budget.spend(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.budget.spend(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.budget.spend(0)?;
        let mut object = Map::new();
        let mut merged = Vec::new();
        while let Some(key) = entries.next_key_seed(Key(self.budget))? {
            let value = entries.next_value_seed(self)?;
            if key == "<<" && self.language == Language::Yaml {
                merged.push(value);
            } else if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key `{key}` stands twice in one object: remove one of them"
                )));
            } else {
                object.insert(key, value);
            }
        }
        for value in merged {
            merge(&mut object, value).map_err(A::Error::custom)?;
        }
        Ok(Value::Object(object))
    }
}

/// YAML's merge key: what the object itself says stands, then the first of the merged ones that has
/// the key.
fn merge(object: &mut Map<String, Value>, merged: Value) -> Result<(), &'static str> {
    const MISUSED: &str = "`<<` takes an object or a list of objects";
    match merged {
        Value::Object(entries) => {
            for (key, value) in entries {
                object.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(several) => several.into_iter().try_for_each(|one| match one {
            Value::Object(_) => merge(object, one),
            _ => Err(MISUSED),
        }),
        _ => Err(MISUSED),
    }
}

/// A key: kubectl, too, makes strings of the numbers and booleans that YAML allows there.
struct Key<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is a string")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<String, E> {
        self.visit_str(if value { "true" } else { "false" })
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<String, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<String, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<String, E> {
        self.0.spend(value.len())?;
        Ok(value.to_owned())
    }
}
