//! `make simulate`: a made-up company and its attackers, and what risk scores make of them.

use std::path::PathBuf;

use anyhow::Context as _;
use vestibule_tests::simulation::attackers::Attacker;
use vestibule_tests::simulation::curve::{attackers_at, curve};
use vestibule_tests::simulation::{Engine, RATES, SEED, USERS, plot, run};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut output, mut seed) = (PathBuf::from("target/simulation.svg"), SEED);
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        match (argument.as_str(), value) {
            ("--output", Some(path)) => output = path.into(),
            ("--seed", Some(number)) => seed = number.parse().context("--seed takes a number")?,
            _ => anyhow::bail!("usage: simulate [--output FILE.svg] [--seed NUMBER]"),
        }
    }
    println!(
        "{USERS} people for half a year, seed {seed}; attackers hold a valid ID token of their victim"
    );
    let scores = run(USERS, seed);
    let attempts: usize = scores[0].attackers.iter().map(Vec::len).sum();
    println!(
        "{} sign-ins of people and {attempts} of attackers are scored\n",
        scores[0].people.len()
    );
    println!(
        "share of attackers asked for a second factor, where so many of the people's sign-ins are asked:"
    );
    print!("{:<15}{:<10}", "", "attacker");
    for rate in RATES {
        print!("{:>8}", format!("{}%", rate * 100.0));
    }
    println!();
    let mut lines = Vec::new();
    for (scores, dashes) in scores.iter().zip(["2 4", "8 4", ""]) {
        for (attacker, attempts) in Attacker::ALL.into_iter().zip(&scores.attackers) {
            row(
                scores.engine,
                attacker.name(),
                &curve(&scores.people, attempts),
            );
        }
        let all = curve(&scores.people, &scores.attackers.concat());
        row(scores.engine, "all", &all);
        lines.push((scores.engine.name(), dashes, all));
    }
    std::fs::write(&output, plot::plot(&lines)).with_context(|| output.display().to_string())?;
    println!("\nwritten to {}", output.display());
    Ok(())
}

fn row(engine: Engine, attacker: &str, curve: &[vestibule_tests::simulation::curve::Point]) {
    print!("{:<15}{attacker:<10}", engine.name());
    for rate in RATES {
        print!(
            "{:>8}",
            format!("{:.1}%", attackers_at(curve, rate) * 100.0)
        );
    }
    println!();
}
