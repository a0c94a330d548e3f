//! JSON as RFC 8259 recommends it and JWT needs it (RFC 7519, section 4): an object with a name
//! twice is refused, since two readers could take two different values from it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Reads one JSON value; the error never repeats the input. Nesting is bounded by the parser (128
/// levels).
pub fn parse(bytes: &[u8]) -> Result<Value, NotStrictJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut deserializer).map_err(classify)?;
    deserializer.end().map_err(classify)?;
    Ok(value)
}

/// Reads one JSON object.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, NotStrictJson> {
    match parse(bytes)? {
        Value::Object(members) => Ok(members),
        _ => Err(NotStrictJson::NotAnObject),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStrictJson {
    #[error("it is not JSON")]
    Syntax,
    #[error("an object has one name twice")]
    DuplicateName,
    #[error("it is not a JSON object")]
    NotAnObject,
}

const DUPLICATE: &str = "duplicate name";

fn classify(error: serde_json::Error) -> NotStrictJson {
    if error.is_data() && error.to_string().starts_with(DUPLICATE) {
        NotStrictJson::DuplicateName
    } else {
        NotStrictJson::Syntax
    }
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let Entry::Vacant(place) = members.entry(name) else {
                return Err(A::Error::custom(DUPLICATE));
            };
            place.insert(map.next_value_seed(Self)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_ordinary_json() {
        let value = parse(br#" {"a": [1, -2, 1.5, true, null, "x"], "b": {"a": {}}} "#);
        assert_eq!(
            value,
            Ok(json!({"a": [1, -2, 1.5, true, null, "x"], "b": {"a": {}}}))
        );
    }

    #[test]
    fn refuses_a_name_twice_at_any_depth_and_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":[{"a":1,"\u0061":2}]}"#,
            r#"{"sub":"a","\u0073ub":"b"}"#,
        ] {
            assert_eq!(
                parse(text.as_bytes()),
                Err(NotStrictJson::DuplicateName),
                "{text}"
            );
        }
        assert!(parse(r#"{"sub":1,"Sub":2,"ſub":3}"#.as_bytes()).is_ok());
    }

    #[test]
    fn refuses_what_is_not_one_json_object() {
        for text in [
            "",
            "{",
            "{} {}",
            "{\"a\":1,}",
            "nan",
            "\u{feff}{}",
            "{'a':1}",
        ] {
            assert_eq!(
                parse_object(text.as_bytes()),
                Err(NotStrictJson::Syntax),
                "{text}"
            );
        }
        for text in ["[]", "1", "null", "\"{}\""] {
            assert_eq!(
                parse_object(text.as_bytes()),
                Err(NotStrictJson::NotAnObject),
                "{text}"
            );
        }
        assert_eq!(
            parse_object(b"{\"a\":\"\xff\"}"),
            Err(NotStrictJson::Syntax)
        );
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_stack_overflow() {
        let text = "[".repeat(100_000);
        assert_eq!(parse(text.as_bytes()), Err(NotStrictJson::Syntax));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn agrees_with_the_lenient_parser_on_what_it_accepts(text in "[\\[\\]{}:,\"a-c0-9. ]{0,40}") {
            if let Ok(value) = parse(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
            }
        }
    }
}
