//! Claim rules that several providers have are parsed and kept once: most have the default mapping
//! and no rule of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use vestibule_crds::claims::{ClaimRules, RuleError};
use vestibule_crds::snapshot::{Mapping, Provider, Rule};

/// Unused rules are searched for when there are this many more.
const SWEEP_AFTER: usize = 64;

/// The rules of all providers that are served, by their text.
#[derive(Debug, Default)]
pub(super) struct SharedRules(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    rules: HashMap<(Vec<Rule>, Mapping), Weak<ClaimRules>>,
    sweep_at: usize,
}

impl SharedRules {
    pub(super) fn of(&self, provider: &Provider) -> Result<Arc<ClaimRules>, RuleError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = (provider.rules.clone(), provider.mapping.clone());
        if let Some(rules) = known.rules.get(&text).and_then(Weak::upgrade) {
            return Ok(rules);
        }
        let rules = Arc::new(ClaimRules::parse(&provider.rules, &provider.mapping)?);
        if known.rules.len() >= known.sweep_at {
            known.rules.retain(|_, rules| rules.strong_count() > 0);
            known.sweep_at = known.rules.len() * 2 + SWEEP_AFTER;
        }
        known.rules.insert(text, Arc::downgrade(&rules));
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn provider(rule: &str) -> Provider {
        Provider {
            rules: vec![Rule {
                expression: rule.to_owned(),
                message: "no".to_owned(),
            }],
            ..testing::provider(json!({}))
        }
    }

    #[test]
    fn equal_rules_are_one_and_others_are_not() {
        let shared = SharedRules::default();
        let rules = |rule| shared.of(&provider(rule)).expect("it parses");
        let (one, same, other) = (rules("true"), rules("true"), rules("false"));
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other));
        assert!(one.apply(&json!({})).is_ok());
        assert!(other.apply(&json!({})).is_err());
        assert!(shared.of(&provider("(")).is_err());
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let shared = SharedRules::default();
        let kept = shared.of(&provider("true")).expect("it parses");
        for number in 0..10 * SWEEP_AFTER {
            let rule = format!("claims.n == {number}");
            drop(shared.of(&provider(&rule)).expect("it parses"));
        }
        let held = shared.0.lock().expect("no panic").rules.len();
        assert!(held <= 2 * SWEEP_AFTER, "{held}");
        let again = shared.of(&provider("true")).expect("it parses");
        assert!(Arc::ptr_eq(&kept, &again));
    }
}
