//! One connection of its own for filling or maintaining a database, without the limits of serving.

use std::time::Duration;

use tokio_postgres::Client;

use super::connect::{Connection, Connector};
use super::fault::describe;
use super::{OpenError, PostgresUrl, SchemaError, connect_patiently, schema};

/// How long a server that cannot be reached is tried.
const START_WAIT: Duration = Duration::from_secs(30);
/// No caller waits for an answer here.
const SETTINGS: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '10s'";

pub(crate) struct Private {
    connection: Connection,
    user: String,
}

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Private")
    }
}

impl Private {
    /// Brings the schema up to date.
    pub(crate) async fn open(url: PostgresUrl) -> Result<Self, OpenError> {
        let connector = Connector::new(url);
        let mut connection = connect_patiently(&connector, START_WAIT).await?;
        let user = &connector.url().user;
        schema::bring_up_to_date(&mut connection, user).await?;
        let set = connection.client.batch_execute(SETTINGS).await;
        set.map_err(|error| SchemaError::Database(describe(&error)))?;
        Ok(Self {
            user: user.clone(),
            connection,
        })
    }

    /// Whether it can be written to, while nothing is in it yet.
    pub(crate) async fn check_writable(&self) -> Result<(), OpenError> {
        Ok(schema::check_writable(&self.connection, &self.user).await?)
    }

    pub(crate) fn client(&mut self) -> &mut Client {
        &mut self.connection.client
    }

    /// An error of the database, in words that hold no row.
    pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
        describe(error)
    }
}
