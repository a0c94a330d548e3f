//! Prints what expressions cost: the worst that are admitted, over a token of 16 KiB, and those
//! that people write.
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
    println!("{STEPS_MAX} steps; microseconds of {RUNS} runs each:");
    println!(" parsing evaluate  slowest (which includes what else the machine did)");
    let mut worst = Duration::ZERO;
    for worst::Case { text, claims } in worst::cases() {
        worst = worst.max(report(text, &claims)?);
    }
    println!(
        "the worst of these evaluations takes {} microseconds",
        worst.as_micros()
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

/// Returns the median time of an evaluation.
fn report(text: &str, claims: &Value) -> Result<Duration, Box<dyn std::error::Error>> {
    let expression = Expression::parse(text, Scope::Claims)?;
    let bindings = Bindings::claims(claims);
    let outcome = match expression.evaluate(&bindings) {
        Ok(_) => "a value".to_owned(),
        Err(error) => error.to_string(),
    };
    let parsing = times(|| drop(black_box(Expression::parse(black_box(text), Scope::Claims))));
    let evaluation = times(|| drop(black_box(expression.evaluate(black_box(&bindings)))));
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let shown: String = text.chars().take(72).collect();
    println!(
        "{:>8.1} {:>8.1} {:>8.1}  {shown}  → {outcome}",
        micros(parsing.median),
        micros(evaluation.median),
        micros(evaluation.slowest),
    );
    Ok(evaluation.median)
}

struct Times {
    median: Duration,
    slowest: Duration,
}

fn times(run: impl Fn()) -> Times {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort();
    Times {
        median: times[times.len() / 2],
        slowest: times[times.len() - 1],
    }
}
