//! Local passwords in the store, and users as an administrator sees them.
//!
//! A change takes back all that the old password may have opened, in the same transaction: sessions, challenges, remembered
//! devices and what was counted of wrong tries.

use std::fmt;

use uuid::Uuid;
use vestibule_crds::secret::Secret;

use super::attempts::TryLimits;
use super::{Event, IdentityKey, NewSession, User, UserStatus};

/// Wrong tries of the current password, over all sessions and replicas; what they are tried against
/// can be used offline by anyone who knows the password, so it is worth a wait.
pub const PASSWORD_TRIES: TryLimits = TryLimits {
    per_challenge: u32::MAX,
    per_15m: 10,
    per_day: 50,
};
/// Users of one page.
pub const PAGE_USERS_MAX: u32 = 1000;
/// Users that one name is looked up to.
pub const NAMED_USERS_MAX: u32 = 10;

/// The hash of a user's local password.
#[derive(Debug, Clone, Copy)]
pub struct ReadPasswordHash(pub Uuid);

/// Demands a change; false when there is no such user, or no local password of the user's.
#[derive(Debug, Clone)]
pub struct RequirePasswordChange {
    pub user: Uuid,
    pub event: Event,
}

#[derive(Debug, Clone, Copy)]
pub struct ReadUser(pub Uuid);

/// Users of a policy with this user name or address: at most [`NAMED_USERS_MAX`].
#[derive(Debug, Clone)]
pub struct UsersNamed {
    pub policy: String,
    pub name: String,
}

/// Counts one more try of the current password.
#[derive(Debug, Clone, Copy)]
pub struct CountPasswordTry {
    pub user: Uuid,
    pub now: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordTry {
    Counted,
    /// Seconds until the next one is.
    Locked(u32),
    /// The user has no local password, or is gone.
    Gone,
}

#[derive(Debug, Clone)]
pub struct ChangePassword {
    pub user: Uuid,
    pub by: ChangedBy,
    pub hash: Secret,
    /// Whether it is to be changed again at the next sign-in.
    pub must_change: bool,
    pub event: Event,
    pub now: i64,
}

/// Who changes a password, and what must hold.
#[derive(Debug, Clone)]
pub enum ChangedBy {
    /// The user must still be active, the password still the one that was verified, and the session still live; a new one
    /// takes the place of all others.
    User {
        hash: Option<Secret>,
        session: Uuid,
        next: Box<NewSession>,
    },
    /// The user must be there.
    Administrator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOutcome {
    Changed,
    /// The password was changed meanwhile, or the session or the user is gone.
    Gone,
    UserNotActive(UserStatus),
}

/// Adds a user; one who is there already stays as is.
#[derive(Debug)]
pub struct ImportUser {
    pub user: User,
    pub hash: Option<Secret>,
    /// By which a provider knows the user.
    pub identity: Option<IdentityKey>,
    pub event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportOutcome {
    Added,
    /// There is a user with this id: nothing was written.
    Known,
    /// The identity belongs to another user: nothing was written.
    IdentityTaken,
}

/// From when on sessions are valid after a change. Times are whole seconds: later than whatever was made within this very
/// second, also after a change before it.
pub(super) fn valid_after_change(valid_from: i64, now: i64) -> i64 {
    valid_from.max(now).saturating_add(1)
}

/// Users in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct UserPage {
    pub policy: Option<String>,
    pub status: Option<UserStatus>,
    /// The last user of the page before.
    pub after: Option<Uuid>,
    /// At most [`PAGE_USERS_MAX`].
    pub limit: u32,
}

impl fmt::Display for ImportOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Known => "known",
            Self::IdentityTaken => "the identity belongs to another user",
        })
    }
}
