//! The CEL rules of a schema (`x-kubernetes-validations`), run as the API server runs them.

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use serde_json::Value;

use crate::expression::{Bindings, Expression, ExpressionError, Scope};

/// One rule, parsed.
pub(super) struct Rule {
    expression: Expression,
    pub(super) message: String,
    /// A child of the value that the rule stands on, such as `.prePublish`.
    pub(super) field_path: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RuleError {
    #[error("the rule `{rule}`: {error}")]
    Expression {
        rule: String,
        error: ExpressionError,
    },
    #[error("the rule `{0}` has no message")]
    NoMessage(String),
}

impl Rule {
    pub(super) fn parse(rule: &ValidationRule) -> Result<Self, RuleError> {
        let expression = Expression::parse(&rule.rule, Scope::Rule);
        let expression = expression.map_err(|error| RuleError::Expression {
            rule: rule.rule.clone(),
            error,
        })?;
        let message = rule.message.clone();
        Ok(Self {
            message: message.ok_or_else(|| RuleError::NoMessage(rule.rule.clone()))?,
            field_path: rule.field_path.clone().unwrap_or_default(),
            expression,
        })
    }

    /// Whether `value` keeps the rule; a rule that errs is not kept.
    pub(super) fn holds(&self, value: &Value) -> bool {
        let result = self.expression.evaluate(&Bindings::claims(value));
        matches!(result, Ok(Value::Bool(true)))
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.expression).finish()
    }
}
