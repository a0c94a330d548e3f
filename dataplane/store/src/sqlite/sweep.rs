//! Deleting what has expired, a few rows at a time between the sign-ins.
//!
//! Rows of the replay guard and of second factors lie in the order of their expiry and events in
//! the order of their time, so the oldest are looked at first. Sessions lie in the order of their
//! creation and live for different times: a cursor sweeps over them, looking at a bounded number of
//! rows each time; another sweeps over the histories of users. They read on the caller's thread,
//! and the writer only deletes.

mod histories;
mod refusals;

use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, params};

use super::SqliteStore;
use super::job::Write;
use crate::sweep_cursor::{SESSION_KEPT_SECONDS, choose, too_young};
use crate::{DAY_SECONDS, EVENT_RETENTION_SECONDS, POPULATION_RETENTION_DAYS, StoreError, Sweep};

/// Rows that one write deletes, so that a sweep keeps no sign-in waiting for long.
const DELETE_ROWS_MAX: usize = 128;
/// Sessions that one read looks at.
const LOOK_ROWS_MAX: usize = 512;
/// Sessions that one sweep looks at.
const SWEEP_ROWS_MAX: usize = 131_072;

type Id = [u8; 16];
const FIRST: Id = [0; 16];

/// Up to where the rows of each table have been looked at.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    sessions: Cursor,
    histories: Cursor,
}

#[derive(Debug, Default)]
struct Cursor(Mutex<Id>);

impl Cursor {
    fn position(&self) -> Id {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, position: Id) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }
}

pub(super) async fn sweep(store: &SqliteStore, sweep: &Sweep) -> Result<usize, StoreError> {
    let Sweep { now, rows_max, .. } = *sweep;
    let mut deleted = 0;
    for table in Oldest::ALL {
        while deleted < rows_max {
            let rows = DELETE_ROWS_MAX.min(rows_max - deleted);
            let gone = store.submit(DeleteOldest { table, now, rows }).await?;
            deleted += gone;
            if gone < rows {
                break;
            }
        }
    }
    deleted += refusals::sweep(store, rows_max - deleted).await?;
    deleted += sweep_sessions(store, now, rows_max - deleted).await?;
    deleted += histories::sweep(store, sweep, rows_max - deleted).await?;
    Ok(deleted)
}

/// One turn of the cursor at most: from where it stands to those that are too young, and from the beginning to where it stood.
async fn sweep_sessions(
    store: &SqliteStore,
    now: i64,
    rows_max: usize,
) -> Result<usize, StoreError> {
    let over_before = now.saturating_sub(SESSION_KEPT_SECONDS);
    let start = store.cursors.sessions.position();
    let (mut deleted, mut looked) = (0, 0);
    let end = too_young(now);
    for (from, to) in [(start, end), (FIRST, start.min(end))] {
        store.cursors.sessions.set(from);
        loop {
            let room = DELETE_ROWS_MAX.min(rows_max - deleted);
            if room == 0 || looked >= SWEEP_ROWS_MAX {
                return Ok(deleted);
            }
            let after = store.cursors.sessions.position();
            let rows = store.readers.read(|db| look(db, &after, &to))?;
            looked += rows.len();
            let (expired, next) =
                choose(&rows, LOOK_ROWS_MAX, room, |row| row.over_at < over_before);
            let ids: Vec<Id> = expired.into_iter().map(|row| row.id).collect();
            let next = next.map(|row| row.id);
            if !ids.is_empty() {
                deleted += store.submit(DeleteSessions { ids, over_before }).await?;
            }
            let Some(next) = next else { break };
            store.cursors.sessions.set(next);
            tokio::task::yield_now().await;
        }
    }
    store.cursors.sessions.set(start);
    Ok(deleted)
}

struct Looked {
    id: Id,
    /// When no refresh can succeed any more.
    over_at: i64,
}

