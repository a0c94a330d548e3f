//! The queue, the batches and the threads.

use super::*;
use crate::conformance::rows::*;
use crate::{Event, EventKind, NewSession, Probe, Profile, Signin, SigninOutcome};

struct Pragma(&'static str);

impl Write for Pragma {
    type Answer = String;

    fn write(&self, db: &Connection) -> rusqlite::Result<String> {
        db.pragma_query_value(None, self.0, |row| {
            row.get(0)
                .map(|value: rusqlite::types::Value| format!("{value:?}"))
        })
    }
}

#[tokio::test]
async fn writer_waits_for_the_disk_and_leaves_checkpoints_to_others() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    for (pragma, value) in [
        ("journal_mode", "Text(\"wal\")"),
        ("synchronous", "Integer(2)"),
        ("journal_size_limit", "Integer(33554432)"),
        ("trusted_schema", "Integer(0)"),
    ] {
        assert_eq!(
            store.submit(Pragma(pragma)).await,
            Ok(value.to_owned()),
            "{pragma}"
        );
    }
}

#[tokio::test]
async fn long_detail_is_cut() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    assert!(store.record(Event {
        detail: "é".repeat(5000),
        ..event(EventKind::Signin)
    }));
    assert_eq!(store.run(Probe).await, Ok(()));
    assert_eq!(
        fixture.number("SELECT length(CAST(detail AS BLOB)) FROM events"),
        2048
    );
}

#[tokio::test]
async fn sign_ins_that_queue_share_a_transaction() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let (release, held) = hold(&store);
    let before = store.stats();
    let waiting: Vec<_> = (0..100).map(|_| store.run(existing(user))).collect();
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    for commit in waiting {
        assert_eq!(commit.await, Ok(SigninOutcome::Committed));
    }
    let after = store.stats();
    assert_eq!(after.jobs - before.jobs, 101);
    assert_eq!(after.transactions - before.transactions, 2);
}

#[tokio::test]
async fn batch_has_a_bound() {
    let fixture = Sqlite::with(SqliteOptions {
        batch_max: 10,
        ..SqliteOptions::default()
    });
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let (release, held) = hold(&store);
    let before = store.stats();
    let waiting: Vec<_> = (0..100).map(|_| store.run(existing(user))).collect();
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    for commit in waiting {
        assert_eq!(commit.await, Ok(SigninOutcome::Committed));
    }
    assert_eq!(store.stats().transactions - before.transactions, 11);
}

#[tokio::test]
async fn full_queue_answers_busy_at_once_and_recovers() {
    let fixture = Sqlite::with(SqliteOptions {
        queue_max: 4,
        ..SqliteOptions::default()
    });
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let (release, held) = hold(&store);
    let waiting: Vec<_> = (0..4).map(|_| store.run(existing(user))).collect();
    assert_eq!(store.run(existing(user)).await, Err(StoreError::Busy));
    assert!(!store.record(refusal()));
    assert_eq!(store.stats().records_dropped, 1);
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    for commit in waiting {
        assert_eq!(commit.await, Ok(SigninOutcome::Committed));
    }
    committed(&store.clone().into(), existing(user)).await;
    assert!(store.record(refusal()));
}

#[tokio::test]
async fn refusals_leave_half_of_the_queue_to_sign_ins() {
    let fixture = Sqlite::with(SqliteOptions {
        queue_max: 4,
        ..SqliteOptions::default()
    });
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let (release, held) = hold(&store);
    assert!(store.record(refusal()));
    assert!(store.record(refusal()));
    assert!(!store.record(refusal()));
    let waiting = [store.run(existing(user)), store.run(existing(user))];
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    for commit in waiting {
        assert_eq!(commit.await, Ok(SigninOutcome::Committed));
    }
    assert!(store.record(refusal()));
    assert_eq!(store.run(Probe).await, Ok(()));
    assert_eq!(fixture.events().await, 6);
}

#[tokio::test]
async fn locks_reuses_and_changes_find_room_though_refusals_and_sign_ins_fill_the_queue() {
    let fixture = Sqlite::with(SqliteOptions {
        queue_max: 4,
        ..SqliteOptions::default()
    });
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let (release, held) = hold(&store);
    while store.record(refusal()) {}
    let waiting: Vec<_> = (0..4).map(|_| store.run(existing(user))).collect();
    assert!(!store.record(refusal()));
    for (kind, outcome) in [
        (EventKind::Refresh, "refresh_token_reused"),
        (EventKind::MfaVerify, "mfa_locked"),
        (EventKind::UserChange, "ok"),
    ] {
        assert!(store.record(Event {
            outcome,
            ..event(kind)
        }));
    }
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    // The queue has room again once they are answered, whatever each of them came to.
    for commit in waiting {
        let _committed = commit.await;
    }
    assert_eq!(store.flush().await, Ok(()));
    for outcome in ["refresh_token_reused", "mfa_locked"] {
        let sql = format!("SELECT count(*) FROM events WHERE outcome = '{outcome}'");
        assert_eq!(fixture.number(&sql), 1, "{outcome}");
    }
}

