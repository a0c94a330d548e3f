//! Junk in any number: the audit trail stays short, and has everything that was accepted.

use super::*;

const FLOOD: usize = 300;

async fn rows(service: &Service, outcome: &str) -> Vec<i64> {
    service.app.store.flush().await.expect("the store is there");
    let sql = "SELECT count FROM events WHERE outcome = ?1 ORDER BY id";
    let db = service.database();
    let mut query = db.prepare(sql).expect("a query");
    let rows = query
        .query_map([outcome], |row| row.get(0))
        .expect("it runs");
    rows.collect::<Result<_, _>>().expect("numbers")
}

async fn service(failures_per_minute: u32) -> Service {
    Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.limits.failures_per_ip_per_minute = failures_per_minute;
            policy
        },
    )
    .await
}

#[tokio::test]
async fn a_flood_of_junk_tokens_is_six_rows_of_the_audit_trail_and_sign_ins_are_all_there() {
    let service = service(1_000_000).await;
    let mut accepted = 0;
    for number in 0..FLOOD {
        let refused = service.signin("junk").await;
        assert_eq!(refused.code(), "token_malformed");
        if number % 10 == 0 {
            let token = service.token_of(&format!("user-{number}"));
            assert_eq!(service.signin(&token).await.code(), "ok");
            accepted += 1;
        }
    }
    assert_eq!(rows(&service, "token_malformed").await, [1; 5]);
    service.app.record_counted(NOW + 60);
    let counted = i64::try_from(FLOOD).expect("it fits") - 5;
    assert_eq!(
        rows(&service, "token_malformed").await,
        [1, 1, 1, 1, 1, counted]
    );
    assert_eq!(rows(&service, "ok").await.len(), accepted);
}

#[tokio::test]
async fn what_is_over_the_rate_limit_is_no_row_of_the_audit_trail() {
    let service = service(3).await;
    let mut codes = Vec::new();
    for _ in 0..10 {
        codes.push(service.signin("junk").await.code().to_owned());
    }
    assert_eq!(codes[3..], ["rate_limited"; 7]);
    service.app.record_counted(i64::MAX);
    assert_eq!(rows(&service, "rate_limited").await, [0; 0]);
    assert_eq!(rows(&service, "token_malformed").await, [1; 3]);
}
