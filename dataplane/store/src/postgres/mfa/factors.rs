//! Factors, recovery codes and remembered devices.

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::{Counters, begin};
use crate::mfa::{
    ConfirmOutcome, Confirmation, Confirming, DEVICES_MAX, DeviceKey, Enrollment, FACTORS_MAX,
    Factors, ForgetDevices, KnowsDevice, NewDevice, ReadFactors, Removal,
};
use crate::postgres::connect::Connection;
use crate::postgres::events::insert_event;
use crate::postgres::fault::Fault;
use crate::postgres::pool::Ask;
use crate::statements::events::INSERT as INSERT_EVENT;
use crate::statements::factors::{INSERT, OF_USER, read, row};
use crate::statements::value::parameters;

pub(super) const RECOVERY_CODES_LEFT: &str =
    "SELECT count(*) FROM mfa_recovery_codes WHERE user_id = $1 AND used_at IS NULL";
const CONFIRMED: &str =
    "SELECT count(*) FROM mfa_factors WHERE user_id = $1 AND expires_at IS NULL";
pub(in crate::postgres) const FORGET_DEVICES: &str = "DELETE FROM mfa_devices WHERE user_id = $1";
const FORGET_RECOVERY_CODES: &str = "DELETE FROM mfa_recovery_codes WHERE user_id = $1";

impl Ask for ReadFactors {
    type Answer = Factors;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Factors, Fault> {
        let factors = db.prepared(OF_USER.postgres()).await?;
        let codes = db.prepared(RECOVERY_CODES_LEFT).await?;
        factors_of(&db.client, &factors, &codes, self.0).await
    }
}

pub(super) async fn factors_of(
    client: &Client,
    factors: &Statement,
    codes: &Statement,
    user: Uuid,
) -> Result<Factors, Fault> {
    let rows = client.query(factors, &[&user]).await?;
    Ok(Factors {
        all: rows.iter().map(read).collect::<Result<_, _>>()?,
        recovery_codes_left: count(client, codes, user).await?,
    })
}