#[tokio::test]
async fn two_uses_of_one_token_in_one_batch_sign_in_once() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let (release, held) = hold(&store);
    let signin = || Signin {
        replay: token(NOW + 60, 1),
        ..existing(user)
    };
    let (first, second) = (store.run(signin()), store.run(signin()));
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    assert_eq!(
        (first.await, second.await),
        (Ok(SigninOutcome::Committed), Ok(SigninOutcome::Replayed))
    );
}

#[tokio::test]
async fn job_that_fails_midway_hurts_no_other_of_its_batch() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let (taken, first, last) = (
        signed_in(&store.clone().into(), user).await,
        existing(user),
        existing(user),
    );
    let (first_id, last_id) = (first.session.id, last.session.id);
    // Creates a user and then meets a session that is there already.
    let bad = create("ben");
    let bad = Signin {
        session: NewSession {
            id: taken,
            ..bad.session
        },
        ..bad
    };
    let (release, held) = hold(&store);
    let waiting = [first, bad, last].map(|signin| store.run(signin));
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    let [first, bad, last] = waiting;
    assert_eq!(
        (first.await, last.await),
        (Ok(SigninOutcome::Committed), Ok(SigninOutcome::Committed))
    );
    assert!(unavailable(bad.await).contains("refused a statement"));
    assert!(read(&store.clone().into(), first_id).await.is_some());
    assert!(read(&store.clone().into(), last_id).await.is_some());
    assert_eq!(found(&store.clone().into(), identity("ben")).await, None);
}

#[tokio::test]
async fn caller_that_goes_away_does_not_take_the_write_back() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    drop(store.run(create("ann")));
    assert_eq!(store.run(Probe).await, Ok(()));
    assert!(
        found(&store.clone().into(), identity("ann"))
            .await
            .is_some()
    );
}

#[tokio::test]
async fn closing_writes_what_was_queued() {
    let mut fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let (release, held) = hold(&store);
    let waiting: Vec<_> = (0..20)
        .map(|n| store.submit(create(&n.to_string())))
        .collect();
    drop(store);
    release.send(()).expect("the writer waits");
    fixture.close();
    held.await.expect("the hold ends");
    for commit in waiting {
        assert_eq!(commit.await, Ok(SigninOutcome::Committed));
    }
    assert_eq!(fixture.number("SELECT count(*) FROM identities"), 20);
}

struct Panics;

impl Write for Panics {
    type Answer = ();

    fn write(&self, _: &Connection) -> rusqlite::Result<()> {
        panic!("a defect")
    }
}

#[tokio::test]
async fn panic_of_the_writer_is_told_and_leaves_nobody_waiting() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let (release, held) = hold(&store);
    let (panics, behind) = (store.submit(Panics), store.run(create("ann")));
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    unavailable(panics.await);
    unavailable(behind.await);
    store.died().await;
    unavailable(store.run(create("ann")).await);
}

#[tokio::test]
async fn store_that_is_closed_in_good_order_has_not_died() {
    let mut fixture = Sqlite::empty();
    let mut died = std::pin::pin!(fixture.sqlite().died());
    fixture.close();
    let polled =
        std::future::poll_fn(|context| std::task::Poll::Ready(died.as_mut().poll(context))).await;
    assert!(polled.is_pending());
}

#[tokio::test]
async fn log_is_copied_and_begins_again_while_sign_ins_go_on() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    // Each takes about 100 pages: by 200 of them the log has passed its bound, whatever the second thread did.
    let mut signed_in = 0;
    while store.stats().log_restarts == 0 {
        let signin = existing(user);
        let session = NewSession {
            carried: "x".repeat(400 * 1024),
            ..signin.session
        };
        committed(&store.clone().into(), Signin { session, ..signin }).await;
        signed_in += 1;
        assert!(
            signed_in <= 200,
            "the log never begins again: {:?}",
            store.stats()
        );
    }
    assert!(store.stats().log_frames < 1000, "{:?}", store.stats());
    assert_eq!(
        fixture.number("SELECT count(*) FROM sessions"),
        signed_in + 1
    );
}
