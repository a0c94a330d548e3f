//! `vestibule copy`: a store that moves, with all that was in it.

use std::path::Path;

use serde_json::{Value, json};
use vestibule_dataplane::clock::Clock;
use vestibule_tests::e2e::child::ChildProcess;
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::program::command;
use vestibule_tests::e2e::{
    Finished, LocalIssuer, Postgres, Reply, Service, eventually, is, totp, vestibule,
};

const BCRYPT: &str = "$2b$04$rK07NaV7T.iN7p7wMdl3Pel0l.PIeKpDvm2Sq7zAjq9ZVcLavjXmy";

fn line(from: &Path, to: &str) -> [String; 5] {
    let from = format!("sqlite:{}", from.display());
    ["copy", "--from", &from, "--to", to].map(str::to_owned)
}

async fn copy(from: &Path, to: &str) -> Finished {
    vestibule(line(from, to)).await
}

async fn ask(postgres: &Postgres, sql: &str) -> Option<i64> {
    let connected = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("the server is there");
    tokio::spawn(connection);
    let row = client.query_one(sql, &[]).await.ok()?;
    row.try_get(0).ok()
}

async fn bearer(service: &Service, path: &str, token: &str, body: &Value) -> Reply {
    let request = hyper::Request::post(service.url(path))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"))
        .body(body.to_string().into());
    let reply = service.client.send(request.expect("a request")).await;
    reply.expect("an answer")
}

fn asking(mode: &str) -> Value {
    let mfa = json!({"mode": mode, "methods": ["totp", "recovery_code"]});
    let risk = json!({"mode": "Observe"});
    with(with(policy(), "/spec/mfa", mfa), "/spec/risk", risk)
}

#[tokio::test]
async fn what_was_there_goes_on_at_the_new_database() {
    let issuer = LocalIssuer::new();
    let provider = with(issuer.provider(), "/spec/token/replay", json!("Reject"));
    let files = tempfile::tempdir().expect("a directory");
    let token = files.path().join("token");
    std::fs::write(&token, "a token of this test\n").expect("written");
    let service = Service::builder()
        .manifests("all.yaml", &[provider, asking("Never")])
        .argument("--admin-token-file")
        .argument(&token)
        .start()
        .await;
    // One of each kind of row: factors, a password, a device's history, a challenge's counters, refusals.
    let used = issuer.id_token("alice");
    let signed_in = service.signin(&used).await;
    assert_eq!(signed_in.code(), "ok", "{}", signed_in.body);
    let access = service.account(&signed_in).await;
    let begun = bearer(&service, "/auth/mfa/enrollments/totp", &access, &json!({})).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let (id, secret) = (begun.text("id"), begun.text("secret"));
    // The code of the step before is right as well, and leaves this step's to be used.
    let code = totp(&secret, Clock::System.now() - 30);
    let confirm = json!({"id": id, "code": code});
    let path = "/auth/mfa/enrollments/totp/confirm";
    let confirmed = bearer(&service, path, &access, &confirm).await;
    assert_eq!(confirmed.code(), "ok", "{}", confirmed.body);
    let recovery = confirmed.json()["recovery_codes"][0].clone();
    let bob = json!({"username": "bob", "issuer": "https://login.corp.example", "subject": "bob", "password_hash": BCRYPT});
    let admin = format!("http://{}", service.admin);
    let token = token.display().to_string();
    let mut import = vec!["users", "--admin", &admin, "--admin-token-file", &token];
    import.extend(["import", "-", "--policy", "auth/default"]);
    let imported = vestibule_tests::e2e::vestibule_reading(import, &bob.to_string()).await;
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    assert_eq!(service.signin("no.token.at-all").await.status, 401);

    let data = service.builder.data_directory().to_owned();
    let database = data.join("vestibule.db");
    let postgres = Postgres::start();
    let busy = copy(&database, &postgres.url()).await;
    assert_eq!(busy.code, 1);
    assert!(
        busy.stderr.contains("another process uses"),
        "{}",
        busy.stderr
    );
    let builder = service.builder.clone();
    assert!(service.stop().await.success());

    let copied = copy(&database, &postgres.url()).await;
    assert_eq!(copied.code, 0, "{}{}", copied.stdout, copied.stderr);
    assert!(copied.stdout.contains("rows of"), "{}", copied.stdout);
    assert!(
        copied.stderr.contains("sessions: 1 rows"),
        "{}",
        copied.stderr
    );
    assert!(!copied.stderr.contains(&postgres.password));
    let again = copy(&database, &postgres.url()).await;
    assert_eq!(again.code, 1);
    assert!(
        again.stderr.contains("holds data already"),
        "{}",
        again.stderr
    );

    let policy = vestibule_tests::e2e::manifests::file(&[
        with(issuer.provider(), "/spec/token/replay", json!("Reject")),
        asking("Always"),
    ]);
    std::fs::write(builder.directory().join("all.yaml"), policy).expect("written");
    let moved = builder
        .environment("VESTIBULE_DATABASE", &postgres.url())
        .start()
        .await;
    let refreshed = moved.refresh(&signed_in.text("refresh_token")).await;
    assert_eq!(refreshed.code(), "ok", "{}", refreshed.body);
    assert_eq!(refreshed.json()["user"], signed_in.json()["user"]);
    assert_eq!(moved.userinfo(&access).await.status, 200);
    assert_eq!(moved.signin(&used).await.code(), "token_replayed");
    for (method, code) in [
        ("totp", json!(totp(&secret, Clock::System.now()))),
        ("recovery_code", recovery),
    ] {
        let challenged = moved.signin(&issuer.sign(&with_id(&issuer, method))).await;
        assert_eq!(
            challenged.json()["requires_mfa"],
            true,
            "{}",
            challenged.body
        );
        let body = json!({"challenge_token": challenged.text("challenge_token"), "method": method, "code": code});
        let verified = moved.post("/auth/mfa/verify", &body).await;
        assert_eq!(verified.code(), "ok", "{method}: {}", verified.body);
        assert_eq!(
            verified.json()["user"]["id"],
            signed_in.json()["user"]["id"]
        );
    }
    let passwords = ask(&postgres, "SELECT count(*) FROM passwords").await;
    assert_eq!(passwords, Some(1));
    let first_new = ask(
        &postgres,
        "SELECT count(*) - count(DISTINCT id) FROM events",
    )
    .await;
    assert_eq!(first_new, Some(0), "new events are numbered after the old");
}

