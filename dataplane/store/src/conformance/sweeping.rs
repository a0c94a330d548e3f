//! What expires, and what the store does by itself.

use uuid::Uuid;

use super::Fixture;
use super::rows::*;
use crate::{
    EVENT_RETENTION_SECONDS, Event, EventKind, NewSession, Probe, Profile, Signin, SigninOutcome,
    Store,
};

/// More than there is to sweep.
const MANY: usize = 10_000;

pub(crate) async fn nothing_is_swept_while_nothing_has_expired(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    committed(
        &store,
        Signin {
            replay: token(NOW + 60, 1),
            ..existing(user)
        },
    )
    .await;
    assert_eq!(store.run(sweep(NOW, MANY)).await, Ok(0));
}

pub(crate) async fn expired_session_is_kept_for_a_day_and_swept_after(fixture: impl Fixture) {
    let store = fixture.store();
    let [session] = sessions_expiring(&store, [NOW + 100]).await;
    assert_eq!(store.run(sweep(NOW + 100 + DAY, MANY)).await, Ok(0));
    assert!(read(&store, session).await.is_some());
    assert_eq!(store.run(sweep(NOW + 101 + DAY, MANY)).await, Ok(1));
    assert_eq!(read(&store, session).await, None);
    assert_eq!(store.run(sweep(NOW + 101 + DAY, MANY)).await, Ok(0));
}

pub(crate) async fn session_past_its_end_is_swept(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let signin = existing(user);
    let signin = Signin {
        session: NewSession {
            ends_at: NOW + 50,
            ..signin.session
        },
        ..signin
    };
    let session = signin.session.id;
    committed(&store, signin).await;
    assert_eq!(store.run(sweep(NOW + 51 + DAY, 1)).await, Ok(1));
    assert_eq!(read(&store, session).await, None);
}

pub(crate) async fn expired_replay_row_is_swept_and_a_valid_one_is_kept(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    for token in [token(NOW + 60, 1), token(NOW + 61, 2)] {
        committed(
            &store,
            Signin {
                replay: token,
                ..existing(user)
            },
        )
        .await;
    }
    assert_eq!(store.run(sweep(NOW + 60, MANY)).await, Ok(0));
    assert_eq!(store.run(sweep(NOW + 61, MANY)).await, Ok(1));
    let again = Signin {
        replay: token(NOW + 61, 2),
        ..existing(user)
    };
    assert_eq!(store.run(again).await, Ok(SigninOutcome::Replayed));
}

pub(crate) async fn old_events_are_swept_and_young_ones_are_kept(fixture: impl Fixture) {
    let store = fixture.store();
    for at in [NOW, NOW + 10] {
        assert!(store.record(Event {
            at,
            ..event(EventKind::Signin)
        }));
    }
    assert_eq!(store.flush().await, Ok(()));
    assert_eq!(
        store.run(sweep(NOW + EVENT_RETENTION_SECONDS, MANY)).await,
        Ok(0)
    );
    assert_eq!(
        store
            .run(sweep(NOW + EVENT_RETENTION_SECONDS + 1, MANY))
            .await,
        Ok(1)
    );
    assert_eq!(fixture.events().await, 1);
}

pub(crate) async fn sweep_deletes_no_more_than_asked(fixture: impl Fixture) {
    let store = fixture.store();
    let sessions: [Uuid; 10] = sessions_expiring(&store, [NOW + 100; 10]).await;
    let later = NOW + 101 + DAY;
    assert_eq!(store.run(sweep(later, 4)).await, Ok(4));
    assert_eq!(left(&store, &sessions).await, 6);
    assert_eq!(store.run(sweep(later, 4)).await, Ok(4));
    assert_eq!(store.run(sweep(later, 4)).await, Ok(2));
    assert_eq!(left(&store, &sessions).await, 0);
}

pub(crate) async fn repeated_sweeps_find_every_expired_session(fixture: impl Fixture) {
    let store = fixture.store();
    // Long-lived sessions lie between the expired ones.
    let expiring = std::array::from_fn::<i64, 600, _>(|n| {
        if n % 3 == 0 {
            NOW + 100
        } else {
            NOW + 30 * DAY
        }
    });
    let sessions = sessions_expiring(&store, expiring).await;
    let later = NOW + 101 + DAY;
    let mut swept = 0;
    for _ in 0..600 {
        let deleted = store
            .run(sweep(later, 7))
            .await
            .expect("the store is there");
        swept += deleted;
        if deleted < 7 {
            break;
        }
    }
    assert_eq!(swept, 200);
    assert_eq!(left(&store, &sessions).await, 400);
    let [late] = sessions_expiring(&store, [NOW + 100]).await;
    assert_eq!(store.run(sweep(later, 7)).await, Ok(1));
    assert_eq!(read(&store, late).await, None);
}

pub(crate) async fn one_sweep_deletes_many_sessions(fixture: impl Fixture) {
    let store = fixture.store();
    let sessions = sessions_expiring(&store, [NOW + 100; 600]).await;
    assert_eq!(store.run(sweep(NOW + 101 + DAY, MANY)).await, Ok(600));
    assert_eq!(left(&store, &sessions).await, 0);
}

pub(crate) async fn sweep_that_began_midway_finds_what_lies_before(fixture: impl Fixture) {
    let store = fixture.store();
    let expiring = std::array::from_fn::<i64, 10, _>(|n| if n < 5 { NOW + 200 } else { NOW + 100 });
    let sessions = sessions_expiring(&store, expiring).await;
    assert_eq!(store.run(sweep(NOW + 101 + DAY, 3)).await, Ok(3));
    assert_eq!(store.run(sweep(NOW + 201 + DAY, MANY)).await, Ok(7));
    assert_eq!(left(&store, &sessions).await, 0);
}

pub(crate) async fn recorded_event_is_written(fixture: impl Fixture) {
    let store = fixture.store();
    assert!(store.record(Event {
        detail: "é".repeat(5000),
        ..event(EventKind::Signin)
    }));
    assert_eq!(store.flush().await, Ok(()));
    assert_eq!(fixture.events().await, 1);
}

pub(crate) async fn probe_succeeds_while_the_store_can_be_written(mut fixture: impl Fixture) {
    assert_eq!(fixture.store().run(Probe).await, Ok(()));
    fixture.reopen().await;
    assert_eq!(fixture.store().run(Probe).await, Ok(()));
}

async fn sessions_expiring<const N: usize>(store: &Store, expiring: [i64; N]) -> [Uuid; N] {
    let user = created(store, &next_id().to_string(), Profile::default()).await;
    let mut ids = [Uuid::nil(); N];
    for (id, refresh_expires_at) in ids.iter_mut().zip(expiring) {
        let signin = existing(user);
        let session = NewSession {
            refresh_expires_at,
            ends_at: NOW + 365 * DAY,
            ..signin.session
        };
        *id = session.id;
        committed(store, Signin { session, ..signin }).await;
    }
    ids
}

async fn left(store: &Store, sessions: &[Uuid]) -> usize {
    let mut left = 0;
    for id in sessions {
        left += usize::from(read(store, *id).await.is_some());
    }
    left
}
