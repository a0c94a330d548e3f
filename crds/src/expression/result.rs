//! The value of an expression as JSON, no larger than what may go into a token or a database row.

use serde_json::{Number, Value};

use super::budget::{Budget, Fault};
use super::value::Val;

/// One result altogether, as JSON: what [`weight`] says of it.
pub const RESULT_BYTES_MAX: usize = 16 * 1024;

const TEXT_BYTES_MAX: usize = 4 * 1024;
const ITEMS_MAX: usize = 1000;
const DEPTH_MAX: usize = 8;

/// About what a value takes in addition to its text: quotes, a comma, a colon.
const PUNCTUATION: usize = 4;
const SCALAR: usize = 8;

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
        self.spend(PUNCTUATION)?;
        match value {
            Val::Null => self.scalar(Value::Null),
            Val::Bool(value) => self.scalar(Value::Bool(*value)),
            Val::Int(value) => self.scalar(Value::from(*value)),
            Val::Uint(value) => self.scalar(Value::from(*value)),
            Val::Double(value) => Number::from_f64(*value)
                .ok_or(Fault::Other("the result is no finite number"))
                .and_then(|number| self.scalar(Value::Number(number))),
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
        self.spend(text.len())?;
        self.budget.charge_text(text.len())?;
        Ok(text.to_owned())
    }

    fn scalar(&mut self, value: Value) -> Result<Value, Fault<'static>> {
        self.spend(SCALAR)?;
        Ok(value)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Fault<'static>> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or(Fault::Other("the result has more than 16 KiB"))?;
        Ok(())
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
    PUNCTUATION
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => SCALAR,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(entries) => entries
                .iter()
                .map(|(key, value)| key.len() + weight(value))
                .sum(),
        }
}
