//! Who is known, and by what.

use super::Fixture;
use super::rows::*;
use crate::{Account, Profile, RevokeSessions, SetUserStatus, User, UserStatus};

pub(crate) async fn unknown_identity_has_no_user(fixture: impl Fixture) {
    let store = fixture.store();
    created(&store, "ann", Profile::default()).await;
    assert_eq!(found(&store, identity("bob")).await, None);
}

pub(crate) async fn known_identity_has_its_user_with_the_profile_as_stored(fixture: impl Fixture) {
    let store = fixture.store();
    for profile in [verified("ann@shop.example"), Profile::default()] {
        let user = user(POLICY, profile.clone());
        let subject = user.id.to_string();
        committed(
            &store,
            signin(Account::Create {
                user: user.clone(),
                identity: identity(&subject),
            }),
        )
        .await;
        assert_eq!(found(&store, identity(&subject)).await, Some(user));
    }
}

pub(crate) async fn identity_of_another_policy_is_unknown(fixture: impl Fixture) {
    let store = fixture.store();
    created_as(&store, identity_of("shop/a", "ann"), Profile::default()).await;
    assert!(found(&store, identity_of("shop/a", "ann")).await.is_some());
    assert_eq!(found(&store, identity_of("shop/b", "ann")).await, None);
}

pub(crate) async fn verified_email_owner_is_found_only_where_asked(fixture: impl Fixture) {
    let store = fixture.store();
    let id = created(&store, "ann", verified("ann@shop.example")).await;
    let asked = gathered(&store, identity("new"), Some("ann@shop.example")).await;
    assert_eq!(ids(&asked.email_owners), [id]);
    let not_asked = gathered(&store, identity("new"), None).await;
    assert!(not_asked.email_owners.is_empty());
}

pub(crate) async fn unverified_email_has_no_owner(fixture: impl Fixture) {
    let store = fixture.store();
    let unverified = Profile {
        email_verified: false,
        ..verified("ann@shop.example")
    };
    created(&store, "ann", unverified).await;
    assert!(
        gathered(&store, identity("new"), Some("ann@shop.example"))
            .await
            .email_owners
            .is_empty()
    );
}

pub(crate) async fn email_owner_of_another_policy_is_not_found(fixture: impl Fixture) {
    let store = fixture.store();
    let a = created_as(
        &store,
        identity_of("shop/a", "ann"),
        verified("ann@shop.example"),
    )
    .await;
    let of_a = gathered(
        &store,
        identity_of("shop/a", "new"),
        Some("ann@shop.example"),
    )
    .await;
    assert_eq!(ids(&of_a.email_owners), [a]);
    let of_b = gathered(
        &store,
        identity_of("shop/b", "new"),
        Some("ann@shop.example"),
    )
    .await;
    assert!(of_b.email_owners.is_empty());
}

pub(crate) async fn email_with_many_owners_shows_two(fixture: impl Fixture) {
    let store = fixture.store();
    for subject in ["a", "b", "c"] {
        created(&store, subject, verified("ann@shop.example")).await;
    }
    assert_eq!(
        gathered(&store, identity("new"), Some("ann@shop.example"))
            .await
            .email_owners
            .len(),
        2
    );
}

pub(crate) async fn known_identity_needs_no_email_owner(fixture: impl Fixture) {
    let store = fixture.store();
    let id = created(&store, "ann", verified("ann@shop.example")).await;
    let known = gathered(&store, identity("ann"), Some("ann@shop.example")).await;
    assert_eq!(known.user.map(|user| user.id), Some(id));
    assert!(known.email_owners.is_empty());
}

pub(crate) async fn changed_profile_is_stored(fixture: impl Fixture) {
    let store = fixture.store();
    let id = created(&store, "ann", verified("old@shop.example")).await;
    let new = Profile {
        username: None,
        ..verified("new@shop.example")
    };
    committed(
        &store,
        signin(Account::Existing {
            user_id: id,
            profile: Some(new.clone()),
        }),
    )
    .await;
    assert_eq!(
        found(&store, identity("ann"))
            .await
            .map(|user| user.profile),
        Some(new)
    );
    let by_old = gathered(&store, identity("x"), Some("old@shop.example")).await;
    assert!(by_old.email_owners.is_empty());
    let by_new = gathered(&store, identity("x"), Some("new@shop.example")).await;
    assert_eq!(ids(&by_new.email_owners), [id]);
}

pub(crate) async fn status_is_set_and_survives_reopening(mut fixture: impl Fixture) {
    let store = fixture.store();
    let id = created(&store, "ann", Profile::default()).await;
    for status in [UserStatus::Locked, UserStatus::Active, UserStatus::Disabled] {
        assert_eq!(
            store
                .run(SetUserStatus {
                    user: id,
                    status,
                    now: NOW
                })
                .await,
            Ok(true)
        );
        assert_eq!(
            found(&store, identity("ann")).await.map(|user| user.status),
            Some(status)
        );
    }
    drop(store);
    fixture.reopen().await;
    let reopened = found(&fixture.store(), identity("ann")).await;
    assert_eq!(reopened.map(|user| user.status), Some(UserStatus::Disabled));
}

pub(crate) async fn status_of_unknown_user_is_not_set(fixture: impl Fixture) {
    let store = fixture.store();
    assert_eq!(
        store
            .run(SetUserStatus {
                user: next_id(),
                status: UserStatus::Disabled,
                now: NOW
            })
            .await,
        Ok(false)
    );
    assert_eq!(
        store
            .run(RevokeSessions {
                user: next_id(),
                now: NOW,
                event: event(crate::EventKind::Signout)
            })
            .await,
        Ok(false)
    );
}

fn ids(users: &[User]) -> Vec<uuid::Uuid> {
    users.iter().map(|user| user.id).collect()
}
