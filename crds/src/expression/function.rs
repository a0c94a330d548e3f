//! The functions of an expression: those of CEL's standard library and its strings extension that a
//! claim needs.

use std::rc::Rc;

use super::ExpressionError;
use super::budget::{ALLOCATION, Budget, Fault};
use super::number;
use super::value::{Evaluated, List, Text, Val};

/// Named in the error that refuses another.
pub(super) const NAMES: &str = "has, size, string, int, double, contains, startsWith, endsWith, matches, lowerAscii, \
     upperAscii, trim, replace, split, join, all, exists, exists_one, map and filter";

/// The digits of the largest double and its sign; the smallest has zeros in place of some.
const DOUBLE_BYTES_MAX: usize = 330;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    String,
    Int,
    Double,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    Replace,
    Split,
    Join,
    Duration,
}

/// A function called as `name(argument)`.
pub(super) fn global(name: &str, arguments: usize) -> Result<Function, ExpressionError> {
    let function = match name {
        "size" => Function::Size,
        "string" => Function::String,
        "int" => Function::Int,
        "double" => Function::Double,
        _ => return Err(unknown(name)),
    };
    if arguments != 1 {
        let usage = function.usage();
        return Err(ExpressionError::Usage { usage });
    }
    Ok(function)
}

/// Kubernetes' `duration`, for the rules of schemas: in whole seconds, since they only compare
/// durations.
pub(super) fn duration(arguments: usize) -> Result<Function, ExpressionError> {
    let usage = Function::Duration.usage();
    (arguments == 1)
        .then_some(Function::Duration)
        .ok_or(ExpressionError::Usage { usage })
}

/// A function called as `receiver.name(arguments)`.
pub(super) fn member(name: &str, arguments: usize) -> Result<Function, ExpressionError> {
    let (function, takes) = match name {
        "size" => (Function::Size, 0..=0),
        "contains" => (Function::Contains, 1..=1),
        "startsWith" => (Function::StartsWith, 1..=1),
        "endsWith" => (Function::EndsWith, 1..=1),
        "lowerAscii" => (Function::LowerAscii, 0..=0),
        "upperAscii" => (Function::UpperAscii, 0..=0),
        "trim" => (Function::Trim, 0..=0),
        "replace" => (Function::Replace, 2..=2),
        "split" => (Function::Split, 1..=1),
        "join" => (Function::Join, 0..=1),
        _ => return Err(unknown(name)),
    };
    if !takes.contains(&arguments) {
        let usage = function.usage();
        return Err(ExpressionError::Usage { usage });
    }
    Ok(function)
}

fn unknown(name: &str) -> ExpressionError {
    ExpressionError::UnknownFunction {
        name: super::bounded(name),
    }
}

pub(super) fn call<'a>(
    function: Function,
    arguments: &[Val<'a>],
    budget: &mut Budget,
) -> Evaluated<'a> {
    match (function, arguments) {
        (Function::Size, [value]) => size(value, budget),
        (Function::String, [value]) => string(value, budget),
        (Function::Int, [value]) => int(value, budget),
        (Function::Double, [value]) => double(value, budget),
        (Function::Contains, [Val::Text(text), Val::Text(part)]) => {
            budget.charge_search(text.len() + part.len())?;
            Ok(Val::Bool(text.contains(&**part)))
        }
        (Function::StartsWith, [Val::Text(text), Val::Text(part)]) => {
            budget.charge_text(part.len())?;
            Ok(Val::Bool(text.starts_with(&**part)))
        }
        (Function::EndsWith, [Val::Text(text), Val::Text(part)]) => {
            budget.charge_text(part.len())?;
            Ok(Val::Bool(text.ends_with(&**part)))
        }
        (Function::LowerAscii, [Val::Text(text)]) => {
            charge_copies(text, budget)?;
            Ok(Val::text(&text.to_ascii_lowercase()))
        }
        (Function::UpperAscii, [Val::Text(text)]) => {
            charge_copies(text, budget)?;
            Ok(Val::text(&text.to_ascii_uppercase()))
        }
        (Function::Trim, [Val::Text(text)]) => {
            budget.charge_search(text.len())?;
            charge_copies(text, budget)?;
            Ok(Val::text(text.trim()))
        }
        (Function::Replace, [Val::Text(text), Val::Text(from), Val::Text(to)]) => {
            replace(text, from, to, budget)
        }
        (Function::Split, [Val::Text(text), Val::Text(separator)]) => {
            split(text, separator, budget)
        }
        (Function::Duration, [Val::Text(text)]) => seconds(text, budget),
        (Function::Join, [Val::List(items)]) => join(items, "", budget),
        (Function::Join, [Val::List(items), Val::Text(separator)]) => {
            join(items, separator, budget)
        }
        (function, arguments) => Err(mismatch(function, arguments)),
    }
}

/// A changed text is made once and then moved behind its count.
fn charge_copies(text: &str, budget: &mut Budget) -> Result<(), Fault<'static>> {
    budget.charge(ALLOCATION)?;
    budget.charge_text(2 * text.len())
}

/// Of a text in code points, as CEL counts them.
fn size<'a>(value: &Val<'a>, budget: &mut Budget) -> Evaluated<'a> {
    let size = match value {
        Val::Text(text) => {
            budget.charge_text(text.len())?;
            text.chars().count()
        }
        Val::List(items) => items.len(),
        Val::Map(entries) => entries.len(),
        other => return Err(mismatch(Function::Size, std::slice::from_ref(other))),
    };
    i64::try_from(size)
        .map(Val::Int)
        .map_err(|_| number::OUT_OF_RANGE)
}

