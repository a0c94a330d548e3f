//! Users and the identities that belong to them.

use tokio_postgres::Row;
use uuid::Uuid;

use super::connect::Connection;
use super::fault::Fault;
use super::pool::Ask;
use crate::store::{Gather, Gathered, IdentityKey, Profile, User, UserStatus};

/// What [`user_of`] reads, in its order.
macro_rules! user_columns {
    () => {
        "u.id, u.policy, u.username, u.email, u.email_verified, u.phone, u.status, u.created_at, u.sessions_valid_from"
    };
}
pub(super) use user_columns;

const USER_COLUMNS: usize = 9;

const KNOWN: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM identities i JOIN users u ON u.id = i.user_id WHERE i.policy = $1 AND i.issuer = $2 AND i.subject = $3"
);

/// The known user, or at most two owners of the address: two already mean that it is not plain whose it is.
const KNOWN_OR_OWNERS: &str = concat!(
    "WITH known AS MATERIALIZED (SELECT ",
    user_columns!(),
    " FROM identities i JOIN users u ON u.id = i.user_id WHERE i.policy = $1 AND i.issuer = $2 AND i.subject = $3) \
     SELECT known.*, true FROM known \
     UNION ALL (SELECT ",
    user_columns!(),
    ", false FROM users u WHERE u.policy = $1 AND u.email = $4 AND u.email_verified \
     AND NOT EXISTS (SELECT 1 FROM known) LIMIT 2)"
);

impl Ask for Gather {
    type Answer = Gathered;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Gathered, Fault> {
        let IdentityKey {
            policy,
            issuer,
            subject,
        } = &self.identity;
        let Some(email) = &self.linkable_email else {
            let statement = db.prepared(KNOWN).await?;
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                [policy, issuer, subject];
            let row = db.client.query_opt(&statement, &parameters).await?;
            let user = row.map(|row| user_of(&row, 0)).transpose()?;
            return Ok(Gathered {
                user,
                email_owners: Vec::new(),
            });
        };
        let statement = db.prepared(KNOWN_OR_OWNERS).await?;
        let rows = db
            .client
            .query(&statement, &[policy, issuer, subject, email])
            .await?;
        let mut gathered = Gathered::default();
        for row in rows {
            let user = user_of(&row, 0)?;
            if row.try_get(USER_COLUMNS)? {
                gathered.user = Some(user);
            } else {
                gathered.email_owners.push(user);
            }
        }
        Ok(gathered)
    }
}

pub(super) fn user_of(row: &Row, first: usize) -> Result<User, Fault> {
    Ok(User {
        id: row.try_get(first)?,
        policy: row.try_get(first + 1)?,
        profile: Profile {
            username: row.try_get(first + 2)?,
            email: row.try_get(first + 3)?,
            email_verified: row.try_get(first + 4)?,
            phone: row.try_get(first + 5)?,
        },
        status: status_of(row.try_get(first + 6)?)?,
        created_at: row.try_get(first + 7)?,
        sessions_valid_from: row.try_get(first + USER_COLUMNS - 1)?,
    })
}

pub(super) fn status_of(name: &str) -> Result<UserStatus, Fault> {
    UserStatus::named(name).ok_or(Fault::Unreadable("users"))
}

/// False when there is no such user. A user who is no longer active loses the sessions too, so that they do not come back
/// to life with the user.
#[derive(Debug)]
pub(super) struct SetStatus {
    pub(super) user: Uuid,
    pub(super) status: UserStatus,
    pub(super) now: i64,
}

impl Ask for SetStatus {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let statement = db
            .prepared(
                "UPDATE users SET status = $2, sessions_valid_from = \
                 CASE WHEN $2 = 'active' THEN sessions_valid_from ELSE greatest(sessions_valid_from, $3) END \
                 WHERE id = $1",
            )
            .await?;
        let valid_from = after(self.now);
        let changed = db
            .client
            .execute(&statement, &[&self.user, &self.status.name(), &valid_from])
            .await?;
        Ok(changed == 1)
    }
}

/// False when there is no such user.
#[derive(Debug)]
pub(super) struct RevokeSessions {
    pub(super) user: Uuid,
    pub(super) now: i64,
}

impl Ask for RevokeSessions {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let statement = db
            .prepared(
                "UPDATE users SET sessions_valid_from = greatest(sessions_valid_from, $2) WHERE id = $1",
            )
            .await?;
        let valid_from = after(self.now);
        let changed = db
            .client
            .execute(&statement, &[&self.user, &valid_from])
            .await?;
        Ok(changed == 1)
    }
}

/// Times are whole seconds: one more than now, so that a session made earlier in this second is over as well.
fn after(now: i64) -> i64 {
    now.saturating_add(1)
}
