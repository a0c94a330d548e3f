//! The tests' own cluster from outside: its parts, which can be taken away, and processes of the node as Services.
//!
//! A cluster of the user's own (`KUBECONFIG`) has nothing of this; stories that need it are left out there, and say so.

use std::path::PathBuf;
use std::process::Command;

use super::helm::root;
use super::kubectl::run;

/// Where processes of the node listen for pods.
pub const ADDRESS: &str = "10.245.0.1";

/// Whether the cluster is the tests' own.
pub fn is_ours() -> bool {
    let ours = std::env::var_os("KUBECONFIG")
        .map(PathBuf::from)
        .is_some_and(|path| {
            path.parent()
                .and_then(|folder| folder.file_name())
                .is_some_and(|name| name == "cluster")
        });
    if !ours {
        eprintln!("skipped: this needs the tests' own cluster (unset KUBECONFIG)");
    }
    ours
}

/// `tests/cluster/component`.
pub fn component(action: &str, name: &str) {
    script("component", &[action, name]);
}

/// A port of the node becomes port 80 of a Service.
pub fn expose(namespace: &str, name: &str, port: u16) {
    script("expose", &[namespace, name, "80", &port.to_string()]);
}

/// The file of the API server's AuthenticationConfiguration, which it reads again when it changes.
pub fn authentication_file() -> PathBuf {
    root().join("target/cluster/config/authentication.yaml")
}

/// A file of the cluster's certificates.
pub fn pki_file(name: &str) -> PathBuf {
    root().join("target/cluster/pki").join(name)
}

fn script(name: &str, arguments: &[&str]) {
    let mut command = Command::new(root().join("tests/cluster").join(name));
    command.args(arguments);
    let finished = run(command, "");
    assert_eq!(
        finished.code,
        0,
        "{name} {}: {}{}",
        arguments.join(" "),
        finished.stdout,
        finished.stderr
    );
}
