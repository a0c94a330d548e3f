//! Local passwords, and users as an administrator sees them.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;
use vestibule_crds::secret::Secret;

use super::events::insert_event;
use super::job::{Read, Write};
use super::mfa::forget_devices;
use super::sessions::{insert_session, session};
use super::users::{identity_is_known, insert_identity, insert_user, standing};
use crate::attempts::{Attempts, Locked};
use crate::passwords::{
    ChangeOutcome, ChangePassword, ChangedBy, CountPasswordTry, ImportOutcome, ImportUser,
    NAMED_USERS_MAX, PAGE_USERS_MAX, PASSWORD_TRIES, PasswordTry, ReadPasswordHash, ReadUser,
    RequirePasswordChange, UserPage, UsersNamed, valid_after_change,
};
use crate::statements::users::{read, user_columns};
use crate::{Profile, User, UserStatus};

impl Read for ReadPasswordHash {
    fn read(&self, db: &Connection) -> rusqlite::Result<Option<Secret>> {
        password_hash(db, self.0)
    }
}

impl Read for ReadUser {
    fn read(&self, db: &Connection) -> rusqlite::Result<Option<User>> {
        db.prepare_cached(concat!(
            "SELECT ",
            user_columns!(),
            " FROM users u WHERE u.id = ?1"
        ))?
        .query_row([self.0.as_bytes()], |row| read(row, 0))
        .optional()
    }
}

fn password_hash(db: &Connection, user: Uuid) -> rusqlite::Result<Option<Secret>> {
    db.prepare_cached("SELECT hash FROM passwords WHERE user_id = ?1")?
        .query_row([user.as_bytes()], |row| {
            row.get::<_, String>(0).map(Secret::new)
        })
        .optional()
}

impl Read for UserPage {
    fn read(&self, db: &Connection) -> rusqlite::Result<Vec<User>> {
        let Self {
            policy,
            status,
            after,
            limit,
        } = self;
        let after = after.unwrap_or(Uuid::nil());
        db.prepare_cached(concat!(
        "SELECT ",
        user_columns!(),
        " FROM users u WHERE u.id > ?1 AND (?2 IS NULL OR u.policy = ?2) AND (?3 IS NULL OR u.status = ?3) \
         ORDER BY u.id LIMIT ?4"
    ))?
    .query_map(
        params![
            after.as_bytes(),
            policy,
            status,
            (*limit).min(PAGE_USERS_MAX)
        ],
        |row| read(row, 0),
    )?
    .collect()
    }
}

impl Read for UsersNamed {
    fn read(&self, db: &Connection) -> rusqlite::Result<Vec<User>> {
        let Self { policy, name } = self;
        // Each part has an index of its own.
        db.prepare_cached(concat!(
        "SELECT ",
        user_columns!(),
        " FROM users u WHERE u.policy = ?1 AND u.username = ?2 AND u.username IS NOT NULL UNION SELECT ",
        user_columns!(),
        " FROM users u WHERE u.policy = ?1 AND u.email = ?2 AND u.email_verified = 1 UNION SELECT ",
        user_columns!(),
        " FROM users u WHERE u.policy = ?1 AND u.email = ?2 AND NOT u.email_verified LIMIT ?3"
    ))?
    .query_map(params![policy, name, NAMED_USERS_MAX], |row| {
        read(row, 0)
    })?
    .collect()
    }
}

impl Write for CountPasswordTry {
    type Answer = PasswordTry;

    fn write(&self, db: &Connection) -> rusqlite::Result<PasswordTry> {
        let stored: Option<String> = db
            .prepare_cached("SELECT tries FROM passwords WHERE user_id = ?1")?
            .query_row([self.user.as_bytes()], |row| row.get(0))
            .optional()?;
        let Some(stored) = stored else {
            return Ok(PasswordTry::Gone);
        };
        // A value that this program did not write has counted nothing.
        let mut tries = Attempts::decode(&stored).unwrap_or_default();
        if let Err(Locked(seconds)) = tries.count(PASSWORD_TRIES, self.now) {
            return Ok(PasswordTry::Locked(seconds));
        }
        db.prepare_cached("UPDATE passwords SET tries = ?2 WHERE user_id = ?1")?
            .execute(params![self.user.as_bytes(), tries.encode()])?;
        Ok(PasswordTry::Counted)
    }
}