fn string<'a>(value: &Val<'a>, budget: &mut Budget) -> Evaluated<'a> {
    budget.charge(ALLOCATION)?;
    match value {
        Val::Text(text) => Ok(Val::Text(text.clone())),
        Val::Bool(value) => Ok(Val::borrowed(if *value { "true" } else { "false" })),
        Val::Int(value) => Ok(Val::text(&value.to_string())),
        Val::Uint(value) => Ok(Val::text(&value.to_string())),
        Val::Double(value) => {
            budget.charge_search(DOUBLE_BYTES_MAX)?;
            Ok(Val::text(&value.to_string()))
        }
        other => Err(mismatch(Function::String, std::slice::from_ref(other))),
    }
}

fn int<'a>(value: &Val<'a>, budget: &mut Budget) -> Evaluated<'a> {
    let value = match value {
        Val::Int(value) => Some(*value),
        Val::Uint(value) => i64::try_from(*value).ok(),
        Val::Double(value) => number::truncate(*value),
        Val::Text(text) => {
            budget.charge_search(text.len())?;
            let parsed = text.parse::<i64>();
            return parsed
                .map(Val::Int)
                .map_err(|_| Fault::Other("int() was given a string that is no integer"));
        }
        other => return Err(mismatch(Function::Int, std::slice::from_ref(other))),
    };
    value.map(Val::Int).ok_or(number::OUT_OF_RANGE)
}

fn double<'a>(value: &Val<'a>, budget: &mut Budget) -> Evaluated<'a> {
    match value {
        Val::Double(value) => Ok(Val::Double(*value)),
        Val::Int(value) => Ok(Val::Double(*value as f64)),
        Val::Uint(value) => Ok(Val::Double(*value as f64)),
        Val::Text(text) => {
            // Long numbers are read digit by digit, more than once.
            budget.charge_search(2 * text.len())?;
            let parsed = text.parse::<f64>();
            parsed
                .map(Val::Double)
                .map_err(|_| Fault::Other("double() was given a string that is no number"))
        }
        other => Err(mismatch(Function::Double, std::slice::from_ref(other))),
    }
}

fn seconds<'a>(text: &str, budget: &mut Budget) -> Evaluated<'a> {
    budget.charge_search(text.len())?;
    let duration = text.parse::<crate::duration::Duration>();
    let duration = duration.map_err(|_| Fault::Other("duration() was given no duration"))?;
    i64::try_from(duration.as_secs())
        .map(Val::Int)
        .map_err(|_| number::OUT_OF_RANGE)
}

/// The parts are counted before the copy is made, since a copy can be much longer than the text.
fn replace<'a>(text: &str, from: &str, to: &str, budget: &mut Budget) -> Evaluated<'a> {
    budget.charge_search(text.len() + from.len())?;
    let found = text.matches(from).count();
    budget.charge(found)?;
    budget.charge_text(text.len() + found.saturating_mul(to.len()))?;
    Ok(Val::text(&text.replace(from, to)))
}

/// With an empty separator, into characters.
fn split<'a>(text: &Text<'a>, separator: &str, budget: &mut Budget) -> Evaluated<'a> {
    budget.charge_search(text.len() + separator.len())?;
    let mut parts = Vec::new();
    let mut push = |part: &str| {
        budget.charge(ALLOCATION)?;
        budget.charge_text(part.len())?;
        parts.push(Val::Text(Text::Built(Rc::from(part))));
        Ok(())
    };
    if separator.is_empty() {
        let mut buffer = [0; 4];
        text.chars()
            .try_for_each(|char| push(char.encode_utf8(&mut buffer)))?;
    } else {
        text.split(separator).try_for_each(push)?;
    }
    Ok(Val::list(parts))
}

fn join<'a>(items: &List<'a>, separator: &str, budget: &mut Budget) -> Evaluated<'a> {
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        let Val::Text(item) = item else {
            return Err(mismatch(Function::Join, &[item]));
        };
        budget.charge(1)?;
        budget.charge_text(item.len() + separator.len())?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&item);
    }
    Ok(Val::text(&joined))
}

/// Names the receiver and the last argument: one of the two is at fault, or the one between them.
fn mismatch(function: Function, arguments: &[Val<'_>]) -> Fault<'static> {
    let operation = function.name();
    match arguments {
        [left, rest @ .., right] if rest.len() < 2 => Fault::Binary {
            operation,
            left: left.type_name(),
            right: right.type_name(),
        },
        [on, ..] => Fault::Unary {
            operation,
            on: on.type_name(),
        },
        [] => Fault::Other("a function was given nothing"),
    }
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::String => "string",
            Self::Int => "int",
            Self::Double => "double",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::LowerAscii => "lowerAscii",
            Self::UpperAscii => "upperAscii",
            Self::Trim => "trim",
            Self::Replace => "replace",
            Self::Split => "split",
            Self::Join => "join",
            Self::Duration => "duration",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Size => "size(claims.list)",
            Self::String => "string(claims.number)",
            Self::Int => "int(claims.text)",
            Self::Double => "double(claims.text)",
            Self::Contains => "claims.text.contains('part')",
            Self::StartsWith => "claims.text.startsWith('part')",
            Self::EndsWith => "claims.text.endsWith('part')",
            Self::LowerAscii => "claims.text.lowerAscii()",
            Self::UpperAscii => "claims.text.upperAscii()",
            Self::Trim => "claims.text.trim()",
            Self::Replace => "claims.text.replace('from', 'to')",
            Self::Split => "claims.text.split(',')",
            Self::Join => "claims.list.join(',')",
            Self::Duration => "duration(self.text)",
        }
    }
}
