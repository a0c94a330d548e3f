//! One connection for looking at a database while data planes use it.

use super::connect::{ConnectError, Connection, Connector};
use super::url::PostgresUrl;
use crate::decision::Decision;

pub struct Reader(Connection);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    pub async fn connect(url: PostgresUrl) -> Result<Self, ConnectError> {
        Connector::new(url).connect().await.map(Self)
    }

    /// Older than `before`, made at `since` or later, the newest first.
    pub(crate) async fn decisions(
        &self,
        before: i64,
        since: i64,
        kind: &str,
        rows_max: i64,
    ) -> Result<Vec<Decision>, tokio_postgres::Error> {
        let rows = self
            .0
            .client
            .query(
                "SELECT id, at, request_id, outcome, policy, detail FROM events WHERE id < $1 AND at >= $2 AND kind = $3 ORDER BY id DESC LIMIT $4",
                &[&before, &since, &kind, &rows_max],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Decision {
                    id: row.try_get(0)?,
                    at: row.try_get(1)?,
                    request_id: row.try_get(2)?,
                    outcome: row.try_get(3)?,
                    policy: row.try_get(4)?,
                    detail: row.try_get(5)?,
                })
            })
            .collect()
    }
}