impl Write for ChangePassword {
    type Answer = ChangeOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<ChangeOutcome> {
        let Self {
            user,
            by,
            hash,
            must_change,
            event,
            now,
        } = self;
        let Some(found) = standing(db, *user)? else {
            return Ok(ChangeOutcome::Gone);
        };
        match by {
            ChangedBy::User {
                hash: verified,
                session: id,
                next: _,
            } => {
                if found.status != UserStatus::Active {
                    return Ok(ChangeOutcome::UserNotActive(found.status));
                }
                let is_live = session(db, *id)?.is_some_and(|(session, owner)| {
                    owner.id == *user
                        && session.ended_at.is_none()
                        && session.ends_at > *now
                        && session.created_at >= found.sessions_valid_from
                });
                if !is_live || password_hash(db, *user)? != *verified {
                    return Ok(ChangeOutcome::Gone);
                }
            }
            ChangedBy::Administrator => {}
        }
        let valid_from = valid_after_change(found.sessions_valid_from, *now);
        db.prepare_cached(
            "UPDATE users SET password_changed_at = ?2, password_must_change = ?3, sessions_valid_from = ?4 WHERE id = ?1",
        )?
        .execute(params![user.as_bytes(), now, must_change, valid_from])?;
        db.prepare_cached(
            "INSERT INTO passwords (user_id, hash, tries) VALUES (?1, ?2, ?3) \
             ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, tries = excluded.tries",
        )?
        .execute(params![
            user.as_bytes(),
            hash.expose(),
            Attempts::default().encode()
        ])?;
        forget_devices(db, *user)?;
        if let ChangedBy::User { next, .. } = by {
            insert_session(db, next, *user, valid_from, &event.network)?;
        }
        insert_event(db, event)?;
        Ok(ChangeOutcome::Changed)
    }
}

impl Write for RequirePasswordChange {
    type Answer = bool;

    fn write(&self, db: &Connection) -> rusqlite::Result<bool> {
        let changed = db
            .prepare_cached(
                "UPDATE users SET password_must_change = 1 WHERE id = ?1 AND password_changed_at IS NOT NULL",
            )?
            .execute([self.user.as_bytes()])?;
        if changed == 1 {
            insert_event(db, &self.event)?;
        }
        Ok(changed == 1)
    }
}

impl Write for ImportUser {
    type Answer = ImportOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<ImportOutcome> {
        let Self {
            user,
            hash,
            identity,
            event,
        } = self;
        if standing(db, user.id)?.is_some() {
            return Ok(ImportOutcome::Known);
        }
        if let Some(identity) = identity {
            if identity_is_known(db, identity)? {
                return Ok(ImportOutcome::IdentityTaken);
            }
            insert_identity(db, identity, user.id)?;
        }
        insert_user(db, user)?;
        if let Some(hash) = hash {
            db.prepare_cached("INSERT INTO passwords (user_id, hash, tries) VALUES (?1, ?2, ?3)")?
                .execute(params![
                    user.id.as_bytes(),
                    hash.expose(),
                    Attempts::default().encode()
                ])?;
        }
        insert_event(db, event)?;
        Ok(ImportOutcome::Added)
    }
}

/// A provider whose linking covers the address has verified it: a user who only claimed it loses the password and the
/// sessions that may have been made to wait for its owner.
pub(super) fn evict_unverified(
    db: &Connection,
    policy: &str,
    profile: &Profile,
    owner: Uuid,
    now: i64,
) -> rusqlite::Result<()> {
    let Some(email) = profile.link_email() else {
        return Ok(());
    };
    let evicted: Vec<Vec<u8>> = db
        .prepare_cached(
            "UPDATE users SET password_changed_at = NULL, password_must_change = 0, \
             sessions_valid_from = max(sessions_valid_from, ?4) WHERE policy = ?1 AND email = ?2 AND NOT email_verified \
             AND id <> ?3 AND password_changed_at IS NOT NULL RETURNING id",
        )?
        .query_map(
            params![policy, email, owner.as_bytes(), now.saturating_add(1)],
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    for id in evicted {
        db.prepare_cached("DELETE FROM passwords WHERE user_id = ?1")?
            .execute([id])?;
    }
    Ok(())
}
