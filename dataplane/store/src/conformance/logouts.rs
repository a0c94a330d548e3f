//! Sessions that a provider ends.

use std::sync::Arc;

use uuid::Uuid;

use super::Fixture;
use super::rows::*;
use crate::mfa::ReadChallenge;
use crate::sessions::{LoggedOut, LogoutOutcome, Origin, ProviderLogout};
use crate::{EventKind, NewSession, Profile, ReplayKey, Signin, Store};

/// So many at once must come to one.
const TASKS: usize = 50;

fn logout(subject: Option<&str>, sid: Option<&str>, token: u8) -> ProviderLogout {
    ProviderLogout {
        meant: vec![LoggedOut {
            provider: "shop/example".to_owned(),
            tokens_live: 3630,
            identity: identity(subject.unwrap_or_default()),
        }],
        subject: subject.map(str::to_owned),
        sid: sid.map(str::to_owned),
        issued_at: NOW,
        replay: ReplayKey {
            expires_at: NOW + 120,
            digest: [token; 32],
        },
        event: event(EventKind::ProviderLogout),
        now: NOW,
    }
}

/// A session that comes from this session of the provider.
async fn session_from(store: &Store, user: Uuid, origin: Origin) -> Uuid {
    let signin = existing(user);
    let session = NewSession {
        origin,
        ..signin.session
    };
    let id = session.id;
    committed(store, Signin { session, ..signin }).await;
    id
}

fn origin(subject: &str, sid: Option<&str>) -> Origin {
    Origin::of(&identity(subject).issuer, subject, sid)
}

async fn has_ended(store: &Store, session: Uuid) -> bool {
    let (session, _) = read(store, session).await.expect("it is there");
    session.ended_at.is_some()
}

pub(crate) async fn logout_ends_what_it_names_and_nothing_else(fixture: impl Fixture) {
    let store = fixture.store();
    let store = &store;
    let ann = created(store, "ann", Profile::default()).await;
    let ben = created(store, "ben", Profile::default()).await;
    let one = session_from(store, ann, origin("ann", Some("s-1"))).await;
    let two = session_from(store, ann, origin("ann", Some("s-2"))).await;
    let linked = session_from(store, ann, origin("ann-too", None)).await;
    let bens = session_from(store, ben, origin("ben", Some("s-3"))).await;

    // The first session of ann does not say where it comes from.
    let outcome = store.run(logout(Some("ann"), Some("s-1"), 1)).await;
    assert_eq!(outcome, Ok(LogoutOutcome::Ended(2)));
    assert!(has_ended(store, one).await);
    for other in [two, linked, bens] {
        assert!(!has_ended(store, other).await);
    }
    let outcome = store.run(logout(None, Some("s-3"), 2)).await;
    assert_eq!(outcome, Ok(LogoutOutcome::Ended(1)));
    assert!(has_ended(store, bens).await);
    let outcome = store.run(logout(Some("ann"), None, 3)).await;
    assert_eq!(outcome, Ok(LogoutOutcome::Ended(1)));
    assert!(has_ended(store, two).await);
    assert!(!has_ended(store, linked).await, "of another subject");
    let outcome = store.run(logout(Some("nobody"), None, 4)).await;
    assert_eq!(outcome, Ok(LogoutOutcome::Ended(0)));
}

pub(crate) async fn logout_at_another_provider_ends_nothing(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let session = session_from(&store, ann, origin("ann", Some("s-1"))).await;
    let elsewhere = |token, named: &dyn Fn(LoggedOut) -> LoggedOut| {
        let good = logout(Some("ann"), Some("s-1"), token);
        let meant = good.meant.iter().cloned().map(named).collect();
        ProviderLogout { meant, ..good }
    };
    for other in [
        elsewhere(1, &|one| LoggedOut {
            provider: "shop/other".to_owned(),
            ..one
        }),
        elsewhere(2, &|one| LoggedOut {
            identity: identity_of("bank/default", "ann"),
            ..one
        }),
    ] {
        assert_eq!(store.run(other).await, Ok(LogoutOutcome::Ended(0)));
    }
    assert!(!has_ended(&store, session).await);
    let good = store.run(logout(Some("ann"), Some("s-1"), 3)).await;
    assert_eq!(good, Ok(LogoutOutcome::Ended(2)));
}

pub(crate) async fn logout_token_is_used_once_under_fifty_at_once(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let events = fixture.events().await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.run(logout(Some("ann"), None, 1)).await })
        })
        .collect();
    let mut ended = 0;
    for task in tasks {
        match task.await.expect("no task panics").expect("the store") {
            LogoutOutcome::Ended(sessions) => ended += sessions,
            LogoutOutcome::Replayed => {}
        }
    }
    assert_eq!(ended, 1);
    assert_eq!(fixture.events().await, events + 1);
    let later = session_from(&store, ann, origin("ann", None)).await;
    let again = store.run(logout(Some("ann"), None, 1)).await;
    assert_eq!(again, Ok(LogoutOutcome::Replayed));
    assert!(!has_ended(&store, later).await);
}

pub(crate) async fn logout_voids_what_waits_for_a_second_factor(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let digest = super::challenges::challenged(&store, ann).await;
    let consumed = async || {
        let found = store
            .run(ReadChallenge(digest))
            .await
            .expect("it can be read");
        found.expect("it is there").challenge.consumed_at
    };
    let other = store.run(logout(Some("ben"), None, 1)).await;
    assert_eq!(other, Ok(LogoutOutcome::Ended(0)));
    assert_eq!(consumed().await, None);
    let logged_out = store.run(logout(Some("ann"), None, 2)).await;
    assert_eq!(logged_out, Ok(LogoutOutcome::Ended(1)));
    assert_eq!(consumed().await, Some(NOW));
}