/// Another token of the same person.
fn with_id(issuer: &LocalIssuer, id: &str) -> Value {
    let mut claims = issuer.claims("alice");
    claims["jti"] = json!(id);
    claims
}

/// A store of an earlier life, with so many events.
async fn store_of(events: u32) -> tempfile::TempDir {
    let issuer = LocalIssuer::new();
    let directory = tempfile::tempdir().expect("a directory");
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .data(directory.path())
        .start()
        .await;
    assert_eq!(service.signin(&issuer.id_token("alice")).await.code(), "ok");
    assert!(service.stop().await.success());
    let db = rusqlite::Connection::open(directory.path().join("vestibule.db")).expect("it opens");
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) INSERT INTO events (at, kind, outcome, policy, \
         provider, request_id, network, detail) SELECT i, 'signin', 'ok', 'auth/default', 'auth/corp', 'r', '', '' FROM n",
        [events],
    )
    .expect("it fills");
    directory
}

#[tokio::test]
async fn a_copy_that_was_killed_goes_on_and_nothing_is_there_twice() {
    let store = store_of(400_000).await;
    let database = store.path().join("vestibule.db");
    let postgres = Postgres::start();
    let events = "SELECT rows FROM vestibule_copy WHERE table_name = 'events'";
    let mut killed_at = Vec::new();
    for _ in 0..2 {
        let last = killed_at.last().copied().unwrap_or(0);
        let mut child = ChildProcess::start(command().args(line(&database, &postgres.url())));
        let at = eventually("some rows are there", || async {
            let rows = ask(&postgres, events).await.unwrap_or(0);
            if rows > last { Ok(rows) } else { Err(rows) }
        })
        .await;
        child.kill();
        assert!(at < 400_000, "it was too quick to be killed");
        killed_at.push(at);
    }
    // Nobody serves what is half there.
    let issuer = LocalIssuer::new();
    let half = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .environment("VESTIBULE_DATABASE", &postgres.url());
    let refused = vestibule_tests::e2e::program::run(
        command()
            .args(half.command_line())
            .env("VESTIBULE_DATABASE", postgres.url()),
        "",
    )
    .await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("is not finished"),
        "{}",
        refused.stderr
    );

    let copied = copy(&database, &postgres.url()).await;
    assert_eq!(copied.code, 0, "{}{}", copied.stdout, copied.stderr);
    assert!(
        copied.stderr.contains("events: going on after"),
        "{}",
        copied.stderr
    );
    let count = ask(&postgres, "SELECT count(*) FROM events").await;
    assert_eq!(count, Some(400_001));
    assert_eq!(ask(&postgres, events).await, None, "the mark is gone");
    let service = half.start().await;
    assert_eq!(service.signin(&issuer.id_token("bob")).await.code(), "ok");
}