async fn count(client: &Client, statement: &Statement, user: Uuid) -> Result<usize, Fault> {
    let count: i64 = client.query_one(statement, &[&user]).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

impl Ask for Enrollment {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let Self { user, factor } = self;
        let counters = Counters::prepare(db).await?;
        let confirmed = db.prepared(CONFIRMED).await?;
        let clear = db
            .prepared(
                "DELETE FROM mfa_factors WHERE user_id = $1 AND method = $2 AND expires_at IS NOT NULL",
            )
            .await?;
        let insert = db.prepared(INSERT.postgres()).await?;
        let transaction = begin(db).await?;
        let client = transaction.client();
        let _counted = counters.lock(client, *user).await?;
        if count(client, &confirmed, *user).await? >= FACTORS_MAX {
            return Ok(false);
        }
        client
            .execute(&clear, &[user, &factor.method.name()])
            .await?;
        let row = row(*user, factor);
        client.execute(&insert, &parameters(&row)).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// The statements that confirm a factor.
pub(super) struct Confirm {
    confirmed: Statement,
    confirm: Statement,
    forget_codes: Statement,
    forget_devices: Statement,
    insert_codes: Statement,
}

impl Confirm {
    pub(super) async fn prepare(db: &Connection) -> Result<Self, Fault> {
        Ok(Self {
            confirmed: db.prepared(CONFIRMED).await?,
            confirm: db
                .prepared(
                    "UPDATE mfa_factors SET expires_at = NULL, last_step = $3, last_used_at = $5, \
                     secret = coalesce($4, secret) \
                     WHERE user_id = $1 AND id = $2 AND last_step < $3 AND expires_at > $5",
                )
                .await?,
            forget_codes: db.prepared(FORGET_RECOVERY_CODES).await?,
            forget_devices: db.prepared(FORGET_DEVICES).await?,
            insert_codes: db
                .prepared(
                    "INSERT INTO mfa_recovery_codes (user_id, digest) SELECT $1, * FROM unnest($2::bytea[]) \
                     ON CONFLICT DO NOTHING",
                )
                .await?,
        })
    }

    /// `only_as_first`: a user who has a factor already must prove that one instead. The user must
    /// be locked.
    pub(super) async fn confirm(
        &self,
        client: &Client,
        user: Uuid,
        confirmation: &Confirmation,
        only_as_first: bool,
        now: i64,
    ) -> Result<ConfirmOutcome, Fault> {
        let Confirmation {
            factor,
            step,
            secret,
            recovery_codes,
        } = confirmation;
        let before = count(client, &self.confirmed, user).await?;
        if before >= FACTORS_MAX || (only_as_first && before > 0) {
            return Ok(ConfirmOutcome::Gone);
        }
        let changed = client
            .execute(&self.confirm, &[&user, factor, step, secret, &now])
            .await?;
        if changed == 0 {
            return Ok(ConfirmOutcome::Gone);
        }
        let first = before == 0;
        if first {
            client.execute(&self.forget_codes, &[&user]).await?;
            let digests: Vec<&[u8]> = recovery_codes.iter().map(<[u8; 32]>::as_slice).collect();
            client
                .execute(&self.insert_codes, &[&user, &digests])
                .await?;
        }
        client.execute(&self.forget_devices, &[&user]).await?;
        Ok(ConfirmOutcome::Confirmed { first })
    }
}

impl Ask for Confirming {
    type Answer = ConfirmOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<ConfirmOutcome, Fault> {
        let Self {
            user,
            confirmation,
            event,
            now,
        } = self;
        let counters = Counters::prepare(db).await?;
        let confirm = Confirm::prepare(db).await?;
        let insert_event_statement = db.prepared(INSERT_EVENT.postgres()).await?;
        let transaction = begin(db).await?;
        let client = transaction.client();
        let _counted = counters.lock(client, *user).await?;
        let outcome = confirm
            .confirm(client, *user, confirmation, false, *now)
            .await?;
        if outcome == ConfirmOutcome::Gone {
            return Ok(outcome);
        }
        insert_event(client, &insert_event_statement, event).await?;
        transaction.commit().await?;
        Ok(outcome)
    }
}

impl Ask for Removal {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let Self {
            user,
            factor,
            event,
        } = self;
        let counters = Counters::prepare(db).await?;
        let remove = db
            .prepared(
                "DELETE FROM mfa_factors WHERE user_id = $1 AND id = $2 AND expires_at IS NULL",
            )
            .await?;
        let confirmed = db.prepared(CONFIRMED).await?;
        let forget_codes = db.prepared(FORGET_RECOVERY_CODES).await?;
        let forget_devices = db.prepared(FORGET_DEVICES).await?;
        let insert_event_statement = db.prepared(INSERT_EVENT.postgres()).await?;
        let transaction = begin(db).await?;
        let client = transaction.client();
        let _counted = counters.lock(client, *user).await?;
        if client.execute(&remove, &[user, factor]).await? == 0 {
            return Ok(false);
        }
        if count(client, &confirmed, *user).await? == 0 {
            client.execute(&forget_codes, &[user]).await?;
        }
        client.execute(&forget_devices, &[user]).await?;
        insert_event(client, &insert_event_statement, event).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

impl Ask for KnowsDevice {
    type Answer = bool;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let statement = db
            .prepared(
                "SELECT EXISTS (SELECT 1 FROM mfa_devices WHERE user_id = $1 AND id = $2 AND digest = $3 AND expires_at > $4)",
            )
            .await?;
        let DeviceKey { id, digest } = &self.device;
        let row = db
            .client
            .query_one(&statement, &[&self.user, id, &digest.as_slice(), &self.now])
            .await?;
        Ok(row.try_get(0)?)
    }
}

/// The statements that remember a device.
pub(super) struct Remember {
    make_room: Statement,
    insert: Statement,
}

impl Remember {
    pub(super) async fn prepare(db: &Connection) -> Result<Self, Fault> {
        Ok(Self {
            make_room: db
                .prepared(
                    "DELETE FROM mfa_devices WHERE user_id = $1 AND id NOT IN \
                     (SELECT id FROM mfa_devices WHERE user_id = $1 ORDER BY id DESC LIMIT $2)",
                )
                .await?,
            insert: db
                .prepared(
                    "INSERT INTO mfa_devices (user_id, id, digest, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
                )
                .await?,
        })
    }

    pub(super) async fn remember(
        &self,
        client: &Client,
        user: Uuid,
        device: &NewDevice,
        now: i64,
    ) -> Result<(), Fault> {
        let NewDevice { key, expires_at } = device;
        let kept = DEVICES_MAX as i64 - 1;
        client.execute(&self.make_room, &[&user, &kept]).await?;
        client
            .execute(
                &self.insert,
                &[&user, &key.id, &key.digest.as_slice(), &now, expires_at],
            )
            .await?;
        Ok(())
    }
}

impl Ask for ForgetDevices {
    type Answer = ();

    async fn ask(&self, db: &mut Connection) -> Result<(), Fault> {
        let statement = db.prepared(FORGET_DEVICES).await?;
        db.client.execute(&statement, &[&self.0]).await?;
        Ok(())
    }
}
