//! `--database postgres://…`: what a start says, and what is served while the database is away.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use vestibule_tests::e2e::child::ChildProcess;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::program::{command, run};
use vestibule_tests::e2e::service::free_address;
use vestibule_tests::e2e::{Builder, LocalIssuer, Postgres, Service, eventually, is, vestibule};

const SECRET: &str = "s3cret-of-the-database";

fn builder(issuer: &LocalIssuer, url: &str) -> Builder {
    Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .argument("--database")
        .argument(url)
}

/// The last words of a start that must fail, and all that was written.
async fn failure(line: Vec<OsString>) -> (String, String) {
    let finished = run(command().args(line), "").await;
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    let last = finished
        .stderr
        .trim_end()
        .lines()
        .last()
        .unwrap_or_default();
    assert!(last.starts_with("vestibule: "), "{}", finished.stderr);
    (last.to_owned(), finished.stderr)
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_one_sentence_without_the_password() {
    let postgres = Postgres::start();
    let issuer = LocalIssuer::new();
    let nowhere = free_address();
    let port = postgres.port;
    for (url, words) in [
        (
            format!("postgres://app:{SECRET}@127.0.0.1:{port}/v?sslmod=disable"),
            "option that is not known",
        ),
        (
            format!("postgres://app:{SECRET}@127.0.0.1:port/v"),
            "not of the form",
        ),
        (
            format!("postgres://app:{SECRET}@127.0.0.1:{port}"),
            "names no database",
        ),
        (
            postgres.url_with(SECRET),
            "refuses the password of postgres",
        ),
        (
            format!(
                "postgres://postgres:{}@127.0.0.1:{port}/nowhere",
                postgres.password
            ),
            "no database nowhere",
        ),
        (
            format!("{}?sslmode=verify-full", postgres.url()),
            "cannot be trusted",
        ),
    ] {
        let (sentence, all) = failure(builder(&issuer, &url).command_line()).await;
        assert!(sentence.contains(words), "without {words:?}: {sentence}");
        assert!(
            !all.contains(SECRET) && !all.contains(&postgres.password),
            "{all}"
        );
    }

    // Nobody listens: tried for a while, which the log says.
    let began = Instant::now();
    let url = format!("postgres://app:{SECRET}@{nowhere}/v");
    let (sentence, all) = failure(builder(&issuer, &url).command_line()).await;
    assert!(sentence.contains("cannot be reached"), "{sentence}");
    assert!(began.elapsed() >= Duration::from_secs(30));
    let told = all.lines().filter(|line| line.contains("s more")).count();
    assert!((3..=10).contains(&told), "{all}");
    assert!(!all.contains(SECRET), "{all}");
}

#[tokio::test]
async fn a_server_that_starts_later_is_waited_for() {
    let postgres = Postgres::start();
    postgres.tell("stop").await;
    let issuer = LocalIssuer::new();
    // Its directories go with it.
    let builder = builder(&issuer, &postgres.url());
    let mut child = ChildProcess::start(command().args(builder.command_line()));
    eventually("it says that it waits", || {
        let said = child.stderr.text().contains("trying for");
        async move { is(said, true) }
    })
    .await;
    assert!(!child.has_ended());
    postgres.tell("start").await;
    eventually("it serves", || {
        let said = child.stderr.text().contains("\"serving\"");
        async move { is(said, true) }
    })
    .await;
}

#[tokio::test]
async fn migrate_brings_the_schema_up_to_date_and_nothing_else() {
    let postgres = Postgres::start();
    let password = NamedTempFile::new().expect("a file");
    std::fs::write(password.path(), &postgres.password).expect("it can be written");
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port);
    let line = || {
        let file = password.path().to_str().expect("it is text");
        [
            "migrate",
            "--database",
            url.as_str(),
            "--database-password-file",
            file,
        ]
        .map(str::to_owned)
    };
    let first = vestibule(line()).await;
    assert_eq!(
        (first.code, first.stdout.trim()),
        (0, "9 migrations were run: the schema is version 9"),
        "{}",
        first.stderr
    );
    let second = vestibule(line()).await;
    assert_eq!(
        (second.code, second.stdout.trim()),
        (0, "the schema was up to date: version 9")
    );

    std::fs::write(password.path(), SECRET).expect("it can be written");
    let refused = vestibule(line()).await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("refuses the password"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains(SECRET));
}

#[tokio::test]
async fn a_database_that_is_away_costs_sign_ins_and_nothing_else() {
    let postgres = Postgres::start();
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .environment("VESTIBULE_DATABASE", &postgres.url())
        .start()
        .await;
    let before = service.signin(&issuer.id_token("alice")).await;
    assert_eq!(before.code(), "ok");

    for (away, back) in [("kill", "start"), ("freeze", "thaw"), ("stop", "start")] {
        postgres.tell(away).await;
        let began = Instant::now();
        let refused = service.signin(&issuer.id_token("alice")).await;
        let took = began.elapsed();
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "store_unavailable"),
            "{away}"
        );
        assert!(refused.retry_after() >= 1);
        // Half a second for a machine that does other things.
        assert!(took < Duration::from_millis(2500), "{away}: {took:?}");
        assert_eq!(
            service.refresh(&before.text("refresh_token")).await.status,
            503
        );
        let form = [
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", before.text("refresh_token")),
        ];
        let url = service.url("/oauth2/token");
        let oauth = service.client.post_form(&url, &form).await;
        let oauth = oauth.expect("an answer");
        assert_eq!(
            (oauth.status, oauth.text("error").as_str()),
            (503, "temporarily_unavailable")
        );
        assert_eq!(oauth.text("code"), "store_unavailable");
        assert!(oauth.retry_after() >= 1);
        assert_eq!(service.admin_get("/readyz").await.status, 503);
        let began = Instant::now();
        for path in ["/jwks.json", "/.well-known/openid-configuration"] {
            assert_eq!(service.get(path).await.status, 200, "{away}: {path}");
        }
        assert_eq!(service.admin_get("/healthz").await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(1));

        postgres.tell(back).await;
        let began = Instant::now();
        eventually("it signs in again", || async {
            is(service.signin(&issuer.id_token("alice")).await.status, 200)
        })
        .await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{back}: {:?}",
            began.elapsed()
        );
    }
    let refreshed = service.refresh(&before.text("refresh_token")).await;
    assert_eq!(refreshed.code(), "ok", "what was answered before is there");
    assert!(!service.log().contains(&postgres.password));
    service.logs("can be used again").await;
}

#[tokio::test]
async fn audit_events_of_refusals_are_written_before_it_stops() {
    let postgres = Postgres::start();
    let issuer = LocalIssuer::new();
    let service = builder(&issuer, &postgres.url()).start().await;
    for _ in 0..20 {
        assert_eq!(service.signin("no.token.at-all").await.status, 401);
    }
    assert!(service.stop().await.success());
    let kept = count(
        &postgres,
        "SELECT sum(count)::bigint FROM events WHERE outcome LIKE 'token_%'",
    )
    .await;
    assert_eq!(kept, 20);
}

async fn count(postgres: &Postgres, sql: &str) -> i64 {
    let connected = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("the server is there");
    tokio::spawn(connection);
    client.query_one(sql, &[]).await.expect("a row").get(0)
}
