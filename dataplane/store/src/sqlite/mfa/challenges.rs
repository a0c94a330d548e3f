//! A user's challenges, and what is counted of its answers.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use uuid::Uuid;

use super::factors::factors;
use crate::attempts::Attempts;
use crate::mfa::{CHALLENGES_MAX, FoundChallenge, OpenChallenge};
use crate::sqlite::events::insert_event;
use crate::sqlite::job::Write;
use crate::sqlite::signin::{check, is_ended, is_first_use};
use crate::sqlite::users::{insert_identity, insert_user};
use crate::statements::challenges::{INSERT, OF_DIGEST, read, row};
use crate::{Account, Profile, SigninOutcome, User};

impl Write for OpenChallenge {
    type Answer = SigninOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<SigninOutcome> {
        let Self {
            account,
            login,
            replay,
            event,
            now,
            ..
        } = self;
        let (user_id, valid_from) = match check(db, account)? {
            Ok(owner) => owner,
            Err(outcome) => return Ok(outcome),
        };
        if let Some(login) = login
            && is_ended(db, login)?
        {
            return Ok(SigninOutcome::LoginEnded);
        }
        if let Some(replay) = replay
            && !is_first_use(db, replay)?
        {
            return Ok(SigninOutcome::Replayed);
        }
        match account {
            Account::Existing { .. } | Account::Link { .. } => {}
            Account::Create { user, identity } => {
                let bare = User {
                    profile: Profile::default(),
                    ..user.clone()
                };
                insert_user(db, &bare)?;
                insert_identity(db, identity, user_id)?;
            }
        }
        make_room(db, user_id, &event.network, *now)?;
        // Sessions may have been revoked within this very second; this one came after.
        let created_at = (*now).max(valid_from);
        db.prepare_cached(INSERT.sqlite())?
            .execute(params_from_iter(row(self, user_id, created_at)))?;
        insert_event(db, event)?;
        Ok(SigninOutcome::Committed)
    }
}

/// Of the user's challenges that can be answered all but one fewer than there may be are void: first the oldest from the
/// network that asks for one more.
fn make_room(db: &Connection, user: Uuid, network: &str, now: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM challenges WHERE digest IN (SELECT digest FROM challenges WHERE user_id = ?1 AND consumed_at IS NULL \
         AND expires_at > ?2 ORDER BY network = ?3, created_at DESC LIMIT -1 OFFSET ?4)",
    )?
    .execute(params![user.as_bytes(), now, network, CHALLENGES_MAX as i64 - 1])?;
    Ok(())
}

pub(super) fn found(
    db: &Connection,
    digest: &[u8; 32],
) -> rusqlite::Result<Option<FoundChallenge>> {
    let found = db
        .prepare_cached(OF_DIGEST.sqlite())?
        .query_row([digest], |row| read(row))
        .optional()?;
    let Some((challenge, user)) = found else {
        return Ok(None);
    };
    let factors = factors(db, user.id)?;
    Ok(Some(FoundChallenge {
        challenge,
        user,
        factors,
    }))
}

/// The tries of one of the user's challenges, while it can be answered.
pub(super) fn answerable(
    db: &Connection,
    user: Uuid,
    digest: &[u8; 32],
    now: i64,
) -> rusqlite::Result<Option<u32>> {
    db.prepare_cached(
        "SELECT c.tries FROM challenges c JOIN users u ON u.id = c.user_id WHERE c.user_id = ?1 AND c.digest = ?2 \
         AND c.consumed_at IS NULL AND c.expires_at > ?3 AND c.created_at >= u.sessions_valid_from",
    )?
    .query_row(params![user.as_bytes(), digest, now], |row| row.get(0))
    .optional()
}

pub(super) fn attempts(db: &Connection, user: Uuid) -> rusqlite::Result<Attempts> {
    let stored: Option<String> = db
        .prepare_cached("SELECT content FROM mfa_counters WHERE user_id = ?1")?
        .query_row([user.as_bytes()], |row| row.get(0))
        .optional()?;
    match stored {
        None => Ok(Attempts::default()),
        Some(text) => Attempts::decode(&text).ok_or_else(|| {
            rusqlite::Error::InvalidColumnType(0, "mfa_counters".to_owned(), Type::Text)
        }),
    }
}

pub(super) fn set_attempts(
    db: &Connection,
    user: Uuid,
    attempts: &Attempts,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO mfa_counters (user_id, content) VALUES (?1, ?2) \
         ON CONFLICT (user_id) DO UPDATE SET content = excluded.content",
    )?
    .execute(params![user.as_bytes(), attempts.encode()])?;
    Ok(())
}
