//! Every outcome of a commit, and what it leaves behind.

use std::sync::Arc;

use super::Fixture;
use super::rows::*;
use crate::{Account, Profile, SetUserStatus, Signin, SigninOutcome, Store, UseOnce, UserStatus};

/// So many at once must come to one.
const TASKS: usize = 50;

pub(crate) async fn existing_user_signs_in(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let session = signed_in(&store, user).await;
    assert_eq!(
        read(&store, session).await.map(|(_, owner)| owner.id),
        Some(user)
    );
}

pub(crate) async fn existing_user_who_is_gone_is_changed(fixture: impl Fixture) {
    let store = fixture.store();
    refused(&fixture, existing(next_id()), SigninOutcome::Changed).await;
    let user = created(&store, "ann", Profile::default()).await;
    committed(&store, existing(user)).await;
}

pub(crate) async fn user_disabled_between_gather_and_commit_is_refused(fixture: impl Fixture) {
    let store = fixture.store();
    created(&store, "ann", Profile::default()).await;
    let user = found(&store, identity("ann"))
        .await
        .expect("ann was created");
    assert_eq!(user.status, UserStatus::Active);
    assert_eq!(
        store
            .run(SetUserStatus {
                user: user.id,
                status: UserStatus::Disabled,
                now: NOW
            })
            .await,
        Ok(true)
    );
    refused(
        &fixture,
        existing(user.id),
        SigninOutcome::UserNotActive(UserStatus::Disabled),
    )
    .await;
}

pub(crate) async fn locked_user_is_refused_and_signs_in_once_unlocked(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    assert_eq!(
        store
            .run(SetUserStatus {
                user,
                status: UserStatus::Locked,
                now: NOW
            })
            .await,
        Ok(true)
    );
    refused(
        &fixture,
        existing(user),
        SigninOutcome::UserNotActive(UserStatus::Locked),
    )
    .await;
    assert_eq!(
        store
            .run(SetUserStatus {
                user,
                status: UserStatus::Active,
                now: NOW
            })
            .await,
        Ok(true)
    );
    committed(&store, existing(user)).await;
}

pub(crate) async fn new_user_is_created_with_identity_and_session(fixture: impl Fixture) {
    let store = fixture.store();
    let signin = create("ann");
    let session = signin.session.id;
    committed(&store, signin).await;
    let user = found(&store, identity("ann"))
        .await
        .expect("the identity is known now");
    assert_eq!(
        read(&store, session).await.map(|(_, owner)| owner),
        Some(user)
    );
}

pub(crate) async fn identity_taken_meanwhile_is_changed_and_creates_nobody(fixture: impl Fixture) {
    let store = fixture.store();
    let first = created(&store, "ann", Profile::default()).await;
    let second = create_as(identity("ann"), verified("second@shop.example"));
    refused(&fixture, second, SigninOutcome::Changed).await;
    assert_eq!(
        found(&store, identity("ann")).await.map(|user| user.id),
        Some(first)
    );
    let owners = gathered(&store, identity("x"), Some("second@shop.example"))
        .await
        .email_owners;
    assert!(owners.is_empty());
}

pub(crate) async fn concurrent_creates_of_one_identity_make_one_user(fixture: impl Fixture) {
    let store = fixture.store();
    let outcomes = at_once(&store, |_| {
        create_as(identity("ann"), verified("ann@shop.example"))
    })
    .await;
    assert_eq!(count(&outcomes, SigninOutcome::Committed), 1);
    assert_eq!(count(&outcomes, SigninOutcome::Changed), TASKS - 1);
    let owners = gathered(&store, identity("x"), Some("ann@shop.example"))
        .await
        .email_owners;
    let user = found(&store, identity("ann"))
        .await
        .expect("one of them was created");
    assert_eq!(owners, [user]);
}

pub(crate) async fn one_subject_of_two_policies_is_two_users(fixture: impl Fixture) {
    let store = fixture.store();
    let a = created_as(&store, identity_of("shop/a", "ann"), Profile::default()).await;
    let b = created_as(&store, identity_of("shop/b", "ann"), Profile::default()).await;
    assert_ne!(a, b);
    assert_eq!(
        found(&store, identity_of("shop/a", "ann"))
            .await
            .map(|user| user.id),
        Some(a)
    );
    assert_eq!(
        found(&store, identity_of("shop/b", "ann"))
            .await
            .map(|user| user.id),
        Some(b)
    );
}

