//! PostgreSQL as a process of the tests' own: `tests/tools/postgres.sh` says what it can be told to do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use vestibule_store::postgres::{PostgresOptions, PostgresStore, PostgresUrl};

/// A server with an empty database; it ends with its owner, or with this process.
#[derive(Debug)]
pub struct Postgres {
    pub port: u16,
    pub password: String,
    folder: PathBuf,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Postgres {
    pub fn start() -> Arc<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/postgres.sh");
        let child = Command::new(path)
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
        Arc::new(Self {
            port: u16::try_from(port).expect("a port"),
            password: at["password"].as_str().expect("a password").to_owned(),
            folder: at["folder"].as_str().expect("a folder").into(),
            script: Mutex::new(Script {
                child,
                commands,
                answers,
            }),
        })
    }

    pub fn url(&self) -> String {
        self.url_with(&self.password)
    }

    pub fn url_with(&self, password: &str) -> String {
        format!(
            "postgres://postgres:{password}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// The process that has started all others of the server.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let pid = file.lines().next().unwrap_or_default();
        Ok(pid.trim().parse()?)
    }

    /// `kill`, `stop`, `start`, `freeze` or `thaw`; done when this resolves.
    pub async fn tell(self: &Arc<Self>, command: &'static str) {
        let this = Arc::clone(self);
        let telling = tokio::task::spawn_blocking(move || {
            let mut script = this.script.lock().unwrap_or_else(PoisonError::into_inner);
            let commands = script.commands.as_mut().expect("it is open");
            writeln!(commands, "{command}").expect("the script reads");
            let mut line = String::new();
            script.answers.read_line(&mut line).expect("it can be read");
            assert_eq!(line.trim(), format!("{command}: done"));
        });
        telling.await.expect("it does as it is told");
    }

    /// The store as a data plane has it, for what no endpoint does.
    pub async fn store(&self) -> PostgresStore {
        let url = PostgresUrl::parse(&self.url(), None).expect("a URL");
        let store = PostgresStore::open(url, PostgresOptions::default()).await;
        store.expect("it opens")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let script = self
            .script
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        drop(script.commands.take());
        let _ended = script.child.wait();
    }
}
