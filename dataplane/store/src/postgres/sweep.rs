//! Deleting what has expired, a few rows at a time between the sign-ins, from any number of replicas at once.
//!
//! Rows of the replay guard and of second factors lie in the order of their expiry and events in
//! the order of their time, so the oldest are looked at first. Sessions lie in the order of their
//! creation and live for different times: a cursor of each replica sweeps over them, looking at a
//! bounded number of rows each time, and another sweeps over the histories of users. What another
//! replica is deleting is skipped, not waited for.

mod histories;
mod refusals;

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::connect::Connection;
use super::fault::Fault;
use super::pool::{Ask, Pool};
use super::population::FORGET;
use crate::refusals::Refusals;
use crate::sweep_cursor::{SESSION_KEPT_SECONDS, choose, too_young};
use crate::{DAY_SECONDS, EVENT_RETENTION_SECONDS, POPULATION_RETENTION_DAYS, StoreError, Sweep};

/// Rows that one statement deletes.
const DELETE_ROWS_MAX: usize = 128;
/// Sessions that one read looks at.
const LOOK_ROWS_MAX: usize = 512;
/// Sessions that one sweep looks at.
const SWEEP_ROWS_MAX: usize = 131_072;

/// Up to where the rows of each table have been looked at.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    sessions: Cursor,
    /// Up to here no session is left, and none comes: until the server has cleaned up, a search
    /// through what was deleted there would take seconds.
    emptied: Cursor,
    histories: Cursor,
}

#[cfg(test)]
impl Cursors {
    pub(super) fn emptied(&self) -> Uuid {
        self.emptied.position()
    }
}

#[derive(Debug, Default)]
struct Cursor(Mutex<Uuid>);

impl Cursor {
    fn position(&self) -> Uuid {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, position: Uuid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }
}

pub(super) async fn sweep(
    pool: &Pool,
    cursors: &Cursors,
    refusals: &Refusals,
    sweep: &Sweep,
) -> Result<usize, StoreError> {
    let Sweep { now, rows_max, .. } = *sweep;
    let events_before = now.saturating_sub(EVENT_RETENTION_SECONDS);
    let mut deleted = 0;
    let shown_before = now.div_euclid(DAY_SECONDS) - POPULATION_RETENTION_DAYS;
    for (text, before) in [
        (OLDEST_REPLAYS, now),
        (OLDEST_EVENTS, events_before),
        (OLDEST_CHALLENGES, now),
        (OLDEST_SINGLE_CHALLENGES, now),
        (OLDEST_ENDED_LOGINS, now),
        (OLDEST_FACTORS, now),
        (OLDEST_DEVICES, now),
        (FORGET, shown_before),
    ] {
        while deleted < rows_max {
            let rows = DELETE_ROWS_MAX.min(rows_max - deleted);
            let gone = pool.ask(&DeleteOldest { text, before, rows }).await?;
            deleted += gone;
            if gone < rows {
                break;
            }
        }
    }
    deleted += refusals::sweep(pool, refusals, rows_max - deleted).await?;
    deleted += sweep_sessions(pool, cursors, now, rows_max - deleted).await?;
    deleted += histories::sweep(pool, &cursors.histories, sweep, rows_max - deleted).await?;
    Ok(deleted)
}

