//! A user's sessions as they are listed.

use uuid::Uuid;

use super::Fixture;
use super::rows::*;
use crate::sessions::{Origin, PAGE_SESSIONS_MAX, SessionPage};
use crate::{
    EndSession, Event, EventKind, NewSession, Profile, RevokeSessions, RotationOutcome, Signin,
    Store,
};

async fn listed_at(store: &Store, user: Uuid, now: i64) -> Vec<Uuid> {
    let page = SessionPage {
        user,
        after: None,
        limit: PAGE_SESSIONS_MAX,
        now,
    };
    let sessions = store.run(page).await.expect("it can be read");
    sessions.into_iter().map(|session| session.id).collect()
}

pub(crate) async fn live_sessions_are_listed_the_newest_first(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let ben = created(&store, "ben", Profile::default()).await;
    let (old, over) = (signed_in(&store, ann).await, signed_in(&store, ann).await);
    let others = signed_in(&store, ben).await;
    let new = signed_in(&store, ann).await;
    let ended = store.run(EndSession {
        id: over,
        now: NOW,
        event: event(EventKind::Signout),
    });
    assert_eq!(ended.await, Ok(true));
    let listed = listed_at(&store, ann, NOW).await;
    assert_eq!(listed[..2], [new, old]);
    assert_eq!(listed.len(), 3, "and the one that the user was made with");
    assert!(listed_at(&store, ben, NOW).await.contains(&others));
    assert!(listed_at(&store, next_id(), NOW).await.is_empty());
}

pub(crate) async fn what_has_expired_or_was_revoked_is_not_listed(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let signin = existing(ann);
    let long = Signin {
        session: NewSession {
            refresh_expires_at: NOW + 3 * DAY,
            ..signin.session
        },
        ..signin
    };
    let id = long.session.id;
    committed(&store, long).await;
    assert_eq!(listed_at(&store, ann, NOW + DAY - 1).await.len(), 2);
    assert_eq!(listed_at(&store, ann, NOW + DAY).await, [id]);
    assert!(listed_at(&store, ann, NOW + 3 * DAY).await.is_empty());
    let revoking = store.run(RevokeSessions {
        user: ann,
        now: NOW,
        event: event(EventKind::Signout),
    });
    assert_eq!(revoking.await, Ok(true));
    assert!(listed_at(&store, ann, NOW).await.is_empty());
}

pub(crate) async fn sessions_come_in_pages_that_leave_nothing_out(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    for _ in 0..6 {
        signed_in(&store, ann).await;
    }
    let all = listed_at(&store, ann, NOW).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = SessionPage {
            user: ann,
            after,
            limit: 3,
            now: NOW,
        };
        let page = store.run(page).await.expect("it can be read");
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.into_iter().map(|session| session.id));
    }
    assert_eq!(seen, all);
    assert_eq!(all.len(), 7);
}

pub(crate) async fn a_session_is_listed_with_its_last_use(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let signin = existing(ann);
    let session = NewSession {
        device: Some("Firefox, Linux".to_owned()),
        origin: Origin::of("https://id.example", "ann", Some("s-1")),
        ..signin.session.clone()
    };
    let made = session.clone();
    committed(&store, Signin { session, ..signin }).await;
    let of = |page: Vec<crate::Session>| {
        let mut found = page.into_iter().filter(|session| session.id == made.id);
        found.next().expect("it is listed")
    };
    let page = SessionPage {
        user: ann,
        after: None,
        limit: 10,
        now: NOW,
    };
    let unused = of(store.run(page).await.expect("it can be read"));
    assert_eq!((unused.last_used_at, &unused.device), (None, &made.device));
    assert_eq!(unused.network.as_deref(), Some("192.0.2.0/24"));
    assert_eq!(unused.origin, made.origin);

    let mut rotation = rotation(made.id, made.refresh_digest);
    rotation.event = Event {
        network: "198.51.100.0/24".to_owned(),
        ..rotation.event
    };
    assert_eq!(store.run(rotation).await, Ok(RotationOutcome::Rotated));
    let used = of(store.run(page).await.expect("it can be read"));
    assert_eq!(used.last_used_at, Some(NOW + 60));
    assert_eq!(used.network.as_deref(), Some("198.51.100.0/24"));
    assert_eq!((used.device, used.origin), (made.device, made.origin));
}

pub(crate) async fn a_revocation_leaves_an_event(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let events = fixture.events().await;
    let revoking = store.run(RevokeSessions {
        user: ann,
        now: NOW,
        event: event(EventKind::UserChange),
    });
    assert_eq!(revoking.await, Ok(true));
    assert_eq!(fixture.events().await, events + 1);
    let revoking = store.run(RevokeSessions {
        user: next_id(),
        now: NOW,
        event: event(EventKind::UserChange),
    });
    assert_eq!(revoking.await, Ok(false));
    assert_eq!(fixture.events().await, events + 1, "of nobody");
}
