//! Sessions: made at a sign-in, carried on by refreshes, ended once.

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use uuid::Uuid;

use super::events::insert_event;
use super::job::{Read, Write};
use super::signin::{end_login, is_first_use};
use super::users::identity_owner;
use crate::rotated::encode;
use crate::sessions::{LogoutOutcome, Origin, PAGE_SESSIONS_MAX, ProviderLogout, SessionPage};
use crate::statements::sessions::{COLUMNS, INSERT, read, row, session_columns};
use crate::statements::users::{self, user_columns};
use crate::{EndSession, NewSession, ReadSession, Rotation, RotationOutcome, Session, User};

impl Read for ReadSession {
    fn read(&self, db: &Connection) -> rusqlite::Result<Option<(Session, User)>> {
        session(db, self.0)
    }
}

/// A session and its user.
pub(super) fn session(db: &Connection, id: Uuid) -> rusqlite::Result<Option<(Session, User)>> {
    db.prepare_cached(concat!(
        "SELECT ",
        session_columns!(),
        ", ",
        user_columns!(),
        " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = ?1"
    ))?
    .query_row([id.as_bytes()], |row| {
        Ok((read(row)?, users::read(row, COLUMNS)?))
    })
    .optional()
}

impl Read for SessionPage {
    fn read(&self, db: &Connection) -> rusqlite::Result<Vec<Session>> {
        let Self {
            user,
            after,
            limit,
            now,
        } = self;
        let before = after.unwrap_or(Uuid::max());
        db.prepare_cached(concat!(
        "SELECT ",
        session_columns!(),
        " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.user_id = ?1 AND s.id < ?2 AND s.ended_at IS NULL \
         AND s.ends_at > ?3 AND s.refresh_expires_at > ?3 AND s.created_at >= u.sessions_valid_from ORDER BY s.id DESC LIMIT ?4"
    ))?
    .query_map(
        params![
            user.as_bytes(),
            before.as_bytes(),
            now,
            (*limit).min(PAGE_SESSIONS_MAX)
        ],
        |row| read(row),
    )?
    .collect()
    }
}

/// `network`: where it is made from.
pub(super) fn insert_session(
    db: &Connection,
    session: &NewSession,
    user_id: Uuid,
    created_at: i64,
    network: &str,
) -> rusqlite::Result<()> {
    let row = row(session, user_id, created_at, network);
    db.prepare_cached(INSERT.sqlite())?
        .execute(params_from_iter(row))?;
    Ok(())
}

impl Write for Rotation {
    type Answer = RotationOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<RotationOutcome> {
        let Self {
            session,
            expected_digest,
            new_digest,
            refresh_expires_at,
            rotated,
            now,
            event,
        } = self;
        let changed = db
            .prepare_cached(
                "UPDATE sessions SET refresh_digest = ?3, refresh_expires_at = ?4, rotated = ?5, last_used_at = ?6, network = ?7 \
                 WHERE id = ?1 AND refresh_digest = ?2 AND ended_at IS NULL AND refresh_expires_at > ?6 AND ends_at > ?6 \
                 AND EXISTS (SELECT 1 FROM users u WHERE u.id = user_id AND u.status = 'active' \
                 AND u.sessions_valid_from <= sessions.created_at)",
            )?
            .execute(params![
                session.as_bytes(),
                expected_digest,
                new_digest,
                refresh_expires_at,
                encode(rotated),
                now,
                event.network
            ])?;
        if changed == 0 {
            return Ok(RotationOutcome::Changed);
        }
        insert_event(db, event)?;
        Ok(RotationOutcome::Rotated)
    }
}

impl Write for ProviderLogout {
    type Answer = LogoutOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<LogoutOutcome> {
        if !is_first_use(db, &self.replay)? {
            return Ok(LogoutOutcome::Replayed);
        }
        let (mut ended, mut user) = (0, None);
        for one in &self.meant {
            for login in self.ended_logins(one) {
                end_login(db, &login)?;
            }
            let Origin { subject, sid } = self.origin_at(one);
            if let Some(subject) = subject {
                let Some(owner) = identity_owner(db, &one.identity)? else {
                    continue;
                };
                ended += db
                    .prepare_cached(
                        "UPDATE sessions SET ended_at = ?1 WHERE user_id = ?2 AND provider = ?3 AND ended_at IS NULL \
                         AND (subject_digest IS NULL OR subject_digest = ?4) \
                         AND (?5 IS NULL OR sid_digest IS NULL OR sid_digest = ?5)",
                    )?
                    .execute(params![self.now, owner.as_bytes(), one.provider, subject, sid])?;
                db.prepare_cached(
                    "UPDATE challenges SET consumed_at = ?1 WHERE user_id = ?2 AND provider = ?3 AND consumed_at IS NULL",
                )?
                .execute(params![self.now, owner.as_bytes(), one.provider])?;
                user = Some(owner);
            } else {
                ended += db
                    .prepare_cached(
                        "UPDATE sessions SET ended_at = ?1 WHERE sid_digest = ?2 AND provider = ?3 AND ended_at IS NULL",
                    )?
                    .execute(params![self.now, sid, one.provider])?;
            }
        }
        insert_event(db, &self.event_of(user, ended))?;
        Ok(LogoutOutcome::Ended(ended))
    }
}

impl Write for EndSession {
    type Answer = bool;

    fn write(&self, db: &Connection) -> rusqlite::Result<bool> {
        let changed = db
            .prepare_cached("UPDATE sessions SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL")?
            .execute(params![self.id.as_bytes(), self.now])?;
        if changed == 0 {
            return Ok(false);
        }
        insert_event(db, &self.event)?;
        Ok(true)
    }
}
