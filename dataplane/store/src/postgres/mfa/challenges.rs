//! A user's challenges: opened by a sign-in, read by anyone who has its token.

use tokio_postgres::Client;

use super::factors::{RECOVERY_CODES_LEFT, factors_of};
use super::{Counters, begin};
use crate::mfa::{CHALLENGES_MAX, FoundChallenge, OpenChallenge, ReadChallenge};
use crate::postgres::connect::Connection;
use crate::postgres::events::{insert_event, text};
use crate::postgres::fault::Fault;
use crate::postgres::pool::Ask;
use crate::postgres::signin::{OWNERS, sole_owner};
use crate::postgres::users::status_of;
use crate::sessions::Login;
use crate::statements::challenges::{INSERT, OF_DIGEST, read, row};
use crate::statements::events::INSERT as INSERT_EVENT;
use crate::statements::factors::OF_USER;
use crate::statements::users;
use crate::statements::value::parameters;
use crate::{Account, IdentityKey, Profile, SigninOutcome, User, UserStatus};

const STANDING: &str = "SELECT status, sessions_valid_from FROM users WHERE id = $1 FOR SHARE";
const NAME: &str =
    "INSERT INTO identities (policy, issuer, subject, user_id) VALUES ($1, $2, $3, $4)";
const REPLAY: &str =
    "INSERT INTO replay_guard (expires_at, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING";
/// Of the user's challenges that can be answered all but one fewer than there may be are void: first the oldest from the
/// network that asks for one more.
const MAKE_ROOM: &str = "DELETE FROM challenges WHERE digest IN (SELECT digest FROM challenges WHERE user_id = $1 \
     AND consumed_at IS NULL AND expires_at > $2 ORDER BY network = $3, created_at DESC OFFSET $4)";
const ENDED: &str = "SELECT EXISTS (SELECT 1 FROM ended_logins WHERE provider = $1 AND digest IN ($2, $3) \
     AND issued_until >= $4)";

impl Ask for OpenChallenge {
    type Answer = SigninOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<SigninOutcome, Fault> {
        let Self {
            account,
            login,
            replay,
            event,
            now,
            ..
        } = self;
        let counters = Counters::prepare(db).await?;
        let standing = db.prepared(STANDING).await?;
        let create = db.prepared(users::INSERT.postgres()).await?;
        let name = db.prepared(NAME).await?;
        let owners = db.prepared(OWNERS).await?;
        let guard = db.prepared(REPLAY).await?;
        let ended = db.prepared(ENDED).await?;
        let make_room = db.prepared(MAKE_ROOM).await?;
        let open = db.prepared(INSERT.postgres()).await?;
        let insert_event_statement = db.prepared(INSERT_EVENT.postgres()).await?;
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
                    // A user with this identity was created or linked while this ran.
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
        let Some(found) = client.query_opt(&standing, &[&user_id]).await? else {
            return Ok(SigninOutcome::Changed);
        };
        let status = status_of(found.try_get(0)?)?;
        let valid_from: i64 = found.try_get(1)?;
        if status != UserStatus::Active {
            return Ok(SigninOutcome::UserNotActive(status));
        }
        if let Some(Login {
            provider,
            ended_by: [all, this],
            issued_at,
        }) = login
        {
            let (all, this) = (all.as_slice(), this.as_slice());
            let ended = client
                .query_one(&ended, &[provider, &all, &this, issued_at])
                .await?;
            if ended.try_get(0)? {
                return Ok(SigninOutcome::LoginEnded);
            }
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
        let network = text(&event.network);
        let network = network.as_ref();
        let others_max = i64::try_from(CHALLENGES_MAX - 1).unwrap_or(i64::MAX);
        client
            .execute(&make_room, &[&user_id, now, &network, &others_max])
            .await?;
        let values = row(self, user_id, created_at);
        client.execute(&open, &parameters(&values)).await?;
        insert_event(client, &insert_event_statement, event).await?;
        transaction.commit().await?;
        Ok(SigninOutcome::Committed)
    }
}

/// Without the profile, which no challenge changes.
async fn create_bare(
    client: &Client,
    create: &tokio_postgres::Statement,
    name: &tokio_postgres::Statement,
    user: &User,
    identity: &IdentityKey,
) -> Result<(), Fault> {
    let IdentityKey {
        policy,
        issuer,
        subject,
    } = identity;
    let id = &user.id;
    // First, so that it is what fails when the identity is taken.
    client.execute(name, &[policy, issuer, subject, id]).await?;
    let user = User {
        policy: user.policy.clone(),
        profile: Profile::default(),
        // A sign-in never sets a password.
        password: None,
        ..*user
    };
    let row = users::row(&user);
    client.execute(create, &parameters(&row)).await?;
    Ok(())
}

impl Ask for ReadChallenge {
    type Answer = Option<FoundChallenge>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Self::Answer, Fault> {
        let found = db.prepared(OF_DIGEST.postgres()).await?;
        let digest = self.0.as_slice();
        let Some(row) = db.client.query_opt(&found, &[&digest]).await? else {
            return Ok(None);
        };
        let (challenge, user) = read(&row)?;
        let factors = db.prepared(OF_USER.postgres()).await?;
        let codes = db.prepared(RECOVERY_CODES_LEFT).await?;
        let factors = factors_of(&db.client, &factors, &codes, user.id).await?;
        Ok(Some(FoundChallenge {
            challenge,
            user,
            factors,
        }))
    }
}
