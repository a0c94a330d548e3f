//! Judges a value by its schema. The order is the API server's: rules run only on what has the
//! right shape.

use std::fmt;

use serde_json::Value;

use super::FieldError;
use super::did_you_mean::did_you_mean;
use super::node::{Bounds, Node, NodeKind, Range, Uniqueness, Unknown};
use super::path::Path;
use crate::duration;
use crate::reference::{
    ALIAS_PATTERN, CLIENT_ID_PATTERN, DATA_KEY_PATTERN, ISSUER_PATTERN, NAME_PATTERN,
    NETWORK_PATTERN, URL_PATTERN,
};

/// The check stops after this many findings: more are not fixed at once.
const FINDINGS_MAX: usize = 32;
/// Longest text of the manifest that a message repeats.
const QUOTED_CHARS_MAX: usize = 80;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<FieldError>);

impl Findings {
    pub(super) fn add(&mut self, path: impl fmt::Display, message: impl Into<String>) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(FieldError {
                path: path.to_string(),
                message: message.into(),
            });
        }
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.0
    }
}

pub(super) fn check(node: &Node, value: &Value, path: &Path<'_>, findings: &mut Findings) {
    let before = findings.0.len();
    match (&node.kind, value) {
        (
            NodeKind::Object {
                properties,
                required,
                unknown,
            },
            Value::Object(members),
        ) => {
            for name in required.iter().filter(|name| !members.contains_key(*name)) {
                findings.add(Path::Member(path, name), "it is required");
            }
            for (name, member) in members {
                match (properties.get(name), unknown) {
                    (Some(property), _) => {
                        check(property, member, &Path::Member(path, name), findings)
                    }
                    (None, Unknown::Kept) => {}
                    (None, Unknown::Refused) => {
                        let known = properties.keys().map(String::as_str);
                        findings.add(Path::Member(path, name), did_you_mean(name, known));
                    }
                }
            }
        }
        (NodeKind::Map { values, length }, Value::Object(members)) => {
            check_count(*length, members.len(), "entries", path, findings);
            for (name, member) in members {
                check(values, member, &Path::Member(path, name), findings);
            }
        }
        (
            NodeKind::List {
                items,
                length,
                uniqueness,
            },
            Value::Array(members),
        ) => {
            check_count(*length, members.len(), "items", path, findings);
            // A list that is too long is not walked: what may be long is bounded by its length
            // alone.
            if findings.0.len() == before {
                for (index, member) in members.iter().enumerate() {
                    check(items, member, &Path::Item(path, index), findings);
                }
                check_unique(uniqueness, members, path, findings);
            }
        }
        (NodeKind::String { length, pattern }, Value::String(text)) => {
            check_count(*length, text.chars().count(), "characters", path, findings);
            if let Some((wanted, pattern)) = pattern.as_deref()
                && !pattern.matches(text)
            {
                let wanted = match in_words(wanted) {
                    Some(words) => format!("be {words} ({wanted})"),
                    None => format!("match {wanted}"),
                };
                findings.add(path, format!("{} must {wanted}", quoted(value)));
            }
        }
        (NodeKind::Integer(range), Value::Number(number)) => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0);
            match whole {
                Some(number) => check_range(*range, number, path, findings),
                None => findings.add(path, "it must be a whole number"),
            }
        }
        (NodeKind::Number(range), Value::Number(number)) => {
            check_range(*range, number.as_f64().unwrap_or(f64::NAN), path, findings);
        }
        (NodeKind::Boolean, Value::Bool(_))
        | (NodeKind::IntOrString, Value::Number(_) | Value::String(_)) => {}
        (kind, other) => {
            let (wanted, found) = (wanted(kind), type_name(other));
            findings.add(path, format!("it must be {wanted}, and is {found}"));
        }
    }
    if findings.0.len() > before {
        return;
    }
    if !node.allowed.is_empty() && !node.allowed.contains(value) {
        let allowed: Vec<String> = node.allowed.iter().map(quoted).collect();
        let message = format!("{} is none of {}", quoted(value), allowed.join(", "));
        findings.add(path, message);
        return;
    }
    for rule in &node.rules {
        if !rule.holds(value) {
            findings.add(
                format_args!("{path}{}", rule.field_path),
                rule.message.clone(),
            );
        }
    }
}

fn check_count(bounds: Bounds, count: usize, what: &str, path: &Path<'_>, findings: &mut Findings) {
    let count = count as u64;
    if count < bounds.min {
        findings.add(
            path,
            format!("it has {count} {what} and needs at least {}", bounds.min),
        );
    }
    if let Some(max) = bounds.max.filter(|max| count > *max) {
        findings.add(
            path,
            format!("it has {count} {what} and may have at most {max}"),
        );
    }
}

/// What a pattern of ours asks for, for readers who do not read regular expressions.
fn in_words(pattern: &str) -> Option<&'static str> {
    match pattern {
        duration::PATTERN => Some("a duration such as 30s, 15m or 720h"),
        NAME_PATTERN => Some("a name of lower-case letters, digits, - and ."),
        DATA_KEY_PATTERN => Some("a name of letters, digits, -, _ and ."),
        ALIAS_PATTERN => Some("an `iss` value, without white space"),
        ISSUER_PATTERN => Some("an issuer such as https://login.example.com"),
        CLIENT_ID_PATTERN => Some("a name of letters, digits and - . _ ~ : / @"),
        URL_PATTERN => Some("a URL such as https://login.example.com/jwks"),
        NETWORK_PATTERN => Some("an address or a network such as 10.0.0.0/8"),
        _ => None,
    }
}

fn check_range(range: Range, number: f64, path: &Path<'_>, findings: &mut Findings) {
    if let Some(min) = range.min.filter(|min| number < *min) {
        findings.add(path, format!("{number} must be at least {min}"));
    }
    if let Some(max) = range.max.filter(|max| number > *max) {
        findings.add(path, format!("{number} must be at most {max}"));
    }
}

fn check_unique(
    uniqueness: &Uniqueness,
    members: &[Value],
    path: &Path<'_>,
    findings: &mut Findings,
) {
    let same = |left: &Value, right: &Value| match uniqueness {
        Uniqueness::Atomic => false,
        Uniqueness::Set => left == right,
        Uniqueness::Map { keys } => keys.iter().all(|key| left.get(key) == right.get(key)),
    };
    for (index, member) in members.iter().enumerate() {
        if members[..index].iter().any(|earlier| same(earlier, member)) {
            findings.add(
                Path::Item(path, index),
                "it stands in the list already: remove one of them",
            );
        }
    }
}

fn wanted(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Object { .. } | NodeKind::Map { .. } => "an object",
        NodeKind::List { .. } => "a list",
        NodeKind::String { .. } => "a string",
        NodeKind::Integer(_) => "a whole number",
        NodeKind::Number(_) => "a number",
        NodeKind::Boolean => "true or false",
        NodeKind::IntOrString => "a number or a string",
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > QUOTED_CHARS_MAX => {
            let start: String = text.chars().take(QUOTED_CHARS_MAX).collect();
            format!("{:?}", format!("{start}…"))
        }
        other => other.to_string(),
    }
}
