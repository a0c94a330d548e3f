//! Local passwords: set, changed, demanded, lost to whoever proves to own the address; and users for an administrator.

use uuid::Uuid;
use vestibule_crds::secret::Secret;

use super::Fixture;
use super::challenges::remembered;
use super::rows::*;
use crate::LocalPassword;
use crate::mfa::KnowsDevice;
use crate::passwords::{
    ChangeOutcome, ChangePassword, ChangedBy, CountPasswordTry, ImportOutcome, ImportUser,
    PasswordTry, ReadPasswordHash, ReadUser, RequirePasswordChange, UserPage, UsersNamed,
};
use crate::{
    Account, EndSession, EventKind, NewSession, Profile, ReadSession, RevokeSessions,
    RotationOutcome, SetUserStatus, SigninOutcome, Store, User, UserStatus,
};

fn changed_at(store_password: Option<LocalPassword>) -> Option<i64> {
    store_password.map(|password| password.changed_at)
}

fn by_user(user: Uuid, session: Uuid, hash: Option<&str>, next: &str) -> ChangePassword {
    ChangePassword {
        user,
        by: ChangedBy::User {
            hash: hash.map(Secret::new),
            session,
            next: Box::new(crate::conformance::rows::session()),
        },
        hash: Secret::new(next),
        must_change: false,
        event: event(EventKind::PasswordChange),
        now: NOW + 10,
    }
}

fn by_administrator(user: Uuid, next: &str) -> ChangePassword {
    ChangePassword {
        by: ChangedBy::Administrator,
        event: event(EventKind::UserChange),
        ..by_user(user, Uuid::nil(), None, next)
    }
}

/// A user who is signed in, and the session.
async fn with_session(store: &Store, subject: &str) -> (Uuid, NewSession) {
    let user = created(store, subject, Profile::default()).await;
    let signin = existing(user);
    let session = signin.session.clone();
    committed(store, signin).await;
    (user, session)
}

async fn hash(store: &Store, user: Uuid) -> Option<String> {
    let hash = store
        .run(ReadPasswordHash(user))
        .await
        .expect("the store answers");
    hash.map(|hash| hash.expose().to_owned())
}

async fn user_of(store: &Store, user: Uuid) -> User {
    let found = store.run(ReadUser(user)).await.expect("the store answers");
    found.expect("the user is there")
}

async fn change(store: &Store, change: ChangePassword) -> ChangeOutcome {
    store.run(change).await.expect("the store answers")
}

fn import(subject: &str, profile: Profile, hash: Option<&str>) -> ImportUser {
    let password = hash.map(|_| LocalPassword {
        changed_at: NOW - DAY,
        must_change: false,
    });
    ImportUser {
        user: User {
            password,
            ..user(POLICY, profile)
        },
        hash: hash.map(Secret::new),
        identity: (!subject.is_empty()).then(|| identity(subject)),
        event: event(EventKind::UserChange),
    }
}

async fn imported(store: &Store, import: ImportUser) -> Uuid {
    let id = import.user.id;
    let outcome = store.run(import).await.expect("the store answers");
    assert_eq!(outcome, ImportOutcome::Added);
    id
}

fn ids(users: &[User]) -> Vec<Uuid> {
    users.iter().map(|user| user.id).collect()
}

fn unverified(email: &str) -> Profile {
    Profile {
        email_verified: false,
        ..verified(email)
    }
}

pub(crate) async fn user_without_a_password_has_none(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, _) = with_session(&store, "ann").await;
    assert_eq!(hash(&store, user).await, None);
    assert_eq!(user_of(&store, user).await.password, None);
    let tried = store.run(CountPasswordTry { user, now: NOW }).await;
    assert_eq!(tried, Ok(PasswordTry::Gone));
    assert_eq!(store.run(ReadUser(next_id())).await, Ok(None));
}

