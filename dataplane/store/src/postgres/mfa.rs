//! Second factors. Each write is a transaction that first locks the user's counters, so that all of a user's tries, from
//! however many replicas, come one after the other and each finds what the one before it left.

use tokio_postgres::{Client, IsolationLevel, Statement, Transaction};
use uuid::Uuid;

use super::connect::Connection;
use super::fault::Fault;
use super::pool::Ask;
use crate::SigninOutcome;
use crate::attempts::{Attempts, Locked};
use crate::mfa::{Completion, ConfirmOutcome, Proof, Try, TryOutcome, Waiting};

mod challenges;
mod factors;

pub(super) use self::factors::FORGET_DEVICES;
use self::factors::{Confirm, Remember};

/// The statements around a user's counters.
pub(super) struct Counters {
    make: Statement,
    lock: Statement,
    set: Statement,
    answerable: Statement,
}

impl Counters {
    pub(super) async fn prepare(db: &Connection) -> Result<Self, Fault> {
        Ok(Self {
            make: db
                .prepared(
                    "INSERT INTO mfa_counters (user_id, content) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .await?,
            lock: db
                .prepared("SELECT content FROM mfa_counters WHERE user_id = $1 FOR UPDATE")
                .await?,
            set: db
                .prepared("UPDATE mfa_counters SET content = $2 WHERE user_id = $1")
                .await?,
            answerable: db
                .prepared(
                    "SELECT c.tries FROM challenges c JOIN users u ON u.id = c.user_id WHERE c.user_id = $1 \
                     AND c.digest = $2 AND c.consumed_at IS NULL AND c.expires_at > $3 \
                     AND c.created_at >= u.sessions_valid_from",
                )
                .await?,
        })
    }

    /// From here on the user is this transaction's alone.
    pub(super) async fn lock(&self, client: &Client, user: Uuid) -> Result<Attempts, Fault> {
        loop {
            if let Some(row) = client.query_opt(&self.lock, &[&user]).await? {
                return Attempts::decode(row.try_get(0)?).ok_or(Fault::Unreadable("mfa_counters"));
            }
            let none = Attempts::default().encode();
            client.execute(&self.make, &[&user, &none]).await?;
        }
    }

    async fn set(&self, client: &Client, user: Uuid, attempts: &Attempts) -> Result<(), Fault> {
        client
            .execute(&self.set, &[&user, &attempts.encode()])
            .await?;
        Ok(())
    }

    /// The tries of one of the user's challenges, while it can be answered.
    async fn answerable(
        &self,
        client: &Client,
        user: Uuid,
        digest: &[u8; 32],
        now: i64,
    ) -> Result<Option<u32>, Fault> {
        let digest = digest.as_slice();
        let row = client
            .query_opt(&self.answerable, &[&user, &digest, &now])
            .await?;
        let Some(row) = row else { return Ok(None) };
        let tries: i32 = row.try_get(0)?;
        Ok(Some(u32::try_from(tries).unwrap_or(u32::MAX)))
    }
}

pub(super) async fn begin(db: &mut Connection) -> Result<Transaction<'_>, Fault> {
    Ok(db
        .client
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .start()
        .await?)
}

/// The statements that complete a sign-in.
pub(super) struct Completing {
    counters: Counters,
    confirm: Confirm,
    remember: Remember,
    step: Statement,
    credential: Statement,
    recovery: Statement,
    consume: Statement,
}

impl Completing {
    pub(super) async fn prepare(db: &Connection) -> Result<Self, Fault> {
        Ok(Self {
            counters: Counters::prepare(db).await?,
            confirm: Confirm::prepare(db).await?,
            remember: Remember::prepare(db).await?,
            step: db
                .prepared(
                    "UPDATE mfa_factors SET last_step = $3, last_used_at = $4 \
                     WHERE user_id = $1 AND id = $2 AND last_step < $3 AND expires_at IS NULL",
                )
                .await?,
            credential: db
                .prepared(
                    "UPDATE mfa_factors SET secret = $3, last_used_at = $4 \
                     WHERE user_id = $1 AND id = $2 AND expires_at IS NULL",
                )
                .await?,
            recovery: db
                .prepared(
                    "UPDATE mfa_recovery_codes SET used_at = $3 WHERE user_id = $1 AND digest = $2 AND used_at IS NULL",
                )
                .await?,
            consume: db
                .prepared(
                    "UPDATE challenges SET consumed_at = $2, pending = NULL WHERE digest = $1",
                )
                .await?,
        })
    }

