//! A Kubernetes namespace of one test, gone with it.

use serde_json::{Value, json};

use super::kubectl::{Kubectl, kubectl, kubectl_reading};
use crate::e2e::manifests;

/// What `tests/cluster/test` removes when a test could not.
const LABEL: &str = "vestibule.dev/test";

#[derive(Debug)]
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// Where only pods of PodSecurity `restricted` may run. One of this name that an earlier run left is removed first.
    pub fn create(name: &str) -> Self {
        kubectl(&format!(
            "delete namespace {name} --ignore-not-found --timeout=60s"
        ))
        .ok();
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {
                LABEL: "true",
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/warn": "restricted",
            }},
        });
        kubectl_reading("create --filename -", &manifest.to_string()).ok();
        Self {
            name: name.to_owned(),
        }
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self, line: &str) -> Kubectl {
        kubectl(&format!("--namespace {} {line}", self.name))
    }

    /// `kubectl apply` of these, whatever namespace they name.
    pub fn apply(&self, manifests: &[Value]) -> Kubectl {
        let manifests: Vec<Value> = manifests.iter().map(|one| self.own(one)).collect();
        let line = format!("--namespace {} apply --filename -", self.name);
        kubectl_reading(&line, &manifests::file(&manifests))
    }

    /// The manifest in this namespace.
    pub fn own(&self, manifest: &Value) -> Value {
        manifests::with(manifest.clone(), "/metadata/namespace", self.name.as_str())
    }

    pub fn delete(&self, what: &str) {
        self.kubectl(&format!("delete {what} --ignore-not-found"))
            .ok();
    }

    pub fn get(&self, what: &str) -> Value {
        self.kubectl(&format!("get {what} --output json")).json()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let _removed = kubectl(&format!(
            "delete namespace {} --ignore-not-found --wait=false",
            self.name
        ))
        .result();
    }
}

impl Namespace {
    /// What a person would look at when something has gone wrong here.
    fn tell(&self) {
        for line in [
            "get oidcp,sip,pods --output wide",
            "get events --sort-by .lastTimestamp",
            "logs --selector app.kubernetes.io/component=operator --tail 20 --prefix",
            "logs --selector app.kubernetes.io/component=dataplane --tail 20 --prefix",
        ] {
            let said = self.kubectl(line).result();
            let said = said.unwrap_or_else(|error| error);
            eprintln!("--- kubectl --namespace {} {line} ---\n{said}", self.name);
        }
    }
}
