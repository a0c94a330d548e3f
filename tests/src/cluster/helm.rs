//! A release of the chart.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Namespace;
use super::kubectl::{kubectl, run};
use crate::e2e::program::Finished;
use crate::e2e::{Client, eventually, is};

/// Also the name of the data plane's Service.
pub const RELEASE: &str = "vestibule";
const IMAGES: [&str; 6] = [
    "image.repository=localhost/vestibule",
    "image.tag=dev",
    "image.pullPolicy=Never",
    "helmTest.image.repository=localhost/vestibule-tools",
    "helmTest.image.tag=dev",
    "helmTest.image.pullPolicy=Never",
];

/// An installed chart: released on drop with its namespace.
#[derive(Debug)]
pub struct Release {
    pub namespace: Namespace,
    values: Vec<String>,
}

impl Release {
    /// `helm install --wait`, the CRDs with it where they are not there yet.
    pub fn install(namespace: Namespace, values: &[&str]) -> Self {
        let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        let release = Self { namespace, values };
        release.helm("install", &[]);
        release
    }

    /// `helm upgrade --wait` with these values beside the first ones.
    pub fn upgrade(&self, values: &[&str]) {
        self.helm("upgrade", values);
    }

    pub fn uninstall(&self) -> String {
        helm(&[
            "uninstall",
            RELEASE,
            "--namespace",
            &self.namespace.name,
            "--wait",
            "--timeout=120s",
        ])
    }

    /// `helm test --logs`.
    pub fn test(&self) -> String {
        helm(&[
            "test",
            RELEASE,
            "--namespace",
            &self.namespace.name,
            "--logs",
            "--timeout=120s",
        ])
    }

    fn helm(&self, verb: &str, more: &[&str]) {
        let chart = root().join("charts/vestibule");
        let chart = chart.to_str().expect("a path in UTF-8");
        let crds = format!("crds.enabled={}", self.owns_crds());
        let mut arguments = vec![verb, RELEASE, chart, "--namespace", &self.namespace.name];
        arguments.extend(["--wait", "--timeout=180s"]);
        let values = self.values.iter().map(String::as_str);
        let all = IMAGES
            .into_iter()
            .chain([crds.as_str()])
            .chain(values)
            .chain(more.iter().copied());
        for value in all {
            arguments.extend(["--set", value]);
        }
        helm(&arguments);
    }

    /// One release of a cluster has the CRDs; those that one left behind count for the next ones.
    fn owns_crds(&self) -> bool {
        let crd = kubectl("get crd oidcproviders.vestibule.dev --output json").result();
        let Ok(text) = crd else {
            return true;
        };
        let crd: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        crd["metadata"]["annotations"]["meta.helm.sh/release-namespace"]
            == self.namespace.name.as_str()
    }

    /// Where the Service is without TLS.
    pub fn url(&self, path: &str) -> String {
        format!("http://{RELEASE}.{}.svc{path}", self.namespace.name)
    }

    /// Waits until the Service leads to a pod: pods are ready a moment before kube-proxy has heard of them.
    pub async fn is_reached(&self) {
        let url = self.url("/openapi.json");
        eventually("the Service leads to a pod", || async {
            let reply = Client::new().get(&url).await;
            let reply = reply.map_err(|error| error.to_string())?;
            is(reply.status, 200).map_err(|status| status.to_string())
        })
        .await;
    }
}

/// Runs `helm`, which must succeed.
#[track_caller]
pub fn helm(arguments: &[&str]) -> String {
    let mut command = Command::new("helm");
    command.args(arguments);
    let Finished {
        code,
        stdout,
        stderr,
    } = run(command, "");
    assert_eq!(code, 0, "helm {}: {stdout}{stderr}", arguments.join(" "));
    stdout
}

/// Of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
