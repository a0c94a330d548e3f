//! What all users of a policy have shown together, for statistics. What is counted, and what its
//! numbers mean, is known to the risk engine alone.

use std::collections::{BTreeMap, HashMap};

/// Counts to add to what the store has of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addition {
    /// `namespace/name`.
    pub policy: String,
    pub users: u64,
    pub signins: u64,
    /// By kind and value.
    pub values: HashMap<(u8, u64), u64>,
}

/// Adds to what all users of a policy have shown: all of `part`, or nothing.
#[derive(Debug, Clone)]
pub struct AddToPopulation {
    pub part: Addition,
    /// Seconds since the Unix epoch.
    pub now: i64,
}

/// Which counts to read: by policy what all its users have shown, of each kind the most frequent values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPopulations {
    pub kinds: Vec<u8>,
    /// Of each kind the most frequent values, over all policies.
    pub values_max: usize,
}

/// The counts of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Population {
    pub users: u64,
    pub signins: u64,
    pub kinds: BTreeMap<u8, Shown>,
}

/// The values of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Sign-ins by value, for the most frequent values.
    pub counts: HashMap<u64, u64>,
    /// How many values there are.
    pub distinct: u64,
}

/// By policy, `namespace/name`.
pub type Populations = HashMap<String, Population>;
