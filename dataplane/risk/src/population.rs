//! What all users of a policy have shown together: a user who is unlike everybody is not more
//! suspect than one who is like many others, and only this data distinguishes the two.
//!
//! A row that every sign-in changes would make all of them wait for each other, so each data plane
//! counts in memory and adds to the store every [`ADD_EVERY`]. What several data planes have
//! counted comes together every [`READ_EVERY`]; one that is killed loses a few seconds of counts,
//! which a statistic does not notice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Values;
use super::history::{Kind, Popularity, Population};

/// Values of one kind of one policy that are counted one by one; the rest weigh as if no user had
/// shown them, which hardly any did.
pub const VALUES_MAX: usize = 65_536;
/// Values that wait to be added to the store; more are not counted until it takes them.
const PENDING_MAX: usize = 65_536;
pub const ADD_EVERY: Duration = Duration::from_secs(5);
/// Other data planes' counts.
pub const READ_EVERY: Duration = Duration::from_secs(600);

/// Sign-ins that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyPopulation {
    pub users: u64,
    pub signins: u64,
    kinds: [Counts; Kind::COUNT],
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    by_value: HashMap<u64, u64>,
    distinct: u64,
}

impl PolicyPopulation {
    /// One more sign-in; `first` when the user has never signed in before.
    pub fn count(&mut self, values: &Values, first: bool) {
        self.signins += 1;
        self.users += u64::from(first);
        for kind in Kind::ALL {
            if let Some(value) = values.of(kind) {
                self.add(kind, value, 1);
            }
        }
    }

    pub fn add(&mut self, kind: Kind, value: u64, by: u64) {
        let counts = &mut self.kinds[kind as usize];
        let room = counts.by_value.len() < VALUES_MAX;
        match counts.by_value.entry(value) {
            Entry::Occupied(mut entry) => *entry.get_mut() += by,
            Entry::Vacant(entry) if room => {
                entry.insert(by);
                counts.distinct += 1;
            }
            Entry::Vacant(_) => {}
        }
    }

    /// How many values there are, those not counted one by one included.
    pub fn set_distinct(&mut self, kind: Kind, distinct: u64) {
        self.kinds[kind as usize].distinct = distinct;
    }

    /// As far as it concerns a sign-in that shows `values`.
    pub fn of(&self, values: &Values) -> Population {
        let popularity = Kind::ALL.map(|kind| {
            let counts = &self.kinds[kind as usize];
            let count = values
                .of(kind)
                .and_then(|value| counts.by_value.get(&value));
            Popularity {
                count: count.copied().unwrap_or(0),
                distinct: counts.distinct,
            }
        });
        Population {
            users: self.users,
            signins: self.signins,
            popularity,
        }
    }
}

/// What is to be added to what the store has of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addition {
    /// `namespace/name`.
    pub policy: String,
    pub users: u64,
    pub signins: u64,
    pub values: HashMap<(Kind, u64), u64>,
}

impl Addition {
    /// Counts a value, as long as there is room for one more that waits.
    fn add(&mut self, value: (Kind, u64), by: u64, waiting: &mut usize) {
        match self.values.entry(value) {
            Entry::Occupied(mut entry) => *entry.get_mut() += by,
            Entry::Vacant(entry) if *waiting < PENDING_MAX => {
                entry.insert(by);
                *waiting += 1;
            }
            Entry::Vacant(_) => {}
        }
    }

    /// In parts of at most `values_max` values.
    pub fn parts(self, values_max: usize) -> Vec<Self> {
        let Self {
            policy,
            users,
            signins,
            values,
        } = self;
        let mut parts = vec![Self {
            policy: policy.clone(),
            users,
            signins,
            values: HashMap::new(),
        }];
        for (value, count) in values {
            if parts
                .last()
                .is_none_or(|part| part.values.len() >= values_max)
            {
                parts.push(Self {
                    policy: policy.clone(),
                    ..Self::default()
                });
            }
            if let Some(part) = parts.last_mut() {
                part.values.insert(value, count);
            }
        }
        parts
    }
}

/// The population of each policy, and what of it is not in the store yet.
#[derive(Debug, Default)]
pub struct Populations(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Nothing is answered before the first read: half a population would be a wrong one.
    read: bool,
    by_policy: HashMap<String, PolicyPopulation>,
    pending: HashMap<String, Addition>,
    pending_values: usize,
}

impl Populations {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As far as it concerns a sign-in that shows `values`; none until it has been read.
    pub fn of(&self, policy: &str, values: &Values) -> Option<Population> {
        let state = self.lock();
        let population = state.by_policy.get(policy).filter(|_| state.read)?;
        Some(population.of(values))
    }

