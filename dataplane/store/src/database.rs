//! `--database`: which store it names, and opening it.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use super::Store;
use super::postgres::{self, PostgresOptions, PostgresStore, PostgresUrl, UrlError};
use super::refusals::RefusalBounds;
use super::sqlite::{self, SqliteOptions, SqliteStore};

pub mod decisions;

/// The file's name where `--database` names none.
const FILE_NAME: &str = "vestibule.db";

/// Where users and sessions are kept.
#[derive(Debug, Clone)]
pub enum Database {
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("--database takes sqlite:PATH or postgres://user@host/database")]
    Kind,
    #[error("--database-password-file is for postgres://… only")]
    UnusedPasswordFile,
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Sqlite(#[from] sqlite::OpenError),
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
}

/// A store that is ready.
pub struct Opened {
    pub store: Store,
    /// Resolves when nothing can be written any more, and the process should end.
    pub died: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Database {
    /// `data`: the directory of the SQLite file where nothing else is said.
    pub fn parse(
        text: Option<&str>,
        password_file: Option<&Path>,
        data: &Path,
    ) -> Result<Self, DatabaseError> {
        if let Some(text) = text
            && PostgresUrl::is_meant(text)
        {
            return Ok(Self::Postgres(PostgresUrl::parse(text, password_file)?));
        }
        if password_file.is_some() {
            return Err(DatabaseError::UnusedPasswordFile);
        }
        match text.map(|text| text.strip_prefix("sqlite:")) {
            None => Ok(Self::Sqlite(data.join(FILE_NAME))),
            Some(None | Some("")) => Err(DatabaseError::Kind),
            Some(Some(path)) => Ok(Self::Sqlite(PathBuf::from(path))),
        }
    }

    pub async fn open(self) -> Result<Opened, DatabaseError> {
        self.open_with(RefusalBounds::default()).await
    }

    pub async fn open_with(self, refusals: RefusalBounds) -> Result<Opened, DatabaseError> {
        match self {
            Self::Sqlite(path) => {
                let options = SqliteOptions {
                    refusals,
                    ..SqliteOptions::default()
                };
                let store = SqliteStore::open(&path, options)?;
                let died = Box::pin(store.died());
                Ok(Opened {
                    store: store.into(),
                    died,
                })
            }
            Self::Postgres(url) => {
                let options = PostgresOptions {
                    refusals,
                    ..PostgresOptions::default()
                };
                let store = PostgresStore::open(url, options).await?;
                Ok(Opened {
                    store: store.into(),
                    // It has no part that could end alone: a panic ends the process.
                    died: Box::pin(std::future::pending()),
                })
            }
        }
    }

    /// Brings the schema up to date, and says in a sentence what came of it.
    pub async fn migrate(self, wait: Duration) -> Result<String, DatabaseError> {
        match self {
            // Opening does it.
            Self::Sqlite(path) => {
                drop(SqliteStore::open(&path, SqliteOptions::default())?);
                Ok(format!("the schema of {} is up to date", path.display()))
            }
            Self::Postgres(url) => {
                let schema = PostgresStore::migrate(url, wait).await?;
                Ok(match schema.migrated {
                    0 => format!("the schema was up to date: version {}", schema.version),
                    run => format!(
                        "{run} migrations were run: the schema is version {}",
                        schema.version
                    ),
                })
            }
        }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({:?})", self.store)
    }
}
