//! Everything that one sign-in writes, or none of it.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::events::insert_event;
use super::history::learn;
use super::job::Write;
use super::mfa::complete;
use super::passwords::evict_unverified;
use super::sessions::insert_session;
use super::users::{
    email_owners, identity_is_known, insert_identity, insert_user, standing, update_profile,
};
use crate::sessions::{EndedLogin, Login};
use crate::{Account, IdentityKey, ReplayKey, Signin, SigninOutcome, UseOnce, UserStatus};

impl Write for Signin {
    type Answer = SigninOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<SigninOutcome> {
        let Self {
            account,
            session,
            login,
            replay,
            history,
            completion,
            event,
            now,
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
        // The last check and the first write in one: what follows can only fail with the whole batch.
        if let Some(replay) = replay
            && !is_first_use(db, replay)?
        {
            return Ok(SigninOutcome::Replayed);
        }
        if let Some(completion) = completion
            && let Err(outcome) = complete(db, user_id, completion, *now)?
        {
            return Ok(outcome);
        }
        match account {
            Account::Existing { profile: None, .. } => {}
            Account::Existing {
                profile: Some(profile),
                ..
            } => {
                update_profile(db, user_id, profile)?;
                let policy = policy_of(db, user_id)?;
                evict_unverified(db, &policy, profile, user_id, *now)?;
            }
            Account::Create { user, identity } => {
                insert_user(db, user)?;
                evict_unverified(db, &user.policy, &user.profile, user_id, *now)?;
                insert_identity(db, identity, user_id)?;
            }
            Account::Link { identity, .. } => insert_identity(db, identity, user_id)?,
        }
        // Sessions may have been revoked within this very second; this one came after.
        insert_session(db, session, user_id, (*now).max(valid_from), &event.network)?;
        if let Some(history) = history {
            learn(db, user_id, history)?;
        }
        insert_event(db, event)?;
        Ok(SigninOutcome::Committed)
    }
}

/// Whose session it will be and from when that user's sessions are valid, or why there will be none. Only reads.
pub(super) fn check(
    db: &Connection,
    account: &Account,
) -> rusqlite::Result<Result<(Uuid, i64), SigninOutcome>> {
    match account {
        Account::Existing { user_id, .. } => Ok(match standing(db, *user_id)? {
            None => Err(SigninOutcome::Changed),
            Some(user) => active(user.status).map(|()| (*user_id, user.sessions_valid_from)),
        }),
        Account::Create { user, identity } => Ok(if identity_is_known(db, identity)? {
            Err(SigninOutcome::Changed)
        } else {
            active(user.status).map(|()| (user.id, user.sessions_valid_from))
        }),
        Account::Link {
            user_id,
            identity,
            email,
            recheck,
        } => {
            let owner = check_link(db, *user_id, identity, email)?;
            Ok(owner.and_then(|owner| {
                if recheck() {
                    Ok(owner)
                } else {
                    Err(SigninOutcome::LinkRefused)
                }
            }))
        }
    }
}

fn policy_of(db: &Connection, user: Uuid) -> rusqlite::Result<String> {
    db.prepare_cached("SELECT policy FROM users WHERE id = ?1")?
        .query_row([user.as_bytes()], |row| row.get(0))
}

fn check_link(
    db: &Connection,
    user_id: Uuid,
    identity: &IdentityKey,
    email: &str,
) -> rusqlite::Result<Result<(Uuid, i64), SigninOutcome>> {
    if identity_is_known(db, identity)? {
        return Ok(Err(SigninOutcome::Changed));
    }
    let owners = email_owners(db, &identity.policy, email)?;
    let [owner] = owners.as_slice() else {
        return Ok(Err(SigninOutcome::Changed));
    };
    if owner.id != user_id {
        return Ok(Err(SigninOutcome::Changed));
    }
    Ok(active(owner.status).map(|()| (owner.id, owner.sessions_valid_from)))
}

fn active(status: UserStatus) -> Result<(), SigninOutcome> {
    match status {
        UserStatus::Active => Ok(()),
        UserStatus::Disabled | UserStatus::Locked => Err(SigninOutcome::UserNotActive(status)),
    }
}

/// Whether the provider has ended the login.
pub(super) fn is_ended(db: &Connection, login: &Login) -> rusqlite::Result<bool> {
    let Login {
        provider,
        ended_by: [all, this],
        issued_at,
    } = login;
    // A list after IN would be a table of its own each time.
    db.prepare_cached(
        "SELECT 1 FROM ended_logins WHERE provider = ?1 AND digest = ?2 AND issued_until >= ?4 UNION ALL \
         SELECT 1 FROM ended_logins WHERE provider = ?1 AND digest = ?3 AND issued_until >= ?4",
    )?
    .exists(params![provider, all, this, issued_at])
}

/// From here on no token of the login signs in.
pub(super) fn end_login(db: &Connection, ended: &EndedLogin) -> rusqlite::Result<()> {
    let EndedLogin {
        provider,
        digest,
        issued_until,
        expires_at,
    } = ended;
    db.prepare_cached(
        "INSERT INTO ended_logins (provider, digest, issued_until, expires_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (provider, digest) DO UPDATE SET issued_until = max(issued_until, excluded.issued_until), \
         expires_at = max(expires_at, excluded.expires_at)",
    )?
    .execute(params![provider, digest, issued_until, expires_at])?;
    Ok(())
}

impl Write for UseOnce {
    type Answer = bool;

    fn write(&self, db: &Connection) -> rusqlite::Result<bool> {
        is_first_use(db, &self.0)
    }
}

pub(super) fn is_first_use(db: &Connection, replay: &ReplayKey) -> rusqlite::Result<bool> {
    let inserted = db
        .prepare_cached(
            "INSERT INTO replay_guard (expires_at, digest) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?
        .execute(params![replay.expires_at, replay.digest])?;
    Ok(inserted == 1)
}
