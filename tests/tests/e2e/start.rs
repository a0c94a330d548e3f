//! A service that cannot start says why in one sentence, exits with 1 and leaves nothing behind that serves.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::program::{command, run};
use vestibule_tests::e2e::{Builder, LocalIssuer, Service, vestibule};

fn builder() -> Builder {
    Service::builder().manifests("all.yaml", &[LocalIssuer::new().provider(), policy()])
}

/// Starts it, sees it fail, and gives back its last words.
async fn failure(builder: &Builder) -> String {
    failure_of(builder.command_line()).await
}

async fn failure_of(line: Vec<OsString>) -> String {
    let finished = run(command().args(line), "").await;
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    let sentences: Vec<&str> = finished
        .stderr
        .lines()
        .filter(|line| line.starts_with("vestibule: "))
        .collect();
    let [sentence] = sentences[..] else {
        panic!("not one sentence: {}", finished.stderr);
    };
    assert!(
        finished.stderr.trim_end().ends_with(sentence),
        "it comes last: {}",
        finished.stderr
    );
    sentence.to_owned()
}

#[track_caller]
fn assert_says(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "without {word:?}: {sentence}");
    }
}

fn file_in(folder: &TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("it can be written");
    path
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let sentence = failure(&builder().listen(address)).await;
    assert_says(
        &sentence,
        &["cannot listen on", &address.to_string(), "in use"],
    );

    drop(taken);
    let service = builder().listen(address).start().await;
    assert_eq!(service.address, address);
}

#[tokio::test]
async fn serve_without_manifests_says_which_flag_is_missing() {
    let finished = vestibule(["serve", "--plain-http"]).await;
    assert_eq!(finished.code, 1);
    assert_says(&finished.stderr, &["--manifests"]);
}

#[tokio::test]
async fn neither_tls_nor_plain_http_is_refused() {
    let sentence = failure(&builder().tls([])).await;
    assert_says(&sentence, &["--tls-cert", "--tls-key", "--plain-http"]);
}

#[tokio::test]
async fn a_manifest_directory_that_is_not_there_is_named() {
    let builder = builder();
    let mut line = builder.command_line();
    line[2] = "/nonexistent/manifests".into();
    assert_says(
        &failure_of(line).await,
        &["the manifests in /nonexistent/manifests", "No such file"],
    );
}

#[tokio::test]
async fn a_second_process_on_the_same_data_directory_is_refused() {
    let first = builder().start().await;
    let sentence = failure(&builder().data(first.builder.data_directory())).await;
    assert_says(
        &sentence,
        &[
            "another process uses",
            "vestibule.db",
            "another data directory",
        ],
    );
    assert_eq!(
        first.admin_get("/readyz").await.status,
        200,
        "the first one is not disturbed"
    );

    let data = first.builder.data_directory().to_owned();
    let left = first.kill();
    let second = builder().data(&data).start().await;
    assert_eq!(second.admin_get("/readyz").await.status, 200);
    drop(left);
}

#[tokio::test]
async fn a_corrupt_database_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a directory");
    let database = file_in(
        &folder,
        "vestibule.db",
        &b"this is no database at all. ".repeat(400),
    );
    let sentence = failure(&builder().data(folder.path())).await;
    assert_says(&sentence, &["vestibule.db", "not a database", "backup"]);

    std::fs::remove_file(database).expect("it is there");
    builder().data(folder.path()).start().await;
}

