//! The SQLite file that is read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Rows, Statement};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::CopyError;
use super::target::Column;
use data_encoding::HEXLOWER;

use crate::digest::sha256;
use crate::sqlite::Held;

pub(super) struct Source {
    path: PathBuf,
    db: Connection,
    /// No other process writes meanwhile.
    _held: Held,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, CopyError> {
        if !path.is_file() {
            return Err(CopyError::NoSource(path.to_owned()));
        }
        let held = Held::take(path)?;
        let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read = |source| CopyError::Read {
            path: path.to_owned(),
            source,
        };
        let db = Connection::open_with_flags(path, access).map_err(read)?;
        let (found, known) = Held::check_schema(&db, path)?;
        if found < known {
            return Err(CopyError::OldSource {
                path: path.to_owned(),
                found,
                known,
            });
        }
        // One look at all of it, whatever others do to the file.
        db.execute_batch("BEGIN").map_err(read)?;
        Ok(Self {
            path: path.to_owned(),
            db,
            _held: held,
        })
    }

    /// Whatever the schema has but SQLite's own and the list of migrations.
    pub(super) fn tables(&self) -> Result<Vec<String>, CopyError> {
        self.read(|db| {
            db.prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
                 AND name <> 'refinery_schema_history' ORDER BY name",
            )?
            .query_map([], |row| row.get(0))?
            .collect()
        })
    }

    pub(super) fn count(&self, table: &str) -> Result<u64, CopyError> {
        let count: i64 = self.read(|db| {
            db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
        })?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Which store it is, and how far it has been written: each sign-in and refresh leaves an event, and each look at a data
    /// plane's readiness counts.
    pub(super) fn fingerprint(&self) -> Result<String, CopyError> {
        let of = self.read(|db| {
            db.query_row(
                "SELECT hex((SELECT key FROM risk_key)) || ' ' || (SELECT times FROM probe) || ' ' || \
                 (SELECT coalesce(max(id), 0) FROM events) || ' ' || (SELECT count(*) FROM users) || ' ' || \
                 (SELECT count(*) FROM sessions)",
                [],
                |row| row.get::<_, String>(0),
            )
        })?;
        Ok(HEXLOWER.encode(&sha256(of.as_bytes())))
    }

    /// Whether the table has all that the target has, and nothing else.
    pub(super) fn check_columns(&self, table: &str, wanted: &Vec<&str>) -> Result<(), CopyError> {
        let found: Vec<String> = self.read(|db| {
            db.prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        let found: HashSet<&str> = found.iter().map(String::as_str).collect();
        let wanted: HashSet<&str> = wanted.iter().copied().collect();
        match found.symmetric_difference(&wanted).next() {
            None => Ok(()),
            Some(column) => Err(CopyError::Mismatch(format!("{table}.{column}"))),
        }
    }

    /// In the order of its primary key, which is the same each time.
    pub(super) fn rows(&self, table: &str, columns: &Vec<&str>) -> Result<Reading<'_>, CopyError> {
        let key: Vec<String> = self.read(|db| {
            db.prepare(&format!(
                "SELECT name FROM pragma_table_info('{table}') WHERE pk > 0 ORDER BY pk"
            ))?
            .query_map([], |row| row.get(0))?
            .collect()
        })?;
        let (columns, key) = (columns.join(", "), key.join(", "));
        let sql = format!("SELECT {columns} FROM {table} ORDER BY {key} LIMIT -1 OFFSET ?1");
        Ok(Reading {
            table: table.to_owned(),
            path: &self.path,
            statement: self.read(|db| db.prepare(&sql))?,
        })
    }

    fn read<'s, T>(
        &'s self,
        ask: impl FnOnce(&'s Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CopyError> {
        ask(&self.db).map_err(|source| CopyError::Read {
            path: self.path.clone(),
            source,
        })
    }
}

/// One table, to be read once.
pub(super) struct Reading<'s> {
    table: String,
    path: &'s Path,
    statement: Statement<'s>,
}

