//! What a session lives through: refreshes, its end, and what becomes of its user.

use std::sync::Arc;

use uuid::Uuid;

use super::Fixture;
use super::rows::*;
use crate::{
    EndSession, EventKind, NewSession, Profile, ROTATED_MAX, RevokeSessions, Rotated, Rotation,
    RotationOutcome, Session, SetUserStatus, Signin, Store, UserStatus,
};

/// So many at once must come to one.
const TASKS: usize = 50;

pub(crate) async fn unknown_session_is_none(fixture: impl Fixture) {
    let store = fixture.store();
    ann_with_session(&store).await;
    assert_eq!(read(&store, next_id()).await, None);
}

pub(crate) async fn session_is_read_as_it_was_made(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let signin = existing(user);
    let made = signin.session.clone();
    committed(&store, signin).await;
    let (session, owner) = read(&store, made.id).await.expect("the session was made");
    assert_eq!(owner.id, user);
    let NewSession {
        id,
        provider,
        refresh_digest,
        refresh_expires_at,
        ends_at,
        carried,
        device,
        origin,
    } = made;
    let expected = Session {
        id,
        policy: POLICY.to_owned(),
        provider,
        created_at: NOW,
        refresh_digest,
        refresh_expires_at,
        ends_at,
        ended_at: None,
        rotated: Vec::new(),
        carried,
        last_used_at: None,
        device,
        network: Some("192.0.2.0/24".to_owned()),
        origin,
    };
    assert_eq!(session, expected);
}

pub(crate) async fn refresh_token_is_rotated(fixture: impl Fixture) {
    let store = fixture.store();
    let (_, session) = ann_with_session(&store).await;
    let events = fixture.events().await;
    let rotated = vec![Rotated {
        digest: digest(session),
        salt: [7; 16],
        at: NOW + 60,
    }];
    let rotation = Rotation {
        rotated: rotated.clone(),
        ..rotation(session, digest(session))
    };
    let new_digest = rotation.new_digest;
    assert_eq!(store.run(rotation).await, Ok(RotationOutcome::Rotated));
    let (session, _) = read(&store, session).await.expect("the session is there");
    assert_eq!(session.refresh_digest, new_digest);
    assert_eq!(session.refresh_expires_at, NOW + 2 * DAY);
    assert_eq!(session.rotated, rotated);
    assert_eq!(fixture.events().await, events + 1);
}

pub(crate) async fn refresh_with_an_old_digest_is_changed(fixture: impl Fixture) {
    let store = fixture.store();
    let (_, session) = ann_with_session(&store).await;
    assert_eq!(
        store.run(rotation(session, digest(session))).await,
        Ok(RotationOutcome::Rotated)
    );
    not_rotated(&fixture, rotation(session, digest(session))).await;
}

pub(crate) async fn concurrent_rotations_of_one_token_rotate_once(fixture: impl Fixture) {
    let store = fixture.store();
    let (_, session) = ann_with_session(&store).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, rotation) = (Arc::clone(&store), rotation(session, digest(session)));
            tokio::spawn(async move { (rotation.new_digest, store.run(rotation).await) })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        let (new_digest, outcome) = task.await.expect("no task panics");
        if outcome.expect("the store is there") == RotationOutcome::Rotated {
            winners.push(new_digest);
        }
    }
    let (session, _) = read(&store, session).await.expect("the session is there");
    assert_eq!(winners, [session.refresh_digest]);
}

pub(crate) async fn rotation_remembers_at_most_the_bound(fixture: impl Fixture) {
    let store = fixture.store();
    let (_, session) = ann_with_session(&store).await;
    let rotated: Vec<_> = (0..=ROTATED_MAX)
        .map(|n| Rotated {
            digest: [3; 32],
            salt: [4; 16],
            at: NOW + n as i64,
        })
        .collect();
    let rotation = Rotation {
        rotated: rotated.clone(),
        ..rotation(session, digest(session))
    };
    assert_eq!(store.run(rotation).await, Ok(RotationOutcome::Rotated));
    let (session, _) = read(&store, session).await.expect("the session is there");
    assert_eq!(session.rotated, rotated[1..]);
}

pub(crate) async fn ended_session_is_not_rotated(fixture: impl Fixture) {
    let store = fixture.store();
    let (_, session) = ann_with_session(&store).await;
    assert_eq!(
        store
            .run(EndSession {
                id: session,
                now: NOW + 1,
                event: event(EventKind::Signout)
            })
            .await,
        Ok(true)
    );
    not_rotated(&fixture, rotation(session, digest(session))).await;
}

pub(crate) async fn expired_session_is_not_rotated(fixture: impl Fixture) {
    let store = fixture.store();
    let (_, session) = ann_with_session(&store).await;
    not_rotated(
        &fixture,
        Rotation {
            now: NOW + DAY,
            ..rotation(session, digest(session))
        },
    )
    .await;
    let in_time = Rotation {
        now: NOW + DAY - 1,
        ..rotation(session, digest(session))
    };
    assert_eq!(store.run(in_time).await, Ok(RotationOutcome::Rotated));
}

pub(crate) async fn session_past_its_end_is_not_rotated(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let signin = existing(user);
    let signin = Signin {
        session: NewSession {
            ends_at: NOW + 100,
            ..signin.session
        },
        ..signin
    };
    let session = signin.session.id;
    committed(&store, signin).await;
    not_rotated(
        &fixture,
        Rotation {
            now: NOW + 100,
            ..rotation(session, digest(session))
        },
    )
    .await;
    let in_time = Rotation {
        now: NOW + 99,
        ..rotation(session, digest(session))
    };
    assert_eq!(store.run(in_time).await, Ok(RotationOutcome::Rotated));
}