    /// A sign-in has succeeded.
    pub fn count(&self, policy: &str, values: &Values, first: bool) {
        let mut state = self.lock();
        let State {
            by_policy,
            pending,
            pending_values,
            ..
        } = &mut *state;
        // The name is copied once for each policy.
        if !by_policy.contains_key(policy) {
            by_policy.insert(policy.to_owned(), PolicyPopulation::default());
        }
        if !pending.contains_key(policy) {
            let policy = policy.to_owned();
            let addition = Addition {
                policy: policy.clone(),
                ..Addition::default()
            };
            pending.insert(policy, addition);
        }
        let (Some(population), Some(addition)) =
            (by_policy.get_mut(policy), pending.get_mut(policy))
        else {
            return;
        };
        population.count(values, first);
        addition.signins += 1;
        addition.users += u64::from(first);
        for kind in Kind::ALL {
            if let Some(value) = values.of(kind) {
                addition.add((kind, value), 1, pending_values);
            }
        }
    }

    /// What the store does not have yet.
    pub fn take(&self) -> Vec<Addition> {
        let mut state = self.lock();
        state.pending_values = 0;
        std::mem::take(&mut state.pending).into_values().collect()
    }

    /// The store did not take it.
    pub fn put_back(&self, additions: Vec<Addition>) {
        let mut state = self.lock();
        let State {
            pending,
            pending_values,
            ..
        } = &mut *state;
        for addition in additions {
            let waiting = pending.entry(addition.policy.clone()).or_default();
            waiting.policy = addition.policy;
            waiting.users += addition.users;
            waiting.signins += addition.signins;
            for (value, count) in addition.values {
                waiting.add(value, count, pending_values);
            }
        }
    }

    /// What the store has, and on top of it what it does not have yet.
    pub fn replace(&self, stored: HashMap<String, PolicyPopulation>) {
        let mut state = self.lock();
        let State {
            read,
            by_policy,
            pending,
            ..
        } = &mut *state;
        *by_policy = stored;
        for (policy, addition) in pending.iter() {
            let population = by_policy.entry(policy.clone()).or_default();
            population.users += addition.users;
            population.signins += addition.signins;
            for ((kind, value), count) in &addition.values {
                population.add(*kind, *value, *count);
            }
        }
        *read = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(value: u64) -> Values {
        Values([Some(value); Kind::COUNT])
    }

    fn counted(times: u64, value: u64) -> HashMap<String, PolicyPopulation> {
        let mut population = PolicyPopulation::default();
        for time in 0..times {
            population.count(&values(value), time == 0);
        }
        HashMap::from([("auth/default".to_owned(), population)])
    }

    #[test]
    fn nothing_is_told_before_the_store_was_read() {
        let populations = Populations::default();
        populations.count("auth/default", &values(1), true);
        assert_eq!(populations.of("auth/default", &values(1)), None);
        populations.replace(counted(10, 1));
        let population = populations
            .of("auth/default", &values(1))
            .expect("it is known");
        assert_eq!((population.signins, population.users), (11, 2));
        assert_eq!(
            population.of(Kind::Ip),
            Popularity {
                count: 11,
                distinct: 1
            }
        );
        let unseen = populations
            .of("auth/default", &values(2))
            .expect("it is known");
        assert_eq!(
            unseen.of(Kind::Ip),
            Popularity {
                count: 0,
                distinct: 1
            }
        );
        assert_eq!(populations.of("auth/other", &values(1)), None);
    }

    #[test]
    fn what_the_store_did_not_take_waits_with_what_came_since() {
        let populations = Populations::default();
        populations.count("auth/default", &values(1), true);
        let taken = populations.take();
        assert_eq!(taken.len(), 1);
        assert!(populations.take().is_empty(), "it is taken once");
        populations.count("auth/default", &values(1), false);
        populations.put_back(taken);
        let all = populations.take();
        assert_eq!((all[0].signins, all[0].users), (2, 1));
        assert!(all[0].values.values().all(|count| *count == 2));
    }

    #[test]
    fn what_is_counted_one_by_one_is_bounded() {
        let mut population = PolicyPopulation::default();
        for value in 0..VALUES_MAX as u64 + 10 {
            population.count(&values(value), false);
        }
        let last = population.of(&values(VALUES_MAX as u64 + 5));
        assert_eq!(last.of(Kind::Ip).count, 0);
        assert_eq!(last.of(Kind::Ip).distinct, VALUES_MAX as u64);
        let populations = Populations::default();
        for value in 0..PENDING_MAX as u64 {
            populations.count("auth/default", &values(value), false);
        }
        let pending: usize = populations
            .take()
            .iter()
            .map(|addition| addition.values.len())
            .sum();
        assert_eq!(pending, PENDING_MAX);
    }
}
