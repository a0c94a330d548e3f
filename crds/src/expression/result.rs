//! The value of an expression as JSON, no larger than what may go into a token or a database row.

use serde_json::{Number, Value};

use super::budget::{Budget, Fault};
use super::value::Val;

/// Text of one result altogether, keys included.
pub const RESULT_BYTES_MAX: usize = 16 * 1024;

const TEXT_BYTES_MAX: usize = 4 * 1024;
const ITEMS_MAX: usize = 1000;
const DEPTH_MAX: usize = 8;

pub(super) fn to_json<'a>(value: &Val<'a>, budget: &mut Budget) -> Result<Value, Fault<'a>> {
    let mut converter = Converter {
        budget,
        bytes_left: RESULT_BYTES_MAX,
    };
    converter.value(value, 0)
}

struct Converter<'b> {
    budget: &'b mut Budget,
    bytes_left: usize,
}

impl Converter<'_> {
    fn value<'a>(&mut self, value: &Val<'a>, depth: usize) -> Result<Value, Fault<'a>> {
        if depth > DEPTH_MAX {
            return Err(Fault::Other("the result is nested more than 8 deep"));
        }
        self.budget.charge(1)?;
        match value {
            Val::Null => Ok(Value::Null),
            Val::Bool(value) => Ok(Value::Bool(*value)),
            Val::Int(value) => Ok(Value::from(*value)),
            Val::Uint(value) => Ok(Value::from(*value)),
            Val::Double(value) => Number::from_f64(*value)
                .map(Value::Number)
                .ok_or(Fault::Other("the result is no finite number")),
            Val::Text(text) => self.text(text).map(Value::String),
            Val::List(items) => {
                check_items(items.len())?;
                let items = items.iter().map(|item| self.value(&item, depth + 1));
                items.collect::<Result<_, _>>().map(Value::Array)
            }
            Val::Map(entries) => {
                check_items(entries.len())?;
                let entries = entries
                    .iter()
                    .map(|(key, value)| Ok((self.text(key)?, self.value(&value, depth + 1)?)));
                entries.collect::<Result<_, _>>().map(Value::Object)
            }
        }
    }

    fn text(&mut self, text: &str) -> Result<String, Fault<'static>> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault::Other("the result has a text of more than 4 KiB"));
        }
        self.bytes_left = self
            .bytes_left
            .checked_sub(text.len())
            .ok_or(Fault::Other("the result has more than 16 KiB of text"))?;
        self.budget.charge_text(text.len())?;
        Ok(text.to_owned())
    }
}

fn check_items(items: usize) -> Result<(), Fault<'static>> {
    if items > ITEMS_MAX {
        return Err(Fault::Other("the result has more than 1000 items"));
    }
    Ok(())
}

/// About the bytes of a result as JSON.
pub(crate) fn weight(value: &Value) -> usize {
    const PUNCTUATION: usize = 4;
    PUNCTUATION
        + match value {
            Value::Null | Value::Bool(_) => 1,
            Value::Number(_) => 8,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(entries) => entries
                .iter()
                .map(|(key, value)| key.len() + weight(value))
                .sum(),
        }
}
