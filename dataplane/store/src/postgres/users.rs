//! Users and the identities that belong to them.

pub(super) mod batch;

use tokio_postgres::Row;

use super::connect::Connection;
use super::fault::Fault;
use super::pool::Ask;
use crate::attempts::Attempts;
use crate::statements::Text;
use crate::statements::events::{self, EVENTS};
use crate::statements::users::{USERS, read, user_columns};
use crate::statements::value::{Value, parameters};
use crate::{
    Gather, Gathered, IdentityKey, RevokeSessions, SetUserStatus, StoredHistory, UserStatus,
};

const USER_COLUMNS: usize = USERS.columns.len();

/// The known user, or at most two owners of the address: two already mean that it is not plain whose it is. `$more` are the
/// columns that come after the user's, and `$join` where they come from.
macro_rules! known {
    ($more:literal, $join:literal) => {
        concat!(
            "SELECT ",
            user_columns!(),
            $more,
            " FROM identities i JOIN users u ON u.id = i.user_id",
            $join,
            " WHERE i.policy = $1 AND i.issuer = $2 AND i.subject = $3"
        )
    };
}

macro_rules! known_or_owners {
    ($more:literal, $join:literal) => {
        concat!(
            "WITH known AS MATERIALIZED (",
            known!($more, $join),
            ") SELECT known.*, true FROM known UNION ALL (SELECT ",
            user_columns!(),
            $more,
            ", false FROM users u",
            $join,
            " WHERE u.policy = $1 AND u.email = $4 AND u.email_verified AND u.link_email = $4 AND NOT EXISTS (SELECT 1 FROM known) LIMIT 2)"
        )
    };
}

const KNOWN: &str = known!("", "");
const KNOWN_OR_OWNERS: &str = known_or_owners!("", "");
const KNOWN_WITH_HISTORY: &str = known!(
    ", h.version, h.content",
    " LEFT JOIN risk_history h ON h.user_id = u.id"
);
const KNOWN_OR_OWNERS_WITH_HISTORY: &str = known_or_owners!(
    ", h.version, h.content",
    " LEFT JOIN risk_history h ON h.user_id = u.id"
);
const HISTORY_COLUMNS: usize = 2;

impl Ask for Gather {
    type Answer = Gathered;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Gathered, Fault> {
        let IdentityKey {
            policy,
            issuer,
            subject,
        } = &self.identity;
        let (known, known_or_owners, more) = if self.history {
            (
                KNOWN_WITH_HISTORY,
                KNOWN_OR_OWNERS_WITH_HISTORY,
                HISTORY_COLUMNS,
            )
        } else {
            (KNOWN, KNOWN_OR_OWNERS, 0)
        };
        let history = |row: &Row| -> Result<Option<StoredHistory>, Fault> {
            if self.history {
                history_of(row, USER_COLUMNS)
            } else {
                Ok(None)
            }
        };
        let mut gathered = Gathered::default();
        let Some(email) = &self.linkable_email else {
            let statement = db.prepared(known).await?;
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                [policy, issuer, subject];
            if let Some(row) = db.client.query_opt(&statement, &parameters).await? {
                gathered.user = Some(read(&row, 0)?);
                gathered.history = history(&row)?;
            }
            return Ok(gathered);
        };
        let statement = db.prepared(known_or_owners).await?;
        let rows = db
            .client
            .query(&statement, &[policy, issuer, subject, email])
            .await?;
        if let [row] = rows.as_slice() {
            gathered.history = history(row)?;
        }
        for row in rows {
            let user = read(&row, 0)?;
            if row.try_get(USER_COLUMNS + more)? {
                gathered.user = Some(user);
            } else {
                gathered.email_owners.push(user);
            }
        }
        Ok(gathered)
    }
}

fn history_of(row: &Row, first: usize) -> Result<Option<StoredHistory>, Fault> {
    let (version, content): (Option<i64>, Option<Vec<u8>>) =
        (row.try_get(first)?, row.try_get(first + 1)?);
    Ok(version
        .zip(content)
        .map(|(version, content)| StoredHistory { version, content }))
}

pub(super) fn status_of(name: &str) -> Result<UserStatus, Fault> {
    UserStatus::named(name).ok_or(Fault::Unreadable("users"))
}

impl Ask for SetUserStatus {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let statement = db
            .prepared(
                // Unlocking a user lets the user try second factors again.
                "WITH forgiven AS (DELETE FROM mfa_counters WHERE user_id = $1 AND $2 = 'active'), \
                 tried AS (UPDATE passwords SET tries = $4 WHERE user_id = $1 AND $2 = 'active') \
                 UPDATE users SET status = $2, sessions_valid_from = \
                 CASE WHEN $2 = 'active' THEN sessions_valid_from ELSE greatest(sessions_valid_from, $3) END \
                 WHERE id = $1",
            )
            .await?;
        let valid_from = after(self.now);
        let changed = db
            .client
            .execute(
                &statement,
                &[
                    &self.user,
                    &self.status.name(),
                    &valid_from,
                    &Attempts::default().encode(),
                ],
            )
            .await?;
        Ok(changed == 1)
    }
}

static REVOKE: Text = Text::new(|| {
    format!(
        "WITH changed AS (UPDATE users SET sessions_valid_from = greatest(sessions_valid_from, $2) WHERE id = $1 RETURNING 1) {}",
        EVENTS.insert_for_each(3, "changed")
    )
});

impl Ask for RevokeSessions {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let statement = db.prepared(REVOKE.postgres()).await?;
        let mut values: Vec<Value<'_>> = vec![self.user.into(), after(self.now).into()];
        values.extend(events::row(&self.event));
        let changed = db.client.execute(&statement, &parameters(&values)).await?;
        Ok(changed == 1)
    }
}

/// Times are whole seconds: one more than now, so that a session made earlier in this second is over as well.
pub(super) fn after(now: i64) -> i64 {
    now.saturating_add(1)
}
