//! Expressions that cost as much as they can, over claims that fill a 16 KiB token: for the tests,
//! which bound their steps, and for `examples/expression_cost.rs`, which shows their time.

use serde_json::{Value, json};

/// A token of 16 KiB has about this much JSON in its payload, after base64 and the signature.
pub(super) const PAYLOAD_BYTES: usize = 12_000;

pub(super) struct Case {
    pub(super) text: &'static str,
    pub(super) claims: Value,
}

pub(super) fn cases() -> Vec<Case> {
    let numbers = || json!({"l": vec![1; PAYLOAD_BYTES / 2]});
    let halves = || json!({"l": vec![1; PAYLOAD_BYTES / 4], "s": "a".repeat(PAYLOAD_BYTES / 2)});
    let thirds = || {
        let list = vec![1; PAYLOAD_BYTES / 6];
        let text = "a".repeat(PAYLOAD_BYTES / 3);
        json!({"l": list, "s": text, "t": text})
    };
    let needle = || {
        let needle = format!("{}b{}", "a".repeat(1000), "a".repeat(1000));
        json!({"l": vec![1; 2000], "s": "a".repeat(4000), "t": needle})
    };
    let words = || json!({"l": vec!["ab"; PAYLOAD_BYTES / 5]});
    let long_words = || json!({"l": vec!["a".repeat(63); PAYLOAD_BYTES / 66]});
    let object = || {
        let entries = (0..PAYLOAD_BYTES / 9).map(|n| (format!("{n:04}"), json!(1)));
        json!({"m": Value::Object(entries.collect())})
    };
    let deep = || {
        let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
        json!({"l": vec![nested; PAYLOAD_BYTES / 202]})
    };
    let spaces = || json!({"l": vec![1; 2000], "s": "\u{2003}".repeat(PAYLOAD_BYTES / 6)});
    // Half way between two doubles for as many digits as the slow path of a decimal parser reads.
    let digits = || {
        let midpoint = format!("9007199254740993.{}1", "0".repeat(700));
        json!({"l": vec![1; 4000], "s": midpoint, "z": "0".repeat(3000)})
    };
    let binary = || {
        let bits = (0..PAYLOAD_BYTES / 2).map(|n: usize| {
            if (n * n / 7).is_multiple_of(3) {
                'b'
            } else {
                'a'
            }
        });
        json!({"l": vec![1; PAYLOAD_BYTES / 4], "s": bits.collect::<String>()})
    };
    let unicode = || json!({"l": vec![1; 2000], "s": "éß漢".repeat(PAYLOAD_BYTES / 20)});

    let cases: Vec<(&str, Value)> = vec![
        // Loops in loops.
        ("claims.l.all(a, claims.l.all(b, a == b))", numbers()),
        (
            "claims.l.exists(a, claims.l.exists(b, a + b > 2))",
            numbers(),
        ),
        ("claims.l.map(a, claims.l.map(b, [a, b]))", numbers()),
        (
            "claims.l.filter(a, claims.l.exists_one(b, a == b))",
            numbers(),
        ),
        ("claims.l.all(a, !claims.l.exists(b, b.x == a))", numbers()),
        (
            "claims.l.exists(a, a.x || a.y || a.z || claims.x || a.u)",
            numbers(),
        ),
        // Comparisons of large values.
        ("claims.l.all(a, 2 in claims.l || true)", numbers()),
        ("claims.l.all(a, 'ac' in claims.l || true)", words()),
        ("claims.l.all(a, claims.l == claims.l)", numbers()),
        ("claims.l.all(a, claims.l == claims.l)", deep()),
        ("claims.l.all(a, claims.s == claims.t)", thirds()),
        ("claims.l.all(a, claims.s <= claims.t)", thirds()),
        ("claims.m.all(a, claims.m == claims.m)", object()),
        (
            "claims.m.all(a, claims.m.all(b, claims.m[b] == 1 && a in claims.m))",
            object(),
        ),
        // Growth: text, lists, maps.
        ("claims.l.map(a, claims.s + claims.s)", halves()),
        ("claims.l.map(a, claims.l + claims.l)", numbers()),
        (
            "claims.l.map(a, {'a': a, 'b': a, 'c': a, 'd': a})",
            numbers(),
        ),
        ("claims.l.map(a, string(a) + 'x')", numbers()),
        (
            "claims.l.map(a, string(a * 1.1e300))",
            json!({"l": vec![1.5; 3000]}),
        ),
        ("claims.m.map(a, claims.m.map(b, a + b))", object()),
        (
            "[1].map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a, a == a)",
            json!({}),
        ),
        // Functions over text.
        ("claims.s.replace('a', claims.s)", halves()),
        ("claims.s.replace('', claims.s)", halves()),
        ("claims.l.map(a, claims.s.replace('a', 'bb'))", halves()),
        ("claims.l.map(a, claims.s.split('a'))", halves()),
        ("claims.s.split('').map(a, claims.s.split(''))", halves()),
        ("claims.l.map(a, claims.l.join(','))", words()),
        (
            "claims.l.all(a, !claims.l.exists(b, a != b || a.contains(b) && false))",
            long_words(),
        ),
        ("claims.l.all(a, !claims.s.contains(claims.t))", needle()),
        ("claims.l.all(a, claims.s.startsWith(claims.t))", thirds()),
        ("claims.l.all(a, claims.s.endsWith(claims.t))", thirds()),
        (
            "claims.l.map(a, claims.s.lowerAscii().upperAscii())",
            halves(),
        ),
        ("claims.l.map(a, claims.s.trim())", spaces()),
        ("claims.l.all(a, size(claims.s) > 1)", unicode()),
        ("claims.l.all(a, int(claims.z) == 0)", digits()),
        ("claims.l.all(a, double(claims.s) > 0.0)", digits()),
        // Patterns: many states, states that are found late, states that never settle.
        ("claims.l.all(a, !claims.s.matches('c'))", binary()),
        (
            "claims.l.all(a, !claims.s.matches('[ab]*a[ab]{6}c'))",
            binary(),
        ),
        ("claims.l.all(a, !claims.s.matches('(a|b|ab)*c'))", binary()),
        (
            r"claims.l.all(a, !claims.s.matches('(\\w|\\s)*(\\d|c)$'))",
            binary(),
        ),
        (
            r"claims.l.all(a, !claims.s.matches('^(.*)(.*)(.*)(.*)(.*)\\bc$'))",
            unicode(),
        ),
        (
            r"claims.l.all(a, !claims.s.matches('(\\W{3}|\\w\\W)+\\b!'))",
            unicode(),
        ),
    ];
    cases
        .into_iter()
        .map(|(text, claims)| Case { text, claims })
        .collect()
}
