//! A pod that calls: a service of the cluster which signs somebody in.

use serde_json::{Value, json};

use super::Namespace;
use super::kubectl::kubectl_with;

/// A pod named `caller`, with the CA of ConfigMap `ca` where there is one.
#[derive(Debug)]
pub struct CallerPod<'a> {
    namespace: &'a Namespace,
}

impl<'a> CallerPod<'a> {
    pub fn start(namespace: &'a Namespace) -> Self {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "caller"},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "caller",
                    "image": "localhost/vestibule-tools:dev",
                    "imagePullPolicy": "Never",
                    "command": ["sleep", "infinity"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
                }],
                "volumes": [{"name": "ca", "configMap": {"name": "ca", "optional": true}}],
            },
        });
        namespace.apply(&[pod]).ok();
        namespace
            .kubectl("wait --for=condition=Ready pod/caller --timeout=60s")
            .ok();
        Self { namespace }
    }

    /// `curl` in the pod: the answer, or its error.
    pub fn curl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let namespace = format!("--namespace={}", self.namespace.name);
        let mut line = vec![namespace.as_str(), "exec", "--stdin", "caller", "--"];
        line.extend(["curl", "--silent", "--show-error", "--max-time", "20"]);
        line.extend(arguments);
        kubectl_with(line, input).result()
    }

    /// Signs in at a data plane whose CA is the one of ConfigMap `ca`.
    pub fn sign_in(&self, url: &str, id_token: &str) -> Value {
        let body = json!({"id_token": id_token}).to_string();
        let arguments = [
            "--cacert",
            "/ca/ca.crt",
            "--header",
            "Content-Type: application/json",
            "--data-binary",
            "@-",
            url,
        ];
        let answer = self.curl(&arguments, &body);
        let answer = answer.unwrap_or_else(|error| json!({"curl": error}).to_string());
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in {answer}"))
    }
}
