//! How the database carries out what is asked of it: by an index, also when it was planned while a table was small.

use std::fmt::Write as _;

use super::Postgres;
use crate::postgres::connect::{Connection, Connector, PLANNED_FOR};
use crate::postgres::fault::Fault;
use crate::postgres::pool::Ask;
use crate::postgres::{PostgresUrl, sessions, signin, users};

/// The plan of a statement, on a connection of the store's.
struct Plan(&'static str);

impl Ask for Plan {
    type Answer = String;

    async fn ask(&self, db: &mut Connection) -> Result<String, Fault> {
        plan(&db.client, self.0).await.map_err(Fault::from)
    }
}

async fn plan(
    client: &tokio_postgres::Client,
    text: &str,
) -> Result<String, tokio_postgres::Error> {
    let parameters = (1..)
        .take_while(|number| text.contains(&format!("${number}")))
        .count();
    let nothing = vec!["NULL"; parameters].join(", ");
    client
        .batch_execute(&format!(
            "SET plan_cache_mode = force_generic_plan; PREPARE planned AS {text}"
        ))
        .await?;
    let mut plan = String::new();
    for row in client
        .simple_query(&format!("EXPLAIN EXECUTE planned ({nothing})"))
        .await?
    {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = row {
            let _written = writeln!(plan, "{}", row.get(0).unwrap_or_default());
        }
    }
    client.batch_execute("DEALLOCATE planned").await?;
    Ok(plan)
}

/// A few hundred users, with a session each.
const PEOPLE: &str = "\
    INSERT INTO users (id, policy, email_verified, status, created_at, sessions_valid_from) \
    SELECT md5(n::text)::uuid, '', false, 'active', 0, 0 FROM generate_series(1, 500) AS n; \
    INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, carried) \
    SELECT md5('s' || n)::uuid, md5(n::text)::uuid, '', 0, '', 0, 0, '' FROM generate_series(1, 500) AS n; \
    INSERT INTO identities (policy, issuer, subject, user_id) \
    SELECT '', '', n::text, md5(n::text)::uuid FROM generate_series(1, 500) AS n; ANALYZE";

#[tokio::test]
async fn what_was_planned_for_a_small_table_goes_by_an_index() {
    let fixture = Postgres::empty().await;
    fixture.run(PEOPLE).await;
    for (text, by) in [
        (users::batch::KNOWN, "(policy = a.policy)"),
        (users::batch::KNOWN_WITH_HISTORY, "(policy = a.policy)"),
        (sessions::batch::ROTATE_MANY.postgres(), "(id = ANY ($1))"),
        (
            signin::text::many(signin::text::Parts::new(true, true)),
            "(id = ANY ($1))",
        ),
    ] {
        let plan = fixture.postgres().pool.answer(&Plan(text)).await;
        let plan = plan.expect("it is planned");
        assert!(plan.contains("Index Cond") && plan.contains(by), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
    // With the database's own settings it would be read from one end to the other.
    let other = fixture.server.client(&fixture.user).await;
    let plan = plan(&other, sessions::batch::ROTATE_MANY.postgres()).await;
    assert!(plan.expect("it is planned").contains("Seq Scan"));
}

#[tokio::test]
async fn a_statement_is_prepared_anew_after_a_while() {
    const TEXT: &str = "SELECT 1 FROM users WHERE id = $1";
    let fixture = Postgres::empty().await;
    let connector = Connector::new(PostgresUrl::parse(&fixture.url(), None).expect("a URL"));
    let db = connector.connect().await.expect("the server is there");
    let prepare = async || drop(db.prepared(TEXT).await.expect("it is prepared"));
    let prepared = async || {
        let known = "SELECT prepare_time::text FROM pg_prepared_statements WHERE statement = $1";
        let rows = db.client.query(known, &[&TEXT]).await;
        let [row] = rows
            .expect("it can be asked")
            .try_into()
            .expect("one of it");
        row.get::<_, String>(0)
    };
    prepare().await;
    let first = prepared().await;
    prepare().await;
    assert_eq!(prepared().await, first);
    tokio::time::pause();
    tokio::time::advance(PLANNED_FOR).await;
    tokio::time::resume();
    prepare().await;
    assert_ne!(prepared().await, first);
}