pub(crate) async fn first_password_is_set_in_a_session_that_makes_room_for_another(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let (user, session) = with_session(&store, "ann").await;
    let change_it = by_user(user, session.id, None, "one");
    let ChangedBy::User { next, .. } = &change_it.by else {
        panic!("it is the user's");
    };
    let next = next.clone();
    assert_eq!(change(&store, change_it).await, ChangeOutcome::Changed);
    assert_eq!(hash(&store, user).await.as_deref(), Some("one"));
    let kept = user_of(&store, user).await;
    assert_eq!(
        kept.password,
        Some(LocalPassword {
            changed_at: NOW + 10,
            must_change: false
        })
    );
    let (made, _) = store
        .run(ReadSession(next.id))
        .await
        .expect("read")
        .expect("made");
    assert!(made.created_at >= kept.sessions_valid_from);
    assert_eq!(made.carried, next.carried);
    let (old, _) = store
        .run(ReadSession(session.id))
        .await
        .expect("read")
        .expect("kept");
    assert!(old.created_at < kept.sessions_valid_from);
}

pub(crate) async fn password_is_changed_only_from_the_one_that_was_verified(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, session) = with_session(&store, "ann").await;
    change(&store, by_administrator(user, "one")).await;
    let later = existing(user);
    let session_now = later.session.id;
    committed(
        &store,
        crate::Signin {
            now: NOW + 20,
            ..later
        },
    )
    .await;
    for wrong in [None, Some("two")] {
        let outcome = change(&store, by_user(user, session_now, wrong, "three")).await;
        assert_eq!(outcome, ChangeOutcome::Gone);
    }
    assert_eq!(hash(&store, user).await.as_deref(), Some("one"));
    let outcome = change(&store, by_user(user, session_now, Some("one"), "three")).await;
    assert_eq!(outcome, ChangeOutcome::Changed);
    let outcome = change(&store, by_user(user, session.id, Some("three"), "four")).await;
    assert_eq!(outcome, ChangeOutcome::Gone, "the session was revoked");
}

pub(crate) async fn of_two_changes_at_once_one_is_made(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, session) = with_session(&store, "ann").await;
    let tasks = (0..20).map(|number| {
        let store = std::sync::Arc::clone(&store);
        let change_it = by_user(user, session.id, None, &number.to_string());
        tokio::spawn(async move { change(&store, change_it).await })
    });
    let mut made = 0;
    for task in tasks.collect::<Vec<_>>() {
        if task.await.expect("no panic") == ChangeOutcome::Changed {
            made += 1;
        }
    }
    assert_eq!(made, 1);
}

pub(crate) async fn session_that_is_over_changes_no_password(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, session) = with_session(&store, "ann").await;
    let (other, others) = with_session(&store, "bob").await;
    let outcome = change(&store, by_user(user, others.id, None, "one")).await;
    assert_eq!(outcome, ChangeOutcome::Gone, "somebody else's");
    let late = ChangePassword {
        now: session.ends_at,
        ..by_user(user, session.id, None, "one")
    };
    assert_eq!(change(&store, late).await, ChangeOutcome::Gone, "expired");
    let end = event(EventKind::Signout);
    let ended = store
        .run(EndSession {
            id: session.id,
            now: NOW,
            event: end,
        })
        .await;
    assert_eq!(ended, Ok(true));
    let outcome = change(&store, by_user(user, session.id, None, "one")).await;
    assert_eq!(outcome, ChangeOutcome::Gone, "ended");
    store
        .run(RevokeSessions {
            user: other,
            now: NOW,
            event: event(EventKind::Signout),
        })
        .await
        .expect("revoked");
    let outcome = change(&store, by_user(other, others.id, None, "one")).await;
    assert_eq!(outcome, ChangeOutcome::Gone, "revoked");
    assert_eq!(hash(&store, user).await, None);
}