/// One turn of the cursor at most: from where it stands to those that are too young, and from the beginning to where it stood.
async fn sweep_sessions(
    pool: &Pool,
    cursors: &Cursors,
    now: i64,
    rows_max: usize,
) -> Result<usize, StoreError> {
    let Cursors {
        sessions: cursor,
        emptied,
        histories: _,
    } = cursors;
    let over_before = now.saturating_sub(SESSION_KEPT_SECONDS);
    let start = cursor.position().max(emptied.position());
    let end = Uuid::from_bytes(too_young(now));
    let (mut deleted, mut looked) = (0, 0);
    for (from, to) in [(start, end), (emptied.position(), start.min(end))] {
        cursor.set(from);
        loop {
            let room = DELETE_ROWS_MAX.min(rows_max - deleted);
            if room == 0 || looked >= SWEEP_ROWS_MAX {
                return Ok(deleted);
            }
            let after = cursor.position();
            let rows = pool.ask(&Look { after, to }).await?;
            looked += rows.len();
            let (expired, next) =
                choose(&rows, LOOK_ROWS_MAX, room, |row| row.over_at < over_before);
            let ids: Vec<Uuid> = expired.into_iter().map(|row| row.id).collect();
            let next = next.map(|row| row.id);
            if !ids.is_empty() {
                let first = rows.iter().zip(&ids).take_while(|(row, id)| row.id == **id);
                let first = first.last().map(|(row, _)| row.id);
                let chosen = ids.len();
                let gone = pool.ask(&DeleteSessions { ids, over_before }).await?;
                deleted += gone;
                // One that is locked, or was refreshed meanwhile, is left.
                if let Some(last) = first.filter(|_| after == emptied.position() && gone == chosen)
                {
                    emptied.set(last);
                }
            }
            let Some(next) = next else { break };
            cursor.set(next);
        }
    }
    cursor.set(start);
    Ok(deleted)
}

struct Looked {
    id: Uuid,
    /// When no refresh can succeed any more.
    over_at: i64,
}

struct Look {
    after: Uuid,
    to: Uuid,
}

impl Ask for Look {
    type Answer = Vec<Looked>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Vec<Looked>, Fault> {
        let statement = db
            .prepared(
                "SELECT id, least(ends_at, refresh_expires_at) FROM sessions WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3",
            )
            .await?;
        let rows_max = LOOK_ROWS_MAX as i64;
        let rows = db
            .client
            .query(&statement, &[&self.after, &self.to, &rows_max])
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Looked {
                    id: row.try_get(0)?,
                    over_at: row.try_get(1)?,
                })
            })
            .collect()
    }
}

/// Looks again: a refresh may have come in between.
struct DeleteSessions {
    ids: Vec<Uuid>,
    over_before: i64,
}

impl Ask for DeleteSessions {
    type Answer = usize;

    async fn ask(&self, db: &mut Connection) -> Result<usize, Fault> {
        let statement = db
            .prepared(
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE id = ANY($1) \
                 AND least(ends_at, refresh_expires_at) < $2 FOR UPDATE SKIP LOCKED)",
            )
            .await?;
        let deleted = db
            .client
            .execute(&statement, &[&self.ids, &self.over_before])
            .await?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }
}

const OLDEST_REPLAYS: &str = "\
    DELETE FROM replay_guard WHERE (expires_at, digest) IN (SELECT expires_at, digest FROM replay_guard \
    WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
const OLDEST_CHALLENGES: &str = "\
    DELETE FROM challenges WHERE digest IN (SELECT digest FROM challenges \
    WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
const OLDEST_ENDED_LOGINS: &str = "\
    DELETE FROM ended_logins WHERE (provider, digest) IN (SELECT provider, digest FROM ended_logins \
    WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
/// Those of older versions.
const OLDEST_SINGLE_CHALLENGES: &str = "\
    DELETE FROM mfa_challenges WHERE user_id IN (SELECT user_id FROM mfa_challenges \
    WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
/// Those that were never confirmed.
const OLDEST_FACTORS: &str = "\
    DELETE FROM mfa_factors WHERE (user_id, id) IN (SELECT user_id, id FROM mfa_factors \
    WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
const OLDEST_DEVICES: &str = "\
    DELETE FROM mfa_devices WHERE (user_id, id) IN (SELECT user_id, id FROM mfa_devices \
    WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
/// Only what is deleted is locked.
const OLDEST_EVENTS: &str = "\
    DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id IN (\
        SELECT id FROM (SELECT id, at FROM events ORDER BY id LIMIT $2) oldest WHERE at < $1) FOR UPDATE SKIP LOCKED)";

struct DeleteOldest {
    text: &'static str,
    before: i64,
    rows: usize,
}

impl Ask for DeleteOldest {
    type Answer = usize;

    async fn ask(&self, db: &mut Connection) -> Result<usize, Fault> {
        let statement = db.prepared(self.text).await?;
        let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
        let deleted = db
            .client
            .execute(&statement, &[&self.before, &rows])
            .await?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }
}
