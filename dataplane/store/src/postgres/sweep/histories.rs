//! Histories of users who have not come for so long that nothing of them would count.

use uuid::Uuid;

use super::{Cursor, DELETE_ROWS_MAX, LOOK_ROWS_MAX};
use crate::postgres::connect::Connection;
use crate::postgres::fault::Fault;
use crate::postgres::pool::{Ask, Pool};
use crate::sweep_cursor::choose;
use crate::{StoreError, Sweep};

/// One look: there is a year's time for each of them.
pub(super) async fn sweep(
    pool: &Pool,
    cursor: &Cursor,
    sweep: &Sweep,
    rows_max: usize,
) -> Result<usize, StoreError> {
    let room = DELETE_ROWS_MAX.min(rows_max);
    if room == 0 {
        return Ok(0);
    }
    let after = cursor.position();
    let looked = pool
        .ask(&Look {
            after,
            head_bytes: i32::try_from(sweep.histories.head_bytes).unwrap_or(i32::MAX),
        })
        .await?;
    let (forgotten, next) = choose(&looked, LOOK_ROWS_MAX, room, |row| {
        (sweep.histories.is_stale)(&row.head, sweep.now)
    });
    let (users, versions): (Vec<Uuid>, Vec<i64>) = forgotten
        .into_iter()
        .map(|row| (row.user, row.version))
        .unzip();
    // After the last one it begins again.
    let next = next.map_or(Uuid::nil(), |row| row.user);
    let deleted = if users.is_empty() {
        0
    } else {
        pool.ask(&Delete { users, versions }).await?
    };
    cursor.set(next);
    Ok(deleted)
}

struct Looked {
    user: Uuid,
    version: i64,
    head: Vec<u8>,
}

struct Look {
    after: Uuid,
    head_bytes: i32,
}

impl Ask for Look {
    type Answer = Vec<Looked>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Vec<Looked>, Fault> {
        let statement = db
            .prepared(
                "SELECT user_id, version, substr(content, 1, $3) FROM risk_history WHERE user_id > $1 ORDER BY user_id LIMIT $2",
            )
            .await?;
        let rows_max = LOOK_ROWS_MAX as i64;
        let rows = db
            .client
            .query(&statement, &[&self.after, &rows_max, &self.head_bytes])
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Looked {
                    user: row.try_get(0)?,
                    version: row.try_get(1)?,
                    head: row.try_get(2)?,
                })
            })
            .collect()
    }
}

/// Of the version that was looked at: a sign-in may have come in between.
struct Delete {
    users: Vec<Uuid>,
    versions: Vec<i64>,
}

impl Ask for Delete {
    type Answer = usize;

    async fn ask(&self, db: &mut Connection) -> Result<usize, Fault> {
        let statement = db
            .prepared(
                "DELETE FROM risk_history WHERE user_id IN (SELECT user_id FROM risk_history \
                 WHERE (user_id, version) IN (SELECT * FROM unnest($1::uuid[], $2::bigint[])) FOR UPDATE SKIP LOCKED)",
            )
            .await?;
        let deleted = db
            .client
            .execute(&statement, &[&self.users, &self.versions])
            .await?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }
}
