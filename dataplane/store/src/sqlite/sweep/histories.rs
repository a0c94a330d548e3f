//! Histories of users who have not come for so long that nothing of them would count.

use rusqlite::{Connection, params};

use super::{DELETE_ROWS_MAX, FIRST, Id, LOOK_ROWS_MAX};
use crate::sqlite::SqliteStore;
use crate::sqlite::job::Write;
use crate::sweep_cursor::choose;
use crate::{StoreError, Sweep};

/// One look: there is a year's time for each of them.
pub(super) async fn sweep(
    store: &SqliteStore,
    sweep: &Sweep,
    rows_max: usize,
) -> Result<usize, StoreError> {
    let room = DELETE_ROWS_MAX.min(rows_max);
    if room == 0 {
        return Ok(0);
    }
    let cursor = &store.cursors.histories;
    let after = cursor.position();
    let looked = store
        .readers
        .read(|db| look(db, &after, sweep.histories.head_bytes))?;
    let (forgotten, next) = choose(&looked, LOOK_ROWS_MAX, room, |row| {
        (sweep.histories.is_stale)(&row.head, sweep.now)
    });
    let rows: Vec<(Id, i64)> = forgotten
        .into_iter()
        .map(|row| (row.user, row.version))
        .collect();
    // After the last one it begins again.
    let next = next.map_or(FIRST, |row| row.user);
    let deleted = if rows.is_empty() {
        0
    } else {
        store.submit(Delete(rows)).await?
    };
    cursor.set(next);
    Ok(deleted)
}

struct Looked {
    user: Id,
    version: i64,
    head: Vec<u8>,
}

fn look(db: &Connection, after: &Id, head_bytes: usize) -> rusqlite::Result<Vec<Looked>> {
    db.prepare_cached(
        "SELECT user_id, version, substr(content, 1, ?3) FROM risk_history WHERE user_id > ?1 ORDER BY user_id LIMIT ?2",
    )?
    .query_map(params![after, LOOK_ROWS_MAX as i64, head_bytes as i64], |row| {
        Ok(Looked {
            user: row.get(0)?,
            version: row.get(1)?,
            head: row.get(2)?,
        })
    })?
    .collect()
}

/// Of the version that was looked at: a sign-in may have come in between.
struct Delete(Vec<(Id, i64)>);

impl Write for Delete {
    type Answer = usize;

    fn write(&self, db: &Connection) -> rusqlite::Result<usize> {
        let mut delete =
            db.prepare_cached("DELETE FROM risk_history WHERE user_id = ?1 AND version = ?2")?;
        let mut deleted = 0;
        for (user, version) in &self.0 {
            deleted += delete.execute(params![user, version])?;
        }
        Ok(deleted)
    }
}
