//! Prints what expressions cost: the worst that are admitted, over a token of 16 KiB, and those that people write.
//!
//! `cargo run --example expression_cost`

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vestibule_crds::expression::{Bindings, Expression, STEPS_MAX, Scope};

#[path = "../src/expression/tests/worst.rs"]
mod worst;

const RUNS: u32 = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{STEPS_MAX} steps; parsing, then median and slowest of {RUNS} runs, in microseconds");
    let mut slowest = Duration::ZERO;
    for worst::Case { text, claims } in worst::cases() {
        slowest = slowest.max(report(text, &claims)?);
    }
    println!(
        "the slowest run of all took {} microseconds",
        slowest.as_micros()
    );

    let claims = json!({
        "email": "jane@corp.example",
        "hd": "corp.example",
        "roles": ["dev", "ops", "admin", "users"],
        "many": (0..1000).map(|n| format!("group-{n}")).collect::<Vec<_>>(),
    });
    for text in [
        "claims.email",
        "claims.hd == 'corp.example'",
        "claims.roles.map(r, 'corp:' + r)",
        "claims.email.matches('^[^@]+@corp[.]example$')",
        "claims.many.filter(g, g.startsWith('group-9'))",
        "claims.many.exists(g, g in ['a', 'b', 'group-999'])",
    ] {
        report(text, &claims)?;
    }
    Ok(())
}

fn report(text: &str, claims: &Value) -> Result<Duration, Box<dyn std::error::Error>> {
    let start = Instant::now();
    let expression = Expression::parse(text, Scope::Claims)?;
    let parsing = start.elapsed();
    let bindings = Bindings::claims(claims);
    let mut outcome = "a value".to_owned();
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let result = black_box(expression.evaluate(black_box(&bindings)));
        times.push(start.elapsed());
        if let Err(error) = result {
            outcome = error.to_string();
        }
    }
    times.sort();
    let slowest = times.last().copied().unwrap_or_default();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let shown: String = text.chars().take(72).collect();
    println!(
        "{:>9.1} {:>9.1} {:>9.1}  {shown}  → {outcome}",
        micros(parsing),
        micros(median),
        micros(slowest)
    );
    Ok(slowest)
}
