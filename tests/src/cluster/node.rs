//! The tests' own cluster from outside: its parts, which can be taken away, and processes of the node as Services.
//!
//! A cluster of the user's own (`KUBECONFIG`) has nothing of this; stories that need it are left out there, and say so.

use std::fs;
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
        crate::skip(
            "cluster",
            "this needs the tests' own cluster (unset KUBECONFIG)",
        );
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

/// Tells the programs of a pod: nothing of Kubernetes is asked. The processes of pods are processes of this machine.
pub fn signal(pod_uid: &str, signal: &str) {
    for pid in processes_of(pod_uid) {
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.expect("there is a program named kill").success());
    }
}

/// The processes of Vestibule in the cgroup of a pod.
fn processes_of(pod_uid: &str) -> Vec<String> {
    let found = fs::read_dir("/proc").expect("there is /proc").flatten();
    let pids = found.filter_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let cgroups = fs::read_to_string(entry.path().join("cgroup")).ok()?;
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let is_ours = cgroups.contains(&format!("pod{pod_uid}")) && command.contains("vestibule");
        is_ours.then_some(pid)
    });
    pids.collect()
}

/// Resident memory of a pod's program, in bytes.
pub fn resident_bytes(pod_uid: &str) -> u64 {
    let kibibytes = |pid: String| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    let processes = processes_of(pod_uid).into_iter();
    processes.filter_map(kibibytes).sum::<u64>() * 1024
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
