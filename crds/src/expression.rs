//! CEL expressions over the claims of a token, bounded before they are parsed and while they run.
//!
//! The language is CEL's; the parser and the evaluation are ours, because every operation has to be
//! paid for, and CEL's usual interpreters copy whole values without a limit. Ours works on the JSON
//! as it is, so `claims.email` costs two look-ups. The tests hold both against the `cel` crate.
//! What is bounded, and where:
//!
//! | what | bound | where |
//! |---|---|---|
//! | length of the text | [`TEXT_BYTES_MAX`] | before parsing |
//! | nesting of brackets, depth of the tree | [`NESTING_MAX`], [`DEPTH_MAX`] | while parsing |
//! | nesting of `all`, `exists`, `exists_one`, `map`, `filter` | [`MACRO_NESTING_MAX`] | while parsing |
//! | work of one evaluation | [`STEPS_MAX`] | while running, see [`budget`] |
//! | the result | [`RESULT_BYTES_MAX`] and more, see [`result`] | at the end |

mod budget;
mod check;
mod evaluate;
mod function;
mod node;
mod number;
mod operate;
mod pattern;
mod result;
mod syntax;
mod value;

use std::fmt;

use serde_json::Value;

use budget::Fault;
use node::{Node, Root};

pub(crate) use budget::Budget;
pub(crate) use pattern::Pattern;
pub(crate) use result::weight;

pub use budget::STEPS_MAX;
pub use check::{DEPTH_MAX, MACRO_NESTING_MAX};
pub use result::RESULT_BYTES_MAX;
pub use syntax::{NESTING_MAX, TEXT_BYTES_MAX};

/// Which variables an expression may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `claims`: the verified claims of the provider's token.
    Claims,
    /// `user`, `claims` and `provider`: for the claims that a policy adds.
    Extra,
    /// `self`: for the rules of our own schemas, which also compare `duration`s.
    Rule,
}

/// An expression that was parsed and found to be within every static bound.
pub struct Expression {
    text: String,
    node: Node,
}

/// The variables of one sign-in, borrowed: nothing is converted or copied.
#[derive(Debug, Clone, Copy)]
pub struct Bindings<'a> {
    claims: &'a Value,
    user: Option<&'a Value>,
    provider: Option<&'a Value>,
}

/// Why a text is no expression of ours; each says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    #[error(
        "shorten the expression: it has {bytes} bytes and at most {TEXT_BYTES_MAX} are allowed"
    )]
    TooLong { bytes: usize },
    #[error("flatten the expression: brackets, conditions or operators are nested too deeply")]
    TooDeep,
    #[error("correct the expression at line {line}, column {column}: {message}")]
    Syntax {
        line: usize,
        column: usize,
        message: String,
    },
    #[error("replace `{name}`: the variables here are {known}")]
    UnknownVariable { name: String, known: &'static str },
    #[error("name the loop variable otherwise: `{name}` is taken")]
    VariableTaken { name: String },
    #[error("replace `{name}`: the functions are {}", function::NAMES)]
    UnknownFunction { name: String },
    #[error("write `{usage}`")]
    Usage { usage: &'static str },
    #[error("nest all, exists, exists_one, map and filter at most {MACRO_NESTING_MAX} deep")]
    MacroNesting,
    #[error("correct the pattern of `matches`: {0}")]
    Pattern(String),
    #[error("leave out {0}: it is not supported")]
    Unsupported(&'static str),
}

/// Why an expression has no value for these claims. No message contains the value of a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    #[error("there is no `{0}`")]
    MissingKey(String),
    #[error("the expression took more than {STEPS_MAX} steps")]
    BudgetExceeded,
    #[error("{0}")]
    Failed(String),
}

impl Expression {
    pub fn parse(text: &str, scope: Scope) -> Result<Self, ExpressionError> {
        let tree = syntax::parse(text)?;
        let node = check::check(&tree, scope)?;
        Ok(Self {
            text: text.to_owned(),
            node,
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value for these variables, within [`STEPS_MAX`] steps.
    pub fn evaluate(&self, bindings: &Bindings<'_>) -> Result<Value, EvaluationError> {
        self.evaluate_within(bindings, &mut Budget::full())
    }

    /// As [`evaluate`](Self::evaluate), out of a budget that several expressions share.
    pub(crate) fn evaluate_within(
        &self,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
    ) -> Result<Value, EvaluationError> {
        let value = evaluate::evaluate(&self.node, bindings, budget);
        let result = value.and_then(|value| result::to_json(&value, budget));
        result.map_err(EvaluationError::from)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl<'a> Bindings<'a> {
    /// For [`Scope::Claims`].
    pub fn claims(claims: &'a Value) -> Self {
        Self {
            claims,
            user: None,
            provider: None,
        }
    }

    /// For [`Scope::Extra`].
    pub fn extra(user: &'a Value, claims: &'a Value, provider: &'a Value) -> Self {
        Self {
            claims,
            user: Some(user),
            provider: Some(provider),
        }
    }

    fn root(&self, root: Root) -> Option<&'a Value> {
        match root {
            Root::Claims => Some(self.claims),
            Root::User => self.user,
            Root::Provider => self.provider,
        }
    }
}

impl From<Fault<'_>> for EvaluationError {
    fn from(fault: Fault<'_>) -> Self {
        match fault {
            Fault::Missing(key) => Self::MissingKey(bounded(key)),
            Fault::Budget => Self::BudgetExceeded,
            Fault::Unary { operation, on } => {
                Self::Failed(format!("{operation} cannot be applied to {on}"))
            }
            Fault::Binary {
                operation,
                left,
                right,
            } => Self::Failed(format!(
                "{operation} cannot be applied to {left} and {right}"
            )),
            Fault::Other(message) => Self::Failed(message.to_owned()),
        }
    }
}

/// A part of the expression's own text, short enough for a log line.
fn bounded(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests;