    /// Whether the sign-in of `user` may be completed; if not, the transaction must be given up.
    pub(super) async fn complete(
        &self,
        client: &Client,
        user: Uuid,
        completion: &Completion,
        now: i64,
    ) -> Result<Result<(), SigninOutcome>, Fault> {
        let Completion {
            challenge,
            proof,
            tried,
            device,
        } = completion;
        let mut attempts = self.counters.lock(client, user).await?;
        let answerable = self.counters.answerable(client, user, challenge, now);
        if answerable.await?.is_none() {
            return Ok(Err(SigninOutcome::ChallengeGone));
        }
        let used = match proof {
            Proof::Step { factor, step } => {
                client
                    .execute(&self.step, &[&user, factor, step, &now])
                    .await?
            }
            Proof::Credential { factor, secret } => {
                client
                    .execute(&self.credential, &[&user, factor, secret, &now])
                    .await?
            }
            Proof::RecoveryCode(digest) => {
                client
                    .execute(&self.recovery, &[&user, &digest.as_slice(), &now])
                    .await?
            }
            Proof::SentCode => 1,
            // A user who has a factor by now must answer with it.
            Proof::Enrolled(confirmation) => {
                let confirmed = self.confirm.confirm(client, user, confirmation, true, now);
                match confirmed.await? {
                    ConfirmOutcome::Confirmed { .. } => 1,
                    ConfirmOutcome::Gone => 0,
                }
            }
        };
        if used == 0 {
            return Ok(Err(SigninOutcome::ProofUsed));
        }
        let challenge = challenge.as_slice();
        client.execute(&self.consume, &[&challenge, &now]).await?;
        if let Some(tried) = tried {
            attempts.succeed(*tried);
            self.counters.set(client, user, &attempts).await?;
        }
        if let Some(device) = device {
            self.remember.remember(client, user, device, now).await?;
        }
        Ok(Ok(()))
    }
}

impl Ask for Try {
    type Answer = TryOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<TryOutcome, Fault> {
        let Self {
            user,
            challenge,
            limits,
            guesses,
            takes_pending,
            now,
        } = self;
        let counters = Counters::prepare(db).await?;
        let pending = db
            .prepared("SELECT pending FROM challenges WHERE digest = $1")
            .await?;
        let count = db
            .prepared(
                "UPDATE challenges SET tries = tries + 1, pending = CASE WHEN $2 THEN NULL ELSE pending END \
                 WHERE digest = $1",
            )
            .await?;
        // Dropped without a commit it is rolled back.
        let transaction = begin(db).await?;
        let client = transaction.client();
        let mut attempts = counters.lock(client, *user).await?;
        let Some(tries) = counters.answerable(client, *user, challenge, *now).await? else {
            return Ok(TryOutcome::Gone);
        };
        if let Some(method) = guesses
            && let Err(Locked(seconds)) = attempts.guess(*method, *limits, *now)
        {
            return Ok(TryOutcome::Locked(seconds));
        }
        if tries >= limits.per_challenge {
            return Ok(TryOutcome::Gone);
        }
        counters.set(client, *user, &attempts).await?;
        let challenge = challenge.as_slice();
        let pending = client.query_one(&pending, &[&challenge]).await?;
        let pending = pending.try_get(0)?;
        client.execute(&count, &[&challenge, takes_pending]).await?;
        transaction.commit().await?;
        Ok(TryOutcome::Counted(pending))
    }
}

impl Ask for Waiting {
    type Answer = TryOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<TryOutcome, Fault> {
        let Self {
            user,
            challenge,
            pending,
            sends,
            now,
        } = self;
        let counters = Counters::prepare(db).await?;
        let wait = db
            .prepared("UPDATE challenges SET pending = $2 WHERE digest = $1")
            .await?;
        let transaction = begin(db).await?;
        let client = transaction.client();
        let mut attempts = counters.lock(client, *user).await?;
        let answerable = counters.answerable(client, *user, challenge, *now);
        if answerable.await?.is_none() {
            return Ok(TryOutcome::Gone);
        }
        if let Some(method) = sends {
            if let Err(Locked(seconds)) = attempts.send(*method, *now) {
                return Ok(TryOutcome::Locked(seconds));
            }
            counters.set(client, *user, &attempts).await?;
        }
        let challenge = challenge.as_slice();
        client.execute(&wait, &[&challenge, pending]).await?;
        transaction.commit().await?;
        Ok(TryOutcome::Counted(None))
    }
}