impl Reading<'_> {
    pub(super) fn from(&mut self, offset: u64) -> Result<Batches<'_>, CopyError> {
        let path = self.path;
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let rows = self.statement.query([offset]);
        Ok(Batches {
            table: &self.table,
            path,
            rows: rows.map_err(|source| CopyError::Read {
                path: path.to_owned(),
                source,
            })?,
        })
    }
}

pub(super) struct Batches<'r> {
    table: &'r str,
    path: &'r Path,
    rows: Rows<'r>,
}

/// A value as the target takes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Null,
    Uuid(Uuid),
    Text(String),
    Bytes(Vec<u8>),
    Long(i64),
    Int(i32),
    Short(i16),
    Flag(bool),
}

impl Batches<'_> {
    /// The next rows, at most so many; none when there are no more.
    pub(super) fn next(
        &mut self,
        shape: &[Column],
        rows_max: usize,
    ) -> Result<Vec<Vec<Field>>, CopyError> {
        let mut batch = Vec::new();
        while batch.len() < rows_max {
            let row = self.rows.next().map_err(|source| CopyError::Read {
                path: self.path.to_owned(),
                source,
            })?;
            let Some(row) = row else { break };
            let mut fields = Vec::with_capacity(shape.len());
            for (index, column) in shape.iter().enumerate() {
                let value = row.get_ref(index).map_err(|source| CopyError::Read {
                    path: self.path.to_owned(),
                    source,
                })?;
                let field = field(value, &column.kind).ok_or_else(|| CopyError::Row {
                    table: self.table.to_owned(),
                    reason: format!("{} holds what no {} can hold", column.name, column.kind),
                })?;
                fields.push(field);
            }
            batch.push(fields);
        }
        Ok(batch)
    }
}

fn field(value: ValueRef<'_>, kind: &Type) -> Option<Field> {
    Some(match (value, kind) {
        (ValueRef::Null, _) => Field::Null,
        (ValueRef::Blob(bytes), &Type::UUID) => Field::Uuid(Uuid::from_slice(bytes).ok()?),
        (ValueRef::Blob(bytes), &Type::BYTEA) => Field::Bytes(bytes.to_vec()),
        // PostgreSQL has no character 0: as the data plane writes it there.
        (ValueRef::Text(text), &Type::TEXT) => {
            Field::Text(std::str::from_utf8(text).ok()?.replace('\0', "\u{FFFD}"))
        }
        (ValueRef::Integer(number), &Type::INT8) => Field::Long(number),
        (ValueRef::Integer(number), &Type::INT4) => Field::Int(number.try_into().ok()?),
        (ValueRef::Integer(number), &Type::INT2) => Field::Short(number.try_into().ok()?),
        (ValueRef::Integer(number @ (0 | 1)), &Type::BOOL) => Field::Flag(number == 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_its_column_holds_or_nothing() {
        let id = [7; 16];
        for (value, kind, expected) in [
            (ValueRef::Null, Type::TEXT, Some(Field::Null)),
            (
                ValueRef::Blob(&id),
                Type::UUID,
                Some(Field::Uuid(Uuid::from_bytes(id))),
            ),
            (ValueRef::Blob(&id[..15]), Type::UUID, None),
            (ValueRef::Blob(&id), Type::TEXT, None),
            (
                ValueRef::Text(b"a\0b"),
                Type::TEXT,
                Some(Field::Text("a\u{FFFD}b".to_owned())),
            ),
            (ValueRef::Text(b"\xff"), Type::TEXT, None),
            (
                ValueRef::Integer(i64::MAX),
                Type::INT8,
                Some(Field::Long(i64::MAX)),
            ),
            (ValueRef::Integer(i64::MAX), Type::INT4, None),
            (ValueRef::Integer(40_000), Type::INT2, None),
            (ValueRef::Integer(1), Type::BOOL, Some(Field::Flag(true))),
            (ValueRef::Integer(2), Type::BOOL, None),
            (ValueRef::Real(1.0), Type::INT8, None),
        ] {
            assert_eq!(field(value, &kind), expected, "{value:?} {kind}");
        }
    }
}
