//! A database that cannot be used: one clear sentence of every command that opens one, exit code 1, and never the password.

use std::ffi::OsString;

use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::program::{command, run};
use vestibule_tests::e2e::{Builder, LocalIssuer, Postgres, Service, vestibule};

const SECRET: &str = "s3cret-of-the-database";

/// The command lines that open this database.
fn commands(issuer: &LocalIssuer, url: &str) -> [(Option<Builder>, Vec<OsString>); 3] {
    let serve = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .argument("--database")
        .argument(url);
    let line = serve.command_line();
    let words = |words: &[&str]| words.iter().map(Into::into).collect();
    [
        // Its directories go with it.
        (Some(serve), line),
        (None, words(&["migrate", "--database", url])),
        (None, words(&["users", "--database", url, "list"])),
    ]
}

/// Each command says `words` once, in one line of its own, and nothing secret.
async fn all_say(issuer: &LocalIssuer, url: &str, words: &str, secrets: &[&str]) {
    for (_directories, line) in commands(issuer, url) {
        let finished = run(command().args(&line), "").await;
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.code, 1, "{line:?}: {all}");
        let said: Vec<&str> = finished
            .stderr
            .lines()
            .filter(|line| line.starts_with("vestibule: "))
            .collect();
        let [sentence] = said.as_slice() else {
            panic!("one sentence: {all}");
        };
        assert_eq!(sentence.matches(words).count(), 1, "{words:?}: {sentence}");
        for secret in secrets {
            assert!(!all.contains(secret), "{all}");
        }
    }
}

#[tokio::test]
async fn a_url_with_a_typo_is_told_without_its_password() {
    let issuer = LocalIssuer::new();
    let kinds = "sqlite:PATH or postgres://";
    for (url, words) in [
        ("postgre://app:{}@db.example/v", kinds),
        ("postgresq://app:{}@db.example/v", kinds),
        ("app:{}@db.example/v", kinds),
        ("postgres:/app:{}@db.example/v", "not of the form"),
        ("postgres://app:{}@db.example:port/v", "not of the form"),
        ("postgres://app:{}@/v", "not of the form"),
        ("postgres://app:{}@db.example", "names no database"),
        (
            "postgres://app:{}@db.example/v?sslmode=verify",
            "is disable, require or verify-full",
        ),
        (
            "postgres://app:{}@db.example/v?sslmod=require",
            "option that is not known",
        ),
        (
            "postgres://app:{}@db.example/v?sslrootcert=/nothing",
            "file of sslrootcert",
        ),
    ] {
        all_say(&issuer, &url.replace("{}", SECRET), words, &[SECRET]).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_is_told_without_the_password() {
    let postgres = Postgres::start();
    let issuer = LocalIssuer::new();
    let url = postgres.url();
    let migrated = vestibule(["migrate", "--database", &url]).await;
    assert_eq!(migrated.code, 0, "{}", migrated.stderr);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .expect("the server is there");
    tokio::spawn(connection);
    let reader = format!(
        "CREATE ROLE reader LOGIN PASSWORD '{SECRET}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; \
         CREATE ROLE resting LOGIN PASSWORD '{SECRET}'; GRANT ALL ON ALL TABLES IN SCHEMA public TO resting; \
         ALTER ROLE resting SET default_transaction_read_only = on"
    );
    client.batch_execute(&reader).await.expect("roles");
    let of = |user: &str| {
        format!(
            "postgres://{user}:{SECRET}@127.0.0.1:{}/postgres",
            postgres.port
        )
    };
    let secrets = [SECRET, postgres.password.as_str()];
    all_say(
        &issuer,
        &postgres.url_with(SECRET),
        "refuses the password of postgres",
        &secrets,
    )
    .await;
    all_say(&issuer, &of("nobody"), "nobody", &secrets).await;
    all_say(&issuer, &of("resting"), "read-only for resting", &secrets).await;
    // Whoever may not write can still find that the schema is up to date.
    for (_directories, line) in commands(&issuer, &of("reader")) {
        let finished = run(command().args(&line), "").await;
        let migrate = line[0] == "migrate";
        assert_eq!(
            finished.code,
            i32::from(!migrate),
            "{line:?}: {}",
            finished.stderr
        );
        assert_eq!(finished.stderr.contains("reader may not write"), !migrate);
        assert!(!finished.stderr.contains(SECRET));
    }
    client
        .batch_execute(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (9000, 'later', '', '0')",
        )
        .await
        .expect("a later version's");
    all_say(
        &issuer,
        &url,
        "written by a newer version (schema 9000",
        &secrets,
    )
    .await;
}
