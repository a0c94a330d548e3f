//! Whom a connection trusts. The server's certificate is for `localhost`.

use super::server::Server;
use super::{assert_says, created, failure, opened};
use crate::Probe;
use crate::postgres::PostgresOptions;

async fn url(host: &str, options: &str) -> String {
    let server = Server::shared();
    let user = created(&server).await;
    let options = options.replace("CA", &server.certificate.display().to_string());
    format!(
        "postgres://{user}:{}@{host}:{}/postgres?{options}",
        server.password, server.port
    )
}

async fn works(host: &str, options: &str) {
    let store = opened(&url(host, options).await, PostgresOptions::default()).await;
    let store = store.unwrap_or_else(|error| panic!("{host} {options}: {error}"));
    assert_eq!(store.run(Probe).await, Ok(()), "{host} {options}");
}

#[tokio::test]
async fn a_certificate_of_the_ca_for_the_name_is_trusted() {
    works("localhost", "sslmode=verify-full&sslrootcert=CA").await;
    works("localhost", "sslrootcert=CA").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let url = url("127.0.0.1", "sslmode=verify-full&sslrootcert=CA").await;
    assert_says(
        &failure(&url).await,
        &["cannot be trusted", "name", "sslrootcert"],
    );
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_not_trusted() {
    let url = url("localhost", "sslmode=verify-full").await;
    assert_says(&failure(&url).await, &["cannot be trusted", "sslrootcert"]);
}

#[tokio::test]
async fn require_encrypts_whatever_the_certificate() {
    works("127.0.0.1", "sslmode=require").await;
}

#[tokio::test]
async fn disable_does_without() {
    works("127.0.0.1", "sslmode=disable").await;
}

#[tokio::test]
async fn a_ca_file_that_cannot_be_used_is_named() {
    let missing = url("localhost", "sslrootcert=/nonexistent/ca.pem").await;
    assert_says(
        &failure(&missing).await,
        &["/nonexistent/ca.pem", "cannot be read"],
    );
    let wrong = url(
        "localhost",
        concat!("sslrootcert=", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    )
    .await;
    assert_says(
        &failure(&wrong).await,
        &["Cargo.toml", "no usable CA certificate"],
    );
}
