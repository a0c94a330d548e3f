//! The audit trail.

use rusqlite::{Connection, params};

use super::job::Write;
use crate::{EVENT_DETAIL_BYTES_MAX, Event};

pub(super) fn insert_event(db: &Connection, event: &Event) -> rusqlite::Result<()> {
    let Event {
        at,
        kind,
        outcome,
        class: _,
        policy,
        provider,
        user_id,
        session_id,
        request_id,
        network,
        detail,
        count,
    } = event;
    let detail = &detail[..detail.floor_char_boundary(EVENT_DETAIL_BYTES_MAX)];
    db.prepare_cached(
        "INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail, \
         count, refusal_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        at,
        kind.as_str(),
        outcome,
        policy,
        provider,
        user_id.as_ref().map(|id| id.as_bytes()),
        session_id.as_ref().map(|id| id.as_bytes()),
        request_id,
        network,
        detail,
        count,
        event.refusal_bytes()
    ])?;
    Ok(())
}

impl Write for Event {
    type Answer = ();

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        insert_event(db, self)
    }
}
