//! A bounded run of every fuzz target in the ordinary tests: seeds, mutated in ways that parsers fall for.

use proptest::prelude::*;
use vestibule_tests::fuzz::TARGETS;

/// For each target.
const CASES: u32 = 2000;

#[derive(Debug, Clone)]
enum Mutation {
    Flip {
        at: usize,
        byte: u8,
    },
    Insert {
        at: usize,
        text: Vec<u8>,
    },
    Cut {
        from: usize,
        length: usize,
    },
    Repeat {
        from: usize,
        length: usize,
        times: usize,
    },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let tricky = prop::sample::select(vec![
        "\"",
        "\\u0000",
        "{",
        "}",
        "[",
        "]",
        ".",
        "..",
        "=",
        "\u{0}",
        "\u{feff}",
        "ſ",
        "-",
        "1e999",
        "null",
        "&a",
        "*a",
        "<<: ",
        "!!binary ",
        "---\n",
        "\n",
        "\t",
        ",",
        "::",
        "%",
        "(",
        ")",
        "99999999999999999999",
        "😀",
    ]);
    let text = tricky.prop_map(|text: &str| text.as_bytes().to_vec());
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip { at, byte }),
        (any::<usize>(), text).prop_map(|(at, text)| Mutation::Insert { at, text }),
        (any::<usize>(), 0..40_usize).prop_map(|(from, length)| Mutation::Cut { from, length }),
        (any::<usize>(), 1..20_usize, 2..50_usize).prop_map(|(from, length, times)| {
            Mutation::Repeat {
                from,
                length,
                times,
            }
        }),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let length = bytes.len().max(1);
    match mutation {
        Mutation::Flip { at, byte } => {
            if let Some(place) = bytes.get_mut(at % length) {
                *place = *byte;
            }
        }
        Mutation::Insert { at, text } => {
            let at = (at % length).min(bytes.len());
            bytes.splice(at..at, text.iter().copied());
        }
        Mutation::Cut { from, length: cut } => {
            let from = (from % length).min(bytes.len());
            let to = (from + cut).min(bytes.len());
            bytes.drain(from..to);
        }
        Mutation::Repeat {
            from,
            length: part,
            times,
        } => {
            let from = (from % length).min(bytes.len());
            let to = (from + part).min(bytes.len());
            let repeated = bytes[from..to].repeat(*times);
            bytes.splice(from..from, repeated);
        }
    }
}

#[test]
fn every_seed_is_a_valid_input_and_no_mutation_of_it_panics() {
    for target in TARGETS {
        for seed in target.seeds {
            assert!((target.run)(seed.as_bytes()), "{}: {seed}", target.name);
        }
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: CASES,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let input = (
            0..target.seeds.len(),
            prop::collection::vec(mutation(), 0..6),
        );
        let outcome = runner.run(&input, |(seed, mutations)| {
            let mut bytes = target.seeds[seed].as_bytes().to_vec();
            for mutation in &mutations {
                mutate(&mut bytes, mutation);
            }
            let _accepted = (target.run)(&bytes);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{}: {error}", target.name);
        }
    }
}
