//! Other people's JWT libraries, as programs that verify an access token from the published keys: `tests/verify`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::{Finished, run};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verifier {
    PyJwt,
    Jose,
    GolangJwt,
}

/// What a resource server expects.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub audience: &'a str,
    pub jwks: &'a str,
}

impl Verifier {
    pub const ALL: [Self; 3] = [Self::PyJwt, Self::Jose, Self::GolangJwt];

    pub async fn verify(self, token: &str, expected: Expected<'_>) -> Finished {
        let mut command = self.command();
        let Expected {
            issuer,
            audience,
            jwks,
        } = expected;
        command.args(["--issuer", issuer, "--audience", audience, "--jwks", jwks]);
        run(command.arg("--token-stdin"), token).await
    }

    fn command(self) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify");
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
        match self {
            Self::PyJwt => {
                let mut command = Command::new(made(tools.join("python/bin/python")));
                command.arg(folder.join("verify.py"));
                command
            }
            Self::Jose => {
                made(folder.join("node_modules"));
                let mut command = Command::new("node");
                command.arg(folder.join("verify.mjs"));
                command
            }
            Self::GolangJwt => Command::new(made(tools.join("verify-go"))),
        }
    }
}

pub(super) fn made(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: `make tools` makes it",
        path.display()
    );
    path
}