fn look(db: &Connection, after: &Id, to: &Id) -> rusqlite::Result<Vec<Looked>> {
    db.prepare_cached(
        "SELECT id, min(ends_at, refresh_expires_at) FROM sessions WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
    )?
    .query_map(params![after, to, LOOK_ROWS_MAX as i64], |row| Ok(Looked { id: row.get(0)?, over_at: row.get(1)? }))?
    .collect()
}

/// Looks again: a refresh may have come in between.
struct DeleteSessions {
    ids: Vec<Id>,
    over_before: i64,
}

impl Write for DeleteSessions {
    type Answer = usize;

    fn write(&self, db: &Connection) -> rusqlite::Result<usize> {
        let mut delete = db.prepare_cached(
            "DELETE FROM sessions WHERE id = ?1 AND min(ends_at, refresh_expires_at) < ?2",
        )?;
        let mut deleted = 0;
        for id in &self.ids {
            deleted += delete.execute(params![id, self.over_before])?;
        }
        Ok(deleted)
    }
}

#[derive(Debug, Clone, Copy)]
enum Oldest {
    Replays,
    Events,
    Challenges,
    /// Those of older versions.
    SingleChallenges,
    EndedLogins,
    /// Those that were never confirmed.
    Factors,
    Devices,
    /// Values that no user has shown for long.
    Population,
}

impl Oldest {
    const ALL: [Self; 8] = [
        Self::Replays,
        Self::Events,
        Self::Challenges,
        Self::SingleChallenges,
        Self::EndedLogins,
        Self::Factors,
        Self::Devices,
        Self::Population,
    ];
}

struct DeleteOldest {
    table: Oldest,
    now: i64,
    rows: usize,
}

impl Write for DeleteOldest {
    type Answer = usize;

    fn write(&self, db: &Connection) -> rusqlite::Result<usize> {
        let rows = self.rows as i64;
        match self.table {
            Oldest::Replays => db
                .prepare_cached(
                    "DELETE FROM replay_guard WHERE (expires_at, digest) IN \
                     (SELECT expires_at, digest FROM replay_guard WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)",
                )?
                .execute(params![self.now, rows]),
            Oldest::Events => db
                .prepare_cached(
                    "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT ?2) AND at < ?1",
                )?
                .execute(params![self.now.saturating_sub(EVENT_RETENTION_SECONDS), rows]),
            Oldest::Challenges => db
                .prepare_cached(
                    "DELETE FROM challenges WHERE digest IN \
                     (SELECT digest FROM challenges WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)",
                )?
                .execute(params![self.now, rows]),
            Oldest::EndedLogins => db
                .prepare_cached(
                    "DELETE FROM ended_logins WHERE (provider, digest) IN \
                     (SELECT provider, digest FROM ended_logins WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)",
                )?
                .execute(params![self.now, rows]),
            Oldest::SingleChallenges => db
                .prepare_cached(
                    "DELETE FROM mfa_challenges WHERE user_id IN \
                     (SELECT user_id FROM mfa_challenges WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)",
                )?
                .execute(params![self.now, rows]),
            Oldest::Factors => db
                .prepare_cached(
                    "DELETE FROM mfa_factors WHERE (user_id, id) IN \
                     (SELECT user_id, id FROM mfa_factors WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)",
                )?
                .execute(params![self.now, rows]),
            Oldest::Devices => db
                .prepare_cached(
                    "DELETE FROM mfa_devices WHERE (user_id, id) IN \
                     (SELECT user_id, id FROM mfa_devices WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)",
                )?
                .execute(params![self.now, rows]),
            Oldest::Population => db
                .prepare_cached(
                    "DELETE FROM risk_population WHERE (policy, kind, value) IN \
                     (SELECT policy, kind, value FROM risk_population WHERE seen_day < ?1 LIMIT ?2)",
                )?
                .execute(params![
                    self.now.div_euclid(DAY_SECONDS) - POPULATION_RETENTION_DAYS,
                    rows
                ]),
        }
    }
}