pub(crate) async fn session_of_disabled_user_is_not_rotated(fixture: impl Fixture) {
    let store = fixture.store();
    for status in [UserStatus::Disabled, UserStatus::Locked] {
        let user = created(&store, &format!("{status:?}"), Profile::default()).await;
        let session = signed_in(&store, user).await;
        assert_eq!(
            store
                .run(SetUserStatus {
                    user,
                    status,
                    now: NOW
                })
                .await,
            Ok(true)
        );
        not_rotated(&fixture, rotation(session, digest(session))).await;
    }
}

pub(crate) async fn session_of_disabled_user_is_not_rotated_whatever_the_clocks_say(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let (user, session) = ann_with_session(&store).await;
    // By a clock that is behind, all sessions were revoked before this one was made.
    let behind = NOW - 100;
    assert_eq!(
        store
            .run(SetUserStatus {
                user,
                status: UserStatus::Disabled,
                now: behind
            })
            .await,
        Ok(true)
    );
    let (made, owner) = read(&store, session).await.expect("the session is there");
    assert!(made.created_at >= owner.sessions_valid_from);
    not_rotated(&fixture, rotation(session, digest(session))).await;
}

pub(crate) async fn unknown_session_is_not_rotated(fixture: impl Fixture) {
    let store = fixture.store();
    let events = fixture.events().await;
    let id = next_id();
    assert_eq!(
        store.run(rotation(id, digest(id))).await,
        Ok(RotationOutcome::Changed)
    );
    assert_eq!(fixture.events().await, events);
}

pub(crate) async fn session_ends_once(fixture: impl Fixture) {
    let store = fixture.store();
    let (_, session) = ann_with_session(&store).await;
    let events = fixture.events().await;
    assert_eq!(
        store
            .run(EndSession {
                id: session,
                now: NOW + 1,
                event: event(EventKind::Signout)
            })
            .await,
        Ok(true)
    );
    assert_eq!(
        store
            .run(EndSession {
                id: session,
                now: NOW + 2,
                event: event(EventKind::Signout)
            })
            .await,
        Ok(false)
    );
    assert_eq!(
        store
            .run(EndSession {
                id: next_id(),
                now: NOW + 2,
                event: event(EventKind::Signout)
            })
            .await,
        Ok(false)
    );
    let (session, _) = read(&store, session)
        .await
        .expect("an ended session is still known");
    assert_eq!(session.ended_at, Some(NOW + 1));
    assert_eq!(fixture.events().await, events + 1);
}

pub(crate) async fn revoked_sessions_are_not_rotated_and_later_ones_are(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, before) = ann_with_session(&store).await;
    assert_eq!(
        store
            .run(RevokeSessions {
                user,
                now: NOW,
                event: event(EventKind::Signout)
            })
            .await,
        Ok(true)
    );
    not_rotated(&fixture, rotation(before, digest(before))).await;
    let signin = Signin {
        now: NOW + 5,
        ..existing(user)
    };
    let after = signin.session.id;
    committed(&store, signin).await;
    assert_eq!(
        store.run(rotation(after, digest(after))).await,
        Ok(RotationOutcome::Rotated)
    );
}

pub(crate) async fn sign_in_in_the_second_of_a_revocation_is_valid(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, before) = ann_with_session(&store).await;
    assert_eq!(
        store
            .run(RevokeSessions {
                user,
                now: NOW,
                event: event(EventKind::Signout)
            })
            .await,
        Ok(true)
    );
    let after = signed_in(&store, user).await;
    not_rotated(&fixture, rotation(before, digest(before))).await;
    let (session, owner) = read(&store, after).await.expect("the session was made");
    assert!(session.created_at >= owner.sessions_valid_from);
    assert_eq!(
        store.run(rotation(after, digest(after))).await,
        Ok(RotationOutcome::Rotated)
    );
}

pub(crate) async fn sessions_stay_over_when_a_user_is_active_again(fixture: impl Fixture) {
    let store = fixture.store();
    let (user, session) = ann_with_session(&store).await;
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
    not_rotated(&fixture, rotation(session, digest(session))).await;
}

pub(crate) async fn revoking_spares_other_users(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let ben = created(&store, "ben", Profile::default()).await;
    let session = signed_in(&store, ben).await;
    assert_eq!(
        store
            .run(RevokeSessions {
                user: ann,
                now: NOW,
                event: event(EventKind::Signout)
            })
            .await,
        Ok(true)
    );
    assert_eq!(
        store.run(rotation(session, digest(session))).await,
        Ok(RotationOutcome::Rotated)
    );
}

pub(crate) async fn rotation_survives_reopening(mut fixture: impl Fixture) {
    let store = fixture.store();
    let (_, session) = ann_with_session(&store).await;
    let rotation = rotation(session, digest(session));
    let new_digest = rotation.new_digest;
    assert_eq!(store.run(rotation).await, Ok(RotationOutcome::Rotated));
    drop(store);
    fixture.reopen().await;
    let (session, _) = read(&fixture.store(), session)
        .await
        .expect("the session is there");
    assert_eq!(session.refresh_digest, new_digest);
}

async fn ann_with_session(store: &Store) -> (Uuid, Uuid) {
    let user = created(store, "ann", Profile::default()).await;
    (user, signed_in(store, user).await)
}

/// The rotation comes to `Changed`, and session and events are as before.
async fn not_rotated(fixture: &impl Fixture, rotation: Rotation) {
    let store = fixture.store();
    let (id, events) = (rotation.session, fixture.events().await);
    let before = read(&store, id).await.expect("the session is there");
    assert_eq!(store.run(rotation).await, Ok(RotationOutcome::Changed));
    assert_eq!(read(&store, id).await, Some(before));
    assert_eq!(fixture.events().await, events);
}
