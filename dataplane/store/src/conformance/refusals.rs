//! Refusals that are too many: the oldest go, and what was accepted stays.

use super::Fixture;
use super::rows::*;
use crate::refusals::RefusalBounds;
use crate::{Event, EventClass, EventKind, Profile, Store};

/// More than there is to sweep.
const MANY: usize = 10_000;

const REFUSALS: &str = "SELECT count(*) FROM events WHERE refusal_bytes IS NOT NULL";
const KEPT: &str = "SELECT count(*) FROM events WHERE refusal_bytes IS NULL";
const OLDEST: &str = "SELECT min(at) FROM events WHERE refusal_bytes IS NOT NULL";

fn refused_at(at: i64) -> Event {
    Event { at, ..refusal() }
}

/// Junk, a sign-in after each ten of it, and a reuse and a change in the midst of it.
async fn flood(store: &Store, refusals: i64) -> i64 {
    let user = created(store, "ann", Profile::default()).await;
    let mut accepted = 1;
    for number in 0..refusals {
        while !store.record(refused_at(NOW + number)) {
            assert_eq!(store.flush().await, Ok(()));
        }
        if number % 10 == 0 {
            committed(store, existing(user)).await;
            accepted += 1;
        }
    }
    for (kind, outcome) in [
        (EventKind::Refresh, "refresh_token_reused"),
        (EventKind::MfaVerify, "mfa_locked"),
        (EventKind::UserChange, "ok"),
    ] {
        let class = match outcome {
            "ok" => EventClass::Accepted,
            _ => EventClass::Incident,
        };
        assert!(store.record(Event {
            outcome,
            class,
            ..event(kind)
        }));
        accepted += 1;
    }
    assert_eq!(store.flush().await, Ok(()));
    accepted
}

pub(crate) async fn refusals_that_were_counted_are_one_row(fixture: impl Fixture) {
    let store = fixture.store();
    assert!(store.record(Event {
        count: 99_995,
        ..refusal()
    }));
    assert!(store.record(event(EventKind::Signin)));
    assert_eq!(store.flush().await, Ok(()));
    assert_eq!(fixture.events().await, 2);
    assert_eq!(fixture.ask("SELECT max(count) FROM events").await, 99_995);
    assert_eq!(fixture.ask("SELECT min(count) FROM events").await, 1);
    assert_eq!(fixture.ask(REFUSALS).await, 1);
}

pub(crate) async fn junk_beyond_the_bound_of_rows_drops_the_oldest_junk_and_nothing_accepted(
    mut fixture: impl Fixture,
) {
    let bounds = RefusalBounds {
        rows_max: 100,
        bytes_max: u64::MAX,
    };
    fixture.reopen_with(bounds).await;
    let store = fixture.store();
    let accepted = flood(&store, 400).await;
    assert_eq!(store.run(sweep(NOW, MANY)).await, Ok(300));
    assert_eq!(fixture.ask(REFUSALS).await, 100);
    assert_eq!(fixture.ask(OLDEST).await, NOW + 300);
    assert_eq!(fixture.ask(KEPT).await, accepted);
    assert_eq!(store.work().refusals_dropped, 300);
    assert_eq!(store.run(sweep(NOW, MANY)).await, Ok(0));
}

pub(crate) async fn junk_beyond_the_bound_of_bytes_drops_the_oldest_junk(
    mut fixture: impl Fixture,
) {
    let of_one = refusal().refusal_bytes().expect("a size").unsigned_abs();
    let bounds = RefusalBounds {
        rows_max: u64::MAX,
        bytes_max: 50 * of_one,
    };
    fixture.reopen_with(bounds).await;
    let store = fixture.store();
    let accepted = flood(&store, 200).await;
    assert_eq!(store.run(sweep(NOW, MANY)).await, Ok(150));
    assert_eq!(fixture.ask(REFUSALS).await, 50);
    assert_eq!(fixture.ask(OLDEST).await, NOW + 150);
    assert_eq!(fixture.ask(KEPT).await, accepted);
}

pub(crate) async fn refusals_of_before_the_start_count_against_the_bound(
    mut fixture: impl Fixture,
) {
    flood(&fixture.store(), 100).await;
    let bounds = RefusalBounds {
        rows_max: 10,
        ..RefusalBounds::default()
    };
    fixture.reopen_with(bounds).await;
    assert_eq!(fixture.store().run(sweep(NOW, MANY)).await, Ok(90));
}

pub(crate) async fn a_sweep_of_few_rows_goes_on_with_the_next(mut fixture: impl Fixture) {
    let bounds = RefusalBounds {
        rows_max: 10,
        ..RefusalBounds::default()
    };
    fixture.reopen_with(bounds).await;
    let store = fixture.store();
    flood(&store, 100).await;
    for _ in 0..4 {
        assert_eq!(store.run(sweep(NOW, 20)).await, Ok(20));
    }
    assert_eq!(store.run(sweep(NOW, 20)).await, Ok(10));
    assert_eq!(fixture.ask(REFUSALS).await, 10);
}
