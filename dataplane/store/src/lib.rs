//! What must survive: users, identities, sessions, the replay guard and the audit trail.
//!
//! A store runs operations ([`Store::run`]). A sign-in reads once ([`Gather`]) and writes once ([`Signin`]); what was read may
//! have changed by then, so the commit checks again what it depends on and answers with what it found. `Ok(Committed)` means
//! durable.
//!
//! Times are seconds since the Unix epoch. `policy` is `namespace/name`: one policy's rows mean nothing to another.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::mfa::Completion;
pub use self::operation::{Operation, RunOn};
use self::sessions::{Login, Origin};
pub use self::store::{AuditSink, Store};

pub mod answers;
pub mod attempts;
#[cfg(test)]
pub(crate) mod conformance;
pub mod copy;
pub mod database;
pub mod decision;
mod digest;
pub mod mfa;
mod operation;
pub mod passwords;
pub mod population;
pub mod postgres;
pub mod refusals;
mod rotated;
pub mod sessions;
pub mod sqlite;
mod statements;
mod store;
mod sweep_cursor;
pub mod trace;

pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Deletes what has expired, at most `rows_max` rows; the number deleted. Fewer than `rows_max`: leave the rest for later.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// Seconds since the Unix epoch.
    pub now: i64,
    pub rows_max: usize,
    pub histories: StaleHistories,
}

/// Which histories of users to delete: what their bytes mean is known to the risk engine alone.
#[derive(Debug, Clone, Copy)]
pub struct StaleHistories {
    /// How many of the first bytes to look at.
    pub head_bytes: usize,
    pub is_stale: fn(head: &[u8], now: i64) -> bool,
}

/// Writes, and what they cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    pub writes: u64,
    /// Each is one wait for the disk, shared by all its writes.
    pub transactions: u64,
    /// Writes that wait now.
    pub queued: usize,
    /// Refusals that were deleted because the audit trail had too many, or the disk too little room.
    pub refusals_dropped: u64,
}

/// Try again later. Of what was asked nothing has been written, or all of it when a connection broke off before its answer
/// came: asking again is safe either way, since a sign-in makes a session of its own and a rotation compares first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store's queue is full")]
    Busy,
    #[error("the store cannot be used: {0}")]
    Unavailable(String),
}

/// Reads everything that a sign-in depends on: who signs in, as the token says.
#[derive(Debug, Clone)]
pub struct Gather {
    pub identity: IdentityKey,
    /// The address whose owners are wanted: verified, normalised, and only where linking is on.
    pub linkable_email: Option<String>,
    /// Whether the user's history is wanted.
    pub history: bool,
}

/// Always (policy, issuer, subject): the provider's canonical issuer, whichever alias the token carried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityKey {
    pub policy: String,
    pub issuer: String,
    pub subject: String,
}

#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// The user that the identity belongs to.
    pub user: Option<User>,
    /// Users of the policy whose linkable address it is: at most two, since two already mean that it is not plain.
    /// Empty when the identity is known, since it needs no link.
    pub email_owners: Vec<User>,
    /// Where it was asked for: of the user, or of the only owner of the address.
    pub history: Option<StoredHistory>,
}

/// What is remembered of a user's sign-ins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHistory {
    /// Counts its writes.
    pub version: i64,
    pub content: Vec<u8>,
}

/// What is to be remembered of a user from here on. Of two sign-ins at once only the first is
/// remembered: what the other showed stays new, which never lowers a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHistory {
    /// The version that it was made from; none where there was no history.
    pub replaces: Option<i64>,
    pub content: Vec<u8>,
}

impl NewHistory {
    /// Whether the user has signed in before, as far as is remembered.
    pub fn is_first(&self) -> bool {
        self.replaces.is_none()
    }
}

pub const HASH_KEY_BYTES: usize = 32;

/// What addresses and user agents are hashed with: made once for each database, and kept in it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct HashKey(pub [u8; HASH_KEY_BYTES]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

/// What a sign-in knows of a user's local password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalPassword {
    /// Seconds since the Unix epoch.
    pub changed_at: i64,
    /// Whether an administrator demands a change.
    pub must_change: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    pub policy: String,
    pub profile: Profile,
    pub status: UserStatus,
    pub created_at: i64,
    /// Sessions made before this are over.
    pub sessions_valid_from: i64,
    pub password: Option<LocalPassword>,
}

/// What the provider says of a user; kept up to date at each sign-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub username: Option<String>,
    /// Normalised.
    pub email: Option<String>,
    pub email_verified: bool,
    /// Whether a provider verified the address whose own linking covers it: only then it leads to this account.
    #[serde(default)]
    pub email_linkable: bool,
    pub phone: Option<String>,
    /// Whether the provider says that the number is not verified: no code goes there.
    #[serde(default)]
    pub phone_unverified: bool,
}

