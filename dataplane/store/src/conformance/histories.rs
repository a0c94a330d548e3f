//! What is remembered of a user's sign-ins goes with the sign-in, or stays as it was.

use std::sync::Arc;

use super::Fixture;
use super::rows::*;
use crate::{
    NewHistory, Profile, SetUserStatus, Signin, SigninOutcome, Store, StoredHistory, UserStatus,
};

fn learning(signin: Signin, replaces: Option<i64>, content: &[u8]) -> Signin {
    Signin {
        history: Some(NewHistory {
            replaces,
            content: content.to_vec(),
        }),
        ..signin
    }
}

async fn stored(store: &Store, subject: &str) -> Option<StoredHistory> {
    gathered(store, identity(subject), None).await.history
}

fn history(version: i64, content: &[u8]) -> Option<StoredHistory> {
    Some(StoredHistory {
        version,
        content: content.to_vec(),
    })
}

pub(crate) async fn sign_in_that_learns_nothing_leaves_no_history(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    committed(&store, existing(user)).await;
    assert_eq!(stored(&store, "ann").await, None);
}

pub(crate) async fn history_is_kept_from_the_first_sign_in_on(fixture: impl Fixture) {
    let store = fixture.store();
    committed(&store, learning(create("ann"), None, b"one")).await;
    assert_eq!(stored(&store, "ann").await, history(1, b"one"));
    let user = found(&store, identity("ann")).await.expect("she is known");
    committed(&store, learning(existing(user.id), Some(1), b"two")).await;
    assert_eq!(stored(&store, "ann").await, history(2, b"two"));
    committed(&store, learning(create("bob"), None, b"bob")).await;
    assert_eq!(stored(&store, "ann").await, history(2, b"two"));
}

pub(crate) async fn history_goes_with_every_kind_of_sign_in(fixture: impl Fixture) {
    let store = fixture.store();
    let email = "ann@shop.example";
    let user = created(&store, "ann", verified(email)).await;
    let mut changed = existing(user);
    changed.account = crate::Account::Existing {
        user_id: user,
        profile: Some(verified(email)),
    };
    changed.replay = token(NOW + 60, 1);
    committed(&store, learning(changed, None, b"one")).await;
    assert_eq!(stored(&store, "ann").await, history(1, b"one"));
    let owner = gathered(&store, identity("second"), Some(email)).await;
    assert_eq!(owner.history, history(1, b"one"), "of the only owner");
    committed(
        &store,
        learning(link(user, "second", email), Some(1), b"two"),
    )
    .await;
    assert_eq!(stored(&store, "second").await, history(2, b"two"));
}

pub(crate) async fn history_of_two_owners_of_an_address_is_nobodys(fixture: impl Fixture) {
    let store = fixture.store();
    let email = "ann@shop.example";
    for subject in ["ann", "bob"] {
        let signin = create_as(identity(subject), verified(email));
        committed(&store, learning(signin, None, b"one")).await;
    }
    let owners = gathered(&store, identity("x"), Some(email)).await;
    assert_eq!((owners.email_owners.len(), owners.history), (2, None));
    let known = gathered(&store, identity("ann"), Some(email)).await;
    assert_eq!(known.history, history(1, b"one"));
}

pub(crate) async fn refused_sign_in_leaves_history_unchanged(fixture: impl Fixture) {
    let store = fixture.store();
    let mut first = learning(create("ann"), None, b"one");
    first.replay = token(NOW + 60, 1);
    committed(&store, first).await;
    let user = found(&store, identity("ann")).await.expect("she is known");
    let mut again = learning(existing(user.id), Some(1), b"two");
    again.replay = token(NOW + 60, 1);
    assert_eq!(store.run(again).await, Ok(SigninOutcome::Replayed));
    let set = store
        .run(SetUserStatus {
            user: user.id,
            status: UserStatus::Disabled,
            now: NOW,
        })
        .await;
    assert_eq!(set, Ok(true));
    assert_eq!(
        store
            .run(learning(existing(user.id), Some(1), b"three"))
            .await,
        Ok(SigninOutcome::UserNotActive(UserStatus::Disabled))
    );
    assert_eq!(stored(&store, "ann").await, history(1, b"one"));
}

pub(crate) async fn of_two_sign_ins_at_once_the_first_is_remembered(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    committed(&store, learning(existing(user), None, b"one")).await;
    committed(&store, learning(existing(user), None, b"late")).await;
    assert_eq!(stored(&store, "ann").await, history(1, b"one"));
    let mut tasks = tokio::task::JoinSet::new();
    for byte in 0..20_u8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let signin = learning(existing(user), Some(1), &[byte]);
            store.run(signin).await
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        let outcome = outcome.expect("it does not panic");
        assert_eq!(outcome, Ok(SigninOutcome::Committed), "all sign in");
    }
    assert_eq!(stored(&store, "ann").await.map(|one| one.version), Some(2));
}

pub(crate) async fn history_is_read_only_where_it_is_asked_for(fixture: impl Fixture) {
    let store = fixture.store();
    committed(&store, learning(create("ann"), None, b"one")).await;
    let question = crate::Gather {
        identity: identity("ann"),
        linkable_email: None,
        history: false,
    };
    let gathered = store.run(question).await.expect("it can be read");
    assert!(gathered.user.is_some() && gathered.history.is_none());
}

pub(crate) async fn history_and_hash_key_survive_reopening(mut fixture: impl Fixture) {
    let key = {
        let store = fixture.store();
        committed(&store, learning(create("ann"), None, &[0, 255, 7])).await;
        store.hash_key()
    };
    fixture.reopen().await;
    let store = fixture.store();
    assert_eq!(stored(&store, "ann").await, history(1, &[0, 255, 7]));
    assert_eq!(store.hash_key(), key);
    assert_ne!(key.0, [0; 32]);
    assert_eq!(format!("{key:?}"), "HashKey", "it is a secret");
}

pub(crate) async fn history_of_who_has_not_come_for_a_year_is_swept(fixture: impl Fixture) {
    let store = fixture.store();
    let (ann, bob) = (history_of(NOW), history_of(NOW + 10 * DAY));
    committed(&store, learning(create("ann"), None, &ann)).await;
    committed(&store, learning(create("bob"), None, &bob)).await;
    // What another version has written, and this one cannot read.
    committed(&store, learning(create("eve"), None, b"\xff")).await;
    let year = 366 * DAY;
    for (now, ann_stays) in [(NOW + year, true), (NOW + year + 1, false)] {
        let _rows = store
            .run(sweep(now, 10_000))
            .await
            .expect("it can be swept");
        let expected = if ann_stays { history(1, &ann) } else { None };
        assert_eq!(stored(&store, "ann").await, expected, "at {now}");
        assert_eq!(stored(&store, "bob").await, history(1, &bob));
        assert_eq!(stored(&store, "eve").await, history(1, b"\xff"));
    }
    assert!(
        found(&store, identity("ann")).await.is_some(),
        "the user stays"
    );
}

pub(crate) async fn every_history_is_looked_at_in_the_end(fixture: impl Fixture) {
    let store = fixture.store();
    let old = history_of(NOW);
    let names: Vec<String> = (0..5).map(|number| format!("user-{number}")).collect();
    for name in &names {
        committed(&store, learning(create(name), None, &old)).await;
    }
    let later = NOW + 400 * DAY;
    // Sessions and events come first; then one of these each time.
    while store.run(sweep(later, 1)).await.expect("it can be swept") > 0 {}
    for name in &names {
        assert_eq!(stored(&store, name).await, None, "{name}");
    }
}
