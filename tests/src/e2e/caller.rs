//! The callers of `examples/callers`, as programs that are given an ID token.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::{Finished, run};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Curl,
    Go,
    Python,
    Node,
}

impl Caller {
    pub const ALL: [Self; 4] = [Self::Curl, Self::Go, Self::Python, Self::Node];

    /// Signs in at this URL. The environment is what a person's request would give, or names a CA.
    pub async fn sign_in(
        self,
        url: &str,
        provider: Option<&str>,
        id_token: &str,
        environment: &[(&str, &str)],
    ) -> Finished {
        let mut command = self.command();
        command.arg(url).args(provider);
        command.envs(environment.iter().copied());
        run(&mut command, id_token).await
    }

    /// The variable that names a CA.
    pub fn ca_variable(self) -> &'static str {
        match self {
            Self::Curl => "CURL_CA_BUNDLE",
            Self::Go | Self::Python => "SSL_CERT_FILE",
            Self::Node => "NODE_EXTRA_CA_CERTS",
        }
    }

    fn command(self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let callers = root.join("examples/callers");
        let run_by = |program: &str, script: PathBuf| {
            let mut command = Command::new(program);
            command.arg(script);
            command
        };
        match self {
            Self::Curl => run_by("bash", callers.join("curl/signin.sh")),
            Self::Go => {
                let program = root.join("target/tools/signin-go");
                assert!(
                    program.exists(),
                    "{} is missing: `make tools` makes it",
                    program.display()
                );
                Command::new(program)
            }
            Self::Python => run_by("python3", callers.join("python/signin.py")),
            Self::Node => run_by("node", callers.join("node/signin.mjs")),
        }
    }
}
