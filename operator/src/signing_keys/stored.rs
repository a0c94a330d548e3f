//! Managed keys at rest: one Secret for each policy, in the operator's own namespace, where users
//! of the watched namespaces cannot reach it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use vestibule_crds::encryption_key::EncryptionKey;
use vestibule_crds::object::{API_VERSION, Kind, NamespacedName};
use vestibule_crds::secret::Secret as VestibuleSecret;
use vestibule_crds::snapshot::Revision;

use super::{KeptKey, PolicyKeys};
use crate::owned::owned_labels;

/// The label of these Secrets among those that the operator owns.
pub(crate) const LABEL: &str = "vestibule.dev/signing-keys";
pub(crate) const SELECTOR: &str = "vestibule.dev/signing-keys=true";
/// Whose keys these are.
const POLICY: &str = "vestibule.dev/policy";
/// [`PolicyKeys::rotated`].
const ROTATED: &str = "vestibule.dev/rotated";
const ENTRY: &str = "keys.json";
const ENCRYPTION_ENTRY: &str = "encryption-key";

/// Why a Secret of keys is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it does not name the policy of its keys (annotation {POLICY})")]
    Policy,
    #[error("its entry {ENTRY} is not what the operator wrote")]
    Keys,
    #[error("its entry {ENCRYPTION_ENTRY} is no key")]
    EncryptionKey,
}

/// A name that any policy's fits in: a digest of whose keys they are.
pub(crate) fn secret_name(policy: &NamespacedName) -> String {
    let digest = Revision::of(policy.to_string().as_bytes());
    let digest = digest.as_str().trim_start_matches("sha256:");
    format!("vestibule-keys-{}", &digest[..40])
}

/// `uid` is the policy's, which owns the Secret where Kubernetes allows it: in one namespace.
pub(crate) fn to_secret(
    keys: &PolicyKeys,
    policy: &NamespacedName,
    uid: Option<&str>,
    own_namespace: &str,
) -> Secret {
    let mut labels = owned_labels();
    labels.insert(LABEL.to_owned(), "true".to_owned());
    let mut annotations = BTreeMap::from([(POLICY.to_owned(), policy.to_string())]);
    if let Some(rotated) = &keys.rotated {
        annotations.insert(ROTATED.to_owned(), rotated.clone());
    }
    let owner = uid
        .filter(|_| policy.namespace == own_namespace)
        .map(|uid| OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: Kind::SigninPolicy.name().to_owned(),
            name: policy.name.clone(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        });
    let json = serde_json::to_vec(&keys.keys).expect("strings and numbers are JSON");
    let encryption = keys.encryption.as_ref().map(|key| {
        let text = key.key.expose().as_bytes().to_vec();
        (ENCRYPTION_ENTRY.to_owned(), ByteString(text))
    });
    let signing = (ENTRY.to_owned(), ByteString(json));
    Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(policy)),
            namespace: Some(own_namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some([signing].into_iter().chain(encryption).collect()),
        ..Secret::default()
    }
}

pub(crate) fn from_secret(secret: &Secret) -> Result<(NamespacedName, PolicyKeys), Unreadable> {
    let annotations = secret.metadata.annotations.as_ref();
    let annotation = |name: &str| annotations.and_then(|all| all.get(name)).cloned();
    let policy = annotation(POLICY).ok_or(Unreadable::Policy)?;
    let (namespace, name) = policy.split_once('/').ok_or(Unreadable::Policy)?;
    let policy = NamespacedName::new(namespace, name);
    if secret.metadata.name.as_deref() != Some(secret_name(&policy).as_str()) {
        return Err(Unreadable::Policy);
    }
    let entry = secret.data.as_ref().and_then(|data| data.get(ENTRY));
    let entry = entry.ok_or(Unreadable::Keys)?;
    let keys: Vec<KeptKey> = serde_json::from_slice(&entry.0).map_err(|_| Unreadable::Keys)?;
    let encryption = secret
        .data
        .as_ref()
        .and_then(|data| data.get(ENCRYPTION_ENTRY));
    let encryption = encryption.map(|entry| {
        let text = VestibuleSecret::of_entry(entry.0.clone()).ok_or(Unreadable::EncryptionKey)?;
        EncryptionKey::parse(&text).map_err(|_| Unreadable::EncryptionKey)
    });
    let keys = PolicyKeys {
        keys,
        rotated: annotation(ROTATED),
        encryption: encryption.transpose()?,
    };
    Ok((policy, keys))
}

#[cfg(test)]
mod tests {
    use vestibule_crds::algorithm::SigningAlgorithm;
    use vestibule_crds::duration::Duration;
    use vestibule_crds::rotation::Schedule;

    use super::super::{KeyProof, Wish};
    use super::*;

    fn keys() -> PolicyKeys {
        let mut keys = PolicyKeys::default();
        let wish = Wish {
            schedule: Schedule {
                algorithm: SigningAlgorithm::ES256,
                rotate_every: Duration::from_secs(3600),
                pre_publish: Duration::from_secs(60),
            },
            access_ttl: Duration::from_secs(600),
            rotate: Some("one"),
        };
        keys.rotate(wish, |_| KeyProof::default(), 5).expect("keys");
        keys.keep_encryption_key().expect("a key");
        keys
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let policy = NamespacedName::new("team", "default");
        let written = keys();
        let secret = to_secret(&written, &policy, Some("u1"), "vestibule");
        assert_eq!(from_secret(&secret), Ok((policy, written)));
        assert_eq!(secret.metadata.owner_references, None);
    }

    #[test]
    fn a_policy_of_the_same_namespace_owns_its_keys() {
        let policy = NamespacedName::new("vestibule", "default");
        let secret = to_secret(&keys(), &policy, Some("u1"), "vestibule");
        let owners = secret.metadata.owner_references.expect("an owner");
        assert_eq!(
            (owners[0].uid.as_str(), owners[0].kind.as_str()),
            ("u1", "SigninPolicy")
        );
    }

    #[test]
    fn a_name_is_bounded_and_tells_policies_apart() {
        let long = |namespace: &str| secret_name(&NamespacedName::new(namespace, "p".repeat(253)));
        assert!(long("a").len() <= 63);
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn what_the_operator_did_not_write_is_refused() {
        let policy = NamespacedName::new("team", "default");
        let good = to_secret(&keys(), &policy, None, "vestibule");
        let mut garbage = good.clone();
        garbage.data = Some(BTreeMap::from([(
            ENTRY.to_owned(),
            ByteString(b"{".to_vec()),
        )]));
        assert_eq!(
            from_secret(&garbage).expect_err("garbage"),
            Unreadable::Keys
        );
        let mut no_key = good.clone();
        let data = no_key.data.get_or_insert_default();
        data.insert(ENCRYPTION_ENTRY.to_owned(), ByteString(b"hunter2".to_vec()));
        assert_eq!(
            from_secret(&no_key).expect_err("no key"),
            Unreadable::EncryptionKey
        );
        let mut renamed = good.clone();
        renamed.metadata.name = Some("vestibule-keys-other".to_owned());
        assert_eq!(
            from_secret(&renamed).expect_err("renamed"),
            Unreadable::Policy
        );
        let mut anonymous = good;
        anonymous.metadata.annotations = None;
        assert_eq!(
            from_secret(&anonymous).expect_err("anonymous"),
            Unreadable::Policy
        );
    }
}
