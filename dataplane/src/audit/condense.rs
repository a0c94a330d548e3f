//! Refusals that anybody can cause in any number become few rows.
//!
//! | event | what is written |
//! |---|---|
//! | accepted, or done by an administrator | each |
//! | over a rate limit | nothing: the metrics count it |
//! | a refusal, or a lock, seldom | each |
//! | the same more than [`EACH_MAX`] times within a minute | one row with a count, at the end of the minute |
//!
//! The same: kind, outcome, policy, provider, user and network of the client. Where too many
//! differ, those that come later are one row for each kind and outcome.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::failure::TryAgainReason;
use vestibule_store::{Event, EventKind};

/// Of one kind, rows that are written each for itself within a minute.
pub const EACH_MAX: u32 = 5;
/// Of all refusals together.
pub const ALL_MAX: u32 = 600;
/// Kinds of refusals that are counted separately at once, and of all with what locks users and ends
/// sessions.
const KINDS_MAX: usize = 1024;
const ALL_KINDS_MAX: usize = 4 * KINDS_MAX;
const WINDOW_SECONDS: i64 = 60;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: EventKind,
    outcome: &'static str,
    policy: String,
    provider: String,
    user: Option<Uuid>,
    network: String,
}

impl Key {
    fn of(event: &Event) -> Self {
        Self {
            kind: event.kind,
            outcome: event.outcome,
            policy: event.policy.clone(),
            provider: event.provider.clone(),
            user: event.user_id,
            network: event.network.clone(),
        }
    }

    /// Of everything that has no place of its own: as many as there are kinds and codes.
    fn rest(event: &Event) -> Self {
        Self {
            kind: event.kind,
            outcome: event.outcome,
            policy: String::new(),
            provider: String::new(),
            user: None,
            network: String::new(),
        }
    }
}

#[derive(Debug)]
struct Window {
    since: i64,
    each: u32,
    counted: Option<Event>,
}

#[derive(Debug, Default)]
pub struct Condenser(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    windows: HashMap<Key, Window>,
    /// Windows that ended when another event of their kind came.
    ended: Vec<Event>,
    minute: i64,
    each: u32,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Condensed {
    Write(Event),
    /// It is counted in a row that is written later.
    Counted,
    /// It is written nowhere.
    Left,
}

impl Condenser {
    pub fn take(&self, event: Event) -> Condensed {
        if event.outcome == TryAgainReason::RateLimited.as_str() {
            return Condensed::Left;
        }
        if !event.is_failure() {
            return Condensed::Write(event);
        }
        let mut state = self.lock();
        let has_room = state.has_room(&event);
        let key = state.key(&event);
        let window = state.windows.entry(key).or_insert(Window {
            since: event.at,
            each: 0,
            counted: None,
        });
        let mut ended = None;
        if event.at >= window.since.saturating_add(WINDOW_SECONDS) {
            ended = window.counted.take();
            *window = Window {
                since: event.at,
                each: 0,
                counted: None,
            };
        }
        let condensed = if has_room && window.counted.is_none() && window.each < EACH_MAX {
            window.each += 1;
            Condensed::Write(event)
        } else {
            match &mut window.counted {
                Some(counted) => counted.count = counted.count.saturating_add(1),
                None => window.counted = Some(event),
            }
            Condensed::Counted
        };
        if matches!(condensed, Condensed::Write(_)) {
            state.each += 1;
        }
        state.ended.extend(ended);
        condensed
    }

    /// The rows of all windows that are over; at the end of time, of all.
    pub fn ended(&self, now: i64) -> Vec<Event> {
        let mut state = self.lock();
        let mut ended = std::mem::take(&mut state.ended);
        state.windows.retain(|_, window| {
            let is_over = now >= window.since.saturating_add(WINDOW_SECONDS);
            if is_over {
                ended.extend(window.counted.take());
            }
            !is_over
        });
        ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What locks a user or ends a session is few, and always has room.
    fn has_room(&mut self, event: &Event) -> bool {
        let minute = event.at.div_euclid(WINDOW_SECONDS);
        if minute != self.minute {
            (self.minute, self.each) = (minute, 0);
        }
        !event.is_refusal() || self.each < ALL_MAX
    }

    fn key(&self, event: &Event) -> Key {
        let key = Key::of(event);
        let kinds_max = if event.is_refusal() {
            KINDS_MAX
        } else {
            ALL_KINDS_MAX
        };
        if self.windows.len() < kinds_max || self.windows.contains_key(&key) {
            key
        } else {
            Key::rest(event)
        }
    }
}

#[cfg(test)]
mod tests;
