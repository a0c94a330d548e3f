//! Rows as PostgreSQL answers with them.

use tokio_postgres::Row;
use uuid::Uuid;

use super::fault::Fault;
use crate::statements::cells::{Cell, Cells};

impl Cells for Row {
    type Error = Fault;

    fn get<T: Cell>(&self, column: usize) -> Result<T, Self::Error> {
        Ok(self.try_get(column)?)
    }

    fn id(&self, column: usize) -> Result<Uuid, Self::Error> {
        Ok(self.try_get(column)?)
    }

    fn bytes<T>(
        &self,
        column: usize,
        table: &'static str,
        read: impl FnOnce(Option<&[u8]>) -> Option<T>,
    ) -> Result<T, Self::Error> {
        read(self.try_get(column)?).ok_or(Fault::Unreadable(table))
    }

    fn text<T>(
        &self,
        column: usize,
        table: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Self::Error> {
        read(self.try_get(column)?).ok_or(Fault::Unreadable(table))
    }
}
