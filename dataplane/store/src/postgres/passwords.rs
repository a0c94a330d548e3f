//! Local passwords, and users as an administrator sees them. What changes one locks the user's row first, so that what it
//! compared holds until its commit.

use tokio_postgres::{Client, Statement};
use uuid::Uuid;
use vestibule_crds::secret::Secret;

use super::connect::Connection;
use super::events::{insert_event, text};
use super::fault::Fault;
use super::mfa::{FORGET_DEVICES, begin};
use super::pool::Ask;
use super::users::{after, status_of};
use crate::attempts::{Attempts, Locked};
use crate::passwords::{
    ChangeOutcome, ChangePassword, ChangedBy, CountPasswordTry, ImportOutcome, ImportUser,
    NAMED_USERS_MAX, PAGE_USERS_MAX, PASSWORD_TRIES, PasswordTry, ReadPasswordHash, ReadUser,
    RequirePasswordChange, UserPage, UsersNamed, valid_after_change,
};
use crate::statements::events::INSERT as INSERT_EVENT;
use crate::statements::users::{self, USERS, user_columns};
use crate::statements::value::parameters;
use crate::statements::{Text, sessions};
use crate::{IdentityKey, User, UserStatus};

const HASH: &str = "SELECT hash FROM passwords WHERE user_id = $1";

impl Ask for ReadPasswordHash {
    type Answer = Option<Secret>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Option<Secret>, Fault> {
        let statement = db.prepared(HASH).await?;
        hash_of(&db.client, &statement, self.0).await
    }
}

async fn hash_of(
    client: &Client,
    statement: &Statement,
    user: Uuid,
) -> Result<Option<Secret>, Fault> {
    let row = client.query_opt(statement, &[&user]).await?;
    let hash = row.map(|row| row.try_get::<_, String>(0)).transpose()?;
    Ok(hash.map(Secret::new))
}

impl Ask for ReadUser {
    type Answer = Option<User>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Option<User>, Fault> {
        let statement = db
            .prepared(concat!(
                "SELECT ",
                user_columns!(),
                " FROM users u WHERE u.id = $1"
            ))
            .await?;
        let row = db.client.query_opt(&statement, &[&self.0]).await?;
        row.map(|row| users::read(&row, 0)).transpose()
    }
}

impl Ask for UserPage {
    type Answer = Vec<User>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Vec<User>, Fault> {
        let Self {
            policy,
            status,
            after,
            limit,
        } = self;
        let statement = db
            .prepared(concat!(
                "SELECT ",
                user_columns!(),
                " FROM users u WHERE u.id > $1 AND ($2::text IS NULL OR u.policy = $2) \
                 AND ($3::text IS NULL OR u.status = $3) ORDER BY u.id LIMIT $4"
            ))
            .await?;
        let after = after.unwrap_or(Uuid::nil());
        let status = status.map(UserStatus::name);
        let limit = i64::from((*limit).min(PAGE_USERS_MAX));
        let found = db
            .client
            .query(&statement, &[&after, policy, &status, &limit])
            .await?;
        found.iter().map(|row| users::read(row, 0)).collect()
    }
}

impl Ask for UsersNamed {
    type Answer = Vec<User>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Vec<User>, Fault> {
        // Each part has an index of its own.
        let statement = db
            .prepared(concat!(
                "SELECT ",
                user_columns!(),
                " FROM users u WHERE u.policy = $1 AND u.username = $2 UNION SELECT ",
                user_columns!(),
                " FROM users u WHERE u.policy = $1 AND u.email = $2 AND u.email_verified UNION SELECT ",
                user_columns!(),
                " FROM users u WHERE u.policy = $1 AND u.email = $2 AND NOT u.email_verified LIMIT $3"
            ))
            .await?;
        let (policy, name) = (text(&self.policy), text(&self.name));
        let limit = i64::from(NAMED_USERS_MAX);
        let found = db
            .client
            .query(&statement, &[&policy.as_ref(), &name.as_ref(), &limit])
            .await?;
        found.iter().map(|row| users::read(row, 0)).collect()
    }
}

impl Ask for CountPasswordTry {
    type Answer = PasswordTry;

    async fn ask(&self, db: &mut Connection) -> Result<PasswordTry, Fault> {
        let lock = db
            .prepared("SELECT tries FROM passwords WHERE user_id = $1 FOR UPDATE")
            .await?;
        let set = db
            .prepared("UPDATE passwords SET tries = $2 WHERE user_id = $1")
            .await?;
        // Dropped without a commit it is rolled back.
        let transaction = begin(db).await?;
        let Some(row) = transaction.query_opt(&lock, &[&self.user]).await? else {
            return Ok(PasswordTry::Gone);
        };
        // A value that this program did not write has counted nothing.
        let mut tries = Attempts::decode(row.try_get(0)?).unwrap_or_default();
        if let Err(Locked(seconds)) = tries.count(PASSWORD_TRIES, self.now) {
            return Ok(PasswordTry::Locked(seconds));
        }
        transaction
            .execute(&set, &[&self.user, &tries.encode()])
            .await?;
        transaction.commit().await?;
        Ok(PasswordTry::Counted)
    }
}

const LOCK_USER: &str =
    "SELECT status, sessions_valid_from FROM users WHERE id = $1 FOR NO KEY UPDATE";
const LIVE_SESSION: &str = "\
    SELECT 1 FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND ends_at > $3 AND created_at >= $4";
const SET_USER: &str = "\
    UPDATE users SET password_changed_at = $2, password_must_change = $3, \
    sessions_valid_from = $4 WHERE id = $1";
