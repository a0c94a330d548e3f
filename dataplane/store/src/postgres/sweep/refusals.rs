//! Deleting the oldest refusals where they are too many, from any number of replicas at once.

use super::DELETE_ROWS_MAX;
use crate::StoreError;
use crate::postgres::connect::Connection;
use crate::postgres::fault::Fault;
use crate::postgres::pool::{Ask, Pool};
use crate::refusals::{Kept, Refusals};

pub(super) async fn sweep(
    pool: &Pool,
    refusals: &Refusals,
    rows_max: usize,
) -> Result<usize, StoreError> {
    if !refusals.are_to_be_counted() {
        return Ok(0);
    }
    let mut kept = pool.ask(&Count).await?;
    let mut deleted = 0;
    while kept.exceeds(&refusals.bounds) {
        let room = DELETE_ROWS_MAX.min(rows_max - deleted);
        let rows = kept.excess(&refusals.bounds, room);
        let gone = match rows {
            0 => Kept::default(),
            rows => pool.ask(&DeleteRefusals { rows }).await?,
        };
        refusals.dropped(gone.rows);
        if gone.rows == 0 {
            // The budget of this sweep is used up, or another replica is at it.
            refusals.count_again();
            break;
        }
        kept = kept.less(&gone);
        deleted += usize::try_from(gone.rows).unwrap_or(usize::MAX);
    }
    Ok(deleted)
}

struct Count;

impl Ask for Count {
    type Answer = Kept;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Kept, Fault> {
        let statement = db
            .prepared(
                "SELECT count(*), coalesce(sum(refusal_bytes), 0)::bigint FROM events WHERE refusal_bytes IS NOT NULL",
            )
            .await?;
        let row = db.client.query_one(&statement, &[]).await?;
        let (rows, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Kept {
            rows: rows.unsigned_abs(),
            bytes: bytes.unsigned_abs(),
        })
    }
}

struct DeleteRefusals {
    rows: usize,
}

impl Ask for DeleteRefusals {
    type Answer = Kept;

    async fn ask(&self, db: &mut Connection) -> Result<Kept, Fault> {
        let statement = db
            .prepared(
                "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE refusal_bytes IS NOT NULL ORDER BY id \
                 LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING refusal_bytes",
            )
            .await?;
        let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
        let mut gone = Kept::default();
        for row in db.client.query(&statement, &[&rows]).await? {
            gone.rows += 1;
            gone.bytes += row.try_get::<_, i64>(0)?.unsigned_abs();
        }
        Ok(gone)
    }
}
