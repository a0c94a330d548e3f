//! The claims that a policy adds to its own tokens.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::RuleError;
use crate::expression::{Bindings, Budget, EvaluationError, Expression, Scope, weight};

/// Names and text of all extra claims of one token: it travels in a header, where 8 KiB is a common
/// limit.
pub const EXTRA_CLAIMS_BYTES_MAX: usize = 4 * 1024;

/// A policy's `extraClaims`, parsed.
#[derive(Debug, Default)]
pub struct ExtraClaims(BTreeMap<String, Expression>);

/// A token that cannot be issued, and the claim that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtraClaimsError {
    #[error("the extra claim `{claim}` has no value: {error}")]
    Failed {
        claim: String,
        error: EvaluationError,
    },
    #[error("the extra claims have more than {EXTRA_CLAIMS_BYTES_MAX} bytes at `{claim}`")]
    TooLarge { claim: String },
}

impl ExtraClaims {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn parse(expressions: &BTreeMap<String, String>) -> Result<Self, RuleError> {
        let parsed = expressions.iter().map(|(claim, text)| {
            let expression = Expression::parse(text, Scope::Extra);
            let expression = expression.map_err(|error| RuleError {
                field: format!("extraClaims.{claim}"),
                error,
            })?;
            Ok((claim.clone(), expression))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// A claim whose expression reads something missing is left out; any other error refuses the
    /// token.
    pub fn evaluate(
        &self,
        user: &Value,
        claims: &Value,
        provider: &Value,
    ) -> Result<Map<String, Value>, ExtraClaimsError> {
        let bindings = Bindings::extra(user, claims, provider);
        let mut budget = Budget::full();
        let mut bytes_left = EXTRA_CLAIMS_BYTES_MAX;
        let mut evaluated = Map::new();
        for (claim, expression) in &self.0 {
            let value = match expression.evaluate_within(&bindings, &mut budget) {
                Ok(value) => value,
                Err(EvaluationError::MissingKey(_)) => continue,
                Err(error @ (EvaluationError::BudgetExceeded | EvaluationError::Failed(_))) => {
                    let claim = claim.clone();
                    return Err(ExtraClaimsError::Failed { claim, error });
                }
            };
            let Some(rest) = bytes_left.checked_sub(claim.len() + weight(&value)) else {
                let claim = claim.clone();
                return Err(ExtraClaimsError::TooLarge { claim });
            };
            bytes_left = rest;
            evaluated.insert(claim.clone(), value);
        }
        Ok(evaluated)
    }
}
