//! What is deleted while far more is made.

use super::Postgres;
use crate::conformance::rows::*;

/// More than two sweeps look at.
const MANY: i64 = 300_000;

/// Sessions that were made then and were over a minute later.
fn insert(made: i64, rows: i64) -> String {
    format!(
        "INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, carried) \
         SELECT (lpad(to_hex({made}::bigint * 1000), 12, '0') || substr(md5(n::text), 1, 20))::uuid, gen_random_uuid(), '', {made}, \
         '', {made} + 60, {made} + 60, '{{}}' FROM generate_series(1, {rows}) AS n"
    )
}

#[tokio::test]
async fn sessions_of_today_keep_no_sweep_from_those_of_last_week() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    fixture.run(&insert(NOW, MANY)).await;
    assert_eq!(store.run(sweep(NOW, 500)).await, Ok(0));
    fixture.run(&insert(NOW - 7 * DAY, 3)).await;
    assert_eq!(store.run(sweep(NOW, 500)).await, Ok(3));
    assert_eq!(fixture.number("SELECT count(*) FROM sessions").await, MANY);
}

#[tokio::test]
async fn where_no_session_is_left_none_is_looked_for_again() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let mut other = fixture.server.client(&fixture.user).await;
    let emptied = || store.cursors.emptied().to_string();
    let oldest = "SELECT id::text FROM sessions ORDER BY id LIMIT 1";
    fixture.run(&insert(NOW - 9 * DAY, 200)).await;
    fixture.run(&insert(NOW - 7 * DAY, 3)).await;
    fixture
        .run(&format!("UPDATE sessions SET ends_at = {NOW}, refresh_expires_at = {NOW} WHERE created_at > {NOW} - {DAY} * 8"))
        .await;
    let holding = other.transaction().await.expect("a transaction");
    let held = holding
        .query_one(&format!("{oldest} FOR UPDATE"), &[])
        .await;
    let held: String = held.expect("it is locked").get(0);

    // What is locked is left, and found again.
    assert_eq!(store.run(sweep(NOW, 500)).await, Ok(199));
    assert!(emptied() < held);
    holding.rollback().await.expect("it is unlocked");
    assert_eq!(store.run(sweep(NOW, 500)).await, Ok(1));
    assert_eq!(emptied(), held);

    // What lives ends what is empty.
    fixture.run(&insert(NOW - 6 * DAY, 300)).await;
    assert_eq!(store.run(sweep(NOW, 500)).await, Ok(300));
    assert_eq!(emptied(), held);
    assert_eq!(store.run(sweep(NOW + 2 * DAY, 500)).await, Ok(3));
    assert_eq!(fixture.number("SELECT count(*) FROM sessions").await, 0);
    assert!(emptied() > held);
}
