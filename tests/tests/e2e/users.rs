//! `vestibule users` on a data plane that runs: who may, what is seen, and what changes for whoever signs in.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_tests::e2e::local_issuer::ISSUER;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{Finished, LocalIssuer, Postgres, Reply, Service, vestibule_reading};

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

async fn asked(service: &Service, authorization: Option<&str>, ask: &Value) -> Reply {
    let mut request = hyper::Request::post(format!("http://{}/users", service.admin))
        .header("content-type", "application/json");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let request = request.body(ask.to_string().into()).expect("a request");
    service.client.send(request).await.expect("an answer")
}

#[tokio::test]
async fn users_and_sessions_are_nobodys_without_the_token() {
    let office = Office::open().await;
    let id = office.signin("00u1").await["user"]["id"].clone();
    let asks = [
        json!({"action": "list", "policy": null, "status": null, "after": null, "limit": 10}),
        json!({"action": "sessions", "user": id, "after": null, "limit": 10}),
        json!({"action": "revoke_sessions", "user": id, "session": null}),
    ];
    let good = "Bearer a token of this test";
    for ask in &asks {
        for wrong in [
            None,
            Some("Bearer another token of a test"),
            Some("Basic a token of this test"),
        ] {
            let refused = asked(&office.service, wrong, ask).await;
            assert_eq!(refused.status, 401, "{ask}: {}", refused.body);
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
        let answered = asked(&office.service, Some(good), ask).await;
        assert_eq!(answered.status, 200, "{ask}: {}", answered.body);
        assert_eq!(answered.header("cache-control"), Some("no-store"));
    }

    let issuer = LocalIssuer::new();
    let without = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .without_admin_token()
        .start()
        .await;
    for ask in &asks {
        for shown in [None, Some(good)] {
            let refused = asked(&without, shown, ask).await;
            assert_eq!(refused.status, 403, "{ask}: {}", refused.body);
        }
    }
}

#[tokio::test]
async fn sessions_are_seen_and_ended() {
    let office = Office::open().await;
    let first = office.signin("00u1").await;
    let second = office.signin("00u1").await;
    let other = office.signin("00u2").await;
    let id = first["user"]["id"].as_str().expect("an id");
    let others = other["user"]["id"].as_str().expect("an id");
    let refreshed = async |signed_in: &Value| {
        let token = signed_in["refresh_token"].as_str().expect("a token");
        office.service.refresh(token).await.code()
    };

    let listed = office.json(&["sessions", id], "").await;
    let sessions = listed["sessions"].as_array().expect("a list");
    assert_eq!((sessions.len(), &listed["next"]), (2, &Value::Null));
    assert_eq!(sessions[0]["network"], "127.0.0.0/24");
    assert_eq!(sessions[0]["provider"], "auth/corp");
    let page = office.json(&["sessions", id, "--limit", "1"], "").await;
    let next = page["next"].as_str().expect("there is more");
    let rest = office.json(&["sessions", id, "--after", next], "").await;
    assert_eq!(rest["sessions"][0], sessions[1]);
    let table = office.users(&["sessions", id], "").await;
    assert!(table.stdout.starts_with("ID "), "{}", table.stdout);
    assert_eq!(table.stdout.lines().count(), 3, "{}", table.stdout);

    let newest = sessions[0]["id"].as_str().expect("an id");
    let foreign = ["revoke-sessions", others, "--session", newest];
    let refused = office.users(&foreign, "").await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("no such live session"),
        "{}",
        refused.stderr
    );
    let shown = office
        .json(&["revoke-sessions", id, "--session", newest], "")
        .await;
    assert_eq!(shown["status"], "active", "the user may sign in again");
    // Both were made within one second: either may be the one that is listed first.
    let mut codes = [refreshed(&first).await, refreshed(&second).await];
    codes.sort();
    assert_eq!(codes, ["ok", "refresh_token_invalid"]);

    let third = office.signin("00u1").await;
    office.json(&["revoke-sessions", id], "").await;
    assert_eq!(refreshed(&third).await, "refresh_token_invalid");
    assert_eq!(refreshed(&other).await, "ok");
    let none = office.json(&["sessions", id], "").await;
    assert_eq!(none["sessions"], json!([]));
    let nobody = office
        .users(&["sessions", "0190a1b2-c3d4-7e5f-a071-8293a4b5c6d7"], "")
        .await;
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("no such user"), "{}", nobody.stderr);
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

#[tokio::test]
async fn users_are_seen_and_changed_in_the_database_itself() {
    let postgres = Postgres::start();
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .environment("VESTIBULE_DATABASE", &postgres.url())
        .start()
        .await;
    let signed_in = service.signin(&issuer.id_token("00u1")).await.json();
    let id = signed_in["user"]["id"].as_str().expect("an id");
    let files = TempDir::new().expect("a directory");
    let password = files.path().join("password");
    std::fs::write(&password, &postgres.password).expect("written");
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port);
    let users = async |arguments: &[&str], input: &str| {
        let password = password.display().to_string();
        let mut all = vec!["users", "--database", &url];
        all.extend(["--database-password-file", &password]);
        all.extend(arguments);
        vestibule_reading(all, input).await
    };
    let json = async |arguments: &[&str], input: &str| -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let finished = users(&all, input).await;
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        serde_json::from_str(&finished.stdout).expect("JSON")
    };
    let refreshed = async |signed_in: &Value| {
        let token = signed_in["refresh_token"].as_str().expect("a token");
        service.refresh(token).await.code()
    };

    let listed = json(&["list", "--policy", "auth/default"], "").await;
    assert_eq!(listed["users"][0]["id"], id);
    let unknown = users(&["list", "--policy", "default"], "").await;
    assert_eq!(
        unknown.code, 1,
        "a database knows no policy by its name alone"
    );
    assert!(
        unknown.stderr.contains("namespace/name"),
        "{}",
        unknown.stderr
    );

    let sessions = json(&["sessions", id], "").await;
    let session = sessions["sessions"][0]["id"].as_str().expect("an id");
    json(&["revoke-sessions", id, "--session", session], "").await;
    assert_eq!(refreshed(&signed_in).await, "refresh_token_invalid");
    let second = service.signin(&issuer.id_token("00u1")).await.json();
    json(&["revoke-sessions", id], "").await;
    assert_eq!(refreshed(&second).await, "refresh_token_invalid");

    json(&["disable", id], "").await;
    let refused = service.signin(&issuer.id_token("00u1")).await;
    assert_eq!(refused.code(), "user_disabled");
    json(&["enable", id], "").await;
    let set = json(&["set-password", id], "correct horse\n").await;
    assert_eq!(set["password"]["must_change"], false);
    let again = service.signin(&issuer.id_token("00u1")).await;
    assert_eq!(again.code(), "ok");
    assert_eq!(again.json()["must_change_password"], false);

    let wrong = files.path().join("wrong");
    std::fs::write(&wrong, "s3cret-of-nobody").expect("written");
    let wrong = wrong.display().to_string();
    let line = [
        "users",
        "--database",
        &url,
        "--database-password-file",
        &wrong,
        "list",
    ];
    let refused = vestibule_reading(line, "").await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("refuses the password"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("s3cret-of-nobody"));
    let line = ["users", "--database", "sqlite:store.db", "list"];
    let sqlite = vestibule_reading(line, "").await;
    assert_eq!(sqlite.code, 1);
    assert!(
        sqlite.stderr.contains("belongs to the data plane"),
        "{}",
        sqlite.stderr
    );
}
