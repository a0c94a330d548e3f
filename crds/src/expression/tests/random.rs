//! Nothing panics and no bound gives way, whatever the text and whatever the claims.

use proptest::prelude::*;

use super::author::Author;
use super::*;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Claims whose names are those that the expressions ask for, whatever their types.
fn claims() -> impl Strategy<Value = Value> {
    let names = [
        "yes", "no", "n", "d", "s", "l", "words", "m", "one", "none", "x",
    ];
    let values = prop::collection::vec(json(), names.len());
    values.prop_map(move |values| {
        let names = names.iter().map(|name| (*name).to_owned());
        Value::Object(names.zip(values).collect())
    })
}

fn check(text: &str, scope: Scope, claims: &Value) {
    let Ok(expression) = Expression::parse(text, scope) else {
        return;
    };
    let mut budget = Budget::full();
    let bindings = Bindings::extra(claims, claims, claims);
    let result = expression.evaluate_within(&bindings, &mut budget);
    assert!(budget.spent() <= STEPS_MAX);
    match result {
        Ok(value) => assert!(weight(&value) <= RESULT_BYTES_MAX),
        Err(error) => assert!(error.to_string().chars().count() <= 200, "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_an_expression_or_is_refused(text in "\\PC{0,100}", claims in claims()) {
        check(&text, Scope::Extra, &claims);
    }

    #[test]
    fn any_bytes_are_an_expression_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&String::from_utf8_lossy(&bytes), Scope::Claims, &Value::Null);
    }

    #[test]
    fn any_characters_of_the_language_are_an_expression_or_are_refused(
        text in r#"[clams.xy01eu()\[\]{}'",:?!&|<>=+*/%\\ rb\n-]{0,60}"#,
        claims in claims(),
    ) {
        check(&text, Scope::Claims, &claims);
    }

    #[test]
    fn expressions_hold_their_bounds_whatever_the_claims(
        choices in prop::collection::vec(any::<u8>(), 0..200),
        depth in 0_usize..5,
        claims in claims(),
    ) {
        check(&Author::new(&choices).any(depth), Scope::Claims, &claims);
    }

    #[test]
    fn any_pattern_is_compiled_or_refused(pattern in "[abc.*+?()|{}0-9\\[\\]^$\\\\wdb-]{0,60}", text in "\\PC{0,60}") {
        let expression = format!("claims.matches(r'''{pattern}''')");
        check(&expression, Scope::Claims, &Value::String(text));
    }
}
