//! What a provider's claims must say before a sign-in goes on, and what they say about the user.
//!
//! A rule lets a sign-in through only when it is the boolean true. A mapping whose claim is missing
//! or null leaves its attribute out; a value that cannot be the attribute refuses the sign-in,
//! since it was asked for and is wrong.

mod attribute;
mod extra;

use serde_json::Value;

use crate::expression::{Bindings, Budget, EvaluationError, Expression, ExpressionError, Scope};
use crate::snapshot::{Mapping, Rule};

pub use attribute::{Attribute, Unusable};
pub use extra::{EXTRA_CLAIMS_BYTES_MAX, ExtraClaims, ExtraClaimsError};

/// The rules and the mapping of one provider, parsed.
#[derive(Debug)]
pub struct ClaimRules {
    rules: Vec<ParsedRule>,
    username: Option<Expression>,
    email: Option<Expression>,
    email_verified: Option<Expression>,
    phone: Option<Expression>,
    groups: Option<Expression>,
}

#[derive(Debug)]
struct ParsedRule {
    expression: Expression,
    message: String,
}

/// What the claims say about the user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MappedClaims {
    pub username: Option<String>,
    /// In lower case (ASCII).
    pub email: Option<String>,
    /// Only where the mapping is the boolean true and there is an email: `"true"` and 1 verify
    /// nothing.
    pub email_verified: bool,
    pub phone: Option<String>,
    /// Whether `phone_number_verified` is there and is not the boolean true (OpenID Connect Core
    /// 1.0, section 5.1).
    pub phone_unverified: bool,
    pub groups: Vec<String>,
}

/// An expression that does not parse, and where it stands in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {error}")]
pub struct RuleError {
    /// For example `claims.rules[2].expression`.
    pub field: String,
    pub error: ExpressionError,
}

/// A sign-in that the claims do not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClaimsRejected {
    /// For the caller: the rule's own message, or a fixed sentence about an attribute.
    pub message: String,
    /// For the audit log. It contains no value of a claim.
    pub cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("rule {rule} is false")]
    RuleIsFalse { rule: usize },
    #[error("rule {rule} is no boolean")]
    RuleIsNoBoolean { rule: usize },
    #[error("rule {rule} has no value: {error}")]
    RuleFailed { rule: usize, error: EvaluationError },
    #[error("the mapping of {attribute} has no value: {error}")]
    MappingFailed {
        attribute: Attribute,
        error: EvaluationError,
    },
    #[error("the mapping of {attribute} {reason}")]
    AttributeUnusable {
        attribute: Attribute,
        reason: Unusable,
    },
}

impl ClaimRules {
    pub fn parse(rules: &[Rule], mapping: &Mapping) -> Result<Self, RuleError> {
        let rules = rules.iter().enumerate().map(|(index, rule)| {
            let expression = Expression::parse(&rule.expression, Scope::Claims);
            Ok(ParsedRule {
                expression: expression.map_err(|error| RuleError {
                    field: format!("claims.rules[{index}].expression"),
                    error,
                })?,
                message: rule.message.clone(),
            })
        });
        let Mapping {
            username,
            email,
            email_verified,
            phone,
            groups,
        } = mapping;
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            username: parse_mapping(Attribute::Username, username)?,
            email: parse_mapping(Attribute::Email, email)?,
            email_verified: parse_mapping(Attribute::EmailVerified, email_verified)?,
            phone: parse_mapping(Attribute::Phone, phone)?,
            groups: parse_mapping(Attribute::Groups, groups)?,
        })
    }

    /// All expressions of one sign-in share one budget, so that many of them cost no more than the
    /// worst single one.
    pub fn apply(&self, claims: &Value) -> Result<MappedClaims, ClaimsRejected> {
        let mut evaluation = Evaluation {
            bindings: Bindings::claims(claims),
            budget: Budget::full(),
        };
        for (rule, parsed) in self.rules.iter().enumerate() {
            evaluation.check(rule, parsed)?;
        }
        let username = evaluation.attribute(Attribute::Username, self.username.as_ref())?;
        let email = evaluation.attribute(Attribute::Email, self.email.as_ref())?;
        let email_verified =
            evaluation.attribute(Attribute::EmailVerified, self.email_verified.as_ref())?;
        let phone = evaluation.attribute(Attribute::Phone, self.phone.as_ref())?;
        let groups = evaluation.attribute(Attribute::Groups, self.groups.as_ref())?;

        let email = usable(Attribute::Email, attribute::email(email))?;
        Ok(MappedClaims {
            username: usable(Attribute::Username, attribute::username(username))?,
            email_verified: email.is_some() && email_verified == Some(Value::Bool(true)),
            email,
            phone: usable(Attribute::Phone, attribute::phone(phone))?,
            phone_unverified: claims
                .get("phone_number_verified")
                .is_some_and(|said| !said.is_null() && *said != Value::Bool(true)),
            groups: usable(Attribute::Groups, attribute::groups(groups))?,
        })
    }
}

struct Evaluation<'a> {
    bindings: Bindings<'a>,
    budget: Budget,
}

impl Evaluation<'_> {
    fn check(&mut self, rule: usize, parsed: &ParsedRule) -> Result<(), ClaimsRejected> {
        let value = parsed
            .expression
            .evaluate_within(&self.bindings, &mut self.budget);
        let cause = match value {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(Value::Bool(false)) => Cause::RuleIsFalse { rule },
            Ok(_) => Cause::RuleIsNoBoolean { rule },
            Err(error) => Cause::RuleFailed { rule, error },
        };
        Err(ClaimsRejected {
            message: parsed.message.clone(),
            cause,
        })
    }

    fn attribute(
        &mut self,
        attribute: Attribute,
        expression: Option<&Expression>,
    ) -> Result<Option<Value>, ClaimsRejected> {
        let Some(expression) = expression else {
            return Ok(None);
        };
        match expression.evaluate_within(&self.bindings, &mut self.budget) {
            Ok(Value::Null) | Err(EvaluationError::MissingKey(_)) => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(error @ (EvaluationError::BudgetExceeded | EvaluationError::Failed(_))) => {
                Err(ClaimsRejected {
                    message: attribute.refusal().to_owned(),
                    cause: Cause::MappingFailed { attribute, error },
                })
            }
        }
    }
}

fn parse_mapping(
    attribute: Attribute,
    text: &Option<String>,
) -> Result<Option<Expression>, RuleError> {
    let Some(text) = text else { return Ok(None) };
    match Expression::parse(text, Scope::Claims) {
        Ok(expression) => Ok(Some(expression)),
        Err(error) => Err(RuleError {
            field: format!("claims.mapping.{attribute}"),
            error,
        }),
    }
}

fn usable<T>(attribute: Attribute, value: Result<T, Unusable>) -> Result<T, ClaimsRejected> {
    value.map_err(|reason| ClaimsRejected {
        message: attribute.refusal().to_owned(),
        cause: Cause::AttributeUnusable { attribute, reason },
    })
}

#[cfg(test)]
mod tests;
