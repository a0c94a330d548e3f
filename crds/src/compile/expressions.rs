//! The one place where `compile` meets CEL.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::verdict::{Finding, finding};
use crate::claims::{ClaimRules, MappedClaims};
use crate::expression::{Expression, Scope};
use crate::oidc_provider::{Example, Expect};
use crate::snapshot::{Mapping, Rule};

/// Distinct texts of one compile that are remembered; providers share most of theirs.
const REMEMBERED_MAX: usize = 4096;

/// Whether a text over `claims` is an expression, remembered for one compile: parsing is what costs
/// most.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    seen: RefCell<HashMap<String, Option<String>>>,
}

impl Expressions {
    /// Every expression that does not parse.
    pub(super) fn invalid_claims(&self, rules: &[Rule], mapping: &Mapping) -> Vec<Finding> {
        let Mapping {
            username,
            email,
            email_verified,
            phone,
            groups,
        } = mapping;
        let rules = rules.iter().enumerate().filter_map(|(index, rule)| {
            let error = self.error(&rule.expression)?;
            Some(finding(
                &format!("spec.claims.rules[{index}].expression"),
                error,
            ))
        });
        let attributes = [
            ("username", username),
            ("email", email),
            ("emailVerified", email_verified),
            ("phone", phone),
            ("groups", groups),
        ];
        let attributes = attributes.into_iter().filter_map(|(name, expression)| {
            let error = self.error(expression.as_ref()?)?;
            Some(finding(&format!("spec.claims.mapping.{name}"), error))
        });
        rules.chain(attributes).collect()
    }

    fn error(&self, text: &str) -> Option<String> {
        let mut seen = self.seen.borrow_mut();
        if let Some(known) = seen.get(text) {
            return known.clone();
        }
        let error = Expression::parse(text, Scope::Claims).err();
        let error = error.map(|error| error.to_string());
        if seen.len() < REMEMBERED_MAX {
            seen.insert(text.to_owned(), error.clone());
        }
        error
    }
}

/// Every extra claim whose expression does not parse.
pub(super) fn invalid_extra_claims(claims: &BTreeMap<String, String>) -> Vec<Finding> {
    claims
        .iter()
        .filter_map(|(name, text)| {
            let error = Expression::parse(text, Scope::Extra).err()?;
            Some(finding(&format!("spec.extraClaims.{name}"), error))
        })
        .collect()
}

/// Every example that turns out otherwise than it says. The expressions are known to parse.
pub(super) fn failed_examples(
    rules: &[Rule],
    mapping: &Mapping,
    examples: Vec<Example>,
) -> Vec<Finding> {
    if examples.is_empty() {
        return Vec::new();
    }
    let rules = match ClaimRules::parse(rules, mapping) {
        Ok(rules) => rules,
        Err(error) => return vec![finding("spec.claims", error)],
    };
    let failed = examples
        .into_iter()
        .enumerate()
        .filter_map(|(index, example)| {
            let difference = difference(&rules, example.claims.into(), &example.expect)?;
            let path = format!("spec.examples[{index}]");
            Some(finding(
                &path,
                format!("example {}: {difference}", example.name),
            ))
        });
    failed.collect()
}

fn difference(rules: &ClaimRules, claims: Value, expect: &Expect) -> Option<String> {
    match (rules.apply(&claims), expect.allowed) {
        (Ok(mapped), true) => other_attributes(&mapped, expect),
        (Ok(_), false) => Some("it is let in, and should be refused".to_owned()),
        (Err(_), false) => None,
        (Err(rejected), true) => Some(format!(
            "it is refused, and should be let in: {}",
            rejected.cause
        )),
    }
}

fn other_attributes(mapped: &MappedClaims, expect: &Expect) -> Option<String> {
    let Expect {
        allowed: _,
        username,
        email,
        email_verified,
        phone,
        groups,
    } = expect;
    let differs = |name: &str, found: Value, wanted: Value| {
        (found != wanted).then(|| format!("{name} is {found}, and should be {wanted}"))
    };
    let text = |name: &str, found: &Option<String>, wanted: &Option<String>| {
        let wanted = wanted.as_deref()?;
        differs(name, found.as_deref().into(), wanted.into())
    };
    let differences = [
        text("username", &mapped.username, username),
        text("email", &mapped.email, email),
        email_verified.and_then(|wanted| {
            differs("emailVerified", mapped.email_verified.into(), wanted.into())
        }),
        text("phone", &mapped.phone, phone),
        groups.as_ref().and_then(|wanted| {
            differs(
                "groups",
                mapped.groups.clone().into(),
                wanted.clone().into(),
            )
        }),
    ];
    let differences: Vec<String> = differences.into_iter().flatten().collect();
    (!differences.is_empty()).then(|| differences.join(", "))
}
