//! Many questions in one statement: each has its own answer, and none is another's trouble.

use std::sync::Arc;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::Postgres;
use crate::ReadSession;
use crate::conformance::Fixture as _;
use crate::conformance::rows::*;
use crate::postgres::batch::AskBatch;
use crate::postgres::connect::Connection;
use crate::postgres::fault::Fault;
use crate::postgres::pool::Ask;
use crate::{Gather, Profile, RotationOutcome, SetUserStatus, Signin, SigninOutcome, UserStatus};

/// So many that not all are alone.
const MANY: usize = 40;

/// These in one statement, and in no other.
struct Exactly<A>(Vec<A>);

impl<A: AskBatch> Ask for Exactly<A> {
    type Answer = Vec<Option<A::Answer>>;

    async fn ask(&self, db: &mut Connection) -> Result<Self::Answer, Fault> {
        let questions: Vec<&A> = self.0.iter().collect();
        A::ask_batch(&questions, db).await
    }
}

async fn answers<A: AskBatch>(fixture: &Postgres, questions: Vec<A>) -> Vec<Option<A::Answer>> {
    let store = fixture.postgres();
    let answered = store.pool.answer(&Exactly(questions)).await;
    answered.expect("the database takes them")
}

async fn sessions_of(fixture: &Postgres, user: Uuid) -> i64 {
    let sql = format!("SELECT count(*) FROM sessions WHERE user_id = '{user}'");
    fixture.number(&sql).await
}

async fn people(fixture: &Postgres, how_many: usize) -> Vec<Uuid> {
    let store = fixture.postgres();
    let mut people = Vec::new();
    for number in 0..how_many {
        people.push(
            created(
                &store.clone().into(),
                &format!("person-{number}"),
                Profile::default(),
            )
            .await,
        );
    }
    people
}

#[tokio::test]
async fn each_of_many_sign_ins_has_its_own_outcome() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let people = people(&fixture, 5).await;
    let [plain, guarded, replayed, disabled, held] = people.as_slice() else {
        panic!("five people");
    };
    let guarded_by = |user: &Uuid, byte| Signin {
        replay: token(NOW + 60, byte),
        ..existing(*user)
    };
    committed(&store.clone().into(), guarded_by(replayed, 1)).await;
    let status = UserStatus::Disabled;
    assert_eq!(
        store
            .run(SetUserStatus {
                user: *disabled,
                status,
                now: NOW
            })
            .await,
        Ok(true)
    );
    let mut other = fixture.server.client(&fixture.user).await;
    let holding = other.transaction().await.expect("a transaction");
    let lock = format!("SELECT 1 FROM users WHERE id = '{held}' FOR UPDATE");
    holding.batch_execute(&lock).await.expect("it is locked");
    let events = fixture.events().await;

    let signins = vec![
        existing(*plain),
        guarded_by(guarded, 2),
        guarded_by(replayed, 1),
        existing(*disabled),
        existing(next_id()),
        existing(*held),
    ];
    let outcomes = answers(&fixture, signins).await;

    let expected = [
        Some(SigninOutcome::Committed),
        Some(SigninOutcome::Committed),
        Some(SigninOutcome::Replayed),
        Some(SigninOutcome::UserNotActive(status)),
        // Nobody of that name, and one whom somebody else holds: asked again alone.
        None,
        None,
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(fixture.events().await, events + 2);
    for (user, sessions) in [
        (plain, 2),
        (guarded, 2),
        (replayed, 2),
        (disabled, 1),
        (held, 1),
    ] {
        assert_eq!(sessions_of(&fixture, *user).await, sessions, "{user}");
    }
    let used = fixture.number("SELECT count(*) FROM replay_guard").await;
    assert_eq!(used, 2);
}

#[tokio::test]
async fn each_of_many_refreshes_has_its_own_outcome() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let people = people(&fixture, 4).await;
    let mut sessions = Vec::new();
    for user in &people {
        sessions.push(signed_in(&store.clone().into(), *user).await);
    }
    let [right, wrong, disabled, held] = sessions.as_slice() else {
        panic!("four sessions");
    };
    let status = UserStatus::Disabled;
    assert_eq!(
        store
            .run(SetUserStatus {
                user: people[2],
                status,
                now: NOW
            })
            .await,
        Ok(true)
    );
    let mut other = fixture.server.client(&fixture.user).await;
    let holding = other.transaction().await.expect("a transaction");
    let lock = format!("SELECT 1 FROM sessions WHERE id = '{held}' FOR UPDATE");
    holding.batch_execute(&lock).await.expect("it is locked");
    let events = fixture.events().await;

    let rotations = vec![
        rotation(*wrong, digest(*right)),
        rotation(*right, digest(*right)),
        rotation(*disabled, digest(*disabled)),
        rotation(*held, digest(*held)),
        rotation(next_id(), digest(*right)),
    ];
    let new = rotations[1].new_digest;
    let outcomes = answers(&fixture, rotations).await;

    let rotated = Some(RotationOutcome::Rotated);
    assert_eq!(outcomes, [None, rotated, None, None, None]);
    assert_eq!(fixture.events().await, events + 1);
    for (session, expected) in [
        (right, new),
        (wrong, digest(*wrong)),
        (disabled, digest(*disabled)),
    ] {
        let (found, _) = read(&store.clone().into(), *session)
            .await
            .expect("the session is there");
        assert_eq!(found.refresh_digest, expected);
    }
}