#[tokio::test]
async fn a_database_that_is_a_directory_is_named() {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(folder.path().join("vestibule.db")).expect("it can be made");
    let sentence = failure(&builder().data(folder.path())).await;
    assert_says(&sentence, &["vestibule.db", "directory"]);
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("other.db");
    sql(
        &path,
        "CREATE TABLE accounts (id INTEGER); INSERT INTO accounts VALUES (7);",
    );
    let before = std::fs::read(&path).expect("it is there");
    let database = format!("sqlite:{}", path.display());
    let sentence = failure(&builder().argument("--database").argument(database)).await;
    assert_says(&sentence, &["other.db", "another program"]);
    assert_eq!(
        before,
        std::fs::read(&path).expect("it is there"),
        "not a byte of it changed"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let service = builder().start().await;
    let left = service.kill();
    let path = left.data_directory().join("vestibule.db");
    sql(
        &path,
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (9999, 'future', '2036-01-01T00:00:00Z', '0');",
    );
    assert_says(&failure(&left).await, &["newer version", "9999", "upgrade"]);

    sql(
        &path,
        "DELETE FROM refinery_schema_history WHERE version = 9999;",
    );
    left.start().await;
}

#[tokio::test]
async fn a_database_url_of_another_kind_is_refused() {
    let url = "mysql://root@localhost/vestibule";
    let sentence = failure(&builder().argument("--database").argument(url)).await;
    assert_says(&sentence, &["--database", "sqlite:PATH", "postgres://"]);
    assert!(
        !sentence.contains("root@"),
        "a URL may hold a password: {sentence}"
    );
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = file_in(&folder, "tls.crt", made.cert.pem().as_bytes());
    let key = file_in(
        &folder,
        "tls.key",
        made.signing_key.serialize_pem().as_bytes(),
    );
    let other_key = file_in(
        &folder,
        "other.key",
        other.signing_key.serialize_pem().as_bytes(),
    );
    let rubbish = file_in(&folder, "rubbish.pem", b"rubbish");
    let missing = folder.path().join("missing.pem");
    let with = |certificate: &Path, key: &Path| {
        builder().tls([
            "--tls-cert".into(),
            certificate.into(),
            "--tls-key".into(),
            key.into(),
        ])
    };

    assert_says(
        &failure(&with(&missing, &key)).await,
        &["missing.pem", "No such file"],
    );
    assert_says(
        &failure(&with(&rubbish, &key)).await,
        &["rubbish.pem", "no certificate"],
    );
    assert_says(
        &failure(&with(&certificate, &rubbish)).await,
        &["rubbish.pem", "private key"],
    );
    assert_says(
        &failure(&with(&certificate, &other_key)).await,
        &["certificate and key"],
    );
    let with_ca = with(&certificate, &key)
        .argument("--tls-client-ca")
        .argument(&rubbish);
    assert_says(&failure(&with_ca).await, &["rubbish.pem", "CA certificate"]);
    with(&certificate, &key).start().await;
}

#[tokio::test]
async fn a_file_of_signing_keys_that_cannot_be_read_is_never_replaced() {
    let service = builder().start().await;
    let left = service.kill();
    let path = left.data_directory().join("signing-keys.json");
    let good = std::fs::read(&path).expect("it is there");
    std::fs::write(&path, &good[..good.len() / 2]).expect("it can be written");
    let sentence = failure(&left).await;
    assert_says(&sentence, &["signing-keys.json", "restore it"]);
    assert!(!sentence.contains("PRIVATE"), "{sentence}");
    assert_eq!(
        std::fs::read(&path).expect("it is there"),
        good[..good.len() / 2]
    );

    std::fs::write(&path, good).expect("it can be written");
    left.start().await;
}

#[tokio::test]
async fn a_short_admin_token_is_refused_and_a_long_one_is_not() {
    let folder = tempfile::tempdir().expect("a directory");
    let short = file_in(&folder, "short", b"hunter2\n");
    let sentence = failure(&builder().argument("--admin-token-file").argument(short)).await;
    assert_says(&sentence, &["short", "16 characters"]);
    assert!(!sentence.contains("hunter2"), "{sentence}");
    let long = file_in(&folder, "long", b"0123456789abcdef0123456789abcdef\n");
    builder()
        .argument("--admin-token-file")
        .argument(long)
        .start()
        .await;
}

#[tokio::test]
async fn the_data_directory_and_its_files_are_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let service = builder().start().await;
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    let data = service.builder.data_directory();
    assert_eq!(mode(data), 0o700);
    for entry in std::fs::read_dir(data).expect("it is there") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn the_log_of_a_start_is_our_own_words_unless_more_is_asked_for() {
    let of_libraries = |service: &Service| {
        let lines = service.log_lines();
        let ours = |line: &Value| {
            line["target"]
                .as_str()
                .is_some_and(|t| t.starts_with("vestibule"))
        };
        lines
            .into_iter()
            .filter(|line| !ours(line))
            .collect::<Vec<_>>()
    };
    let quiet = builder().start().await;
    assert_eq!(of_libraries(&quiet), Vec::<Value>::new());
    let talkative = builder().environment("VESTIBULE_LOG", "info").start().await;
    assert_ne!(of_libraries(&talkative), Vec::<Value>::new());
}

#[tokio::test]
async fn a_service_without_a_single_good_object_starts_and_says_so() {
    let service = Service::builder()
        .file("bad.yaml", "kind: [\n")
        .start_unready()
        .await;
    let revision = service.revision().await;
    assert_eq!(revision["providers"], 0);
    let error = revision["refused"]["error"]
        .as_str()
        .expect("it says what is wrong");
    assert_says(error, &["bad.yaml"]);
}

fn sql(path: &Path, statements: &str) {
    let database = Connection::open(path).expect("it opens");
    database.execute_batch(statements).expect("it runs");
}