pub(crate) async fn token_is_used_once(fixture: impl Fixture) {
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
    refused(
        &fixture,
        Signin {
            replay: token(NOW + 60, 1),
            ..existing(user)
        },
        SigninOutcome::Replayed,
    )
    .await;
    committed(
        &store,
        Signin {
            replay: token(NOW + 60, 2),
            ..existing(user)
        },
    )
    .await;
}

pub(crate) async fn what_is_used_alone_is_used_once(fixture: impl Fixture) {
    let store = fixture.store();
    let key = |number| token(NOW + 60, number).expect("a key");
    let uses: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.run(UseOnce(key(1))).await })
        })
        .collect();
    let mut first = 0;
    for used in uses {
        first += usize::from(used.await.expect("no panic").expect("it answers"));
    }
    assert_eq!(first, 1);
    assert_eq!(store.run(UseOnce(key(1))).await, Ok(false));
    assert_eq!(store.run(UseOnce(key(2))).await, Ok(true));
}

pub(crate) async fn same_digest_with_another_expiry_is_another_token(fixture: impl Fixture) {
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
    committed(
        &store,
        Signin {
            replay: token(NOW + 61, 1),
            ..existing(user)
        },
    )
    .await;
}

pub(crate) async fn concurrent_uses_of_one_token_sign_in_once(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let outcomes = at_once(&store, |_| Signin {
        replay: token(NOW + 60, 1),
        ..existing(user)
    })
    .await;
    assert_eq!(count(&outcomes, SigninOutcome::Committed), 1);
    assert_eq!(count(&outcomes, SigninOutcome::Replayed), TASKS - 1);
}

pub(crate) async fn refused_sign_in_does_not_use_up_its_token(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let signin = || Signin {
        replay: token(NOW + 60, 1),
        ..existing(user)
    };
    assert_eq!(
        store
            .run(SetUserStatus {
                user,
                status: UserStatus::Locked,
                now: NOW
            })
            .await,
        Ok(true)
    );
    refused(
        &fixture,
        signin(),
        SigninOutcome::UserNotActive(UserStatus::Locked),
    )
    .await;
    assert_eq!(
        store
            .run(SetUserStatus {
                user,
                status: UserStatus::Active,
                now: NOW
            })
            .await,
        Ok(true)
    );
    committed(&store, signin()).await;
}

pub(crate) async fn only_owner_of_email_is_linked(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", verified("ann@shop.example")).await;
    let signin = link(user, "ann-elsewhere", "ann@shop.example");
    let session = signin.session.id;
    committed(&store, signin).await;
    assert_eq!(
        found(&store, identity("ann-elsewhere"))
            .await
            .map(|user| user.id),
        Some(user)
    );
    assert_eq!(
        found(&store, identity("ann")).await.map(|user| user.id),
        Some(user)
    );
    assert_eq!(
        read(&store, session).await.map(|(_, owner)| owner.id),
        Some(user)
    );
}

pub(crate) async fn identity_taken_meanwhile_is_not_linked(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", verified("ann@shop.example")).await;
    let other = created(&store, "taken", Profile::default()).await;
    refused(
        &fixture,
        link(user, "taken", "ann@shop.example"),
        SigninOutcome::Changed,
    )
    .await;
    assert_eq!(
        found(&store, identity("taken")).await.map(|user| user.id),
        Some(other)
    );
}

pub(crate) async fn email_with_second_owner_is_not_linked(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", verified("ann@shop.example")).await;
    created(&store, "ben", verified("ann@shop.example")).await;
    not_linked(
        &fixture,
        link(user, "new", "ann@shop.example"),
        SigninOutcome::Changed,
    )
    .await;
}

pub(crate) async fn email_that_is_no_longer_verified_is_not_linked(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", verified("ann@shop.example")).await;
    let unverified = Profile {
        email_verified: false,
        ..verified("ann@shop.example")
    };
    committed(
        &store,
        signin(Account::Existing {
            user_id: user,
            profile: Some(unverified),
        }),
    )
    .await;
    not_linked(
        &fixture,
        link(user, "new", "ann@shop.example"),
        SigninOutcome::Changed,
    )
    .await;
}

pub(crate) async fn email_owned_by_another_user_is_not_linked(fixture: impl Fixture) {
    let store = fixture.store();
    created(&store, "ann", verified("ann@shop.example")).await;
    let ben = created(&store, "ben", verified("ben@shop.example")).await;
    not_linked(
        &fixture,
        link(ben, "new", "ann@shop.example"),
        SigninOutcome::Changed,
    )
    .await;
}

