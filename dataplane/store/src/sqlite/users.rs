//! Users and the identities that belong to them.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use uuid::Uuid;

use super::events::insert_event;
use super::history::history;
use super::job::{Read, Write};
use crate::attempts::Attempts;
use crate::statements::users::{INSERT, read, row, user_columns};
use crate::{
    Gather, Gathered, IdentityKey, Profile, RevokeSessions, SetUserStatus, User, UserStatus,
};

impl Read for Gather {
    fn read(&self, db: &Connection) -> rusqlite::Result<Gathered> {
        let IdentityKey {
            policy,
            issuer,
            subject,
        } = &self.identity;
        let user = db
        .prepare_cached(concat!(
            "SELECT ",
            user_columns!(),
            " FROM identities i JOIN users u ON u.id = i.user_id WHERE i.policy = ?1 AND i.issuer = ?2 AND i.subject = ?3"
        ))?
        .query_row([policy, issuer, subject], |row| read(row, 0))
        .optional()?;
        let email_owners = match &self.linkable_email {
            Some(email) if user.is_none() => email_owners(db, policy, email)?,
            // A known identity is not linked again.
            Some(_) | None => Vec::new(),
        };
        let whose = match (&user, email_owners.as_slice()) {
            (Some(user), _) => Some(user),
            (None, [owner]) => Some(owner),
            (None, _) => None,
        };
        let history = match whose {
            Some(user) if self.history => history(db, user.id)?,
            Some(_) | None => None,
        };
        Ok(Gathered {
            user,
            email_owners,
            history,
        })
    }
}

/// At most two: two already mean that it is not plain whose address it is.
pub(super) fn email_owners(
    db: &Connection,
    policy: &str,
    email: &str,
) -> rusqlite::Result<Vec<User>> {
    db.prepare_cached(concat!(
        "SELECT ",
        user_columns!(),
        " FROM users u WHERE u.policy = ?1 AND u.email = ?2 AND u.email_verified = 1 AND u.link_email = ?2 LIMIT 2"
    ))?
    .query_map([policy, email], |row| read(row, 0))?
    .collect()
}

pub(super) fn id_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

pub(super) fn identity_owner(
    db: &Connection,
    identity: &IdentityKey,
) -> rusqlite::Result<Option<Uuid>> {
    let IdentityKey {
        policy,
        issuer,
        subject,
    } = identity;
    db.prepare_cached(
        "SELECT user_id FROM identities WHERE policy = ?1 AND issuer = ?2 AND subject = ?3",
    )?
    .query_row([policy, issuer, subject], |row| id_of(row, 0))
    .optional()
}

pub(super) fn identity_is_known(db: &Connection, identity: &IdentityKey) -> rusqlite::Result<bool> {
    let IdentityKey {
        policy,
        issuer,
        subject,
    } = identity;
    db.prepare_cached(
        "SELECT 1 FROM identities WHERE policy = ?1 AND issuer = ?2 AND subject = ?3",
    )?
    .exists([policy, issuer, subject])
}

/// What a commit must know of a user that was read before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) status: UserStatus,
    pub(super) sessions_valid_from: i64,
}

pub(super) fn standing(db: &Connection, id: Uuid) -> rusqlite::Result<Option<Standing>> {
    db.prepare_cached("SELECT status, sessions_valid_from FROM users WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| {
            Ok(Standing {
                status: row.get(0)?,
                sessions_valid_from: row.get(1)?,
            })
        })
        .optional()
}

pub(super) fn insert_user(db: &Connection, user: &User) -> rusqlite::Result<()> {
    db.prepare_cached(INSERT.sqlite())?
        .execute(params_from_iter(row(user)))?;
    Ok(())
}

pub(super) fn insert_identity(
    db: &Connection,
    identity: &IdentityKey,
    user_id: Uuid,
) -> rusqlite::Result<()> {
    let IdentityKey {
        policy,
        issuer,
        subject,
    } = identity;
    db.prepare_cached(
        "INSERT INTO identities (policy, issuer, subject, user_id) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![policy, issuer, subject, user_id.as_bytes()])?;
    Ok(())
}

pub(super) fn update_profile(db: &Connection, id: Uuid, profile: &Profile) -> rusqlite::Result<()> {
    let Profile {
        username,
        email,
        email_verified,
        email_linkable: _,
        phone,
        phone_unverified: _,
    } = profile;
    db.prepare_cached(
        "UPDATE users SET username = ?2, email = ?3, email_verified = ?4, phone = ?5, link_email = ?6, \
         unverified_phone = ?7 WHERE id = ?1",
    )?
    .execute(params![
        id.as_bytes(),
        username,
        email,
        email_verified,
        phone,
        profile.link_email(),
        profile.unverified_phone()
    ])?;
    Ok(())
}

impl Write for SetUserStatus {
    type Answer = bool;

    fn write(&self, db: &Connection) -> rusqlite::Result<bool> {
        let changed = db
            .prepare_cached("UPDATE users SET status = ?2 WHERE id = ?1")?
            .execute(params![self.user.as_bytes(), self.status])?;
        if self.status == UserStatus::Active {
            // Unlocking a user lets the user try again.
            db.prepare_cached("DELETE FROM mfa_counters WHERE user_id = ?1")?
                .execute([self.user.as_bytes()])?;
            db.prepare_cached("UPDATE passwords SET tries = ?2 WHERE user_id = ?1")?
                .execute(params![self.user.as_bytes(), Attempts::default().encode()])?;
        } else {
            revoke_sessions(db, self.user, self.now)?;
        }
        Ok(changed == 1)
    }
}

impl Write for RevokeSessions {
    type Answer = bool;

    fn write(&self, db: &Connection) -> rusqlite::Result<bool> {
        if !revoke_sessions(db, self.user, self.now)? {
            return Ok(false);
        }
        insert_event(db, &self.event)?;
        Ok(true)
    }
}

/// Times are whole seconds: one more than now, so that a session made earlier in this second is over as well.
fn revoke_sessions(db: &Connection, user: Uuid, now: i64) -> rusqlite::Result<bool> {
    let changed = db
        .prepare_cached(
            "UPDATE users SET sessions_valid_from = max(sessions_valid_from, ?2) WHERE id = ?1",
        )?
        .execute(params![user.as_bytes(), now.saturating_add(1)])?;
    Ok(changed == 1)
}

impl ToSql for UserStatus {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.name()))
    }
}

impl FromSql for UserStatus {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::named(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}
