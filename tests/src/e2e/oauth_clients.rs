//! Other people's OAuth libraries, as programs that use the OAuth endpoints as services would: `tests/oauth`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::program::{Finished, run};
use super::verifiers::made;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OauthLibrary {
    OpenidClient,
    Authlib,
    XOauth2,
}

impl OauthLibrary {
    /// Does everything that the README of the programs says; `task` is what it has them read.
    pub async fn run(self, task: &Value) -> Finished {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("oauth");
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
        let mut command = match self {
            Self::OpenidClient => {
                made(folder.join("node_modules"));
                let mut command = Command::new("node");
                command.arg(folder.join("oauth.mjs"));
                command
            }
            Self::Authlib => {
                let mut command = Command::new(made(tools.join("python/bin/python")));
                command.arg(folder.join("oauth.py"));
                command
            }
            Self::XOauth2 => Command::new(made(tools.join("oauth-go"))),
        };
        run(&mut command, &task.to_string()).await
    }
}