pub(crate) async fn disabled_or_locked_user_changes_no_password(fixture: impl Fixture) {
    let store = fixture.store();
    for status in [UserStatus::Disabled, UserStatus::Locked] {
        let (user, session) = with_session(&store, status.name()).await;
        store
            .run(SetUserStatus {
                user,
                status,
                now: NOW,
            })
            .await
            .expect("it is set");
        let outcome = change(&store, by_user(user, session.id, None, "one")).await;
        assert_eq!(outcome, ChangeOutcome::UserNotActive(status));
        assert_eq!(hash(&store, user).await, None);
    }
}

pub(crate) async fn change_takes_back_sessions_devices_and_tries(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, session) = with_session(&store, "ann").await;
    change(&store, by_administrator(user, "one")).await;
    for _ in 0..10 {
        let tried = store.run(CountPasswordTry { user, now: NOW }).await;
        assert_eq!(tried, Ok(PasswordTry::Counted));
    }
    let locked = store.run(CountPasswordTry { user, now: NOW }).await;
    assert!(matches!(locked, Ok(PasswordTry::Locked(_))), "{locked:?}");
    let device = remembered(&store, user).await;
    let rotated = store
        .run(rotation(session.id, session.refresh_digest))
        .await;
    assert_eq!(rotated, Ok(RotationOutcome::Changed));
    assert_eq!(
        store
            .run(KnowsDevice {
                user,
                device,
                now: NOW
            })
            .await,
        Ok(true)
    );
    change(&store, by_administrator(user, "two")).await;
    let tried = store.run(CountPasswordTry { user, now: NOW }).await;
    assert_eq!(tried, Ok(PasswordTry::Counted), "they are forgotten");
    assert_eq!(
        store
            .run(KnowsDevice {
                user,
                device,
                now: NOW
            })
            .await,
        Ok(false)
    );
}

pub(crate) async fn administrator_sets_a_password_of_anybody(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, _) = with_session(&store, "ann").await;
    store
        .run(SetUserStatus {
            user,
            status: UserStatus::Disabled,
            now: NOW,
        })
        .await
        .expect("it is set");
    let temporary = ChangePassword {
        must_change: true,
        ..by_administrator(user, "one")
    };
    assert_eq!(change(&store, temporary).await, ChangeOutcome::Changed);
    let password = user_of(&store, user).await.password;
    assert_eq!(password.map(|password| password.must_change), Some(true));
    let nobody = change(&store, by_administrator(next_id(), "one")).await;
    assert_eq!(nobody, ChangeOutcome::Gone);
}

pub(crate) async fn change_can_be_demanded_of_whoever_has_a_password(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, _) = with_session(&store, "ann").await;
    let demand = |user| {
        store.run(RequirePasswordChange {
            user,
            event: event(EventKind::UserChange),
        })
    };
    assert_eq!(demand(user).await, Ok(false), "there is none");
    assert_eq!(demand(next_id()).await, Ok(false), "there is nobody");
    change(&store, by_administrator(user, "one")).await;
    assert_eq!(demand(user).await, Ok(true));
    let password = user_of(&store, user).await.password.expect("a password");
    assert!(password.must_change && password.changed_at == NOW + 10);
    change(&store, by_administrator(user, "two")).await;
    let password = user_of(&store, user).await.password.expect("a password");
    assert!(!password.must_change, "a change takes the demand back");
}

