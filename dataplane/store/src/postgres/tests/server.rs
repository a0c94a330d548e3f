//! A PostgreSQL of the tests' own, which ends with their process whatever becomes of that.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;
use tokio_postgres::{Client, NoTls};

#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) password: String,
    pub(super) certificate: PathBuf,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    child: Child,
    /// Closed when this process ends, and with it the server.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// For tests that leave it as it is. It need not survive a power failure.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Server>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Arc::new(Self::start())))
    }

    pub(super) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/postgres.sh");
        let child = Command::new(script)
            .arg("fsync=off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("the script starts");
        let commands = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("it can be read");
        let at: Value = serde_json::from_str(&line)
            .expect("PostgreSQL starts: `make tools` installs it, or says what is missing");
        let port = at["port"].as_u64().expect("a port");
        Self {
            port: u16::try_from(port).expect("a port"),
            password: at["password"].as_str().expect("a password").to_owned(),
            certificate: Path::new(at["folder"].as_str().expect("a folder")).join("server.crt"),
            script: Mutex::new(Script {
                child,
                commands,
                answers,
            }),
        }
    }

    /// `kill`, `stop`, `start`, `freeze` or `thaw`; done when this returns.
    pub(super) fn tell(&self, command: &str) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let commands = script.commands.as_mut().expect("it is open");
        writeln!(commands, "{command}").expect("the script reads");
        let mut line = String::new();
        script.answers.read_line(&mut line).expect("it can be read");
        assert_eq!(line.trim(), format!("{command}: done"));
    }

    pub(super) fn url(&self, user: &str) -> String {
        self.url_of(user, &self.password)
    }

    pub(super) fn url_of(&self, user: &str, password: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    pub(super) async fn run(&self, user: &str, sql: &str) {
        let client = self.client(user).await;
        client.batch_execute(sql).await.expect("it runs");
    }

    pub(super) async fn number(&self, user: &str, sql: &str) -> i64 {
        let client = self.client(user).await;
        let row = client.query_one(sql, &[]).await;
        row.expect("it finds a number").get(0)
    }

    pub(super) async fn client(&self, user: &str) -> Client {
        let connected = tokio_postgres::connect(&self.url(user), NoTls).await;
        let (client, connection) = connected.expect("the server is there");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let script = self
            .script
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        drop(script.commands.take());
        let _ended = script.child.wait();
    }
}
