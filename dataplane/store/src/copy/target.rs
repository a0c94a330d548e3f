//! The PostgreSQL database that is filled.

use std::collections::HashMap;
use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::source::Field;
use super::{CopyError, Counted};
use crate::postgres::{PROGRESS_TABLE, PostgresUrl, Private};

/// Filled by every start with a row of its own: the source's take its place.
const MADE_AT_START: [&str; 2] = ["probe", "risk_key"];
/// Distinct from the lock of the migrations.
const LOCK: i64 = 0x5645_5355;

pub(super) struct Target(Private);

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Type,
}

impl Target {
    pub(super) async fn open(url: PostgresUrl) -> Result<Self, CopyError> {
        let mut private = Private::open(url).await?;
        let locked = private
            .client()
            .query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK])
            .await
            .map_err(database)?;
        if !locked.try_get::<_, bool>(0).map_err(database)? {
            return Err(CopyError::Running);
        }
        Ok(Self(private))
    }

    /// How far each table has come; of an empty database, nothing.
    pub(super) async fn begin(
        &mut self,
        tables: &[String],
        fingerprint: &str,
    ) -> Result<HashMap<String, u64>, CopyError> {
        if self.is_begun().await? {
            return self.progress(fingerprint).await;
        }
        for table in tables {
            if !MADE_AT_START.contains(&table.as_str()) && self.count(table).await? > 0 {
                return Err(CopyError::TargetInUse(table.clone()));
            }
        }
        self.0.check_writable().await?;
        let transaction = self.0.client().transaction().await.map_err(database)?;
        let emptied = MADE_AT_START
            .map(|table| format!("DELETE FROM {table};"))
            .concat();
        transaction
            .batch_execute(&format!(
                "{emptied} CREATE TABLE {PROGRESS_TABLE} (table_name TEXT NOT NULL PRIMARY KEY, rows BIGINT NOT NULL, source TEXT NOT NULL)"
            ))
            .await
            .map_err(database)?;
        for table in tables {
            transaction
                .execute(
                    &format!(
                        "INSERT INTO {PROGRESS_TABLE} (table_name, rows, source) VALUES ($1, 0, $2)"
                    ),
                    &[table, &fingerprint],
                )
                .await
                .map_err(database)?;
        }
        transaction.commit().await.map_err(database)?;
        Ok(HashMap::new())
    }

    async fn is_begun(&mut self) -> Result<bool, CopyError> {
        let found = self
            .0
            .client()
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&PROGRESS_TABLE])
            .await
            .map_err(database)?;
        found.try_get(0).map_err(database)
    }

    async fn progress(&mut self, fingerprint: &str) -> Result<HashMap<String, u64>, CopyError> {
        let rows = self
            .0
            .client()
            .query(
                &format!("SELECT table_name, rows, source FROM {PROGRESS_TABLE}"),
                &[],
            )
            .await
            .map_err(database)?;
        let mut progress = HashMap::with_capacity(rows.len());
        for row in rows {
            let (table, done): (String, i64) = (
                row.try_get(0).map_err(database)?,
                row.try_get(1).map_err(database)?,
            );
            let source: String = row.try_get(2).map_err(database)?;
            if source != fingerprint {
                return Err(CopyError::OtherSource);
            }
            progress.insert(table, u64::try_from(done).unwrap_or(0));
        }
        Ok(progress)
    }

    /// The table's columns, as the database describes them.
    pub(super) async fn shape(&mut self, table: &str) -> Result<Vec<Column>, CopyError> {
        let described = self
            .0
            .client()
            .prepare(&format!("SELECT * FROM {table} LIMIT 0"))
            .await
            .map_err(|_| CopyError::Mismatch(table.to_owned()))?;
        let columns = described.columns().iter();
        Ok(columns
            .map(|column| Column {
                name: column.name().to_owned(),
                kind: column.type_().clone(),
            })
            .collect())
    }

    /// The rows, and how far the table has come with them.
    pub(super) async fn write(
        &mut self,
        table: &str,
        shape: &[Column],
        batch: &[Vec<Field>],
        done: u64,
    ) -> Result<(), CopyError> {
        let failed = |error: tokio_postgres::Error| CopyError::Row {
            table: table.to_owned(),
            reason: Private::describe(&error),
        };
        let transaction = self.0.client().transaction().await.map_err(failed)?;
        let names: Vec<&str> = shape.iter().map(|column| column.name.as_str()).collect();
        let kinds: Vec<Type> = shape.iter().map(|column| column.kind.clone()).collect();
        let names = names.join(", ");
        let sink = transaction
            .copy_in(&format!("COPY {table} ({names}) FROM STDIN BINARY"))
            .await
            .map_err(failed)?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &kinds));
        for row in batch {
            writer
                .as_mut()
                .write_raw(row.iter())
                .await
                .map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;
        let done = i64::try_from(done).unwrap_or(i64::MAX);
        transaction
            .execute(
                &format!("UPDATE {PROGRESS_TABLE} SET rows = $2 WHERE table_name = $1"),
                &[&table, &done],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    pub(super) async fn count(&mut self, table: &str) -> Result<u64, CopyError> {
        let count = self
            .0
            .client()
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await
            .map_err(|_| CopyError::Mismatch(table.to_owned()))?;
        let count: i64 = count.try_get(0).map_err(database)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Numbers go on after those that were copied, and data planes may serve it.
    pub(super) async fn finish(&mut self, tables: &[Counted]) -> Result<(), CopyError> {
        for Counted { table, .. } in tables {
            for Column { name, kind } in self.shape(table).await? {
                if kind != Type::INT8 {
                    continue;
                }
                self.0
                    .client()
                    .execute(
                        &format!(
                            "SELECT setval(sequence, (SELECT max({name}) FROM {table})) FROM pg_get_serial_sequence($1, $2) AS sequence \
                             WHERE sequence IS NOT NULL AND EXISTS (SELECT 1 FROM {table})"
                        ),
                        &[table, &name],
                    )
                    .await
                    .map_err(database)?;
            }
        }
        self.0
            .client()
            .batch_execute(&format!("DROP TABLE {PROGRESS_TABLE}; ANALYZE"))
            .await
            .map_err(database)
    }
}

fn database(error: tokio_postgres::Error) -> CopyError {
    CopyError::Database(Private::describe(&error))
}

impl ToSql for Field {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Uuid(id) => id.to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
            Self::Long(number) => number.to_sql(kind, out),
            Self::Int(number) => number.to_sql(kind, out),
            Self::Short(number) => number.to_sql(kind, out),
            Self::Flag(flag) => flag.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Each was made for the type of its column.
        true
    }

    to_sql_checked!();
}