pub(crate) async fn a_thousand_wrong_tries_at_once_stay_in_bounds(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, _) = with_session(&store, "ann").await;
    change(&store, by_administrator(user, "one")).await;
    let tasks = (0..1000).map(|_| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            loop {
                // A full queue is no answer.
                if let Ok(tried) = store.run(CountPasswordTry { user, now: NOW }).await {
                    return tried;
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let mut counted = 0;
    for task in tasks.collect::<Vec<_>>() {
        if task.await.expect("no panic") == PasswordTry::Counted {
            counted += 1;
        }
    }
    assert_eq!(counted, 10);
    let later = store
        .run(CountPasswordTry {
            user,
            now: NOW + 900,
        })
        .await;
    assert_eq!(later, Ok(PasswordTry::Counted));
}

pub(crate) async fn tries_are_forgiven_to_whoever_is_unlocked(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, _) = with_session(&store, "ann").await;
    change(&store, by_administrator(user, "one")).await;
    for _ in 0..11 {
        let _tried = store.run(CountPasswordTry { user, now: NOW }).await;
    }
    store
        .run(SetUserStatus {
            user,
            status: UserStatus::Active,
            now: NOW,
        })
        .await
        .expect("it is set");
    let tried = store.run(CountPasswordTry { user, now: NOW }).await;
    assert_eq!(tried, Ok(PasswordTry::Counted));
}

pub(crate) async fn unverified_account_loses_its_password_to_whoever_proves_the_address(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let address = "ann@shop.example";
    let plant = || import("", unverified(address), Some("planted"));

    let planted = imported(&store, plant()).await;
    created(&store, "ann", verified(address)).await;
    assert_eq!(hash(&store, planted).await, None, "a new user");
    let evicted = user_of(&store, planted).await;
    assert_eq!(evicted.password, None);
    assert!(evicted.sessions_valid_from > NOW);

    let other = "bob@shop.example";
    let bob = created(&store, "bob", unverified(other)).await;
    let planted = imported(&store, import("", unverified(other), Some("planted"))).await;
    let proving = signin(Account::Existing {
        user_id: bob,
        profile: Some(verified(other)),
    });
    committed(&store, proving).await;
    assert_eq!(hash(&store, planted).await, None, "a known user");
    assert!(user_of(&store, planted).await.sessions_valid_from > NOW);
}

pub(crate) async fn verified_account_or_another_policys_keeps_its_password(fixture: impl Fixture) {
    let store = fixture.store();
    let address = "ann@shop.example";
    let proved = imported(&store, import("", verified(address), Some("one"))).await;
    let elsewhere = imported(
        &store,
        ImportUser {
            user: User {
                policy: "shop/other".to_owned(),
                ..import("", unverified(address), Some("two")).user
            },
            ..import("", unverified(address), Some("two"))
        },
    )
    .await;
    let another = imported(
        &store,
        import("", unverified("eve@shop.example"), Some("three")),
    )
    .await;
    created(&store, "unproved", unverified("eve@shop.example")).await;
    created(&store, "ann", verified(address)).await;
    for (user, kept) in [(proved, "one"), (elsewhere, "two"), (another, "three")] {
        assert_eq!(hash(&store, user).await.as_deref(), Some(kept));
        assert_eq!(
            changed_at(user_of(&store, user).await.password),
            Some(NOW - DAY)
        );
    }
}

pub(crate) async fn refused_sign_in_takes_no_password(fixture: impl Fixture) {
    let store = fixture.store();
    let address = "ann@shop.example";
    let bob = created(&store, "bob", unverified(address)).await;
    let planted = imported(&store, import("", unverified(address), Some("planted"))).await;
    store
        .run(SetUserStatus {
            user: bob,
            status: UserStatus::Disabled,
            now: NOW,
        })
        .await
        .expect("it is set");
    let proving = signin(Account::Existing {
        user_id: bob,
        profile: Some(verified(address)),
    });
    let outcome = store.run(proving).await;
    assert_eq!(
        outcome,
        Ok(SigninOutcome::UserNotActive(UserStatus::Disabled))
    );
    assert_eq!(hash(&store, planted).await.as_deref(), Some("planted"));
}

pub(crate) async fn user_is_imported_once(fixture: impl Fixture) {
    let store = fixture.store();
    let one = import("ann", verified("ann@shop.example"), Some("one"));
    let wanted = one.user.clone();
    let again = ImportUser {
        user: User {
            profile: Profile::default(),
            ..one.user.clone()
        },
        hash: Some(Secret::new("two")),
        identity: None,
        event: event(EventKind::UserChange),
    };
    let id = imported(&store, one).await;
    assert_eq!(store.run(again).await, Ok(ImportOutcome::Known));
    assert_eq!(user_of(&store, id).await, wanted);
    assert_eq!(hash(&store, id).await.as_deref(), Some("one"));
    let without = imported(&store, import("", Profile::default(), None)).await;
    assert_eq!(user_of(&store, without).await.password, None);
}

pub(crate) async fn imported_identity_signs_in(fixture: impl Fixture) {
    let store = fixture.store();
    let id = imported(&store, import("ann", Profile::default(), Some("one"))).await;
    let found = found(&store, identity("ann")).await;
    assert_eq!(found.map(|user| user.id), Some(id));
    committed(&store, existing(id)).await;
}

pub(crate) async fn identity_of_another_is_not_imported(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let thief = import("ann", Profile::default(), Some("one"));
    let id = thief.user.id;
    let outcome = store.run(thief).await;
    assert_eq!(outcome, Ok(ImportOutcome::IdentityTaken));
    assert_eq!(store.run(ReadUser(id)).await, Ok(None));
    assert_eq!(hash(&store, id).await, None);
    let still = found(&store, identity("ann")).await;
    assert_eq!(still.map(|user| user.id), Some(ann));
}

pub(crate) async fn users_are_listed_page_by_page(fixture: impl Fixture) {
    let store = fixture.store();
    let mut all = Vec::new();
    for number in 0..5 {
        all.push(created(&store, &number.to_string(), Profile::default()).await);
    }
    let elsewhere = created_as(&store, identity_of("shop/other", "ann"), Profile::default()).await;
    let page = |after, limit| UserPage {
        policy: Some(POLICY.to_owned()),
        after,
        limit,
        ..UserPage::default()
    };
    let listed = async |page: UserPage| ids(&store.run(page).await.expect("a page"));
    assert_eq!(listed(page(None, 2)).await, all[..2]);
    assert_eq!(listed(page(Some(all[1]), 2)).await, all[2..4]);
    assert_eq!(listed(page(Some(all[3]), 2)).await, all[4..]);
    assert!(listed(page(Some(all[4]), 2)).await.is_empty());
    store
        .run(SetUserStatus {
            user: all[2],
            status: UserStatus::Locked,
            now: NOW,
        })
        .await
        .expect("it is set");
    let locked = UserPage {
        status: Some(UserStatus::Locked),
        limit: 10,
        ..UserPage::default()
    };
    assert_eq!(listed(locked).await, [all[2]]);
    let everybody = UserPage {
        limit: u32::MAX,
        ..UserPage::default()
    };
    assert_eq!(listed(everybody).await.last(), Some(&elsewhere));
}

pub(crate) async fn users_are_found_by_name_and_address(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "1", verified("ann@shop.example")).await;
    let bob = created(&store, "2", unverified("bob@shop.example")).await;
    created(&store, "3", Profile::default()).await;
    let named = async |policy: &str, name: &str| {
        let found = store
            .run(UsersNamed {
                policy: policy.to_owned(),
                name: name.to_owned(),
            })
            .await;
        let mut found = ids(&found.expect("the store answers"));
        found.sort();
        found
    };
    assert_eq!(named(POLICY, "ann").await, [ann, bob], "both are called so");
    assert_eq!(named(POLICY, "ann@shop.example").await, [ann]);
    assert_eq!(named(POLICY, "bob@shop.example").await, [bob]);
    assert!(named(POLICY, "eve").await.is_empty());
    assert!(named("shop/other", "ann").await.is_empty());
}

pub(crate) async fn password_survives_reopening(mut fixture: impl Fixture) {
    let store = fixture.store();
    let (user, _) = with_session(&store, "ann").await;
    change(&store, by_administrator(user, "one")).await;
    store
        .run(RequirePasswordChange {
            user,
            event: event(EventKind::UserChange),
        })
        .await
        .expect("demanded");
    drop(store);
    fixture.reopen().await;
    let store = fixture.store();
    assert_eq!(hash(&store, user).await.as_deref(), Some("one"));
    let password = user_of(&store, user).await.password;
    assert_eq!(password.map(|password| password.must_change), Some(true));
}
