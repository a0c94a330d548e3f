//! Bringing the schema up to date, with any number of replicas starting at once.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::PROGRESS_TABLE;
use super::connect::Connection;
use super::fault::describe;

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// "VEST": one number among the advisory locks of a database.
const LOCK: i64 = 0x5645_5354;
/// How long a replica waits for another's migrations, as the server counts, and how long one statement of them may take.
const MIGRATION_SETTINGS: &str = "SET lock_timeout = '60s'; SET statement_timeout = '10min'; SET idle_in_transaction_session_timeout = 0";
const SERVING_SETTINGS: &str = "SET lock_timeout = '1000ms'; SET statement_timeout = '1500ms'; SET idle_in_transaction_session_timeout = '5s'";
/// On a compatible server whose advisory locks do nothing, replicas that start at once fail on each other's rows: all but one
/// look again.
const ATTEMPTS_MAX: usize = 5;
const ATTEMPT_WAIT: Duration = Duration::from_millis(300);

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "the database was written by a newer version (schema {found}, this version knows {known}): upgrade, or restore a backup"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "{user} may not {what} ({reason}): let `vestibule migrate` run once as the owner, and grant {user} SELECT, INSERT, UPDATE and DELETE on the tables"
    )]
    NotAllowed {
        user: String,
        what: &'static str,
        reason: String,
    },
    #[error("a copy into the database is not finished: run `vestibule copy` again, or empty it")]
    Unfinished,
    #[error("the database cannot be brought up to date: {0}")]
    Migration(String),
    #[error("{0}")]
    Database(String),
}

/// The schema's version now, and how many migrations were run for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    pub version: i64,
    pub migrated: usize,
}

/// Runs what is missing. Where nothing is missing, no right to change the schema is needed.
pub(super) async fn bring_up_to_date(
    connection: &mut Connection,
    user: &str,
) -> Result<Schema, SchemaError> {
    let client = &mut connection.client;
    let known = known_version();
    if is_current(client, known).await? {
        return Ok(Schema {
            version: known,
            migrated: 0,
        });
    }
    let database = |error: tokio_postgres::Error| SchemaError::Database(describe(&error));
    client
        .batch_execute(MIGRATION_SETTINGS)
        .await
        .map_err(database)?;
    // Held by the session: a replica that dies lets go of it.
    client
        .batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))
        .await
        .map_err(database)?;
    let migrated = migrate(client, known, user).await;
    client
        .batch_execute(&format!(
            "SELECT pg_advisory_unlock({LOCK}); {SERVING_SETTINGS}"
        ))
        .await
        .map_err(database)?;
    Ok(Schema {
        version: known,
        migrated: migrated?,
    })
}

/// Whether this user may write, seen by writing.
pub(super) async fn check_writable(connection: &Connection, user: &str) -> Result<(), SchemaError> {
    // One of each right on one table, undone; and whether events can be numbered.
    let asked = connection
        .client
        .batch_execute(
            "BEGIN; INSERT INTO replay_guard (expires_at, digest) VALUES (0, ''); UPDATE replay_guard SET digest = digest \
             WHERE expires_at = -1; DELETE FROM sessions WHERE id IS NULL; UPDATE risk_history SET version = version WHERE user_id IS NULL; \
             UPDATE challenges SET tries = tries WHERE user_id IS NULL; DELETE FROM mfa_factors WHERE user_id IS NULL; \
             INSERT INTO risk_key (id, key) VALUES (1, '') ON CONFLICT DO NOTHING; INSERT INTO events (at, kind, outcome, policy, \
             provider, request_id, network, detail) VALUES (0, '', '', '', '', '', '', ''); ROLLBACK",
        )
        .await;
    let Err(error) = asked else { return Ok(()) };
    // The failed transaction stays open.
    let _rolled_back = connection.client.batch_execute("ROLLBACK").await;
    Err(refused(&error, user, "write to its tables"))
}

/// Whether all is there that was to be copied into it.
pub(super) async fn check_whole(connection: &Connection) -> Result<(), SchemaError> {
    let asked = connection
        .client
        .query_one("SELECT to_regclass($1) IS NULL", &[&PROGRESS_TABLE]);
    let whole = asked.await.and_then(|row| row.try_get(0));
    match whole.map_err(|error| SchemaError::Database(describe(&error)))? {
        true => Ok(()),
        false => Err(SchemaError::Unfinished),
    }
}

async fn migrate(client: &mut Client, known: i64, user: &str) -> Result<usize, SchemaError> {
    let mut attempt = 1;
    loop {
        // Another replica may have been first.
        if is_current(client, known).await? {
            return Ok(0);
        }
        // Each in a transaction of its own: all of them in one would hold the locks of every table that they change, and sign-ins
        // take these in another order.
        let runner = migrations::migrations::runner();
        let error = match runner.run_async(client).await {
            Ok(report) => return Ok(report.applied_migrations().len()),
            Err(error) => error,
        };
        let cause = match error.kind() {
            refinery::error::Kind::Connection(_, source) => {
                source.downcast_ref::<tokio_postgres::Error>()
            }
            _ => None,
        };
        let Some(cause) = cause else {
            return Err(SchemaError::Migration(error.to_string()));
        };
        if cause.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return Err(refused(cause, user, "create its tables"));
        }
        if attempt >= ATTEMPTS_MAX {
            return Err(SchemaError::Migration(describe(cause)));
        }
        attempt += 1;
        tokio::time::sleep(ATTEMPT_WAIT).await;
    }
}

/// Runs the migrations up to this one, as the version did that had no more.
#[cfg(test)]
pub(super) async fn bring_to(client: &mut Client, version: i64) {
    let target = refinery::Target::Version(version.try_into().expect("a version"));
    let runner = migrations::migrations::runner().set_target(target);
    runner.run_async(client).await.expect("they run");
}

async fn is_current(client: &Client, known: i64) -> Result<bool, SchemaError> {
    match version(client).await? {
        Some(found) if found > known => Err(SchemaError::Newer { found, known }),
        Some(found) => Ok(found == known),
        None => Ok(false),
    }
}

/// `None` for an empty database.
async fn version(client: &Client) -> Result<Option<i64>, SchemaError> {
    let asked = client
        .simple_query("SELECT max(version) FROM refinery_schema_history")
        .await;
    let answers = match asked {
        Ok(answers) => answers,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        Err(error) => return Err(SchemaError::Database(describe(&error))),
    };
    let version = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(version.and_then(|version| version.parse().ok()))
}

fn known_version() -> i64 {
    let runner = migrations::migrations::runner();
    let versions = runner.get_migrations().iter();
    versions
        .map(|migration| i64::from(migration.version()))
        .max()
        .unwrap_or(0)
}

fn refused(error: &tokio_postgres::Error, user: &str, what: &'static str) -> SchemaError {
    match error.as_db_error() {
        Some(database_error) if *database_error.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
            SchemaError::NotAllowed {
                user: user.to_owned(),
                what,
                reason: database_error.message().to_owned(),
            }
        }
        _ => SchemaError::Database(describe(error)),
    }
}
