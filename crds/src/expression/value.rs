//! A CEL value during one evaluation: JSON where it stands, or something that was built and paid
//! for.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use serde_json::Value;

use super::budget::{Budget, Fault};
use super::number;

/// Deeper values are not compared or returned: both are recursive. JSON text is no deeper when
/// serde_json read it.
pub(super) const DEPTH_MAX: usize = 128;

pub(super) type Evaluated<'a> = Result<Val<'a>, Fault<'a>>;

/// Cheap to clone: a step copies at most a pointer and a count.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A JSON number above `i64::MAX`: it compares, and nothing else.
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    List(List<'a>),
    Map(Map<'a>),
}

#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Built(Rc<str>),
}

#[derive(Debug, Clone)]
pub(super) enum List<'a> {
    Json(&'a [Value]),
    Built(Rc<Vec<Val<'a>>>),
}

#[derive(Debug, Clone)]
pub(super) enum Map<'a> {
    Json(&'a serde_json::Map<String, Value>),
    Built(Rc<BTreeMap<Rc<str>, Val<'a>>>),
}

impl<'a> Val<'a> {
    pub(super) fn of(json: &'a Value) -> Self {
        match json {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => {
                if let Some(value) = number.as_i64() {
                    Self::Int(value)
                } else if let Some(value) = number.as_u64() {
                    Self::Uint(value)
                } else {
                    number.as_f64().map_or(Self::Null, Self::Double)
                }
            }
            Value::String(text) => Self::borrowed(text),
            Value::Array(items) => Self::List(List::Json(items)),
            Value::Object(entries) => Self::Map(Map::Json(entries)),
        }
    }

    pub(super) fn borrowed(text: &'a str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    pub(super) fn text(text: &str) -> Self {
        Self::Text(Text::Built(Rc::from(text)))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Built(Rc::new(items)))
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// CEL equality: numbers by value whatever their type, values of other different types unequal.
    pub(super) fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool, Fault<'a>> {
        self.equals_at(other, budget, 0)
    }

    fn equals_at(
        &self,
        other: &Self,
        budget: &mut Budget,
        depth: usize,
    ) -> Result<bool, Fault<'a>> {
        if depth == DEPTH_MAX {
            return Err(Fault::Other("the value is nested too deeply"));
        }
        match (self, other) {
            (Self::Null, Self::Null) => Ok(true),
            (Self::Bool(left), Self::Bool(right)) => Ok(left == right),
            (Self::Text(left), Self::Text(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                budget.charge_text(left.len())?;
                Ok(**left == **right)
            }
            (Self::List(left), Self::List(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(right.iter()) {
                    budget.charge(2)?;
                    if !left.equals_at(&right, budget, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Self::Map(left), Self::Map(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (key, left) in left.iter() {
                    budget.charge(4)?;
                    budget.charge_text(key.len())?;
                    let Some(right) = right.get(key) else {
                        return Ok(false);
                    };
                    if !left.equals_at(&right, budget, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(self.compare_numbers(other) == Some(Ordering::Equal)),
        }
    }

    /// `None` where one is not a number.
    pub(super) fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(right),
            (Self::Double(left), _) => {
                let order = number::compare_with_double(other.integer()?, *left);
                order.map(Ordering::reverse)
            }
            (_, Self::Double(right)) => number::compare_with_double(self.integer()?, *right),
            _ => Some(self.integer()?.cmp(&other.integer()?)),
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Double(_)) || self.integer().is_some()
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            Self::Null
            | Self::Bool(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Map(_) => None,
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Built(text) => text,
        }
    }
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Built(items) => items.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Self::Json(items) => items.get(index).map(Val::of),
            Self::Built(items) => items.get(index).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Val<'a>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(entries) => entries.len(),
            Self::Built(entries) => entries.len(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Val<'a>> {
        match self {
            Self::Json(entries) => entries.get(key).map(Val::of),
            Self::Built(entries) => entries.get(key).cloned(),
        }
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        match self {
            Self::Json(entries) => entries.contains_key(key),
            Self::Built(entries) => entries.contains_key(key),
        }
    }

    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = (&str, Val<'a>)> + '_> {
        match self {
            Self::Json(entries) => Box::new(
                entries
                    .iter()
                    .map(|(key, value)| (key.as_str(), Val::of(value))),
            ),
            Self::Built(entries) => Box::new(
                entries
                    .iter()
                    .map(|(key, value)| (key.as_ref(), value.clone())),
            ),
        }
    }

    /// What a macro over a map passes on.
    pub(super) fn keys(&self) -> Vec<Val<'a>> {
        match self {
            Self::Json(entries) => entries.keys().map(|key| Val::borrowed(key)).collect(),
            Self::Built(entries) => entries
                .keys()
                .map(|key| Val::Text(Text::Built(Rc::clone(key))))
                .collect(),
        }
    }
}
