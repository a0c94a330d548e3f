//! What an assessment costs, with as much history as is ever kept: 64 values of each kind.
//!
//! `cargo run --release -p vestibule-dataplane --example risk_cost` prints p50 and p99, with their
//! limits.

#![allow(clippy::print_stdout, reason = "it is what it does")]

use std::hint::black_box;
use std::time::Instant;

use vestibule_crds::signin_policy::{Actions, OnError, Signals, Thresholds};
use vestibule_crds::snapshot::{Acting, Risk};
use vestibule_risk::history::{Kind, Popularity, Population, UserHistory, VALUES_MAX};
use vestibule_risk::{Context, History, Listed, Values, assess};

const NOW: i64 = 1_900_000_000;
const TIMES: usize = 200_000;

fn context(value: u64) -> Context {
    Context {
        now: NOW,
        values: Values([Some(value); Kind::COUNT]),
        place: None,
        listed: Listed::No,
        auth_time: Some(NOW - 60),
        provider_mfa: false,
        remembered_device: false,
        user_failures: 5,
        address_failures: 20,
    }
}

fn main() {
    let policy = Risk {
        acting: Acting::Enforce,
        thresholds: Thresholds::default(),
        actions: Actions::default(),
        on_error: OnError::default(),
        signals: Signals::default(),
        deny: Vec::new(),
        allow: Vec::new(),
        mfa_methods: Vec::new(),
    };
    let user = (0..VALUES_MAX as u64).fold(UserHistory::default(), |history, value| {
        history.with(&context(value))
    });
    let bytes = user.encode();
    let population = Population {
        users: 1000,
        signins: 100_000,
        popularity: [Popularity {
            count: 50,
            distinct: 500,
        }; Kind::COUNT],
    };
    let history = History {
        user: Some(user),
        population: Some(population),
    };
    // The last of the known values, and one that is not known: both read all of them.
    for (what, value) in [("known", 63), ("all new", 1000)] {
        let context = context(value);
        let mut nanoseconds: Vec<u128> = (0..TIMES)
            .map(|_| {
                let began = Instant::now();
                black_box(assess(
                    black_box(&context),
                    black_box(&history),
                    black_box(&policy),
                ));
                began.elapsed().as_nanos()
            })
            .collect();
        nanoseconds.sort_unstable();
        println!(
            "assess, {what}: p50 {:.2} µs (bar 5), p99 {:.2} µs (bar 20)",
            nanoseconds[TIMES / 2] as f64 / 1000.0,
            nanoseconds[TIMES * 99 / 100] as f64 / 1000.0
        );
    }
    let began = Instant::now();
    for _ in 0..TIMES {
        let history = UserHistory::decode(black_box(&bytes)).unwrap_or_default();
        black_box(history.with(&context(63)).encode());
    }
    println!(
        "read, learn and write a history of {} bytes: {:.2} µs",
        bytes.len(),
        began.elapsed().as_secs_f64() * 1e6 / TIMES as f64
    );
}
