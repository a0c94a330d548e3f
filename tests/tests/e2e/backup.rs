//! Backups: made beside a service that goes on, and restored.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::program::run;
use vestibule_tests::e2e::{Finished, Load, LocalIssuer, Postgres, Service, vestibule};

async fn backup(data: &Path, to: &Path) -> Finished {
    let arguments = ["backup".as_ref(), "--data-dir".as_ref(), data.as_os_str()];
    let to = ["--to".as_ref(), to.as_os_str()];
    vestibule(arguments.into_iter().chain(to)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_backup_is_in_it() {
    let issuer = Arc::new(LocalIssuer::new());
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .start()
        .await;
    let (url, signer) = (service.url("/auth/id-token/signin"), Arc::clone(&issuer));
    let load = Load::start(8, move |client, number| {
        let token = signer.id_token(&format!("user-{number}"));
        let url = url.clone();
        async move {
            let reply = client.post(&url, &json!({"id_token": token})).await;
            (number, reply.expect("an answer").text("refresh_token"))
        }
    });
    load.more(200).await;
    let mut answered = Vec::new();
    for number in 0..20 {
        let reply = service
            .signin(&issuer.id_token(&format!("before-{number}")))
            .await;
        answered.push(reply.text("refresh_token"));
    }
    let data = service.builder.data_directory().to_owned();
    let file = data.join("backup.db");
    let finished = backup(&data, &file).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(finished.stdout.trim(), file.display().to_string());
    load.more(50).await;
    let all = load.finish().await;
    assert!(all.len() > 250, "the service went on");
    let mode = std::fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let again = backup(&data, &file).await;
    assert_eq!(again.code, 1);
    assert!(
        again.stderr.contains("is there already"),
        "{}",
        again.stderr
    );
    assert!(!data.join("backup.db.partial").exists());

    // Restored as the documentation says: beside the keys, without the log of the file that was there.
    let builder = service.builder.clone();
    assert!(service.stop().await.success());
    for old in ["vestibule.db", "vestibule.db-wal", "vestibule.db-shm"] {
        let _none = std::fs::remove_file(data.join(old));
    }
    std::fs::copy(&file, data.join("vestibule.db")).expect("copied");
    let restored = builder.start().await;
    for token in &answered {
        let refreshed = restored.refresh(token).await;
        assert_eq!(refreshed.code(), "ok", "{}", refreshed.body);
    }
    let known = restored.signin(&issuer.id_token("before-0")).await;
    assert_eq!(known.code(), "ok");
    let mut there = 0;
    for (number, token) in &all {
        let refreshed = restored.refresh(token).await.code();
        assert!(
            ["ok", "refresh_token_invalid"].contains(&refreshed.as_str()),
            "{number}: {refreshed}"
        );
        there += usize::from(refreshed == "ok");
    }
    assert!(
        (200..all.len()).contains(&there),
        "{there} of {}",
        all.len()
    );
}

#[tokio::test]
async fn what_cannot_be_backed_up_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(
        path("text.db"),
        "no database, but long enough to look like one\n".repeat(100),
    )
    .expect("written");
    let foreign = rusqlite::Connection::open(path("foreign.db")).expect("it opens");
    foreign
        .execute_batch("CREATE TABLE t (a)")
        .expect("it runs");
    drop(foreign);
    for (from, words) in [
        ("nothing.db", "there is no file"),
        ("text.db", "is not a database"),
        ("foreign.db", "another program's"),
    ] {
        let database = format!("sqlite:{}", path(from).display());
        let to = path("backup.db").display().to_string();
        let refused = vestibule(["backup", "--database", &database, "--to", &to]).await;
        assert_eq!(refused.code, 1, "{from}");
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        assert!(!path("backup.db").exists() && !path("backup.db.partial").exists());
    }
    let url = "postgres://app:s3cret-of-nobody@127.0.0.1:1/v";
    let refused = vestibule(["backup", "--database", url, "--to", "x.dump"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("pg_dump"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("s3cret"));
}

fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let paths = versions
        .flatten()
        .map(|version| version.path().join("bin").join(name));
    paths
        .filter(|path| path.is_file())
        .max()
        .unwrap_or(name.into())
}

#[tokio::test]
async fn a_dump_of_postgresql_is_restored_into_an_empty_database() {
    let (postgres, fresh) = (Postgres::start(), Postgres::start());
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .environment("VESTIBULE_DATABASE", &postgres.url())
        .start()
        .await;
    let signed_in = service.signin(&issuer.id_token("alice")).await;
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("store.dump");
    let mut dump = Command::new(program("pg_dump"));
    dump.args(["--format=custom", "--no-owner", "--file"])
        .arg(&file)
        .arg(postgres.url());
    let dumped = run(&mut dump, "").await;
    assert_eq!(dumped.code, 0, "{}", dumped.stderr);
    let later = service.signin(&issuer.id_token("bob")).await;
    assert_eq!(later.code(), "ok", "the service went on");
    let builder = service.builder.clone();
    assert!(service.stop().await.success());

    let mut restore = Command::new(program("pg_restore"));
    restore
        .args(["--no-owner", "--exit-on-error", "--dbname"])
        .arg(fresh.url())
        .arg(&file);
    let restored = run(&mut restore, "").await;
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    let service = builder
        .environment("VESTIBULE_DATABASE", &fresh.url())
        .start()
        .await;
    let refreshed = service.refresh(&signed_in.text("refresh_token")).await;
    assert_eq!(refreshed.code(), "ok", "{}", refreshed.body);
    let gone = service.refresh(&later.text("refresh_token")).await;
    assert_eq!(
        gone.code(),
        "refresh_token_invalid",
        "it came after the dump"
    );
    let again = service.signin(&issuer.id_token("alice")).await;
    assert_eq!(again.json()["user"]["id"], signed_in.json()["user"]["id"]);
}
