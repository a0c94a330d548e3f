//! A value on its way into either database.

use std::error::Error;

use bytes::BytesMut;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Number(i64),
    Flag(bool),
    /// Refused where it has the character 0, which PostgreSQL has not: a key never becomes another.
    Text(&'a str),
    /// A text that is only read, such as a detail: PostgreSQL keeps it with U+FFFD in place of the
    /// character 0.
    Readable(&'a str),
    Bytes(&'a [u8]),
    Id(Uuid),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Number(number) => ToSqlOutput::from(*number),
            Self::Flag(flag) => ToSqlOutput::from(*flag),
            Self::Text(text) | Self::Readable(text) => ToSqlOutput::from(*text),
            Self::Bytes(bytes) => ToSqlOutput::from(*bytes),
            Self::Id(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
        })
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) if *kind == Type::INT4 => {
                i32::try_from(*number)?.to_sql(kind, out)
            }
            Self::Number(number) => number.to_sql(kind, out),
            Self::Flag(flag) => flag.to_sql(kind, out),
            Self::Readable(text) if text.contains('\0') => {
                text.replace('\0', "\u{FFFD}").to_sql(kind, out)
            }
            Self::Text(text) | Self::Readable(text) => text.to_sql(kind, out),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
            Self::Id(id) => id.to_sql(kind, out),
        }
    }

    /// Each is made for the type of its column.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Values as PostgreSQL takes them.
pub(crate) fn parameters<V: ToSql + Sync>(values: &[V]) -> Vec<&(dyn ToSql + Sync)> {
    let values = values.iter();
    values.map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// An array for each column of the rows.
pub(crate) fn arrays<'a, R: AsRef<[Value<'a>]>>(rows: &[R]) -> Vec<Vec<Value<'a>>> {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let mut arrays: Vec<Vec<Value<'a>>> = Vec::with_capacity(columns);
    arrays.resize_with(columns, || Vec::with_capacity(rows.len()));
    for row in rows {
        for (array, value) in arrays.iter_mut().zip(row.as_ref()) {
            array.push(*value);
        }
    }
    arrays
}
