//! Valid rows to begin with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::sessions::Origin;
use crate::{
    Account, Event, EventClass, EventKind, Gather, Gathered, IdentityKey, NewSession, Profile,
    ReadSession, ReplayKey, Rotation, Session, Signin, SigninOutcome, StaleHistories, Store, Sweep,
    User, UserStatus,
};

/// The instant at which the tests begin.
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const DAY: i64 = 24 * 3600;
pub(crate) const POLICY: &str = "shop/default";

/// Ids in the order of their making, as version 7 has them.
pub(crate) fn next_id() -> Uuid {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    Uuid::from_u64_pair(
        0x0190_0000_0000_7000 + (made >> 32),
        0x8000_0000_0000_0000 | made,
    )
}

pub(crate) fn identity(subject: &str) -> IdentityKey {
    IdentityKey {
        policy: POLICY.to_owned(),
        issuer: "https://id.example".to_owned(),
        subject: subject.to_owned(),
    }
}

pub(crate) fn identity_of(policy: &str, subject: &str) -> IdentityKey {
    IdentityKey {
        policy: policy.to_owned(),
        ..identity(subject)
    }
}

pub(crate) fn verified(email: &str) -> Profile {
    Profile {
        username: Some("ann".to_owned()),
        email: Some(email.to_owned()),
        email_verified: true,
        email_linkable: true,
        phone: Some("+15550100".to_owned()),
        phone_unverified: false,
    }
}

pub(crate) fn user(policy: &str, profile: Profile) -> User {
    User {
        id: next_id(),
        policy: policy.to_owned(),
        profile,
        status: UserStatus::Active,
        created_at: NOW,
        sessions_valid_from: 0,
        password: None,
    }
}

pub(crate) fn session() -> NewSession {
    let id = next_id();
    NewSession {
        id,
        provider: "shop/example".to_owned(),
        refresh_digest: digest(id),
        refresh_expires_at: NOW + DAY,
        ends_at: NOW + 7 * DAY,
        carried: r#"{"amr":["pwd"]}"#.to_owned(),
        device: None,
        origin: Origin::default(),
    }
}

pub(crate) fn digest(of: Uuid) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(of.as_bytes());
    digest
}

pub(crate) fn event(kind: EventKind) -> Event {
    Event {
        at: NOW,
        kind,
        outcome: "ok",
        class: EventClass::Accepted,
        policy: POLICY.to_owned(),
        provider: "shop/example".to_owned(),
        user_id: None,
        session_id: None,
        request_id: "r-1".to_owned(),
        network: "192.0.2.0/24".to_owned(),
        detail: String::new(),
        count: 1,
    }
}

/// What anybody can cause.
pub(crate) fn refusal() -> Event {
    Event {
        outcome: "token_malformed",
        class: EventClass::Refusal,
        ..event(EventKind::Signin)
    }
}

/// At most so many rows, of what has expired until then.
pub(crate) fn sweep(now: i64, rows_max: usize) -> Sweep {
    Sweep {
        now,
        rows_max,
        histories: StaleHistories {
            head_bytes: 8,
            is_stale: is_stale_history,
        },
    }
}

const HISTORY_KEPT_SECONDS: i64 = 366 * 86_400;

/// As the risk engine's: a time at the beginning, in eight bytes; other bytes are never stale.
fn is_stale_history(head: &[u8], now: i64) -> bool {
    <[u8; 8]>::try_from(head).is_ok_and(|bytes| {
        let last_at = i64::from_be_bytes(bytes);
        last_at > 1_000_000_000
            && last_at < 10_000_000_000
            && last_at < now.saturating_sub(HISTORY_KEPT_SECONDS)
    })
}

/// A history whose user signed in last at this time.
pub(crate) fn history_of(last_at: i64) -> Vec<u8> {
    last_at.to_be_bytes().to_vec()
}

pub(crate) fn signin(account: Account) -> Signin {
    Signin {
        account,
        session: session(),
        login: None,
        replay: None,
        history: None,
        completion: None,
        event: event(EventKind::Signin),
        now: NOW,
    }
}

pub(crate) fn existing(user_id: Uuid) -> Signin {
    signin(Account::Existing {
        user_id,
        profile: None,
    })
}

pub(crate) fn create(subject: &str) -> Signin {
    create_as(identity(subject), Profile::default())
}

pub(crate) fn create_as(identity: IdentityKey, profile: Profile) -> Signin {
    signin(Account::Create {
        user: user(&identity.policy, profile),
        identity,
    })
}

pub(crate) fn link(user_id: Uuid, subject: &str, email: &str) -> Signin {
    link_if(user_id, identity(subject), email, true)
}

pub(crate) fn link_if(user_id: Uuid, identity: IdentityKey, email: &str, allowed: bool) -> Signin {
    let recheck = Arc::new(move || allowed);
    signin(Account::Link {
        user_id,
        identity,
        email: email.to_owned(),
        recheck,
    })
}

pub(crate) fn token(expires_at: i64, byte: u8) -> Option<ReplayKey> {
    Some(ReplayKey {
        expires_at,
        digest: [byte; 32],
    })
}

pub(crate) fn rotation(session: Uuid, expected_digest: [u8; 32]) -> Rotation {
    Rotation {
        session,
        expected_digest,
        new_digest: digest(next_id()),
        refresh_expires_at: NOW + 2 * DAY,
        rotated: Vec::new(),
        now: NOW + 60,
        event: event(EventKind::Refresh),
    }
}

/// Commits a sign-in that must succeed.
pub(crate) async fn committed(store: &Store, signin: Signin) {
    assert_eq!(store.run(signin).await, Ok(SigninOutcome::Committed));
}

/// The id of a user made by a first sign-in.
pub(crate) async fn created(store: &Store, subject: &str, profile: Profile) -> Uuid {
    created_as(store, identity(subject), profile).await
}

pub(crate) async fn created_as(store: &Store, identity: IdentityKey, profile: Profile) -> Uuid {
    let user = user(&identity.policy, profile);
    let id = user.id;
    committed(store, signin(Account::Create { user, identity })).await;
    id
}

/// The id of a session of a user who signs in again.
pub(crate) async fn signed_in(store: &Store, user_id: Uuid) -> Uuid {
    let signin = existing(user_id);
    let id = signin.session.id;
    committed(store, signin).await;
    id
}

pub(crate) async fn found(store: &Store, identity: IdentityKey) -> Option<User> {
    gathered(store, identity, None).await.user
}

pub(crate) async fn gathered(
    store: &Store,
    identity: IdentityKey,
    email: Option<&str>,
) -> Gathered {
    let question = Gather {
        identity,
        linkable_email: email.map(str::to_owned),
        history: true,
    };
    store.run(question).await.expect("the store can be read")
}

pub(crate) async fn read(store: &Store, id: Uuid) -> Option<(Session, User)> {
    store
        .run(ReadSession(id))
        .await
        .expect("the store can be read")
}