#[tokio::test]
async fn a_source_that_was_written_to_meanwhile_is_not_mixed_with_what_it_was() {
    let store = store_of(400_000).await;
    let database = store.path().join("vestibule.db");
    let postgres = Postgres::start();
    let mut child = ChildProcess::start(command().args(line(&database, &postgres.url())));
    eventually("some rows are there", || async {
        let rows = ask(&postgres, "SELECT max(rows) FROM vestibule_copy").await;
        is(rows > Some(0), true)
    })
    .await;
    child.kill();
    let db = rusqlite::Connection::open(&database).expect("it opens");
    db.execute("UPDATE probe SET times = times + 1", [])
        .expect("as a data plane does");
    drop(db);
    let refused = copy(&database, &postgres.url()).await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("empty it and begin anew"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn what_cannot_be_copied_is_one_sentence() {
    let store = store_of(1).await;
    let database = store.path().join("vestibule.db");
    let postgres = Postgres::start();
    let url = postgres.url();
    let nowhere = store.path().join("nothing.db");
    let text = store.path().join("text.db");
    std::fs::write(
        &text,
        "no database at all, but long enough to look like one\n".repeat(100),
    )
    .expect("written");
    let old = store.path().join("old.db");
    std::fs::copy(&database, &old).expect("copied");
    let db = rusqlite::Connection::open(&old).expect("it opens");
    db.execute("DELETE FROM refinery_schema_history WHERE version > 5", [])
        .expect("older");
    drop(db);
    let newer = store.path().join("newer.db");
    std::fs::copy(&database, &newer).expect("copied");
    let db = rusqlite::Connection::open(&newer).expect("it opens");
    db.execute(
        "UPDATE refinery_schema_history SET version = 9000 WHERE version = 6",
        [],
    )
    .expect("newer");
    drop(db);
    let wrong = postgres.url_with("s3cret-of-nobody");
    for (from, to, words) in [
        (&nowhere, &url, "there is no file"),
        (&text, &url, "is not a database"),
        (&old, &url, "vestibule migrate"),
        (&newer, &url, "written by a newer version"),
        (&database, &wrong, "refuses the password"),
    ] {
        let refused = copy(from, to).await;
        assert_eq!(refused.code, 1, "{words}");
        assert_eq!(
            refused.stderr.trim().lines().count(),
            1,
            "{}",
            refused.stderr
        );
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
        assert!(!refused.stderr.contains("s3cret") && !refused.stderr.contains(&postgres.password));
    }
    assert!(!nowhere.exists(), "nothing is made where nothing was");
    let backwards = ["copy", "--from", &url, "--to", "sqlite:there.db"];
    let refused = vestibule(backwards).await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("no other way"),
        "{}",
        refused.stderr
    );

    let issuer = LocalIssuer::new();
    let other = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .environment("VESTIBULE_DATABASE", &url)
        .start()
        .await;
    // One that has only been started holds nothing yet that anybody would miss.
    assert!(other.stop().await.success());
    assert_eq!(copy(&database, &url).await.code, 0);
    let taken = copy(&database, &url).await;
    assert_eq!(taken.code, 1);
    assert!(
        taken.stderr.contains("holds data already"),
        "{}",
        taken.stderr
    );
}
