//! What is deleted while far more is made.

use super::Postgres;
use crate::store::Store as _;
use crate::store::conformance::rows::*;

/// More than two sweeps look at.
const MANY: i64 = 300_000;

#[tokio::test]
async fn sessions_of_today_keep_no_sweep_from_those_of_last_week() {
    let fixture = Postgres::empty().await;
    let store = fixture.postgres();
    let insert = |made: i64, rows: i64| {
        format!(
            "INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, carried) \
             SELECT (lpad(to_hex({made}::bigint * 1000), 12, '0') || substr(md5(n::text), 1, 20))::uuid, gen_random_uuid(), '', {made}, \
             '', {made} + 60, {made} + 60, '{{}}' FROM generate_series(1, {rows}) AS n"
        )
    };
    fixture.run(&insert(NOW, MANY)).await;
    assert_eq!(store.sweep(NOW, 500).await, Ok(0));
    fixture.run(&insert(NOW - 7 * DAY, 3)).await;
    assert_eq!(store.sweep(NOW, 500).await, Ok(3));
    assert_eq!(fixture.number("SELECT count(*) FROM sessions").await, MANY);
}
