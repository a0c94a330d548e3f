//! Second factors. The one writer runs each of these whole, so what it has checked holds while it writes.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::job::{Read, Write};
use crate::SigninOutcome;
use crate::attempts::Locked;
use crate::mfa::{
    Completion, ConfirmOutcome, Factors, ForgetDevices, FoundChallenge, Proof, ReadChallenge,
    ReadFactors, Try, TryOutcome, Waiting,
};

mod challenges;
mod factors;

use self::challenges::{answerable, attempts, found, set_attempts};
pub(super) use self::factors::forget_devices;
use self::factors::{confirm, factors, remember_device, use_recovery_code};

impl Read for ReadFactors {
    fn read(&self, db: &Connection) -> rusqlite::Result<Factors> {
        factors(db, self.0)
    }
}

impl Read for ReadChallenge {
    fn read(&self, db: &Connection) -> rusqlite::Result<Option<FoundChallenge>> {
        found(db, &self.0)
    }
}

impl Write for ForgetDevices {
    type Answer = ();

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        forget_devices(db, self.0)
    }
}

/// Whether the sign-in of `user` may be completed: what it writes when it may is written, and the rest of the sign-in must
/// follow in the same transaction.
pub(super) fn complete(
    db: &Connection,
    user: Uuid,
    completion: &Completion,
    now: i64,
) -> rusqlite::Result<Result<(), SigninOutcome>> {
    let Completion {
        challenge,
        proof,
        tried,
        device,
    } = completion;
    if answerable(db, user, challenge, now)?.is_none() {
        return Ok(Err(SigninOutcome::ChallengeGone));
    }
    let used = match proof {
        Proof::Step { factor, step } => db
            .prepare_cached(
                "UPDATE mfa_factors SET last_step = ?3, last_used_at = ?4 \
                 WHERE user_id = ?1 AND id = ?2 AND last_step < ?3 AND expires_at IS NULL",
            )?
            .execute(params![user.as_bytes(), factor.as_bytes(), step, now])?,
        Proof::Credential { factor, secret } => db
            .prepare_cached(
                "UPDATE mfa_factors SET secret = ?3, last_used_at = ?4 \
                 WHERE user_id = ?1 AND id = ?2 AND expires_at IS NULL",
            )?
            .execute(params![user.as_bytes(), factor.as_bytes(), secret, now])?,
        Proof::RecoveryCode(digest) => use_recovery_code(db, user, digest, now)?,
        Proof::SentCode => 1,
        // A user who has a factor by now must answer with it.
        Proof::Enrolled(confirmation) => match confirm(db, user, confirmation, true, now)? {
            ConfirmOutcome::Confirmed { .. } => 1,
            ConfirmOutcome::Gone => 0,
        },
    };
    if used == 0 {
        return Ok(Err(SigninOutcome::ProofUsed));
    }
    db.prepare_cached("UPDATE challenges SET consumed_at = ?2, pending = NULL WHERE digest = ?1")?
        .execute(params![challenge, now])?;
    if let Some(tried) = tried {
        let mut attempts = attempts(db, user)?;
        attempts.succeed(*tried);
        set_attempts(db, user, &attempts)?;
    }
    if let Some(device) = device {
        remember_device(db, user, device, now)?;
    }
    Ok(Ok(()))
}

impl Write for Try {
    type Answer = TryOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<TryOutcome> {
        let Self {
            user,
            challenge,
            limits,
            guesses,
            takes_pending,
            now,
        } = self;
        let Some(tries) = answerable(db, *user, challenge, *now)? else {
            return Ok(TryOutcome::Gone);
        };
        if let Some(method) = guesses {
            let mut attempts = attempts(db, *user)?;
            if let Err(Locked(seconds)) = attempts.guess(*method, *limits, *now) {
                return Ok(TryOutcome::Locked(seconds));
            }
            if tries < limits.per_challenge {
                set_attempts(db, *user, &attempts)?;
            }
        }
        if tries >= limits.per_challenge {
            return Ok(TryOutcome::Gone);
        }
        let pending: Option<Vec<u8>> = db
            .prepare_cached("SELECT pending FROM challenges WHERE digest = ?1")?
            .query_row([challenge], |row| row.get(0))
            .optional()?
            .flatten();
        db.prepare_cached(
            "UPDATE challenges SET tries = tries + 1, pending = CASE WHEN ?2 THEN NULL ELSE pending END \
             WHERE digest = ?1",
        )?
        .execute(params![challenge, takes_pending])?;
        Ok(TryOutcome::Counted(pending))
    }
}

impl Write for Waiting {
    type Answer = TryOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<TryOutcome> {
        let Self {
            user,
            challenge,
            pending,
            sends,
            now,
        } = self;
        if answerable(db, *user, challenge, *now)?.is_none() {
            return Ok(TryOutcome::Gone);
        }
        if let Some(method) = sends {
            let mut attempts = attempts(db, *user)?;
            if let Err(Locked(seconds)) = attempts.send(*method, *now) {
                return Ok(TryOutcome::Locked(seconds));
            }
            set_attempts(db, *user, &attempts)?;
        }
        db.prepare_cached("UPDATE challenges SET pending = ?2 WHERE digest = ?1")?
            .execute(params![challenge, pending])?;
        Ok(TryOutcome::Counted(None))
    }
}