impl Profile {
    /// As it is stored: the address itself, where it is linkable.
    pub fn link_email(&self) -> Option<&String> {
        let is_linkable = self.email_verified && self.email_linkable;
        self.email.as_ref().filter(|_| is_linkable)
    }

    /// As it is stored: the number itself, where it is not verified.
    pub fn unverified_phone(&self) -> Option<&String> {
        self.phone.as_ref().filter(|_| self.phone_unverified)
    }

    /// As it is read; what an older version has changed since counts for nothing.
    pub(crate) fn read(self, link_email: Option<String>, unverified_phone: Option<String>) -> Self {
        Self {
            email_linkable: self.email_verified && self.email.is_some() && link_email == self.email,
            phone_unverified: self.phone.is_some() && unverified_phone == self.phone,
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserStatus {
    Active,
    Disabled,
    Locked,
}

impl UserStatus {
    /// As the API and the command line name it.
    pub fn as_str(self) -> &'static str {
        self.name()
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::named(name)
    }

    /// As it is stored.
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Locked => "locked",
        }
    }

    /// `None` for a value that this program did not write.
    fn named(name: &str) -> Option<Self> {
        match name {
            "active" => Some(Self::Active),
            "disabled" => Some(Self::Disabled),
            "locked" => Some(Self::Locked),
            _ => None,
        }
    }
}

/// Everything that one sign-in writes, or none of it.
#[derive(Debug)]
pub struct Signin {
    pub account: Account,
    pub session: NewSession,
    /// At the provider: a login that has ended there signs no user in.
    pub login: Option<Login>,
    /// Present where the provider refuses a token's second use.
    pub replay: Option<ReplayKey>,
    /// Present where the policy scores sign-ins.
    pub history: Option<NewHistory>,
    /// Present where a second factor was asked for.
    pub completion: Option<Completion>,
    pub event: Event,
    pub now: i64,
}

/// What becomes of the account.
pub enum Account {
    /// The user must still be there and active. `profile`: the attributes to store, when they changed.
    Existing {
        user_id: Uuid,
        profile: Option<Profile>,
    },
    /// The identity must still be unknown.
    Create { user: User, identity: IdentityKey },
    /// The identity must still be unknown, the user still active and still the only one whose linkable address
    /// is `email`; and
    /// `recheck`, called inside the transaction, must still say that the provider may link.
    Link {
        user_id: Uuid,
        identity: IdentityKey,
        email: String,
        recheck: Arc<dyn Fn() -> bool + Send + Sync>,
    },
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Existing { user_id, .. } => write!(f, "Existing({user_id})"),
            Self::Create { user, .. } => write!(f, "Create({})", user.id),
            Self::Link { user_id, .. } => write!(f, "Link({user_id})"),
        }
    }
}

/// What a commit came to. Whatever is not `Committed` has written nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigninOutcome {
    Committed,
    /// The token has signed a user in before.
    Replayed,
    /// The provider has ended the login that the token is from.
    LoginEnded,
    /// The user is no longer active.
    UserNotActive(UserStatus),
    /// The account changed since it was read (gone, identity taken, no longer the only owner): read and decide again.
    Changed,
    /// The provider may no longer link.
    LinkRefused,
    /// The challenge was answered already, or is void or expired.
    ChallengeGone,
    /// The code, or the factor, was used already or is gone.
    ProofUsed,
}

/// The digest of a token that may be used once. `(expires_at, digest)` is the key: a token always has the same expiry,
/// and rows in order of time are cheap to insert and to sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayKey {
    pub expires_at: i64,
    pub digest: [u8; 32],
}

/// Uses up what may be used once; false when it was used before.
#[derive(Debug, Clone, Copy)]
pub struct UseOnce(pub ReplayKey);

/// Whether the store can be written to now.
#[derive(Debug, Clone, Copy)]
pub struct Probe;

#[derive(Debug, Clone)]
pub struct NewSession {
    /// Begins with its time of creation, so that rows are inserted in order.
    pub id: Uuid,
    /// `namespace/name`.
    pub provider: String,
    /// SHA-256 of the refresh token.
    pub refresh_digest: [u8; 32],
    pub refresh_expires_at: i64,
    /// No refresh reaches past this.
    pub ends_at: i64,
    /// JSON: what access tokens of this session carry on from the sign-in.
    pub carried: String,
    /// What signed in, in words for people; the network is that of the event which the session is made with.
    pub device: Option<String>,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: Uuid,
    pub policy: String,
    pub provider: String,
    pub created_at: i64,
    pub refresh_digest: [u8; 32],
    pub refresh_expires_at: i64,
    pub ends_at: i64,
    pub ended_at: Option<i64>,
    /// Refresh tokens rotated a moment ago, oldest first: at most [`ROTATED_MAX`].
    pub rotated: Vec<Rotated>,
    pub carried: String,
    /// Of the last refresh; none where there was none.
    pub last_used_at: Option<i64>,
    pub device: Option<String>,
    /// The client's network at the last use.
    pub network: Option<String>,
    pub origin: Origin,
}

