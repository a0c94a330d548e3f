//! A release with several data-plane pods, over the PostgreSQL of the tests' own cluster.

use serde_json::json;

use super::{Namespace, Release, node};

/// `namespace` is made for it.
pub fn install(namespace: &str, replicas: usize) -> Release {
    node::component("start", "postgres");
    let namespace = Namespace::create(namespace);
    let ca = std::fs::read_to_string(node::pki_file("ca.crt")).expect("the cluster has one");
    let url = format!(
        "postgres://vestibule:vestibule@{}:5432/vestibule?sslmode=verify-full&sslrootcert=/etc/vestibule/database/ca.crt",
        node::ADDRESS
    );
    let database = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "database"},
        "stringData": {"url": url, "ca.crt": ca},
    });
    namespace.apply(&[database]).ok();
    let replicas = format!("dataplane.replicas={replicas}");
    let values = [
        "dataplane.plainHttp=true",
        "database.existingSecret=database",
        replicas.as_str(),
    ];
    Release::install(namespace, &values)
}
