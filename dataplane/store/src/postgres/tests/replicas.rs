//! Several data planes on one database.

use std::collections::HashSet;
use std::sync::Arc;

use super::server::Server;
use super::{Postgres, opened};
use crate::conformance::Fixture as _;
use crate::conformance::challenges::guesses;
use crate::conformance::rows::*;
use crate::postgres::PostgresOptions;
use crate::{
    EventKind, Probe, Profile, RotationOutcome, SetUserStatus, Signin, SigninOutcome, Store,
    UserStatus,
};

const TASKS: usize = 50;

/// `TASKS` questions at once, each second one to the other store.
async fn at_once<T: Send + 'static, F>(
    stores: &[Arc<Store>; 2],
    ask: impl Fn(Arc<Store>) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| tokio::spawn(ask(Arc::clone(&stores[number % 2]))))
        .collect();
    let mut answers = Vec::with_capacity(TASKS);
    for task in tasks {
        answers.push(task.await.expect("no task panics"));
    }
    answers
}

async fn two(fixture: &Postgres) -> [Arc<Store>; 2] {
    [fixture.store(), Arc::new(fixture.second().await.into())]
}

fn count<T: PartialEq>(answers: &[T], wanted: &T) -> usize {
    answers.iter().filter(|answer| *answer == wanted).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_fifty_rotations_over_two_stores_wins() {
    let fixture = Postgres::empty().await;
    let stores = two(&fixture).await;
    let user = created_user(&stores).await;
    let session = signed_in(&stores[0], user).await;
    let events = fixture.events().await;
    let answers = at_once(&stores, |store| async move {
        store.run(rotation(session, digest(session))).await
    })
    .await;
    assert_eq!(count(&answers, &Ok(RotationOutcome::Rotated)), 1);
    assert_eq!(count(&answers, &Ok(RotationOutcome::Changed)), TASKS - 1);
    assert_eq!(fixture.events().await, events + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_used_over_two_stores_signs_in_once() {
    let fixture = Postgres::empty().await;
    let stores = two(&fixture).await;
    let user = created_user(&stores).await;
    let answers = at_once(&stores, |store| async move {
        let signin = Signin {
            replay: token(NOW + 60, 7),
            ..existing(user)
        };
        store.run(signin).await
    })
    .await;
    assert_eq!(count(&answers, &Ok(SigninOutcome::Committed)), 1);
    assert_eq!(count(&answers, &Ok(SigninOutcome::Replayed)), TASKS - 1);
    assert_eq!(fixture.number("SELECT count(*) FROM sessions").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_comes_to_two_stores_at_once_is_one_user() {
    let fixture = Postgres::empty().await;
    let stores = two(&fixture).await;
    let answers = at_once(
        &stores,
        |store| async move { store.run(create("ann")).await },
    )
    .await;
    assert_eq!(count(&answers, &Ok(SigninOutcome::Committed)), 1);
    assert_eq!(count(&answers, &Ok(SigninOutcome::Changed)), TASKS - 1);
    for (table, rows) in [
        ("users", 1),
        ("identities", 1),
        ("sessions", 1),
        ("events", 1),
    ] {
        let found = fixture
            .number(&format!("SELECT count(*) FROM {table}"))
            .await;
        assert_eq!(found, rows, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_with_a_guarded_token_who_comes_to_two_stores_at_once_is_one_user() {
    let fixture = Postgres::empty().await;
    let stores = two(&fixture).await;
    let answers = at_once(&stores, |store| async move {
        let signin = Signin {
            replay: token(NOW + 60, 7),
            ..create("ann")
        };
        store.run(signin).await
    })
    .await;
    assert_eq!(count(&answers, &Ok(SigninOutcome::Committed)), 1);
    assert_eq!(fixture.number("SELECT count(*) FROM users").await, 1);
    assert_eq!(fixture.number("SELECT count(*) FROM replay_guard").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_taken_meanwhile_does_not_use_up_the_token() {
    let fixture = Postgres::empty().await;
    let stores = two(&fixture).await;
    let user = created_user(&stores).await;
    let guarded = Signin {
        replay: token(NOW + 60, 7),
        ..create("ann")
    };
    let outcome = stores[1].run(guarded).await;
    assert_eq!(outcome, Ok(SigninOutcome::Changed));
    let again = Signin {
        replay: token(NOW + 60, 7),
        ..existing(user)
    };
    assert_eq!(stores[1].run(again).await, Ok(SigninOutcome::Committed));
}

/// Whoever is disabled has, once that was answered, no sign-in that comes after it and no session that lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_disabled_at_one_store_is_out_at_the_other() {
    let fixture = Postgres::empty().await;
    let [one, other] = two(&fixture).await;
    let user = created(&one, "ann", Profile::default()).await;
    let session = signed_in(&one, user).await;
    let load = {
        let other = Arc::clone(&other);
        tokio::spawn(async move {
            loop {
                let outcome = other.run(existing(user)).await;
                if outcome != Ok(SigninOutcome::Committed) {
                    return outcome;
                }
            }
        })
    };
    let status = UserStatus::Disabled;
    assert_eq!(
        one.run(SetUserStatus {
            user,
            status,
            now: NOW
        })
        .await,
        Ok(true)
    );
    assert_eq!(
        other.run(existing(user)).await,
        Ok(SigninOutcome::UserNotActive(status))
    );
    assert_eq!(
        other.run(rotation(session, digest(session))).await,
        Ok(RotationOutcome::Changed)
    );
    assert_eq!(
        load.await.expect("it does not panic"),
        Ok(SigninOutcome::UserNotActive(status))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_that_change_at_two_stores_at_once_do_not_deadlock() {
    let fixture = Postgres::empty().await;
    let stores = two(&fixture).await;
    let user = created_user(&stores).await;
    let answers = at_once(&stores, |store| async move {
        let profile = Some(verified(&format!("ann{}@shop.example", next_id())));
        let changed = signin(crate::Account::Existing {
            user_id: user,
            profile,
        });
        let plain = store.run(existing(user)).await;
        (plain, store.run(changed).await)
    })
    .await;
    let both = (Ok(SigninOutcome::Committed), Ok(SigninOutcome::Committed));
    assert_eq!(count(&answers, &both), TASKS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_sweep_at_once_and_each_row_is_counted_once() {
    let fixture = Postgres::empty().await;
    let [one, other] = two(&fixture).await;
    let user = created(&one, "ann", Profile::default()).await;
    let mut ids = HashSet::new();
    for number in 0..400 {
        let signin = Signin {
            replay: token(NOW + 60 + number, 7),
            ..existing(user)
        };
        ids.insert(signin.session.id);
        committed(&one, signin).await;
    }
    let later = NOW + 8 * DAY;
    let (mut swept, mut rounds) = (0, 0);
    while rounds < 20 {
        let (first, second) =
            tokio::join!(one.run(sweep(later, 100)), other.run(sweep(later, 100)));
        let gone = first.expect("it sweeps") + second.expect("it sweeps");
        if gone == 0 {
            break;
        }
        swept += gone;
        rounds += 1;
    }
    // Replay rows and sessions; the first sign-in's session too.
    assert_eq!(swept, 400 + ids.len() + 1);
    assert_eq!(fixture.number("SELECT count(*) FROM sessions").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_stores_open_an_empty_database_at_once() {
    let server = Server::shared();
    let user = super::created(&server).await;
    let url = server.url(&user);
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { opened(&url, PostgresOptions::default()).await })
        })
        .collect();
    for task in tasks {
        let store = task.await.expect("no task panics").expect("it opens");
        assert_eq!(store.run(Probe).await, Ok(()));
    }
    let runs = "SELECT count(*) FROM refinery_schema_history WHERE version = 1";
    assert_eq!(server.number(&user, runs).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_both_stores_are_written() {
    let fixture = Postgres::empty().await;
    let stores = two(&fixture).await;
    for number in 0..600 {
        assert!(stores[number % 2].record(event(EventKind::Refresh)));
    }
    for store in &stores {
        assert_eq!(store.flush().await, Ok(()));
    }
    assert_eq!(fixture.events().await, 600);
}

async fn created_user(stores: &[Arc<Store>; 2]) -> uuid::Uuid {
    created(&stores[0], "ann", Profile::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_guesses_at_two_replicas_stay_in_bounds() {
    let fixture = Postgres::empty().await;
    let stores = two(&fixture).await;
    let user = created(&stores[0], "ann", Profile::default()).await;
    assert_eq!(guesses(&stores, user).await, 10);
}