const SET_HASH: &str = "\
    INSERT INTO passwords (user_id, hash, tries) VALUES ($1, $2, $3) \
    ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, tries = excluded.tries";

impl Ask for ChangePassword {
    type Answer = ChangeOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<ChangeOutcome, Fault> {
        let Self {
            user,
            by,
            hash,
            must_change,
            event,
            now,
        } = self;
        let lock = db.prepared(LOCK_USER).await?;
        let read_hash = db.prepared(HASH).await?;
        let live_session = db.prepared(LIVE_SESSION).await?;
        let set_user = db.prepared(SET_USER).await?;
        let set_hash = db.prepared(SET_HASH).await?;
        let forget_devices = db.prepared(FORGET_DEVICES).await?;
        let session = db.prepared(sessions::INSERT.postgres()).await?;
        let tell = db.prepared(INSERT_EVENT.postgres()).await?;
        // Dropped without a commit it is rolled back.
        let transaction = begin(db).await?;
        let client = transaction.client();
        let Some(row) = client.query_opt(&lock, &[user]).await? else {
            return Ok(ChangeOutcome::Gone);
        };
        let status = status_of(row.try_get(0)?)?;
        let valid_from: i64 = row.try_get(1)?;
        match by {
            ChangedBy::User {
                hash: verified,
                session: id,
                next: _,
            } => {
                if status != UserStatus::Active {
                    return Ok(ChangeOutcome::UserNotActive(status));
                }
                let live = client
                    .query_opt(&live_session, &[id, user, now, &valid_from])
                    .await?;
                if live.is_none() || hash_of(client, &read_hash, *user).await? != *verified {
                    return Ok(ChangeOutcome::Gone);
                }
            }
            ChangedBy::Administrator => {}
        }
        let valid_from = valid_after_change(valid_from, *now);
        client
            .execute(&set_user, &[user, now, must_change, &valid_from])
            .await?;
        let none = Attempts::default().encode();
        client
            .execute(&set_hash, &[user, &hash.expose(), &none])
            .await?;
        client.execute(&forget_devices, &[user]).await?;
        if let ChangedBy::User { next, .. } = by {
            let row = sessions::row(next, *user, valid_from, &event.network);
            client.execute(&session, &parameters(&row)).await?;
        }
        insert_event(client, &tell, event).await?;
        transaction.commit().await?;
        Ok(ChangeOutcome::Changed)
    }
}

impl Ask for RequirePasswordChange {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let demand = db
            .prepared(
                "UPDATE users SET password_must_change = TRUE WHERE id = $1 AND password_changed_at IS NOT NULL",
            )
            .await?;
        let tell = db.prepared(INSERT_EVENT.postgres()).await?;
        let transaction = begin(db).await?;
        let changed = transaction.execute(&demand, &[&self.user]).await?;
        if changed == 1 {
            insert_event(transaction.client(), &tell, &self.event).await?;
            transaction.commit().await?;
        }
        Ok(changed == 1)
    }
}

static IMPORT: Text = Text::new(|| format!("{} ON CONFLICT DO NOTHING", USERS.insert()));
const NAME: &str = "INSERT INTO identities (policy, issuer, subject, user_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

impl Ask for ImportUser {
    type Answer = ImportOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<ImportOutcome, Fault> {
        let Self {
            user,
            hash,
            identity,
            event,
        } = self;
        let insert = db.prepared(IMPORT.postgres()).await?;
        let name = db.prepared(NAME).await?;
        let set_hash = db.prepared(SET_HASH).await?;
        let tell = db.prepared(INSERT_EVENT.postgres()).await?;
        // Dropped without a commit it is rolled back.
        let transaction = begin(db).await?;
        let client = transaction.client();
        let row = users::row(user);
        let inserted = client.execute(&insert, &parameters(&row)).await?;
        if inserted == 0 {
            return Ok(ImportOutcome::Known);
        }
        if let Some(identity) = identity {
            let IdentityKey {
                policy,
                issuer,
                subject,
            } = identity;
            let named = client
                .execute(&name, &[policy, issuer, subject, &user.id])
                .await?;
            if named == 0 {
                return Ok(ImportOutcome::IdentityTaken);
            }
        }
        if let Some(hash) = hash {
            let none = Attempts::default().encode();
            client
                .execute(&set_hash, &[&user.id, &hash.expose(), &none])
                .await?;
        }
        insert_event(client, &tell, event).await?;
        transaction.commit().await?;
        Ok(ImportOutcome::Added)
    }
}

/// A user has proved to own the address: users who only claimed it lose the password and the
/// sessions that may have been made to wait for its owner. The parameters are the owner, the
/// address and from when on sessions are valid.
pub(super) const EVICT: &str = "\
    WITH evicted AS (UPDATE users SET password_changed_at = NULL, password_must_change = FALSE, \
    sessions_valid_from = greatest(sessions_valid_from, $3) \
    WHERE policy = (SELECT policy FROM users WHERE id = $1) AND email = $2 AND NOT email_verified AND id <> $1 \
    AND password_changed_at IS NOT NULL RETURNING id) \
    DELETE FROM passwords USING evicted WHERE passwords.user_id = evicted.id";

pub(super) async fn evict_unverified(
    client: &Client,
    statement: &Statement,
    owner: Uuid,
    email: &str,
    now: i64,
) -> Result<(), Fault> {
    client
        .execute(statement, &[&owner, &email, &after(now)])
        .await?;
    Ok(())
}
