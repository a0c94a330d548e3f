//! A row as either database answers with it.

use uuid::Uuid;

/// What both databases read alike.
pub(crate) trait Cell:
    rusqlite::types::FromSql + for<'a> tokio_postgres::types::FromSql<'a>
{
}

impl<T: rusqlite::types::FromSql + for<'a> tokio_postgres::types::FromSql<'a>> Cell for T {}

/// The cells of a row, by the number of their column. What no version wrote is an error that names the table.
pub(crate) trait Cells {
    type Error;

    fn get<T: Cell>(&self, column: usize) -> Result<T, Self::Error>;

    fn id(&self, column: usize) -> Result<Uuid, Self::Error>;

    fn bytes<T>(
        &self,
        column: usize,
        table: &'static str,
        read: impl FnOnce(Option<&[u8]>) -> Option<T>,
    ) -> Result<T, Self::Error>;

    fn text<T>(
        &self,
        column: usize,
        table: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Self::Error>;
}
