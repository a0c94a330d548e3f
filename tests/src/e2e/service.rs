//! `vestibule serve` as a process, with manifests and a data directory of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use hyper::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::child::ChildProcess;
use super::{Client, Reply, eventually, is, manifests, program};

/// Of each service that is started with no other one.
const ADMIN_TOKEN: &str = "the-admin-token-of-e2e-tests";

/// What a service is started with; it can be started again on the same directories.
#[derive(Debug, Clone)]
pub struct Builder {
    folder: Arc<TempDir>,
    data: PathBuf,
    listen: SocketAddr,
    transport: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    has_admin_token: bool,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    /// Ends before its directories go.
    pub child: ChildProcess,
    pub builder: Builder,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub client: Client,
}

impl Builder {
    /// Writes a file of manifests.
    pub fn manifests(self, name: &str, manifests: &[Value]) -> Self {
        self.file(name, &manifests::file(manifests))
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.directory().join(name), text).expect("a manifest can be written");
        self
    }

    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Nobody is an administrator of it.
    pub fn without_admin_token(mut self) -> Self {
        self.has_admin_token = false;
        self
    }

    pub fn data(mut self, data: &Path) -> Self {
        data.clone_into(&mut self.data);
        self
    }

    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Instead of `--plain-http`.
    pub fn tls(mut self, arguments: impl IntoIterator<Item = OsString>) -> Self {
        self.transport = arguments.into_iter().collect();
        self
    }

    /// Where the manifests are.
    pub fn directory(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    pub fn data_directory(&self) -> &Path {
        &self.data
    }

    /// The arguments of `vestibule`.
    pub fn command_line(&self) -> Vec<OsString> {
        let listen = self.listen.to_string();
        let mut line: Vec<OsString> = vec![
            "serve".into(),
            "--manifests".into(),
            self.directory().into(),
            "--data-dir".into(),
            self.data.clone().into(),
            "--listen".into(),
            listen.into(),
            "--admin-listen".into(),
            "127.0.0.1:0".into(),
            "--allow-http-issuers".into(),
        ];
        line.extend(self.transport.iter().cloned());
        line.extend(self.arguments.iter().cloned());
        line
    }

    /// Starts it and waits until it says that it is ready.
    pub async fn start(self) -> Service {
        let service = self.start_unready().await;
        eventually("/readyz is 200", || async {
            is(service.admin_get("/readyz").await.status, 200)
        })
        .await;
        service
    }

    /// Starts it and waits only until it listens.
    pub async fn start_unready(self) -> Service {
        let mut command = program::command();
        command.args(self.command_line());
        if self.has_admin_token {
            let token = self.folder.path().join("admin-token");
            std::fs::write(&token, ADMIN_TOKEN).expect("the folder is writable");
            command.env("VESTIBULE_ADMIN_TOKEN_FILE", token);
        }
        command.envs(self.environment.iter().cloned());
        let mut child = ChildProcess::start(&mut command);
        let (address, admin) = eventually("it listens", || {
            let ended = child.has_ended();
            let log = child.stderr.text();
            async move {
                assert!(!ended, "the service ended at its start: {log}");
                serving(&log).ok_or("no such line in the log")
            }
        })
        .await;
        Service {
            builder: self,
            child,
            address,
            admin,
            client: Client::new(),
        }
    }
}

impl Service {
    pub fn builder() -> Builder {
        let folder = TempDir::new().expect("a directory");
        std::fs::create_dir(folder.path().join("manifests")).expect("a directory");
        Builder {
            data: folder.path().join("data"),
            folder: Arc::new(folder),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            transport: vec!["--plain-http".into()],
            arguments: Vec::new(),
            environment: Vec::new(),
            has_admin_token: true,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn log(&self) -> String {
        self.child.stderr.text()
    }

    /// Each line of the log, parsed.
    pub fn log_lines(&self) -> Vec<Value> {
        let log = self.log();
        let parsed = log.lines().map(serde_json::from_str);
        parsed
            .map(|line| line.expect("each line of the log is JSON"))
            .collect()
    }

    /// Waits until a message of the log holds this text.
    pub async fn logs(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), || async {
            let said = |line: &Value| {
                line["message"]
                    .as_str()
                    .is_some_and(|said| said.contains(text))
            };
            if self.log_lines().iter().any(said) {
                Ok(())
            } else {
                Err("it does not")
            }
        })
        .await;
    }

    pub async fn signin(&self, id_token: &str) -> Reply {
        self.post("/auth/id-token/signin", &json!({"id_token": id_token}))
            .await
    }

    pub async fn refresh(&self, refresh_token: &str) -> Reply {
        let body = json!({"refresh_token": refresh_token});
        self.post("/auth/token/refresh", &body).await
    }

    /// An account token of the session that this answer began.
    pub async fn account(&self, signed_in: &Reply) -> String {
        let refresh_token = signed_in.text("refresh_token");
        let body = json!({"refresh_token": refresh_token, "scope": "account"});
        let reply = self.post("/auth/token/refresh", &body).await;
        assert_eq!(reply.code(), "ok", "{}", reply.body);
        reply.text("access_token")
    }

    pub async fn userinfo(&self, access_token: &str) -> Reply {
        let request = Request::get(self.url("/auth/userinfo"))
            .header("authorization", format!("Bearer {access_token}"))
            .body(Default::default());
        let reply = self.client.send(request.expect("a request")).await;
        reply.expect("the service answers")
    }

    pub async fn get(&self, path: &str) -> Reply {
        let reply = self.client.get(&self.url(path)).await;
        reply.expect("the service answers")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        let reply = self.client.post(&self.url(path), body).await;
        reply.expect("the service answers")
    }

    pub async fn admin_get(&self, path: &str) -> Reply {
        let reply = self
            .client
            .get(&format!("http://{}{path}", self.admin))
            .await;
        reply.expect("the admin listener answers")
    }

    /// What `/revision` tells an administrator.
    pub async fn revision(&self) -> Value {
        let request = Request::get(format!("http://{}/revision", self.admin))
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .body(Default::default());
        let reply = self.client.send(request.expect("a request")).await;
        reply.expect("the admin listener answers").json()
    }

    /// A metric's value, by its name and labels as they stand in the text.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.admin_get("/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    /// Waits until `/revision` names another revision than this.
    pub async fn serves_another_than(&self, before: &Value) -> Value {
        eventually("another revision is served", || async {
            let now = self.revision().await;
            if now["revision"] == before["revision"] {
                Err(now)
            } else {
                Ok(now)
            }
        })
        .await
    }

    /// As `kill -9`; what it was started with is left.
    pub fn kill(mut self) -> Builder {
        self.child.kill();
        self.builder.clone()
    }

    /// As Kubernetes stops a pod: SIGTERM, and the end is waited for.
    pub async fn stop(mut self) -> ExitStatus {
        self.child.signal("TERM");
        self.child.ended().await
    }
}

/// The addresses in the line that says so.
fn serving(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["message"] == "serving")?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    Some((address("address")?, address("admin")?))
}

/// A port that was free a moment ago, for what must be known before the start.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