/// How many rotations inside the grace are remembered.
pub const ROTATED_MAX: usize = 16;

/// A refresh token that was rotated: its successor is derived from the token itself and `salt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    pub digest: [u8; 32],
    pub salt: [u8; 16],
    pub at: i64,
}

/// A session and its user, ended and expired sessions included.
#[derive(Debug, Clone, Copy)]
pub struct ReadSession(pub Uuid);

/// Ends a session; false when there is none or it had ended.
#[derive(Debug, Clone)]
pub struct EndSession {
    pub id: Uuid,
    pub now: i64,
    pub event: Event,
}

/// False when there is no such user. A user who is no longer active loses the sessions too, so that they do not come back
/// to life with the user.
#[derive(Debug, Clone, Copy)]
pub struct SetUserStatus {
    pub user: Uuid,
    pub status: UserStatus,
    pub now: i64,
}

/// Ends all sessions that a user has now; false when there is no such user.
#[derive(Debug, Clone)]
pub struct RevokeSessions {
    pub user: Uuid,
    pub now: i64,
    pub event: Event,
}

/// Compare-and-set of a session's refresh token, while the session is live and its user active.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub session: Uuid,
    pub expected_digest: [u8; 32],
    pub new_digest: [u8; 32],
    pub refresh_expires_at: i64,
    pub rotated: Vec<Rotated>,
    pub now: i64,
    pub event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationOutcome {
    Rotated,
    /// Another refresh was first, or the session or user changed: read and decide again.
    Changed,
}

/// One line of the audit trail. Bounded, and without secrets: no token, no key, no address of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub at: i64,
    pub kind: EventKind,
    /// `ok`, or the error code that the caller got.
    pub outcome: &'static str,
    pub class: EventClass,
    /// Empty while it is not known.
    pub policy: String,
    pub provider: String,
    pub user_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub request_id: String,
    /// The client's network: /24 of IPv4, /48 of IPv6.
    pub network: String,
    /// What was expected and found, at most [`EVENT_DETAIL_BYTES_MAX`].
    pub detail: String,
    /// How many equal events it stands for: 1, but where refusals were counted.
    pub count: i64,
}

/// How long an event is kept where there is too little room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventClass {
    /// What was done: kept until it is old.
    Accepted,
    /// A refusal that shows an attack on one session or user, such as the reuse of a refresh token:
    /// kept as long as what was accepted.
    Incident,
    /// What anybody can cause in any number: bounded, and the oldest go first.
    Refusal,
}

impl Event {
    /// Whether it is one of those that anybody can cause in any number.
    pub fn is_refusal(&self) -> bool {
        self.class == EventClass::Refusal
    }

    /// Whether a caller got an error code.
    pub fn is_failure(&self) -> bool {
        self.class != EventClass::Accepted
    }
}

pub const EVENT_DETAIL_BYTES_MAX: usize = 2048;
const DAY_SECONDS: i64 = 86_400;
/// How long a value is counted that no user shows any more.
const POPULATION_RETENTION_DAYS: i64 = 366;
/// How long events are kept.
pub const EVENT_RETENTION_SECONDS: i64 = 180 * 24 * 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Signin,
    Refresh,
    Signout,
    /// A challenge that was answered, rightly or not.
    MfaVerify,
    /// A code that was sent.
    MfaSend,
    MfaEnroll,
    MfaRemove,
    /// A local password that its user changed, or tried to.
    PasswordChange,
    /// A user that an administrator changed.
    UserChange,
    /// A client of the OAuth endpoints that did not prove itself.
    ClientAuthentication,
    /// A provider that reported a user's sign-out there.
    ProviderLogout,
}

impl EventKind {
    /// As it is stored and streamed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signin => "signin",
            Self::Refresh => "refresh",
            Self::Signout => "signout",
            Self::MfaVerify => "mfa_verify",
            Self::MfaSend => "mfa_send",
            Self::MfaEnroll => "mfa_enroll",
            Self::MfaRemove => "mfa_remove",
            Self::PasswordChange => "password_change",
            Self::UserChange => "user_change",
            Self::ClientAuthentication => "client_authentication",
            Self::ProviderLogout => "provider_logout",
        }
    }
}
