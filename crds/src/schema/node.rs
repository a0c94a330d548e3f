//! A structural schema made ready to judge by: patterns and rules are parsed once, what does not
//! matter here is dropped.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::rule::{Rule, RuleError};
use crate::expression::{ExpressionError, Pattern};

/// One value's schema.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) default: Option<Value>,
    /// Empty: any value.
    pub(super) allowed: Vec<Value>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    Object {
        properties: BTreeMap<String, Node>,
        required: Vec<String>,
        unknown: Unknown,
    },
    Map {
        values: Box<Node>,
        length: Bounds,
    },
    List {
        items: Box<Node>,
        length: Bounds,
        uniqueness: Uniqueness,
    },
    String {
        length: Bounds,
        /// As it is written, and compiled.
        pattern: Option<Box<(String, Pattern)>>,
    },
    Integer(Range),
    Number(Range),
    Boolean,
    IntOrString,
}

/// What happens to members that the schema does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    Refused,
    Kept,
}

/// `x-kubernetes-list-type`.
#[derive(Debug)]
pub(super) enum Uniqueness {
    Atomic,
    Set,
    Map { keys: Vec<String> },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min: u64,
    pub(super) max: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
}

/// A schema that is not structural, or uses what is not judged here: a defect of the kind, which a
/// test finds.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error("{path}: the schema has {what}, which is not judged here")]
    Unsupported { path: String, what: &'static str },
    #[error("{path}: {error}")]
    Pattern {
        path: String,
        error: ExpressionError,
    },
    #[error("{path}: {error}")]
    Rule { path: String, error: RuleError },
}

impl Node {
    pub(super) fn build(schema: &JSONSchemaProps, path: &str) -> Result<Self, SchemaError> {
        check_supported(schema, path)?;
        let rules = schema.x_kubernetes_validations.iter().flatten();
        let rules = rules.map(Rule::parse).collect::<Result<_, _>>();
        Ok(Self {
            kind: NodeKind::build(schema, path)?,
            default: schema.default.as_ref().map(|default| default.0.clone()),
            allowed: schema
                .enum_
                .iter()
                .flatten()
                .map(|value| value.0.clone())
                .collect(),
            rules: rules.map_err(|error| SchemaError::Rule {
                path: path.to_owned(),
                error,
            })?,
        })
    }
}

impl NodeKind {
    fn build(schema: &JSONSchemaProps, path: &str) -> Result<Self, SchemaError> {
        if schema.x_kubernetes_int_or_string == Some(true) {
            return Ok(Self::IntOrString);
        }
        let range = Range {
            min: schema.minimum,
            max: schema.maximum,
        };
        match schema.type_.as_deref() {
            Some("object") => Self::object(schema, path),
            Some("array") => Self::list(schema, path),
            Some("string") => Ok(Self::String {
                length: Bounds::new(schema.min_length, schema.max_length),
                pattern: schema
                    .pattern
                    .as_ref()
                    .map(|text| Ok(Box::new((text.clone(), Pattern::parse(text)?))))
                    .transpose()
                    .map_err(|error| SchemaError::Pattern {
                        path: path.to_owned(),
                        error,
                    })?,
            }),
            Some("integer") => Ok(Self::Integer(range)),
            Some("number") => Ok(Self::Number(range)),
            Some("boolean") => Ok(Self::Boolean),
            _ => Err(unsupported(path, "no type, or one of its own")),
        }
    }

    fn object(schema: &JSONSchemaProps, path: &str) -> Result<Self, SchemaError> {
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
            return Ok(Self::Map {
                values: Box::new(Node::build(values, &format!("{path}.*"))?),
                length: Bounds::new(schema.min_properties, schema.max_properties),
            });
        }
        let properties = schema.properties.iter().flatten();
        let properties = properties.map(|(name, property)| {
            let node = Node::build(property, &format!("{path}.{name}"))?;
            Ok((name.clone(), node))
        });
        Ok(Self::Object {
            properties: properties.collect::<Result<_, SchemaError>>()?,
            required: schema.required.clone().unwrap_or_default(),
            unknown: match schema.x_kubernetes_preserve_unknown_fields {
                Some(true) => Unknown::Kept,
                Some(false) | None => Unknown::Refused,
            },
        })
    }

    fn list(schema: &JSONSchemaProps, path: &str) -> Result<Self, SchemaError> {
        let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items else {
            return Err(unsupported(path, "a list without one schema of its items"));
        };
        let uniqueness = match schema.x_kubernetes_list_type.as_deref() {
            Some("set") => Uniqueness::Set,
            Some("map") => Uniqueness::Map {
                keys: schema
                    .x_kubernetes_list_map_keys
                    .clone()
                    .unwrap_or_default(),
            },
            _ => Uniqueness::Atomic,
        };
        Ok(Self::List {
            items: Box::new(Node::build(items, &format!("{path}[]"))?),
            length: Bounds::new(schema.min_items, schema.max_items),
            uniqueness,
        })
    }
}

impl Bounds {
    fn new(min: Option<i64>, max: Option<i64>) -> Self {
        let count = |bound: Option<i64>| bound.and_then(|bound| u64::try_from(bound).ok());
        Self {
            min: count(min).unwrap_or(0),
            max: count(max),
        }
    }
}

fn check_supported(schema: &JSONSchemaProps, path: &str) -> Result<(), SchemaError> {
    let unjudged = [
        (schema.all_of.is_some(), "allOf"),
        (schema.any_of.is_some(), "anyOf"),
        (schema.one_of.is_some(), "oneOf"),
        (schema.not.is_some(), "not"),
        (schema.multiple_of.is_some(), "multipleOf"),
        (schema.unique_items.is_some(), "uniqueItems"),
        (schema.nullable.is_some(), "nullable"),
        (schema.format.is_some(), "format"),
        (schema.exclusive_minimum.is_some(), "exclusiveMinimum"),
        (schema.exclusive_maximum.is_some(), "exclusiveMaximum"),
        (
            schema.x_kubernetes_embedded_resource.is_some(),
            "an embedded resource",
        ),
    ];
    match unjudged.into_iter().find(|(used, _)| *used) {
        Some((_, what)) => Err(unsupported(path, what)),
        None => Ok(()),
    }
}

fn unsupported(path: &str, what: &'static str) -> SchemaError {
    SchemaError::Unsupported {
        path: path.to_owned(),
        what,
    }
}
