//! `vestibule users` on a data plane that runs: who may, what is seen, and what changes for whoever signs in.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_tests::e2e::local_issuer::ISSUER;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{Finished, LocalIssuer, Service, vestibule_reading};

const BCRYPT: &str = "$2b$04$rK07NaV7T.iN7p7wMdl3Pel0l.PIeKpDvm2Sq7zAjq9ZVcLavjXmy";

struct Office {
    issuer: LocalIssuer,
    service: Service,
    files: TempDir,
}

impl Office {
    async fn open() -> Self {
        let issuer = LocalIssuer::new();
        let files = TempDir::new().expect("a directory");
        let token = files.path().join("token");
        std::fs::write(&token, "a token of this test\n").expect("written");
        let service = Service::builder()
            .manifests("all.yaml", &[issuer.provider(), policy()])
            .argument("--admin-token-file")
            .argument(token)
            .start()
            .await;
        Self {
            issuer,
            service,
            files,
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    async fn users_with(&self, token: &Path, arguments: &[&str], input: &str) -> Finished {
        let admin = format!("http://{}", self.service.admin);
        let token = token.display().to_string();
        let mut all = vec!["users", "--admin", &admin, "--admin-token-file", &token];
        all.extend(arguments);
        vestibule_reading(all, input).await
    }

    async fn users(&self, arguments: &[&str], input: &str) -> Finished {
        let token = self.files.path().join("token");
        self.users_with(&token, arguments, input).await
    }

    async fn json(&self, arguments: &[&str], input: &str) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let finished = self.users(&all, input).await;
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        serde_json::from_str(&finished.stdout).expect("JSON")
    }

    async fn signin(&self, subject: &str) -> Value {
        let token = self.issuer.id_token(subject);
        self.service.signin(&token).await.json()
    }
}

#[tokio::test]
async fn only_whoever_shows_the_token_sees_users() {
    let office = Office::open().await;
    office.signin("00u1").await;
    let wrong = office.file("wrong", "another token of this test");
    let refused = office.users_with(&wrong, &["list"], "").await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("Bearer"), "{}", refused.stderr);
    let short = office.file("short", "short");
    let refused = office.users_with(&short, &["list"], "").await;
    assert_eq!(refused.code, 1);
    let anonymous = office.service.admin_get("/users").await;
    assert_eq!(anonymous.status, 405);
    let listed = office.json(&["list"], "").await;
    assert_eq!(listed["users"].as_array().map(Vec::len), Some(1));
    let table = office.users(&["list"], "").await;
    assert!(table.stdout.starts_with("ID "), "{}", table.stdout);
}

#[tokio::test]
async fn what_is_changed_counts_at_the_next_sign_in() {
    let office = Office::open().await;
    let signed_in = office.signin("00u1").await;
    let id = signed_in["user"]["id"].as_str().expect("an id");
    let shown = office.json(&["show", id], "").await;
    assert_eq!(
        (&shown["id"], &shown["status"]),
        (&json!(id), &json!("active"))
    );
    assert_eq!(shown.get("password"), None);

    let none = office.users(&["require-password-change", id], "").await;
    assert_eq!(none.code, 1, "there is no password");
    let short = office.users(&["set-password", id], "short\n").await;
    assert_eq!(short.code, 1);
    let set = office.json(&["set-password", id], "correct horse\n").await;
    assert_eq!(set["password"]["must_change"], false);
    let refresh = signed_in["refresh_token"].as_str().expect("a token");
    assert_eq!(office.service.refresh(refresh).await.status, 401);
    office.json(&["require-password-change", id], "").await;
    let must = office.signin("00u1").await;
    assert_eq!(must["must_change_password"], true);
    assert_eq!(must.get("refresh_token"), None);

    office.json(&["disable", id], "").await;
    assert_eq!(office.signin("00u1").await["code"], "user_disabled");
    let unlock = office.users(&["unlock", id], "").await;
    assert_eq!(unlock.code, 1, "it is disabled, not locked");
    office.json(&["enable", id], "").await;
    assert_eq!(office.signin("00u1").await["must_change_password"], true);
    let nobody = office
        .users(&["disable", "01900000-0000-7000-8000-000000000000"], "")
        .await;
    assert_eq!(nobody.code, 1);
    assert!(!office.service.log().contains("correct horse"));
}

#[tokio::test]
async fn users_are_imported_whole_and_once() {
    let office = Office::open().await;
    let ann = json!({
        "username": "ann", "issuer": ISSUER, "subject": "00u7", "password_hash": BCRYPT,
    });
    let bob = json!({"username": "bob", "email": "bob@corp.example"});
    let bad = office.file(
        "bad",
        &format!("{ann}\n\n{{\"username\": \"hunter2\", \"password\": 1}}\n{ann}\n"),
    );
    let bad = bad.display().to_string();
    let refused = office
        .users(&["import", &bad, "--policy", "auth/default"], "")
        .await;
    assert_eq!(refused.code, 1);
    for line in ["line 3", "line 4", "0 added"] {
        assert!(refused.stdout.contains(line), "{}", refused.stdout);
    }
    assert!(!refused.stdout.contains("hunter2"));
    let nobody = office.json(&["list"], "").await;
    assert_eq!(nobody["users"], json!([]), "nothing was written");

    let lines = format!("{ann}\n{bob}\n");
    let import = ["import", "-", "--policy", "auth/default"];
    let imported = office.json(&import, &lines).await;
    assert_eq!(
        (&imported["added"], &imported["known"]),
        (&json!(2), &json!(0))
    );
    let again = office.json(&import, &lines).await;
    assert_eq!((&again["added"], &again["known"]), (&json!(0), &json!(2)));
    let shown = office
        .json(&["show", "bob@corp.example", "--policy", "default"], "")
        .await;
    assert_eq!(shown["username"], "bob");

    let imported = office
        .json(&["show", "ann", "--policy", "default"], "")
        .await;
    assert!(imported["password"]["changed_at"].is_string());
    let signed_in = office.signin("00u7").await;
    assert_eq!(
        signed_in["user"]["id"], imported["id"],
        "the provider's user is the imported one"
    );
}
