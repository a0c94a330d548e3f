//! Decides which connections are served when places run out.
//!
//! | open connections | a new one |
//! |---|---|
//! | fewer than three quarters | is served |
//! | more | is served while its network holds less than its share of the last quarter |
//! | its network's share is used up | takes the place of one of its own network |
//! | all places are taken | takes the place of any |
//!
//! A place is taken over only from a connection that waits for its client. Where all work, the new
//! one is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::progress::{Progress, Waiting};

/// Of the last quarter of the places, the part that one network may hold.
const SHARES: usize = 2;
/// Connections that are examined to find the one that gives the least.
const LOOKED_AT_MAX: usize = 128;
/// A connection that keeps an answer, a head or a body back counts as having waited so many times
/// as long as an idle one.
const STALLED_WEIGHT: u32 = 8;

/// An IPv4 address, or the /64 that one IPv6 host commonly has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Self(std::net::Ipv6Addr::from(network).into())
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Places {
    places: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Entry>,
    networks: HashMap<Network, Holding>,
    /// Up to where the connections were examined last.
    cursor: u64,
}

#[derive(Debug)]
struct Entry {
    progress: Arc<Progress>,
    network: Network,
    is_of_last_quarter: bool,
}

#[derive(Debug, Default)]
struct Holding {
    connections: BTreeSet<u64>,
    of_last_quarter: usize,
    cursor: u64,
}

/// What became of a new connection.
#[derive(Debug)]
pub(super) enum Admission {
    Served(Place),
    /// Another one gave its place up for it.
    Displaced(Place),
    Refused,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.number);
    }
}

impl Places {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places,
            state: Mutex::default(),
        })
    }

    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, progress: &Arc<Progress>) -> Admission {
        let network = Network::of(peer);
        let last_quarter = (self.places / 4).max(1);
        let share = (last_quarter / SHARES).max(1);
        let mut state = self.lock();
        let is_of_last_quarter = state.open.len() >= self.places - last_quarter;
        let held = state
            .networks
            .get(&network)
            .map_or(0, |held| held.of_last_quarter);
        let displaced = if is_of_last_quarter && held >= share {
            state.least_of(network)
        } else if state.open.len() >= self.places {
            state.least_of_all()
        } else {
            let number = state.insert(network, Arc::clone(progress), is_of_last_quarter);
            return Admission::Served(self.place(number));
        };
        let Some(displaced) = displaced.and_then(|number| state.remove(number)) else {
            return Admission::Refused;
        };
        let number = state.insert(network, Arc::clone(progress), displaced.is_of_last_quarter);
        drop(state);
        displaced.give_up();
        Admission::Displaced(self.place(number))
    }

    /// Asks all connections to end once the requests under way are answered.
    pub(super) fn part(&self) {
        for entry in self.lock().open.values() {
            entry.progress.part();
        }
    }

    fn place(self: &Arc<Self>, number: u64) -> Place {
        Place {
            places: Arc::clone(self),
            number,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// An idle client may have a request on its way: its connection ends gracefully, the others are
    /// cut off.
    fn give_up(&self) {
        if self
            .progress
            .waiting()
            .is_some_and(|waiting| !waiting.is_idle)
        {
            self.progress.end();
        } else {
            self.progress.part();
        }
    }
}

impl State {
    fn insert(
        &mut self,
        network: Network,
        progress: Arc<Progress>,
        is_of_last_quarter: bool,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        let entry = Entry {
            progress,
            network,
            is_of_last_quarter,
        };
        self.open.insert(number, entry);
        let held = self.networks.entry(network).or_default();
        held.connections.insert(number);
        held.of_last_quarter += usize::from(is_of_last_quarter);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.open.remove(&number)?;
        if let Some(held) = self.networks.get_mut(&entry.network) {
            held.connections.remove(&number);
            held.of_last_quarter -= usize::from(entry.is_of_last_quarter);
            if held.connections.is_empty() {
                self.networks.remove(&entry.network);
            }
        }
        Some(entry)
    }

    fn least_of_all(&mut self) -> Option<u64> {
        let looked_at: Vec<u64> = {
            let after = self.open.range((Excluded(self.cursor), Unbounded));
            let before = self.open.range(..=self.cursor);
            let numbers = after.chain(before).map(|(number, _)| *number);
            numbers.take(LOOKED_AT_MAX).collect()
        };
        self.cursor = looked_at.last().copied().unwrap_or_default();
        self.least(&looked_at)
    }

    fn least_of(&mut self, network: Network) -> Option<u64> {
        let held = self.networks.get_mut(&network)?;
        let after = held.connections.range((Excluded(held.cursor), Unbounded));
        let before = held.connections.range(..=held.cursor);
        let looked_at: Vec<u64> = after.chain(before).copied().take(LOOKED_AT_MAX).collect();
        held.cursor = looked_at.last().copied().unwrap_or_default();
        self.least(&looked_at)
    }

    /// The one that the service has waited for the longest.
    fn least(&self, numbers: &[u64]) -> Option<u64> {
        let now = Instant::now();
        let waiting = numbers.iter().filter_map(|number| {
            let waiting = self.open.get(number)?.progress.waiting()?;
            Some((weight(waiting, now), *number))
        });
        // Of equals the older.
        let least = waiting.max_by_key(|(weight, number)| (*weight, std::cmp::Reverse(*number)));
        least.map(|(_, number)| number)
    }
}

fn weight(waiting: Waiting, now: Instant) -> std::time::Duration {
    let waited = now.saturating_duration_since(waiting.since);
    if waiting.is_idle {
        waited
    } else {
        waited.saturating_mul(STALLED_WEIGHT)
    }
}

#[cfg(test)]
mod tests;
