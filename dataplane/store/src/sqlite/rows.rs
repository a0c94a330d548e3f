//! Rows as SQLite answers with them.

use rusqlite::Row;
use rusqlite::types::Type;
use uuid::Uuid;

use crate::statements::cells::{Cell, Cells};

impl Cells for Row<'_> {
    type Error = rusqlite::Error;

    fn get<T: Cell>(&self, column: usize) -> Result<T, Self::Error> {
        Row::get(self, column)
    }

    fn id(&self, column: usize) -> Result<Uuid, Self::Error> {
        Row::get(self, column).map(Uuid::from_bytes)
    }

    fn bytes<T>(
        &self,
        column: usize,
        table: &'static str,
        read: impl FnOnce(Option<&[u8]>) -> Option<T>,
    ) -> Result<T, Self::Error> {
        read(self.get_ref(column)?.as_bytes_or_null()?)
            .ok_or_else(|| rusqlite::Error::InvalidColumnType(column, table.to_owned(), Type::Blob))
    }

    fn text<T>(
        &self,
        column: usize,
        table: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Self::Error> {
        read(self.get_ref(column)?.as_str()?)
            .ok_or_else(|| rusqlite::Error::InvalidColumnType(column, table.to_owned(), Type::Text))
    }
}
