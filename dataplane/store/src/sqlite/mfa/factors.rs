//! Factors, recovery codes and remembered devices.

use rusqlite::{Connection, params, params_from_iter};
use uuid::Uuid;

use crate::mfa::{
    ConfirmOutcome, Confirmation, Confirming, DEVICES_MAX, Enrollment, FACTORS_MAX, Factors,
    KnowsDevice, NewDevice, Removal,
};
use crate::sqlite::events::insert_event;
use crate::sqlite::job::{Read, Write};
use crate::statements::factors::{INSERT, OF_USER, read, row};

pub(super) fn factors(db: &Connection, user: Uuid) -> rusqlite::Result<Factors> {
    let all = db
        .prepare_cached(OF_USER.sqlite())?
        .query_map([user.as_bytes()], |row| read(row))?
        .collect::<Result<_, _>>()?;
    let recovery_codes_left: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM mfa_recovery_codes WHERE user_id = ?1 AND used_at IS NULL",
        )?
        .query_row([user.as_bytes()], |row| row.get(0))?;
    Ok(Factors {
        all,
        recovery_codes_left: usize::try_from(recovery_codes_left).unwrap_or(0),
    })
}

/// How many factors of the user are confirmed.
fn confirmed(db: &Connection, user: Uuid) -> rusqlite::Result<usize> {
    let count: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM mfa_factors WHERE user_id = ?1 AND expires_at IS NULL",
        )?
        .query_row([user.as_bytes()], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

impl Write for Enrollment {
    type Answer = bool;

    fn write(&self, db: &Connection) -> rusqlite::Result<bool> {
        let Self { user, factor } = self;
        if confirmed(db, *user)? >= FACTORS_MAX {
            return Ok(false);
        }
        db.prepare_cached(
            "DELETE FROM mfa_factors WHERE user_id = ?1 AND method = ?2 AND expires_at IS NOT NULL",
        )?
        .execute(params![user.as_bytes(), factor.method.name()])?;
        db.prepare_cached(INSERT.sqlite())?
            .execute(params_from_iter(row(*user, factor)))?;
        Ok(true)
    }
}

impl Write for Confirming {
    type Answer = ConfirmOutcome;

    fn write(&self, db: &Connection) -> rusqlite::Result<ConfirmOutcome> {
        let Self {
            user,
            confirmation,
            event,
            now,
        } = self;
        let outcome = confirm(db, *user, confirmation, false, *now)?;
        if outcome != ConfirmOutcome::Gone {
            insert_event(db, event)?;
        }
        Ok(outcome)
    }
}

/// `only_as_first`: a user who has a factor already must prove that one instead.
pub(super) fn confirm(
    db: &Connection,
    user: Uuid,
    confirmation: &Confirmation,
    only_as_first: bool,
    now: i64,
) -> rusqlite::Result<ConfirmOutcome> {
    let Confirmation {
        factor,
        step,
        secret,
        recovery_codes,
    } = confirmation;
    let before = confirmed(db, user)?;
    if before >= FACTORS_MAX || (only_as_first && before > 0) {
        return Ok(ConfirmOutcome::Gone);
    }
    let changed = db
        .prepare_cached(
            "UPDATE mfa_factors SET expires_at = NULL, last_step = ?3, last_used_at = ?5, secret = coalesce(?4, secret) \
             WHERE user_id = ?1 AND id = ?2 AND last_step < ?3 AND expires_at > ?5",
        )?
        .execute(params![user.as_bytes(), factor.as_bytes(), step, secret, now])?;
    if changed == 0 {
        return Ok(ConfirmOutcome::Gone);
    }
    let first = before == 0;
    if first {
        forget_recovery_codes(db, user)?;
        let mut insert = db.prepare_cached(
            "INSERT INTO mfa_recovery_codes (user_id, digest) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?;
        for digest in recovery_codes {
            insert.execute(params![user.as_bytes(), digest])?;
        }
    }
    forget_devices(db, user)?;
    Ok(ConfirmOutcome::Confirmed { first })
}

impl Write for Removal {
    type Answer = bool;

    fn write(&self, db: &Connection) -> rusqlite::Result<bool> {
        let Self {
            user,
            factor,
            event,
        } = self;
        let removed = db
            .prepare_cached(
                "DELETE FROM mfa_factors WHERE user_id = ?1 AND id = ?2 AND expires_at IS NULL",
            )?
            .execute([user.as_bytes(), factor.as_bytes()])?;
        if removed == 0 {
            return Ok(false);
        }
        if confirmed(db, *user)? == 0 {
            forget_recovery_codes(db, *user)?;
        }
        forget_devices(db, *user)?;
        insert_event(db, event)?;
        Ok(true)
    }
}

pub(super) fn use_recovery_code(
    db: &Connection,
    user: Uuid,
    digest: &[u8; 32],
    now: i64,
) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "UPDATE mfa_recovery_codes SET used_at = ?3 WHERE user_id = ?1 AND digest = ?2 AND used_at IS NULL",
    )?
    .execute(params![user.as_bytes(), digest, now])
}

fn forget_recovery_codes(db: &Connection, user: Uuid) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM mfa_recovery_codes WHERE user_id = ?1")?
        .execute([user.as_bytes()])?;
    Ok(())
}

impl Read for KnowsDevice {
    fn read(&self, db: &Connection) -> rusqlite::Result<bool> {
        let Self { user, device, now } = self;
        db.prepare_cached(
            "SELECT 1 FROM mfa_devices WHERE user_id = ?1 AND id = ?2 AND digest = ?3 AND expires_at > ?4",
        )?
        .exists(params![user.as_bytes(), device.id.as_bytes(), device.digest, now])
    }
}

pub(super) fn remember_device(
    db: &Connection,
    user: Uuid,
    device: &NewDevice,
    now: i64,
) -> rusqlite::Result<()> {
    let NewDevice { key, expires_at } = device;
    db.prepare_cached(
        "DELETE FROM mfa_devices WHERE user_id = ?1 AND id NOT IN \
         (SELECT id FROM mfa_devices WHERE user_id = ?1 ORDER BY id DESC LIMIT ?2)",
    )?
    .execute(params![user.as_bytes(), DEVICES_MAX as i64 - 1])?;
    db.prepare_cached(
        "INSERT INTO mfa_devices (user_id, id, digest, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        user.as_bytes(),
        key.id.as_bytes(),
        key.digest,
        now,
        expires_at
    ])?;
    Ok(())
}

pub(in crate::sqlite) fn forget_devices(db: &Connection, user: Uuid) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM mfa_devices WHERE user_id = ?1")?
        .execute([user.as_bytes()])?;
    Ok(())
}
