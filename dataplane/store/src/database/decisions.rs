//! Decisions of the past, read from the audit trail while a data plane keeps running: nothing is
//! locked, nothing is written.

use rusqlite::OpenFlags;

use super::Database;
use crate::EventKind;
pub use crate::decision::Decision;
use crate::postgres::reading::Reader;

/// Events of one page.
const PAGE: i64 = 1000;

/// The newest first.
#[derive(Debug)]
pub struct Decisions {
    source: Source,
    /// What is read next is older than this.
    before: i64,
    since: i64,
}

#[derive(Debug)]
enum Source {
    Sqlite(rusqlite::Connection),
    Postgres(Reader),
}

impl Decisions {
    /// Those that were made at `since` or later.
    pub async fn open(database: Database, since: i64) -> anyhow::Result<Self> {
        let source = match database {
            Database::Sqlite(path) => {
                let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let db = rusqlite::Connection::open_with_flags(&path, access)
                    .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
                Source::Sqlite(db)
            }
            Database::Postgres(url) => Source::Postgres(Reader::connect(url).await?),
        };
        Ok(Self {
            source,
            before: i64::MAX,
            since,
        })
    }

    /// The next ones; none when there are no more.
    pub async fn page(&mut self) -> anyhow::Result<Vec<Decision>> {
        let kind = EventKind::Signin.as_str();
        let page = match &self.source {
            Source::Sqlite(db) => sqlite_page(db, self.before, self.since, kind)?,
            Source::Postgres(reader) => {
                reader
                    .decisions(self.before, self.since, kind, PAGE)
                    .await?
            }
        };
        if let Some(last) = page.last() {
            self.before = last.id;
        }
        Ok(page)
    }
}

fn sqlite_page(
    db: &rusqlite::Connection,
    before: i64,
    since: i64,
    kind: &str,
) -> rusqlite::Result<Vec<Decision>> {
    let mut statement = db.prepare_cached(
        "SELECT id, at, request_id, outcome, policy, detail FROM events WHERE id < ?1 AND at >= ?2 AND kind = ?3 ORDER BY id DESC LIMIT ?4",
    )?;
    let rows = statement.query_map(rusqlite::params![before, since, kind, PAGE], |row| {
        Ok(Decision {
            id: row.get(0)?,
            at: row.get(1)?,
            request_id: row.get(2)?,
            outcome: row.get(3)?,
            policy: row.get(4)?,
            detail: row.get(5)?,
        })
    })?;
    rows.collect()
}