pub(crate) async fn email_owner_of_another_policy_is_not_linked(fixture: impl Fixture) {
    let store = fixture.store();
    let a = created_as(
        &store,
        identity_of("shop/a", "ann"),
        verified("ann@shop.example"),
    )
    .await;
    let across = link_if(a, identity_of("shop/b", "new"), "ann@shop.example", true);
    refused(&fixture, across, SigninOutcome::Changed).await;
    assert_eq!(found(&store, identity_of("shop/b", "new")).await, None);
    committed(
        &store,
        link_if(a, identity_of("shop/a", "new"), "ann@shop.example", true),
    )
    .await;
}

pub(crate) async fn disabled_email_owner_is_not_linked(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", verified("ann@shop.example")).await;
    assert_eq!(
        store
            .run(SetUserStatus {
                user,
                status: UserStatus::Disabled,
                now: NOW
            })
            .await,
        Ok(true)
    );
    let outcome = SigninOutcome::UserNotActive(UserStatus::Disabled);
    not_linked(&fixture, link(user, "new", "ann@shop.example"), outcome).await;
}

pub(crate) async fn link_that_is_no_longer_allowed_is_refused(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", verified("ann@shop.example")).await;
    let signin = link_if(user, identity("new"), "ann@shop.example", false);
    not_linked(&fixture, signin, SigninOutcome::LinkRefused).await;
}

pub(crate) async fn concurrent_links_of_one_identity_link_once(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", verified("ann@shop.example")).await;
    let outcomes = at_once(&store, |_| link(user, "new", "ann@shop.example")).await;
    assert_eq!(count(&outcomes, SigninOutcome::Committed), 1);
    assert_eq!(count(&outcomes, SigninOutcome::Changed), TASKS - 1);
}

pub(crate) async fn committed_sign_in_survives_reopening(mut fixture: impl Fixture) {
    let store = fixture.store();
    let signin = create_as(identity("ann"), verified("ann@shop.example"));
    let session = signin.session.id;
    committed(&store, signin).await;
    let before = read(&store, session).await;
    assert!(before.is_some());
    drop(store);
    fixture.reopen().await;
    let store = fixture.store();
    assert_eq!(read(&store, session).await, before);
    assert_eq!(
        found(&store, identity("ann")).await,
        before.map(|(_, user)| user)
    );
}

pub(crate) async fn used_token_is_refused_after_reopening(mut fixture: impl Fixture) {
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
    drop(store);
    fixture.reopen().await;
    refused(
        &fixture,
        Signin {
            replay: token(NOW + 60, 1),
            ..existing(user)
        },
        SigninOutcome::Replayed,
    )
    .await;
}

pub(crate) async fn each_committed_sign_in_leaves_one_event(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    assert_eq!(fixture.events().await, 1);
    signed_in(&store, user).await;
    assert_eq!(fixture.events().await, 2);
}

/// The sign-in comes to `outcome` and leaves neither a session nor an event behind.
async fn refused(fixture: &impl Fixture, signin: Signin, outcome: SigninOutcome) {
    let store = fixture.store();
    let session = signin.session.id;
    let events = fixture.events().await;
    assert_eq!(store.run(signin).await, Ok(outcome));
    assert_eq!(read(&store, session).await, None);
    assert_eq!(fixture.events().await, events);
}

/// As [`refused`], and the identity `new` is still unknown.
async fn not_linked(fixture: &impl Fixture, signin: Signin, outcome: SigninOutcome) {
    refused(fixture, signin, outcome).await;
    assert_eq!(found(&fixture.store(), identity("new")).await, None);
}

async fn at_once(store: &Arc<Store>, signin: impl Fn(usize) -> Signin) -> Vec<SigninOutcome> {
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let (store, signin) = (Arc::clone(store), signin(number));
            tokio::spawn(async move { store.run(signin).await })
        })
        .collect();
    let mut outcomes = Vec::with_capacity(TASKS);
    for task in tasks {
        outcomes.push(
            task.await
                .expect("no task panics")
                .expect("the store is there"),
        );
    }
    outcomes
}

fn count(outcomes: &[SigninOutcome], wanted: SigninOutcome) -> usize {
    outcomes
        .iter()
        .filter(|outcome| **outcome == wanted)
        .count()
}
