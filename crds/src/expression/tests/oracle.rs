//! Whatever is made up, the `cel` crate's parser and interpreter agree with ours on it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env};
use proptest::prelude::*;

use super::author::Author;
use super::*;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    env.add_extension(cel::extensions::strings)
        .expect("the extension is new");
    Arc::new(env)
});

/// What the `cel` crate makes of it, or `None` for an error.
fn theirs(text: &str, claims: &Value) -> Option<Value> {
    let program = ENV.compile(text).ok()?;
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.add_variable_from_value("claims", to_cel(claims));
    let value = program.execute(&context).ok()?;
    from_cel(&value)
}

fn to_cel(json: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(value) => value.into(),
            None => number.as_f64().expect("a double").into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (Key::from(key.as_str()), to_cel(value)));
            let map = Arc::new(entries.collect::<HashMap<_, _>>());
            cel::Value::Map(Map { map })
        }
    }
}

fn from_cel(value: &cel::Value) -> Option<Value> {
    match value {
        cel::Value::Null => Some(Value::Null),
        cel::Value::Bool(value) => Some(json!(value)),
        cel::Value::Int(value) => Some(json!(value)),
        cel::Value::Float(value) if value.is_finite() => Some(json!(value)),
        cel::Value::String(text) => Some(json!(**text)),
        cel::Value::List(items) => items.iter().map(from_cel).collect(),
        cel::Value::Map(map) => {
            let entries = map.map.iter().map(|(key, value)| match key {
                Key::String(key) => Some((key.to_string(), from_cel(value)?)),
                _ => None,
            });
            entries.collect::<Option<_>>().map(Value::Object)
        }
        _ => None,
    }
}

fn claims_for_both() -> Value {
    json!({
        "yes": true, "no": false, "n": 7, "d": 2.5, "s": "a,B,é", "none": null, "l": [1, 2, 3.5, "a"],
        "words": ["a", "bc", ""], "m": {"a": [1], "b": "x"}, "one": {"a": 1},
    })
}

const PARTS: [&str; 56] = [
    "claims",
    "a",
    ".",
    ".",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "1",
    "1.5",
    "0x1",
    "'a'",
    "\"b\"",
    "r'\\'",
    "'\\n'",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    "&&",
    "||",
    "in",
    "true",
    "null",
    " ",
    "\n",
    "//c\n",
    "_x",
    "if",
    "''",
    "'''e\n'''",
    "1e3",
    ".5",
    "-1",
    "9223372036854775808",
    "-9223372036854775808",
    "é",
    "=",
    "size",
    "map",
    "'\\x41'",
    "'\\400'",
    "'\\ud800'",
    ">",
    "^",
];

/// Whether a `{` follows a name. Elsewhere `name{}` makes a protocol buffers message, which claims
/// do not have.
fn makes_a_message(text: &str) -> bool {
    let text = text.replace("//c\n", "");
    text.match_indices('{').any(|(at, _)| {
        text[..at]
            .trim_end()
            .ends_with(|last: char| last.is_ascii_alphanumeric() || last == '_')
    })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn expressions_mean_what_they_mean_elsewhere(choices in prop::collection::vec(any::<u8>(), 0..80)) {
        let text = Author::new(&choices).any(3);
        let claims = claims_for_both();
        // The bounds are ours alone, so what exceeds them cannot be compared.
        let Ok(expression) = Expression::parse(&text, Scope::Claims) else {
            return Ok(());
        };
        let ours = expression.evaluate(&Bindings::claims(&claims));
        let adds_a_map = EvaluationError::Failed("+ cannot be applied to list and map".to_owned());
        if ours.is_err() && (ours == Err(adds_a_map) || text.contains(" + claims.one")) {
            // Theirs appends the keys, which the language definition does not know.
            return Ok(());
        }
        prop_assert_eq!(ours.clone().ok(), theirs(&text, &claims), "{}: {:?}", text, ours);
    }

    #[test]
    fn what_is_an_expression_is_one_elsewhere(parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 1..10)) {
        let text = parts.concat();
        let ours = syntax::parse(&text);
        let theirs = Env::default().with_optional_support(false).parser().parse(&text);
        if ours.is_err() && theirs.is_ok() && makes_a_message(&text) {
            return Ok(());
        }
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}: {:?}", text, ours);
    }
}
