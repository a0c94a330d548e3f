//! A made-up company signs in for half a year, and attackers try: how many people are asked for a second factor, against how many
//! attackers. Seeded, so that everybody gets the same figures; the engine is the one that is shipped.
//!
//! It shows how signals and model work together, not how often real people travel: choose thresholds with `vestibule replay`.

pub mod attackers;
pub mod curve;
pub mod people;
pub mod plot;

use rand::{RngExt as _, SeedableRng as _};
use rand_xorshift::XorShiftRng;
use vestibule_crds::signin_policy::{Actions, OnError, Signals, Thresholds};
use vestibule_crds::snapshot::{Acting, Risk};
use vestibule_risk::history::UserHistory;
use vestibule_risk::population::PolicyPopulation;
use vestibule_risk::{Context, History, assess};

use attackers::Attacker;
use people::{DAYS, Person, World};

pub const SEED: u64 = 20_260_101;
pub const USERS: usize = 2000;
/// Shares of people's sign-ins that are asked for a second factor.
pub const RATES: [f64; 5] = [0.005, 0.01, 0.02, 0.05, 0.1];
/// Days of history before anything is measured.
const LEARNING_DAYS: u32 = 90;
/// Each attacker tries one of so many people a day: anybody, not those who sign in most.
const ATTACKED: usize = 20;

/// What of the engine is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    ModelAlone,
    SignalsAlone,
    Both,
}

impl Engine {
    pub const ALL: [Self; 3] = [Self::ModelAlone, Self::SignalsAlone, Self::Both];

    pub const fn name(self) -> &'static str {
        match self {
            Self::ModelAlone => "model alone",
            Self::SignalsAlone => "signals alone",
            Self::Both => "both",
        }
    }

    fn policy(self) -> Risk {
        let mut signals = Signals::default();
        match self {
            Self::Both => {}
            Self::SignalsAlone => signals.statistical.cap = 0,
            Self::ModelAlone => {
                signals = nothing_but(signals);
                // All the points there are, so that none of what it tells apart is rounded away.
                signals.statistical.cap = 100;
            }
        }
        Risk {
            acting: Acting::Observe,
            thresholds: Thresholds::default(),
            actions: Actions::default(),
            on_error: OnError::default(),
            signals,
            deny: Vec::new(),
            allow: Vec::new(),
            mfa_methods: Vec::new(),
        }
    }
}

/// Every signal at no points.
fn nothing_but(mut signals: Signals) -> Signals {
    let Signals {
        new_device,
        new_ip,
        new_asn,
        new_country,
        impossible_travel,
        user_failures,
        ip_failures,
        unusual_hour,
        dormant,
        first_signin,
        stale_auth_time,
        statistical: _,
    } = &mut signals;
    new_device.points = 0;
    new_ip.points = 0;
    new_asn.points = 0;
    new_country.points = 0;
    impossible_travel.points = 0;
    user_failures.points = 0;
    ip_failures.points = 0;
    unusual_hour.points = 0;
    dormant.points = 0;
    first_signin.points = 0;
    stale_auth_time.points = 0;
    signals
}

/// Scores of one engine.
#[derive(Debug, Clone)]
pub struct Scores {
    pub engine: Engine,
    pub people: Vec<u8>,
    /// In the order of [`Attacker::ALL`].
    pub attackers: [Vec<u8>; Attacker::COUNT],
}

/// Half a year of `users` people.
pub fn run(users: usize, seed: u64) -> Vec<Scores> {
    let mut rng = XorShiftRng::seed_from_u64(seed);
    let world = World::default();
    let mut people: Vec<Person> = (0..users).map(|_| Person::born(&world, &mut rng)).collect();
    let mut histories = vec![UserHistory::default(); users];
    let mut population = PolicyPopulation::default();
    let mut scores = Engine::ALL.map(|engine| Scores {
        engine,
        people: Vec::new(),
        attackers: std::array::from_fn(|_| Vec::new()),
    });
    let policies = Engine::ALL.map(Engine::policy);
    let mut score = |history: &UserHistory,
                     population: &PolicyPopulation,
                     context: &Context,
                     whose: Option<usize>| {
        let history = History {
            user: Some(history.clone()),
            population: Some(population.of(&context.values)),
        };
        for (scores, policy) in scores.iter_mut().zip(&policies) {
            let given = assess(context, &history, policy).score;
            match whose {
                None => scores.people.push(given),
                Some(attacker) => scores.attackers[attacker].push(given),
            }
        }
    };
    for day in 0..DAYS {
        if day >= LEARNING_DAYS {
            for _ in 0..users / ATTACKED {
                let victim = rng.random_range(0..users);
                let (person, history) = (&people[victim], &histories[victim]);
                for (number, attacker) in Attacker::ALL.into_iter().enumerate() {
                    let (at, shown) = attacker.tries(&world, person, day, &mut rng);
                    // Never learnt from.
                    score(history, &population, &shown.context(at), Some(number));
                }
            }
        }
        for (person, history) in people.iter_mut().zip(&mut histories) {
            person.wake(&world, day, &mut rng);
            for at in person.signins(day, &mut rng) {
                let shown = person.show(&world, at, &mut rng);
                if day >= LEARNING_DAYS && history.signins > 0 {
                    score(history, &population, &shown.context(at), None);
                }
                let context = shown.context(at);
                population.count(&context.values, history.signins == 0);
                *history = std::mem::take(history).with(&context);
            }
        }
    }
    scores.to_vec()
}

#[cfg(test)]
mod tests {
    use super::curve::{attackers_at, curve};
    use super::*;

    fn mean(scores: &[u8]) -> f64 {
        scores.iter().map(|score| f64::from(*score)).sum::<f64>() / scores.len() as f64
    }

    #[test]
    fn one_seed_gives_one_outcome_and_every_engine_tells_attackers_from_people() {
        let (once, again) = (run(60, 7), run(60, 7));
        for (once, again) in once.iter().zip(&again) {
            assert_eq!(once.people, again.people);
            assert_eq!(once.attackers, again.attackers);
            for attacker in &once.attackers {
                assert!(mean(attacker) > mean(&once.people), "{:?}", once.engine);
            }
        }
        assert_ne!(once[0].people, run(60, 8)[0].people);
    }

    #[test]
    fn the_model_and_the_signals_together_find_more_attackers_than_either_alone() {
        for seed in [SEED, 1] {
            let [model, signals, both] = run(USERS, seed)
                .try_into()
                .expect("each engine has its scores");
            let found = |scores: &Scores, rate| {
                attackers_at(&curve(&scores.people, &scores.attackers.concat()), rate)
            };
            for rate in RATES {
                let (model, signals) = (found(&model, rate), found(&signals, rate));
                assert!(
                    found(&both, rate) > model.max(signals),
                    "seed {seed}, {rate} of people: {model} and {signals} alone, {} together",
                    found(&both, rate)
                );
            }
        }
    }
}
