//! Deleting the oldest refusals where they are too many, or where they leave too little room on the
//! disk.

use rusqlite::{Connection, params};

use super::DELETE_ROWS_MAX;
use crate::StoreError;
use crate::refusals::Kept;
use crate::sqlite::SqliteStore;
use crate::sqlite::job::Write;

pub(super) async fn sweep(store: &SqliteStore, rows_max: usize) -> Result<usize, StoreError> {
    let short = store.space.missing() > 0;
    let mut deleted = 0;
    if store.refusals.are_to_be_counted() {
        let mut kept = store.readers.read(count)?;
        while kept.exceeds(&store.refusals.bounds) {
            let room = DELETE_ROWS_MAX.min(rows_max - deleted);
            let rows = kept.excess(&store.refusals.bounds, room);
            let gone = delete(store, rows).await?;
            if gone.rows == 0 {
                // The budget of this sweep is used up.
                store.refusals.count_again();
                return Ok(deleted);
            }
            kept = kept.less(&gone);
            deleted += usize::try_from(gone.rows).unwrap_or(usize::MAX);
        }
    }
    // Pages that are free in the file are room for sign-ins.
    while short && deleted < rows_max && store.readers.read(free_bytes)? < store.space.missing() {
        let gone = delete(store, DELETE_ROWS_MAX.min(rows_max - deleted)).await?;
        if gone.rows == 0 {
            break;
        }
        deleted += usize::try_from(gone.rows).unwrap_or(usize::MAX);
    }
    Ok(deleted)
}

async fn delete(store: &SqliteStore, rows: usize) -> Result<Kept, StoreError> {
    if rows == 0 {
        return Ok(Kept::default());
    }
    let gone = store.submit(DeleteRefusals { rows }).await?;
    store.refusals.dropped(gone.rows);
    Ok(gone)
}

fn count(db: &Connection) -> rusqlite::Result<Kept> {
    db.prepare_cached(
        "SELECT count(*), coalesce(sum(refusal_bytes), 0) FROM events WHERE refusal_bytes IS NOT NULL",
    )?
    .query_row([], |row| {
        let (rows, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Kept { rows: rows.unsigned_abs(), bytes: bytes.unsigned_abs() })
    })
}

fn free_bytes(db: &Connection) -> rusqlite::Result<u64> {
    let number = |name| db.query_row(name, [], |row| row.get::<_, i64>(0));
    let bytes = number("PRAGMA freelist_count")?.saturating_mul(number("PRAGMA page_size")?);
    Ok(bytes.unsigned_abs())
}

struct DeleteRefusals {
    rows: usize,
}

impl Write for DeleteRefusals {
    type Answer = Kept;

    fn write(&self, db: &Connection) -> rusqlite::Result<Kept> {
        let mut delete = db.prepare_cached(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE refusal_bytes IS NOT NULL ORDER BY id LIMIT ?1) \
             RETURNING refusal_bytes",
        )?;
        let mut gone = Kept::default();
        let mut rows = delete.query(params![self.rows as i64])?;
        while let Some(row) = rows.next()? {
            gone.rows += 1;
            gone.bytes += row.get::<_, i64>(0)?.unsigned_abs();
        }
        Ok(gone)
    }
}
