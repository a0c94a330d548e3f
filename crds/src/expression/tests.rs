//! What an expression may say and what it then yields; the bounds of its cost are in `cost`, its
//! agreement with the interpreter of the `cel` crate in `oracle`.

mod author;
mod cost;
mod oracle;
mod random;
mod worst;

use serde_json::{Value, json};

use super::*;

fn parse(text: &str) -> Expression {
    Expression::parse(text, Scope::Claims).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> ExpressionError {
    Expression::parse(text, Scope::Claims).expect_err(text)
}

fn evaluate(text: &str) -> Result<Value, EvaluationError> {
    parse(text).evaluate(&Bindings::claims(&claims()))
}

fn failure(text: &str) -> String {
    match evaluate(text) {
        Err(EvaluationError::Failed(message)) => message,
        other => panic!("{text}: {other:?}"),
    }
}

fn claims() -> Value {
    json!({
        "sub": "248289761001",
        "hd": "corp.example",
        "email": "Jane.Doe@Corp.example",
        "email_verified": true,
        "age": 42,
        "huge": u64::MAX,
        "ratio": 0.5,
        "nothing": null,
        "empty": "",
        "roles": ["admin", "dev"],
        "numbers": [1, 2.0, 3],
        "address": {"country": "CH", "lines": ["a", "b"]},
        "https://corp.example/team": "blue",
    })
}

#[test]
fn a_selection_reads_the_json_as_it_stands() {
    for (text, value) in [
        ("claims.email", json!("Jane.Doe@Corp.example")),
        ("claims.address.country", json!("CH")),
        ("claims['https://corp.example/team']", json!("blue")),
        ("claims.address.lines[1]", json!("b")),
        ("claims.huge", json!(u64::MAX)),
        ("claims.nothing", json!(null)),
        ("claims", claims()),
    ] {
        assert_eq!(evaluate(text), Ok(value), "{text}");
    }
}

#[test]
fn operators_follow_cel() {
    for (text, value) in [
        ("claims.hd == 'corp.example'", json!(true)),
        ("claims.hd != 'corp.example'", json!(false)),
        ("claims.age + 1 - 2 * 3 / 4 % 5", json!(42)),
        ("-claims.age", json!(-42)),
        ("claims.ratio * 4.0 > 1", json!(true)),
        ("1 == 1.0 && claims.huge > 1", json!(true)),
        ("1 == '1'", json!(false)),
        ("'a' < 'b' && false < true && 'b' >= 'b'", json!(true)),
        ("'corp:' + claims.hd", json!("corp:corp.example")),
        ("claims.roles + ['x']", json!(["admin", "dev", "x"])),
        ("'dev' in claims.roles", json!(true)),
        ("'hd' in claims && !('x' in claims)", json!(true)),
        ("2 in claims.numbers", json!(true)),
        ("0.0 / 0.0 < 1 || 0.0 / 0.0 >= 1.0", json!(false)),
        ("1 in claims.address", json!(false)),
        ("!-1 == 1 || true", json!(true)),
        ("true || !-1.a", json!(true)),
        ("[,] == [] && {,} == {}", json!(true)),
        (
            "claims.age > 17 ? {'adult': [true]} : null",
            json!({"adult": [true]}),
        ),
        ("{'a': 1, 'b': 2} == {'b': 2.0, 'a': 1}", json!(true)),
        ("[1, [2]] == [1, [3]]", json!(false)),
        ("has(claims.hd) && !has(claims.tid)", json!(true)),
        ("{'de': 'Bern'}['d' + 'e']", json!("Bern")),
    ] {
        assert_eq!(evaluate(text), Ok(value), "{text}");
    }
}

#[test]
fn a_deciding_side_makes_up_for_an_error_on_the_other() {
    assert_eq!(evaluate("claims.tid == 1 || true"), Ok(json!(true)));
    assert_eq!(evaluate("claims.tid == 1 && false"), Ok(json!(false)));
    let missing = Err(EvaluationError::MissingKey("tid".to_owned()));
    assert_eq!(evaluate("claims.tid == 1 || false"), missing);
    assert_eq!(evaluate("true && claims.tid == 1"), missing);
    assert_eq!(failure("claims.age && true"), "&& cannot be applied to int");
}

#[test]
fn macros_follow_cel() {
    for (text, value) in [
        ("claims.roles.all(r, r.size() > 2)", json!(true)),
        ("claims.roles.all(r, r == 'dev')", json!(false)),
        ("claims.roles.exists(r, r == 'dev')", json!(true)),
        ("claims.roles.exists(r, r == 'ops')", json!(false)),
        ("[].all(r, false) && ![].exists(r, true)", json!(true)),
        ("claims.roles.exists_one(r, r == 'dev')", json!(true)),
        ("claims.roles.exists_one(r, r != '')", json!(false)),
        (
            "claims.roles.map(r, 'corp:' + r)",
            json!(["corp:admin", "corp:dev"]),
        ),
        (
            "claims.roles.map(r, r != 'dev', r + '!')",
            json!(["admin!"]),
        ),
        ("claims.roles.filter(r, r.startsWith('d'))", json!(["dev"])),
        ("claims.address.map(key, key)", json!(["country", "lines"])),
        (
            "[1, 2].map(a, [10, 20].map(b, a * b))",
            json!([[10, 20], [20, 40]]),
        ),
        // An element that errs does not matter beside one that decides.
        ("[{}, {'a': 1}].exists(x, x.a == 1)", json!(true)),
        ("[{}, {'a': 2}].all(x, x.a == 1)", json!(false)),
    ] {
        assert_eq!(evaluate(text), Ok(value), "{text}");
    }
    let missing = Err(EvaluationError::MissingKey("a".to_owned()));
    assert_eq!(evaluate("[{}, {'a': 1}].all(x, x.a == 1)"), missing);
    assert_eq!(evaluate("[{'a': 1}, {}].exists_one(x, x.a == 1)"), missing);
}

#[test]
fn functions_follow_cel() {
    for (text, value) in [
        ("size('grüße') + size([1]) + size({'a': 1})", json!(7)),
        ("'héllo'.size()", json!(5)),
        ("claims.email.lowerAscii()", json!("jane.doe@corp.example")),
        ("'aé'.upperAscii()", json!("Aé")),
        ("' a '.trim()", json!("a")),
        ("claims.email.split('@')[1]", json!("Corp.example")),
        ("'añ'.split('')", json!(["a", "ñ"])),
        ("['a', 'b'].join('-') + ['a', 'b'].join()", json!("a-bab")),
        ("'a.b.c'.replace('.', '::')", json!("a::b::c")),
        ("claims.hd.contains('corp')", json!(true)),
        ("claims.hd.endsWith('.example')", json!(true)),
        ("claims.hd.startsWith('example')", json!(false)),
        (
            r"claims.email.matches('^[^@]+@[Cc]orp\\.example$')",
            json!(true),
        ),
        ("'abc'.matches('^b')", json!(false)),
        (
            "string(1) + string(1.5) + string(true) + string('x')",
            json!("11.5truex"),
        ),
        ("int('42') + int(1.9) + int(1)", json!(44)),
        ("double('0.5') + double(1)", json!(1.5)),
    ] {
        assert_eq!(evaluate(text), Ok(value), "{text}");
    }
}

#[test]
fn what_is_missing_is_told_from_what_is_wrong() {
    for (text, key) in [
        ("claims.tid", "tid"),
        ("claims.address.zip", "zip"),
        ("has(claims.a.b)", "a"),
        ("claims.roles[7]", "an item of the list"),
        ("claims.roles[-1]", "an item of the list"),
        ("claims[claims.sub]", "the computed key"),
    ] {
        let missing = Err(EvaluationError::MissingKey(key.to_owned()));
        assert_eq!(evaluate(text), missing, "{text}");
    }
    for (text, message) in [
        ("claims.hd.x", "selection cannot be applied to string"),
        ("claims.nothing.x", "selection cannot be applied to null"),
        ("has(claims.hd.x)", "has() cannot be applied to string"),
        ("claims.hd + 1", "+ cannot be applied to string and int"),
        ("claims.huge + 1", "+ cannot be applied to uint and int"),
        ("claims.hd < 1", "< cannot be applied to string and int"),
        ("1.5 % 1.0", "% cannot be applied to double and double"),
        ("'a' in 'abc'", "in cannot be applied to string and string"),
        ("claims.hd[0]", "[] cannot be applied to string and int"),
        ("!claims.hd", "! cannot be applied to string"),
        ("-claims.hd", "- cannot be applied to string"),
        ("claims.hd ? 1 : 2", "? cannot be applied to string"),
        ("claims.hd.map(x, x)", "map cannot be applied to string"),
        (
            "claims.age.matches('a')",
            "matches cannot be applied to int",
        ),
        (
            "claims.age.contains('a')",
            "contains cannot be applied to int and string",
        ),
        (
            "'a'.replace('a', 1)",
            "replace cannot be applied to string and int",
        ),
        ("claims.numbers.join()", "join cannot be applied to int"),
        ("size(1)", "size cannot be applied to int"),
        ("string([])", "string cannot be applied to list"),
        ("int(true)", "int cannot be applied to bool"),
        ("double(null)", "double cannot be applied to null"),
        (
            "claims.roles.filter(r, r)",
            "filter cannot be applied to a condition that is no bool",
        ),
        ("int('x')", "int() was given a string that is no integer"),
        ("int(1e300)", "the number is out of range"),
        ("int(claims.huge)", "the number is out of range"),
        ("-(-9223372036854775808)", "the number is out of range"),
        (
            "double('x')",
            "double() was given a string that is no number",
        ),
        ("1 / (claims.age - 42)", "division by zero"),
        ("{1: 2}", "a map key cannot be applied to int"),
        ("{'a': 1, 'a': 2}", "a key stands twice in the map"),
        ("1.0 / 0.0", "the result is no finite number"),
    ] {
        assert_eq!(failure(text), message, "{text}");
    }
}

#[test]
fn no_error_repeats_the_value_of_a_claim() {
    let secret = "hunter2";
    let claims = json!({"a": secret, "n": 7_777_777, "list": [secret]});
    for text in [
        "claims[claims.a]",
        "claims.a + 1",
        "int(claims.a)",
        "double(claims.a)",
        "claims.a.x",
        "claims.list.map(x, x.y)",
        "{claims.a: 1}[claims.a + 'x']",
        "claims.n / 0",
        "claims.list[claims.n]",
        "{claims.a: 1, claims.a: 2}",
    ] {
        let error = parse(text).evaluate(&Bindings::claims(&claims));
        let message = error.expect_err(text).to_string();
        assert!(!message.contains(secret), "{text}: {message}");
        assert!(!message.contains("7777777"), "{text}: {message}");
        assert!(message.len() <= 200, "{text}: {message}");
    }
}

#[test]
fn a_typo_is_found_before_any_sign_in() {
    assert_eq!(
        refusal("claim.hd == 'x'").to_string(),
        "replace `claim`: the variables here are `claims`"
    );
    let scoped = Expression::parse("users.name", Scope::Extra).expect_err("no such variable");
    assert_eq!(
        scoped.to_string(),
        "replace `users`: the variables here are `user`, `claims` and `provider`"
    );
    assert_eq!(
        refusal("claims.hd.toLower()"),
        ExpressionError::UnknownFunction {
            name: "toLower".to_owned()
        }
    );
    assert!(matches!(
        refusal("timestamp('2020-01-01T00:00:00Z')"),
        ExpressionError::UnknownFunction { .. }
    ));
    for (text, line, column) in [("claims.", 1, 8), ("", 1, 1), ("claims.a ==\n  == 1", 2, 3)] {
        let ExpressionError::Syntax {
            line: l, column: c, ..
        } = refusal(text)
        else {
            panic!("{text:?} has a syntax error");
        };
        assert_eq!((l, c), (line, column), "{text:?}");
    }
}

#[test]
fn calls_of_the_wrong_shape_are_told_the_right_one() {
    for text in [
        "has(claims)",
        "has(claims['a'])",
        "has()",
        "size()",
        "claims.roles.map(x)",
        "claims.roles.map(1, x)",
        "claims.roles.all(x, true, true)",
        "claims.hd.startsWith()",
        "claims.hd.matches()",
        "claims.hd.trim(1)",
    ] {
        assert!(
            matches!(
                refusal(text),
                ExpressionError::Usage { .. } | ExpressionError::UnknownFunction { .. }
            ),
            "{text}: {:?}",
            refusal(text)
        );
    }
    for text in ["1u", "b'a'", "a.B{c: 1}", "claims.?a"] {
        assert!(
            matches!(
                refusal(text),
                ExpressionError::Unsupported(_) | ExpressionError::Syntax { .. }
            ),
            "{text}: {:?}",
            refusal(text)
        );
    }
}

#[test]
fn a_loop_variable_hides_no_other() {
    for text in ["[1].map(claims, 1)", "[1].map(x, [2].map(x, x))"] {
        assert!(
            matches!(refusal(text), ExpressionError::VariableTaken { .. }),
            "{text}"
        );
    }
    assert_eq!(evaluate("[1].map(x, x).map(x, x + 1)"), Ok(json!([2])));
    assert!(matches!(
        refusal("[1].map(x, x) + [x]"),
        ExpressionError::UnknownVariable { .. }
    ));
}

#[test]
fn a_scope_sees_its_own_variables_only() {
    assert!(Expression::parse("user.id", Scope::Claims).is_err());
    let expression = Expression::parse("user.id + claims.sub + provider.name", Scope::Extra);
    let expression = expression.expect("all three are known");
    let (user, claims, provider) = (
        json!({"id": "u"}),
        json!({"sub": "s"}),
        json!({"name": "p"}),
    );
    let bindings = Bindings::extra(&user, &claims, &provider);
    assert_eq!(expression.evaluate(&bindings), Ok(json!("usp")));
    let error = expression.evaluate(&Bindings::claims(&claims));
    assert!(
        matches!(error, Err(EvaluationError::Failed(_))),
        "{error:?}"
    );
}

#[test]
fn patterns_are_literal_and_small() {
    assert!(Expression::parse("claims.hd.matches('^[a-z]+$')", Scope::Claims).is_ok());
    for text in [
        "claims.hd.matches(claims.sub)",
        "claims.hd.matches('(')",
        "claims.hd.matches('(a{100}){100}')",
        r"claims.hd.matches('(a)\\1')",
        "claims.hd.matches(1)",
    ] {
        assert!(
            matches!(refusal(text), ExpressionError::Pattern(_)),
            "{text}"
        );
    }
    let long = format!("claims.hd.matches('{}')", "a".repeat(257));
    assert!(matches!(refusal(&long), ExpressionError::Pattern(_)));
}

#[test]
fn length_and_nesting_are_bounded_before_evaluation() {
    let exact = format!("'{}'", "a".repeat(TEXT_BYTES_MAX - 2));
    assert_eq!(exact.len(), TEXT_BYTES_MAX);
    assert!(Expression::parse(&exact, Scope::Claims).is_ok());
    let longer = format!("{exact} ");
    assert_eq!(refusal(&longer), ExpressionError::TooLong { bytes: 1025 });

    let nested =
        |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    assert!(Expression::parse(&nested("[", "]", 20), Scope::Claims).is_ok());
    assert_eq!(refusal(&nested("[", "]", 40)), ExpressionError::TooDeep);
    assert_eq!(refusal(&nested("(", ")", 500)), ExpressionError::TooDeep);
    assert_eq!(
        refusal(&nested("true ? 1 : ", "", 60)),
        ExpressionError::TooDeep
    );
    assert_eq!(
        refusal(&format!("claims{}", ".a".repeat(500))),
        ExpressionError::TooDeep
    );
    assert_eq!(
        refusal(&format!("1{}", "+1".repeat(500))),
        ExpressionError::TooDeep
    );

    assert!(Expression::parse("[1].map(a, [2].map(b, b).map(c, a))", Scope::Claims).is_ok());
    assert_eq!(
        refusal("[1].map(a, [2].map(b, [3].map(c, c)))"),
        ExpressionError::MacroNesting
    );
}

#[test]
fn the_widest_tree_fits_a_small_stack() {
    let texts = [
        format!("claims{}", ".a".repeat(508)),
        format!("1{}", "+1".repeat(511)),
        format!("{}1", "!".repeat(1023)),
        format!("{}1", "-".repeat(1023)),
        format!("{}1", "true?1:".repeat(146)),
        format!("true{}", "||true".repeat(170)),
        "[".repeat(1024),
        "(".repeat(1024),
        "{'a':".repeat(204),
        "a(".repeat(512),
        format!("claims{}", ".a()".repeat(254)),
        format!("claims{}", "[0]".repeat(339)),
    ];
    let small = std::thread::Builder::new().stack_size(1024 * 1024);
    let parsed = small.spawn(move || {
        let results = texts.map(|text| Expression::parse(&text, Scope::Claims).is_ok());
        results.into_iter().filter(|ok| *ok).count()
    });
    let parsed = parsed.expect("a thread starts").join();
    assert_eq!(parsed.expect("no overflow and no panic"), 3);
}

#[test]
fn a_result_larger_than_a_token_is_refused() {
    let text = |bytes: usize| Value::String("a".repeat(bytes));
    let limits = [
        ("claims.x", json!({"x": text(4096)}), true),
        ("claims.x", json!({"x": text(4097)}), false),
        ("claims.x", json!({"x": vec![1; 1000]}), true),
        ("claims.x", json!({"x": vec![1; 1001]}), false),
        ("claims.x", json!({"x": vec![text(4096); 3]}), true),
        ("claims.x", json!({"x": vec![text(4096); 4]}), false),
        ("claims.x", json!({"x": vec![vec![1; 300]; 4]}), true),
        ("claims.x", json!({"x": vec![vec![1; 300]; 5]}), false),
        ("[[[[[[[[1]]]]]]]]", json!({}), true),
        ("[[[[[[[[[1]]]]]]]]]", json!({}), false),
    ];
    for (text, claims, fits) in limits {
        let result = parse(text).evaluate(&Bindings::claims(&claims));
        assert_eq!(result.is_ok(), fits, "{text}: {:?}", result.err());
    }
}

#[test]
fn expressions_are_shared_between_threads() {
    fn is_send_and_sync<T: Send + Sync + 'static>(_: &T) {}
    let expression = parse("claims.hd.matches('a')");
    is_send_and_sync(&expression);
    assert_eq!(
        format!("{expression:?}"),
        r#"Expression("claims.hd.matches('a')")"#
    );
}
