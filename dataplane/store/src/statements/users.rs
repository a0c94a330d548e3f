//! Users.

use super::cells::Cells;
use super::value::Value;
use super::{Table, Text};
use crate::{LocalPassword, Profile, User, UserStatus};

/// Of a new user.
pub(crate) const USERS: Table = Table {
    name: "users",
    columns: &[
        ("id", "uuid"),
        ("policy", "text"),
        ("username", "text"),
        ("email", "text"),
        ("email_verified", "boolean"),
        ("phone", "text"),
        ("status", "text"),
        ("created_at", "bigint"),
        ("sessions_valid_from", "bigint"),
        ("password_changed_at", "bigint"),
        ("password_must_change", "boolean"),
        ("link_email", "text"),
        ("unverified_phone", "text"),
    ],
};

/// Of a changed profile.
pub(crate) const PROFILE: Table = Table {
    name: "users",
    columns: &[
        ("username", "text"),
        ("email", "text"),
        ("email_verified", "boolean"),
        ("phone", "text"),
        ("link_email", "text"),
        ("unverified_phone", "text"),
    ],
};

pub(crate) static INSERT: Text = Text::new(|| USERS.insert());

pub(crate) fn row(user: &User) -> [Value<'_>; USERS.columns.len()] {
    let User {
        id,
        policy,
        profile,
        status,
        created_at,
        sessions_valid_from,
        password,
    } = user;
    let Profile {
        username,
        email,
        email_verified,
        email_linkable: _,
        phone,
        phone_unverified: _,
    } = profile;
    [
        (*id).into(),
        policy.into(),
        username.as_ref().into(),
        email.as_ref().into(),
        (*email_verified).into(),
        phone.as_ref().into(),
        status.as_str().into(),
        (*created_at).into(),
        (*sessions_valid_from).into(),
        password.map(|password| password.changed_at).into(),
        password.is_some_and(|password| password.must_change).into(),
        profile.link_email().into(),
        profile.unverified_phone().into(),
    ]
}

pub(crate) fn profile_row(profile: &Profile) -> [Value<'_>; PROFILE.columns.len()] {
    let Profile {
        username,
        email,
        email_verified,
        email_linkable: _,
        phone,
        phone_unverified: _,
    } = profile;
    [
        username.as_ref().into(),
        email.as_ref().into(),
        (*email_verified).into(),
        phone.as_ref().into(),
        profile.link_email().into(),
        profile.unverified_phone().into(),
    ]
}

/// What [`read`] reads, in its order, of a user `u`.
macro_rules! user_columns {
    () => {
        "u.id, u.policy, u.username, u.email, u.email_verified, u.phone, u.status, u.created_at, u.sessions_valid_from, \
         u.password_changed_at, u.password_must_change, u.link_email, u.unverified_phone"
    };
}
pub(crate) use user_columns;

/// `first`: the first of the user's columns.
pub(crate) fn read<C: Cells>(row: &C, first: usize) -> Result<User, C::Error> {
    let changed_at: Option<i64> = row.get(first + 9)?;
    let must_change = row.get(first + 10)?;
    Ok(User {
        id: row.id(first)?,
        policy: row.get(first + 1)?,
        profile: Profile {
            username: row.get(first + 2)?,
            email: row.get(first + 3)?,
            email_verified: row.get(first + 4)?,
            phone: row.get(first + 5)?,
            ..Profile::default()
        }
        .read(row.get(first + 11)?, row.get(first + 12)?),
        status: row.text(first + 6, "users", UserStatus::parse)?,
        created_at: row.get(first + 7)?,
        sessions_valid_from: row.get(first + 8)?,
        password: changed_at.map(|changed_at| LocalPassword {
            changed_at,
            must_change,
        }),
    })
}
