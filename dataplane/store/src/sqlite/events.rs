//! The audit trail.

use rusqlite::{Connection, params_from_iter};

use super::job::Write;
use crate::Event;
use crate::statements::events::{INSERT, row};

pub(super) fn insert_event(db: &Connection, event: &Event) -> rusqlite::Result<()> {
    db.prepare_cached(INSERT.sqlite())?
        .execute(params_from_iter(row(event)))?;
    Ok(())
}

impl Write for Event {
    type Answer = ();

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        insert_event(db, self)
    }
}
