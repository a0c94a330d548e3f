//! The budget holds for the worst expressions that are admitted.

use super::worst;
use super::*;

fn steps(text: &str, claims: &Value) -> (Result<Value, EvaluationError>, u32) {
    let mut budget = Budget::full();
    let result = parse(text).evaluate_within(&Bindings::claims(claims), &mut budget);
    (result, budget.spent())
}

#[test]
fn the_worst_expressions_stop_at_the_budget() {
    for worst::Case { text, claims } in worst::cases() {
        let size = claims.to_string().len();
        assert!(size <= worst::PAYLOAD_BYTES * 11 / 10, "{text}: {size}");
        let (result, spent) = steps(text, &claims);
        assert_eq!(result, Err(EvaluationError::BudgetExceeded), "{text}");
        assert_eq!(spent, STEPS_MAX, "{text}");
    }
}
