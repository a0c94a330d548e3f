//! Databases of many users, as they would be after years: made by the database itself, since nobody signs a million in.
//!
//! The users who sign in lie among the others, everywhere in the tables, as they would.

use std::path::Path;

use anyhow::Context as _;
use rusqlite::{Connection, params};

/// How the policy and the provider of [`super::service::Setup`] stand in the tables.
const POLICY: &str = "bench/default";
const ISSUER: &str = "https://login.bench.example";

/// Every user has an identity, a history such as the one that is there, and a session. The schema must be there, and nobody
/// must have the database open.
pub fn fill_sqlite(file: &Path, users: usize, now: i64) -> anyhow::Result<()> {
    let mut db = Connection::open(file)?;
    db.pragma_update(None, "synchronous", "OFF")?;
    db.pragma_update(None, "cache_size", -262_144)?;
    let transaction = db.transaction()?;
    let history: Vec<u8> = transaction
        .query_row("SELECT content FROM risk_history LIMIT 1", [], |row| {
            row.get(0)
        })
        .context("somebody has signed in where the policy scores")?;
    for table in ["users", "identities", "risk_history", "sessions", "events"] {
        transaction.execute(&format!("DELETE FROM {table}"), [])?;
    }
    transaction
        .execute_batch("CREATE TEMP TABLE crowd (number INTEGER PRIMARY KEY, id BLOB NOT NULL);")?;
    transaction.execute(
        "WITH RECURSIVE n (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM n WHERE number + 1 < ?1) \
         INSERT INTO crowd SELECT number, randomblob(16) FROM n",
        [i64::try_from(users)?],
    )?;
    // In the order of the keys, or each row would look for its page.
    transaction.execute(
        "INSERT INTO users (id, policy, username, email, email_verified, status, created_at, sessions_valid_from) \
         SELECT id, ?1, 'user-' || number, 'user-' || number || '@bench.example', 1, 'active', ?2, 0 FROM crowd ORDER BY id",
        params![POLICY, now],
    )?;
    transaction.execute(
        "INSERT INTO identities (policy, issuer, subject, user_id) \
         SELECT ?1, ?2, printf('00u%017d', number), id FROM crowd ORDER BY number",
        params![POLICY, ISSUER],
    )?;
    transaction.execute(
        "INSERT INTO risk_history (user_id, version, content) SELECT id, 1, ?1 FROM crowd ORDER BY id",
        params![history],
    )?;
    transaction.execute(
        "INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, carried) \
         SELECT unhex(printf('%012x', ?1 * 1000)) || randomblob(10), id, 'bench/corp', ?1, randomblob(32), ?1 + 86400, ?1 + 86400, '{}' FROM crowd",
        [now],
    )?;
    transaction.commit()?;
    Ok(())
}

/// The same in PostgreSQL, whose schema must be there and empty; `history` as a user's is.
pub async fn fill_postgres(
    db: &tokio_postgres::Client,
    users: usize,
    history: &[u8],
    now: i64,
) -> anyhow::Result<()> {
    let users = i64::try_from(users)?;
    db.batch_execute("CREATE TEMP TABLE crowd (number BIGINT NOT NULL, id UUID NOT NULL)")
        .await?;
    db.execute(
        "INSERT INTO crowd SELECT number, gen_random_uuid() FROM generate_series(0, $1::bigint - 1) AS number",
        &[&users],
    )
    .await?;
    db.execute(
        "INSERT INTO users (id, policy, username, email, email_verified, status, created_at, sessions_valid_from) \
         SELECT id, $1, 'user-' || number, 'user-' || number || '@bench.example', TRUE, 'active', $2, 0 FROM crowd",
        &[&POLICY, &now],
    )
    .await?;
    db.execute(
        "INSERT INTO identities (policy, issuer, subject, user_id) \
         SELECT $1, $2, '00u' || lpad(number::text, 17, '0'), id FROM crowd",
        &[&POLICY, &ISSUER],
    )
    .await?;
    db.execute(
        "INSERT INTO risk_history (user_id, version, content) SELECT id, 1, $1 FROM crowd",
        &[&history],
    )
    .await?;
    sessions(db, users, now + 86_400, now).await?;
    db.batch_execute("VACUUM ANALYZE").await?;
    Ok(())
}

/// Sessions of nobody in particular. Ids begin with the time, as those of the service do.
pub async fn sessions(
    db: &tokio_postgres::Client,
    rows: i64,
    expires_at: i64,
    created_at: i64,
) -> anyhow::Result<()> {
    db.execute(
        "INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, carried) \
         SELECT (lpad(to_hex($1::bigint * 1000), 12, '0') || substr(md5(number::text), 1, 20))::uuid, gen_random_uuid(), 'bench/corp', $1, sha256(number::text::bytea), $2, $2, '{}' \
         FROM generate_series(1, $3::bigint) AS number",
        &[&created_at, &expires_at, &rows],
    )
    .await?;
    Ok(())
}
