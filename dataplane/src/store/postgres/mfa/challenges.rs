//! A user's challenge: opened by a sign-in, read by whoever has its token.

use tokio_postgres::Client;

use super::factors::{FACTORS, RECOVERY_CODES_LEFT, factors_of};
use super::{Counters, begin};
use crate::store::mfa::{Challenge, FoundChallenge, OpenChallenge};
use crate::store::postgres::connect::Connection;
use crate::store::postgres::events::{EVENT, insert_event, text};
use crate::store::postgres::fault::Fault;
use crate::store::postgres::pool::Ask;
use crate::store::postgres::signin::{OWNERS, sole_owner};
use crate::store::postgres::users::{status_of, user_columns, user_of};
use crate::store::{Account, IdentityKey, SigninOutcome, User, UserStatus};

const STANDING: &str = "SELECT status, sessions_valid_from FROM users WHERE id = $1 FOR SHARE";
const CREATE: &str = "INSERT INTO users (id, policy, email_verified, status, created_at, sessions_valid_from) \
     VALUES ($1, $2, false, $3, $4, $5)";
const NAME: &str =
    "INSERT INTO identities (policy, issuer, subject, user_id) VALUES ($1, $2, $3, $4)";
const REPLAY: &str =
    "INSERT INTO replay_guard (expires_at, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const OPEN: &str = "INSERT INTO mfa_challenges (user_id, digest, provider, created_at, expires_at, tries, content) \
     VALUES ($1, $2, $3, $4, $5, 0, $6) ON CONFLICT (user_id) DO UPDATE SET digest = excluded.digest, \
     provider = excluded.provider, created_at = excluded.created_at, expires_at = excluded.expires_at, \
     consumed_at = NULL, tries = 0, content = excluded.content, pending = NULL";

impl Ask for OpenChallenge {
    type Answer = SigninOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<SigninOutcome, Fault> {
        let Self {
            account,
            replay,
            digest,
            provider,
            expires_at,
            content,
            event,
            now,
        } = self;
        let counters = Counters::prepare(db).await?;
        let standing = db.prepared(STANDING).await?;
        let create = db.prepared(CREATE).await?;
        let name = db.prepared(NAME).await?;
        let owners = db.prepared(OWNERS).await?;
        let guard = db.prepared(REPLAY).await?;
        let open = db.prepared(OPEN).await?;
        let told = db.prepared(EVENT).await?;
        // Dropped without a commit it is rolled back.
        let transaction = begin(db).await?;
        let client = transaction.client();
        let user_id = match account {
            Account::Existing { user_id, .. } | Account::Link { user_id, .. } => *user_id,
            Account::Create { user, .. } => user.id,
        };
        let _counted = counters.lock(client, user_id).await?;
        match account {
            Account::Existing { .. } => {}
            Account::Create { user, identity } => {
                let created = create_bare(client, &create, &name, user, identity).await;
                match created {
                    // Somebody with this identity was created or linked while this ran.
                    Err(fault) if fault.takes("identities") => return Ok(SigninOutcome::Changed),
                    created => created?,
                }
            }
            Account::Link {
                user_id,
                identity,
                email,
                recheck,
            } => {
                let owner = sole_owner(client, &owners, *user_id, identity, email);
                if let Err(outcome) = owner.await? {
                    return Ok(outcome);
                }
                if !recheck() {
                    return Ok(SigninOutcome::LinkRefused);
                }
            }
        }
        let Some(row) = client.query_opt(&standing, &[&user_id]).await? else {
            return Ok(SigninOutcome::Changed);
        };
        let status = status_of(row.try_get(0)?)?;
        let valid_from: i64 = row.try_get(1)?;
        if status != UserStatus::Active {
            return Ok(SigninOutcome::UserNotActive(status));
        }
        if let Some(replay) = replay {
            let digest = replay.digest.as_slice();
            let first = client
                .execute(&guard, &[&replay.expires_at, &digest])
                .await?;
            if first == 0 {
                return Ok(SigninOutcome::Replayed);
            }
        }
        // Sessions may have been revoked within this very second; this one came after.
        let created_at = (*now).max(valid_from);
        let digest = digest.as_slice();
        let content = text(content);
        client
            .execute(
                &open,
                &[
                    &user_id,
                    &digest,
                    provider,
                    &created_at,
                    expires_at,
                    &content.as_ref(),
                ],
            )
            .await?;
        insert_event(client, &told, event).await?;
        transaction.commit().await?;
        Ok(SigninOutcome::Committed)
    }
}

async fn create_bare(
    client: &Client,
    create: &tokio_postgres::Statement,
    name: &tokio_postgres::Statement,
    user: &User,
    identity: &IdentityKey,
) -> Result<(), Fault> {
    let User {
        id,
        policy,
        profile: _,
        status,
        created_at,
        sessions_valid_from,
        // A sign-in gives nobody a password.
        password: _,
    } = user;
    let IdentityKey {
        policy: _same,
        issuer,
        subject,
    } = identity;
    // First, so that it is what fails when the identity is taken.
    client.execute(name, &[policy, issuer, subject, id]).await?;
    let status = status.name();
    client
        .execute(
            create,
            &[id, policy, &status, created_at, sessions_valid_from],
        )
        .await?;
    Ok(())
}

pub(super) struct ReadChallenge(pub(super) [u8; 32]);

impl Ask for ReadChallenge {
    type Answer = Option<FoundChallenge>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Self::Answer, Fault> {
        let read = db
            .prepared(concat!(
                "SELECT c.provider, c.created_at, c.expires_at, c.consumed_at, c.tries, c.content, c.pending, ",
                user_columns!(),
                " FROM mfa_challenges c JOIN users u ON u.id = c.user_id WHERE c.digest = $1"
            ))
            .await?;
        let digest = self.0.as_slice();
        let Some(row) = db.client.query_opt(&read, &[&digest]).await? else {
            return Ok(None);
        };
        let user = user_of(&row, 7)?;
        let tries: i32 = row.try_get(4)?;
        let challenge = Challenge {
            digest: self.0,
            provider: row.try_get(0)?,
            created_at: row.try_get(1)?,
            expires_at: row.try_get(2)?,
            consumed_at: row.try_get(3)?,
            tries: u32::try_from(tries).unwrap_or(u32::MAX),
            content: row.try_get(5)?,
            pending: row.try_get(6)?,
        };
        let factors = db.prepared(FACTORS).await?;
        let codes = db.prepared(RECOVERY_CODES_LEFT).await?;
        let factors = factors_of(&db.client, &factors, &codes, user.id).await?;
        Ok(Some(FoundChallenge {
            challenge,
            user,
            factors,
        }))
    }
}
