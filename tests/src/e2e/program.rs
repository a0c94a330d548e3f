//! The binary under test: where it is, and running one of its commands to the end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::ChildProcess;

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `vestibule` with these arguments.
pub async fn vestibule<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    vestibule_reading(arguments, "").await
}

/// Runs `vestibule` with these arguments and this standard input.
pub async fn vestibule_reading<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &str,
) -> Finished {
    run(command().args(arguments), input).await
}

pub async fn run(command: &mut Command, input: &str) -> Finished {
    let mut child = ChildProcess::start(command);
    child.write_and_close(input);
    let status = child.ended().await;
    Finished {
        code: status.code().unwrap_or(-1),
        stdout: child.stdout.text(),
        stderr: child.stderr.text(),
    }
}

/// The binary without a word of the environment that would configure it.
pub fn command() -> Command {
    let mut command = Command::new(path());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VESTIBULE_") {
            command.env_remove(name);
        }
    }
    command
}

fn path() -> PathBuf {
    let own = std::env::current_exe().expect("a test has an executable");
    // `target/debug/deps/e2e-…`, and the binary is `target/debug/vestibule`.
    let path = own
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .join("vestibule");
    assert!(
        path.is_file(),
        "{} is missing: `cargo build --workspace` makes it, and `make test` does that first",
        path.display()
    );
    path
}