#[tokio::test]
async fn each_of_many_identities_has_its_own_user() {
    let fixture = Postgres::empty().await;
    let people = people(&fixture, 2).await;
    let question = |subject, email: Option<&str>| Gather {
        identity: identity(subject),
        linkable_email: email.map(str::to_owned),
        history: false,
    };
    let gathered = answers(
        &fixture,
        vec![
            question("person-1", Some("a@example.com")),
            question("nobody", None),
            question("nobody", Some("a@example.com")),
            question("person-0", None),
            question("person-1", None),
        ],
    )
    .await;
    let users: Vec<Option<Option<Uuid>>> = gathered
        .into_iter()
        .map(|found| found.map(|found| found.user.map(|user| user.id)))
        .collect();
    let (zero, one) = (Some(people[0]), Some(people[1]));
    // Who may be linked by an address is asked for again, with its owners.
    assert_eq!(users, [Some(one), Some(None), None, Some(zero), Some(one)]);
}

#[tokio::test]
async fn each_of_many_who_ask_for_sessions_has_the_one_asked_for() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let people = people(&fixture, 2).await;
    let (ann, bob) = (
        signed_in(&store.clone().into(), people[0]).await,
        signed_in(&store.clone().into(), people[1]).await,
    );
    let asked = [bob, ann, next_id(), bob];
    let found = answers(&fixture, asked.map(ReadSession).to_vec()).await;
    let found: Vec<Option<(Uuid, Uuid)>> = found
        .into_iter()
        .map(|answer| answer.expect("none is asked again"))
        .map(|found| found.map(|(session, user)| (session.id, user.id)))
        .collect();
    let (ann, bob) = (Some((ann, people[0])), Some((bob, people[1])));
    assert_eq!(found, [bob, ann, None, bob]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_held_by_somebody_else_holds_up_nobody() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let people = people(&fixture, MANY).await;
    // As many as there are batches under way, and the first to come, each alone.
    let (held, free) = people.split_at(2);
    let mut other = fixture.server.client(&fixture.user).await;
    let holding = other.transaction().await.expect("a transaction");
    for user in held {
        let lock = format!("SELECT 1 FROM users WHERE id = '{user}' FOR UPDATE");
        holding.batch_execute(&lock).await.expect("it is locked");
    }
    let waiting = format!(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND usename = '{}'",
        fixture.user
    );
    let sign_in = |user: Uuid| {
        let store = Arc::clone(&store);
        async move { store.run(existing(user)).await }
    };
    let (mut late, mut in_time) = (JoinSet::new(), JoinSet::new());
    for (started, user) in (1..).zip(held) {
        late.spawn(sign_in(*user));
        while fixture.number(&waiting).await < started {
            tokio::task::yield_now().await;
        }
    }
    for user in free {
        in_time.spawn(sign_in(*user));
    }
    while let Some(ended) = in_time.join_next().await {
        assert_eq!(ended.expect("no panic"), Ok(SigninOutcome::Committed));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_one_is_done_for_the_others() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let people = people(&fixture, MANY).await;
    let taken = signed_in(&store.clone().into(), people[0]).await;
    let mut signing_in = JoinSet::new();
    for user in people.clone() {
        let store = Arc::clone(&store);
        let mut signin = existing(user);
        if user == people[0] {
            signin.session.id = taken;
        }
        signing_in.spawn(async move { (user, store.run(signin).await) });
    }
    while let Some(ended) = signing_in.join_next().await {
        let (user, outcome) = ended.expect("no task panics");
        if user == people[0] {
            assert!(outcome.is_err(), "its session's id is taken");
        } else {
            assert_eq!(outcome, Ok(SigninOutcome::Committed));
        }
    }
    for user in &people[1..] {
        assert_eq!(sessions_of(&fixture, *user).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refreshes_in_opposite_order_do_not_wait_for_each_other() {
    let fixture = Postgres::empty().await;
    let stores = [fixture.postgres(), fixture.second().await];
    let mut sessions = Vec::new();
    for user in people(&fixture, MANY).await {
        sessions.push(signed_in(&stores[0].clone().into(), user).await);
    }
    let mut refreshing = JoinSet::new();
    for at in 0..MANY {
        for (store, session) in stores.iter().zip([sessions[at], sessions[MANY - 1 - at]]) {
            let (store, rotation) = (Arc::clone(store), rotation(session, digest(session)));
            refreshing.spawn(async move { store.run(rotation).await });
        }
    }
    let mut rotated = 0;
    while let Some(ended) = refreshing.join_next().await {
        let outcome = ended.expect("no task panics");
        rotated += usize::from(outcome == Ok(RotationOutcome::Rotated));
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    assert_eq!(rotated, MANY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_at_the_same_time_shares_its_transactions() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let people = people(&fixture, MANY).await;
    let before = store.work();
    let mut signing_in = JoinSet::new();
    for user in people {
        let store = Arc::clone(&store);
        signing_in.spawn(async move { store.run(existing(user)).await });
    }
    while let Some(ended) = signing_in.join_next().await {
        assert_eq!(ended.expect("no task panics"), Ok(SigninOutcome::Committed));
    }
    let after = store.work();
    assert_eq!(after.writes - before.writes, MANY as u64);
    assert!(
        after.transactions - before.transactions < MANY as u64,
        "{after:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_comes_many_times_at_once_signs_in_once() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let people = people(&fixture, 2).await;
    let mut signing_in = JoinSet::new();
    for number in 0..MANY {
        let store = Arc::clone(&store);
        // Of whomever: an identity may have got another user meanwhile.
        let signin = Signin {
            replay: token(NOW + 60, 7),
            ..existing(people[number % 2])
        };
        signing_in.spawn(async move { store.run(signin).await });
    }
    let mut committed = 0;
    while let Some(ended) = signing_in.join_next().await {
        match ended.expect("no task panics") {
            Ok(SigninOutcome::Committed) => committed += 1,
            outcome => assert_eq!(outcome, Ok(SigninOutcome::Replayed)),
        }
    }
    assert_eq!(committed, 1);
}
