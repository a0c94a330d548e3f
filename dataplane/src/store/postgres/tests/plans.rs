//! How the database carries out what is asked of it: by an index, also when it was planned while a table was small.

use std::fmt::Write as _;

use super::Postgres;
use crate::store::Profile;
use crate::store::conformance::Fixture as _;
use crate::store::conformance::rows::*;
use crate::store::postgres::connect::Connection;
use crate::store::postgres::fault::Fault;
use crate::store::postgres::pool::Ask;
use crate::store::postgres::{sessions, signin, users};

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
        .batch_execute(&format!("PREPARE planned AS {text}"))
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

#[tokio::test]
async fn what_was_planned_for_a_small_table_goes_by_an_index() {
    let fixture = Postgres::empty().await;
    let store = fixture.store();
    let user = created(&*store, "ann", Profile::default()).await;
    signed_in(&*store, user).await;
    fixture.run("ANALYZE").await;
    for text in [
        users::together::KNOWN,
        users::together::KNOWN_WITH_HISTORY,
        sessions::together::ROTATE_MANY,
        signin::together::statement(signin::Parts::new(true, true)),
    ] {
        let plan = fixture.postgres().pool.answer(&Plan(text)).await;
        let plan = plan.expect("it is planned");
        assert!(plan.contains("Index"), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
    // With the database's own settings it would be read from one end to the other.
    let other = fixture.server.client(&fixture.user).await;
    let plan = plan(&other, sessions::together::ROTATE_MANY).await;
    assert!(plan.expect("it is planned").contains("Seq Scan"));
}
