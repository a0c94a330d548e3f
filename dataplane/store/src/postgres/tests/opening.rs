//! What a start says of a database that it cannot use, and whom it lets change the schema.

use std::time::Duration;

use tempfile::NamedTempFile;

use super::server::Server;
use super::{Postgres, assert_says, created, failure, opened, until_ok};
use crate::Probe;
use crate::postgres::{PostgresOptions, PostgresStore, PostgresUrl};

const PASSWORD: &str = "s3cret";

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let server = Server::shared();
    let sentence = failure(&server.url_of("postgres", PASSWORD)).await;
    assert_says(
        &sentence,
        &["refuses the password of postgres", "127.0.0.1"],
    );
    assert!(!sentence.contains(PASSWORD), "{sentence}");
}

#[tokio::test]
async fn a_missing_password_is_told_with_the_ways_to_give_it() {
    let server = Server::shared();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    assert_says(&failure(&url).await, &["--database-password-file"]);
}

#[tokio::test]
async fn an_unknown_user_is_told() {
    let server = Server::shared();
    let sentence = failure(&server.url_of("nobody", PASSWORD)).await;
    assert_says(&sentence, &["nobody"]);
    assert!(!sentence.contains(PASSWORD), "{sentence}");
}

#[tokio::test]
async fn a_missing_database_is_told() {
    let server = Server::shared();
    let url = server.url("postgres");
    let (server, _) = url.rsplit_once('/').expect("a path");
    let sentence = failure(&format!("{server}/nowhere")).await;
    assert_says(&sentence, &["there is no database nowhere"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let sentence = failure(&format!("postgres://app:{PASSWORD}@127.0.0.1:{port}/v")).await;
    assert_says(
        &sentence,
        &["cannot be reached", "refused", &port.to_string()],
    );
    assert!(!sentence.contains(PASSWORD), "{sentence}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let fixture = Postgres::empty().await;
    fixture
        .run(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
             VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')",
        )
        .await;
    let sentence = failure(&fixture.url()).await;
    assert_says(&sentence, &["newer version", "schema 99", "upgrade"]);
    fixture
        .run("DELETE FROM refinery_schema_history WHERE version = 99")
        .await;
    fixture.second().await;
}

#[tokio::test]
async fn a_user_who_may_only_read_is_told() {
    let fixture = Postgres::empty().await;
    let user = role(&fixture.server, &fixture.user, "reader").await;
    fixture
        .run(&format!(
            "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {user}",
            fixture.user
        ))
        .await;
    let url = fixture.server.url_of(&user, PASSWORD);
    let sentence = failure(&url).await;
    assert_says(&sentence, &[&user, "may not write", "grant"]);
    assert!(!sentence.contains(PASSWORD), "{sentence}");
}

#[tokio::test]
async fn a_user_whose_transactions_are_read_only_is_told() {
    let fixture = Postgres::empty().await;
    let user = role(&fixture.server, &fixture.user, "fenced").await;
    fixture
        .run(&format!(
            "ALTER ROLE {user} SET default_transaction_read_only = on"
        ))
        .await;
    let url = fixture.server.url_of(&user, PASSWORD);
    assert_says(&failure(&url).await, &["read-only", &user]);
}

#[tokio::test]
async fn a_user_who_may_not_change_the_schema_is_told_and_serves_once_the_owner_has() {
    let server = Server::shared();
    let owner = created(&server).await;
    let user = role(&server, &owner, "app").await;
    let url = server.url_of(&user, PASSWORD);
    assert_says(
        &failure(&url).await,
        &[&user, "may not create", "vestibule migrate"],
    );

    let schema = PostgresUrl::parse(&server.url(&owner), None).expect("a URL");
    let schema = PostgresStore::migrate(schema, Duration::ZERO).await;
    let schema = schema.expect("the owner may");
    assert_eq!((schema.version, schema.migrated), (9, 9));
    let rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES";
    server
        .run(
            &owner,
            &format!("GRANT {rights} IN SCHEMA {owner} TO {user}"),
        )
        .await;
    let store = opened(&url, PostgresOptions::default()).await;
    assert_eq!(store.expect("it may write").run(Probe).await, Ok(()));
}

#[tokio::test]
async fn a_second_migration_has_nothing_to_do() {
    let fixture = Postgres::empty().await;
    let url = PostgresUrl::parse(&fixture.url(), None).expect("a URL");
    let schema = PostgresStore::migrate(url, Duration::ZERO).await;
    assert_eq!(schema.expect("it is current").migrated, 0);
}

#[tokio::test]
async fn a_password_file_is_read_again_for_each_connection() {
    let fixture = Postgres::empty().await;
    let user = role(&fixture.server, &fixture.user, "rotating").await;
    fixture
        .run(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {user}",
            fixture.user
        ))
        .await;
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{PASSWORD}\n")).expect("it can be written");
    let url = format!(
        "postgres://{user}@127.0.0.1:{}/postgres",
        fixture.server.port
    );
    let url = PostgresUrl::parse(&url, Some(file.path())).expect("a URL");
    let store = PostgresStore::open(url, PostgresOptions::default()).await;
    let store = store.expect("the password is right");
    assert_eq!(store.run(Probe).await, Ok(()));

    fixture
        .run(&format!(
            "ALTER ROLE {user} PASSWORD 'another'; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'"
        ))
        .await;
    std::fs::write(file.path(), "another").expect("it can be written");
    until_ok(|| store.run(Probe)).await;
}

/// Somebody who may log in, and finds the owner's schema.
async fn role(server: &Server, owner: &str, name: &str) -> String {
    let user = format!("{name}_{owner}");
    let sql = format!(
        "CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'; ALTER ROLE {user} SET search_path = {owner}; \
         GRANT USAGE ON SCHEMA {owner} TO {user}"
    );
    server.run(owner, &sql).await;
    user
}
