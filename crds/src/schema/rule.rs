//! The CEL rules of a schema (`x-kubernetes-validations`), run as the API server runs them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelInt, CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError, Program};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use serde_json::Value;

use crate::duration::Duration;

/// One rule, parsed.
pub(super) struct Rule {
    program: Program,
    text: String,
    pub(super) message: String,
    /// A child of the value that the rule stands on, such as `.prePublish`.
    pub(super) field_path: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RuleError {
    #[error("the rule `{rule}` does not parse: {message}")]
    Syntax { rule: String, message: String },
    #[error("the rule `{0}` has no message")]
    NoMessage(String),
}

/// The standard functions, and Kubernetes' `duration`, here in whole seconds: rules only compare durations.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // It is there already when another crate turns on `cel`'s own; that one compares durations just as well.
    let _ = env.add_overload("duration", "string_to_seconds", vec![STRING_TYPE], seconds);
    Arc::new(env)
});

impl Rule {
    pub(super) fn parse(rule: &ValidationRule) -> Result<Self, RuleError> {
        let text = rule.rule.clone();
        let program = ENV.compile(&text).map_err(|error| RuleError::Syntax {
            rule: text.clone(),
            message: error.to_string(),
        })?;
        let message = rule.message.clone();
        Ok(Self {
            message: message.ok_or_else(|| RuleError::NoMessage(text.clone()))?,
            field_path: rule.field_path.clone().unwrap_or_default(),
            program,
            text,
        })
    }

    /// Whether `value` keeps the rule; a rule that errs is not kept.
    pub(super) fn holds(&self, value: &Value) -> bool {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_from_value("self", to_cel(value));
        matches!(self.program.execute(&context), Ok(cel::Value::Bool(true)))
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.text).finish()
    }
}

fn seconds<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = arguments
        .first()
        .and_then(|argument| argument.downcast_ref::<CelString<'_>>())
        .ok_or_else(|| ExecutionError::function_error("duration", "it takes a string"))?;
    let duration: Duration = text
        .inner()
        .parse()
        .map_err(|error| ExecutionError::function_error("duration", error))?;
    let seconds = i64::try_from(duration.as_secs())
        .map_err(|error| ExecutionError::function_error("duration", error))?;
    Ok(CowVal::owned(CelInt::from(seconds)))
}

/// Integers become `int`, as in the API server, whatever their sign.
fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => cel::Value::Int(integer),
            None => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), to_cel(member)))
            .collect::<HashMap<_, _>>()
            .into(),
    }
}
