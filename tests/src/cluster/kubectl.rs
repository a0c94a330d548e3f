//! `kubectl`, one call at a time.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::e2e::program::Finished;

/// A call that has ended.
#[derive(Debug)]
pub struct Kubectl {
    line: String,
    finished: Finished,
}

/// Runs `kubectl`; words are separated by spaces.
pub fn kubectl(line: &str) -> Kubectl {
    kubectl_reading(line, "")
}

/// The same with this on its standard input.
pub fn kubectl_reading(line: &str, input: &str) -> Kubectl {
    kubectl_with(line.split_whitespace(), input)
}

/// For arguments that have spaces themselves.
pub fn kubectl_with<'a>(arguments: impl IntoIterator<Item = &'a str>, input: &str) -> Kubectl {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let mut command = Command::new("kubectl");
    // A call that hangs would hang the test: the API server is away in some of them.
    command.arg("--request-timeout=30s").args(&arguments);
    Kubectl {
        line: format!("kubectl {}", arguments.join(" ")),
        finished: run(command, input),
    }
}

impl Kubectl {
    #[track_caller]
    pub fn ok(self) -> String {
        let Self { line, finished } = self;
        assert_eq!(
            finished.code, 0,
            "{line}: {}{}",
            finished.stdout, finished.stderr
        );
        finished.stdout
    }

    /// What it printed in `--output json`.
    #[track_caller]
    pub fn json(self) -> Value {
        let line = self.line.clone();
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error} in {text}"))
    }

    /// The message of a call that must fail.
    #[track_caller]
    pub fn refused(self) -> String {
        let Self { line, finished } = self;
        assert_ne!(finished.code, 0, "{line}: {}", finished.stdout);
        finished.stderr
    }

    /// Whether it ended well, and what it printed.
    pub fn result(self) -> Result<String, String> {
        let Self { finished, .. } = self;
        if finished.code == 0 {
            Ok(finished.stdout)
        } else {
            Err(finished.stderr)
        }
    }
}

/// Runs a program to its end.
pub(super) fn run(mut command: Command, input: &str) -> Finished {
    let name = format!("{command:?}");
    let started = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.unwrap_or_else(|error| {
        panic!("{name}: {error}; the cluster tests run by tests/cluster/test")
    });
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    let writing = std::thread::spawn(move || {
        // One that refuses its arguments does not read.
        let _read = stdin.write_all(input.as_bytes());
    });
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it is our child");
    writing.join().expect("writing does not panic");
    Finished {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
