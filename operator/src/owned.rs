//! The Secrets that the operator writes in its own namespace, all with one label.

use std::collections::BTreeMap;

const LABEL: &str = "app.kubernetes.io/managed-by";
const OPERATOR: &str = "vestibule-operator";
pub(crate) const OWNED_SELECTOR: &str = "app.kubernetes.io/managed-by=vestibule-operator";

pub(crate) fn owned_labels() -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL.to_owned(), OPERATOR.to_owned()),
        (
            "app.kubernetes.io/part-of".to_owned(),
            "vestibule".to_owned(),
        ),
    ])
}
