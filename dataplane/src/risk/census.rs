//! What all users of a policy have shown together: who is unlike everybody is not more suspect than who is like many others,
//! and only with this can the two be told apart.

use std::collections::HashMap;

use super::Values;
use super::history::{Kind, Popularity, Population};

/// Values of one kind that are counted one by one; the rest weigh as if nobody had shown them, which they nearly did.
pub const VALUES_MAX: usize = 65_536;

/// Sign-ins that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    pub users: u64,
    pub signins: u64,
    kinds: [Counts; Kind::COUNT],
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    by_value: HashMap<u64, u64>,
    distinct: u64,
}

impl Census {
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
        if let Some(count) = counts.by_value.get_mut(&value) {
            *count += by;
        } else if counts.by_value.len() < VALUES_MAX {
            counts.by_value.insert(value, by);
            counts.distinct += 1;
        }
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
