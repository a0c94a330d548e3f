//! What an object refers to: entries of Secrets and ConfigMaps, and the certificates and keys in
//! them.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use super::Inputs;
use super::references::{DataId, DataKind, Reference, references};
use super::verdict::{Problems, ResolvedRefsReason};
use crate::algorithm::Algorithm;
use crate::issuer::HttpIssuers;
use crate::object::{NamespacedName, Object};
use crate::oidc_provider::CaBundle;
use crate::reference::{ConfigMapKeyRef, SecretKeyRef};
use crate::rotation::ManagedKey;
use crate::secret::Secret;
use crate::signing_key;
use crate::snapshot::{Egress, KeyState};
use crate::verification_key::{KeyError, KeySet};

/// Most certificates of one bundle.
const CERTIFICATES_MAX: usize = 256;
/// Longest JWK Set or bundle that a reference leads to: as much as a ConfigMap holds.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Reasons of unusable keys that a message names.
const REASONS_MAX: usize = 4;

/// What the references of one object lead to, and which of them were followed.
pub(super) struct Resolver<'a> {
    inputs: &'a Inputs,
    object: &'a Object,
    namespace: &'a str,
    /// What [`references`] lists of the object: nothing else is resolved.
    named: OnceCell<HashSet<Reference>>,
    followed: RefCell<Vec<Followed>>,
}

/// The label of a Secret that says what objects may use it for.
pub const USE_LABEL: &str = "vestibule.dev/use";

/// What a Secret is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretUse {
    Mail,
    Sms,
    Signing,
    Tls,
}

impl SecretUse {
    const fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Sms => "sms",
            Self::Signing => "signing",
            Self::Tls => "tls",
        }
    }
}

/// Something outside an object that it was compiled with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Followed {
    SecretEntry { id: NamespacedName, key: String },
    SecretUse { id: NamespacedName },
    ConfigMapEntry { id: NamespacedName, key: String },
    ManagedKeys { id: NamespacedName },
    ManagedEncryptionKey { id: NamespacedName },
}

/// Why a reference leads to nothing that may be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RefError {
    #[error("there is no {kind} {id}")]
    NoObject { kind: DataKind, id: NamespacedName },
    #[error("{kind} {id} has no text under the key {key}")]
    NoEntry {
        kind: DataKind,
        id: NamespacedName,
        key: String,
    },
    #[error("Secret {id} is not for this: set its label {USE_LABEL}: {use_name}")]
    WrongUse {
        id: NamespacedName,
        use_name: &'static str,
    },
}

/// Why a text is no bundle of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum BundleError {
    #[error("the bundle is larger than 1 MiB: leave certificates out")]
    TooLarge,
    #[error("the bundle holds more than {CERTIFICATES_MAX} certificates")]
    TooMany,
    #[error("certificate {0} is not PEM")]
    NotPem(usize),
    #[error("certificate {0} is no X.509 certificate")]
    NotX509(usize),
    #[error("it holds no PEM certificate (`-----BEGIN CERTIFICATE-----`)")]
    Empty,
}

impl<'a> Resolver<'a> {
    pub(super) fn of(object: &'a Object, inputs: &'a Inputs) -> Self {
        Self {
            inputs,
            object,
            namespace: &object.id.namespace,
            named: OnceCell::new(),
            followed: RefCell::default(),
        }
    }

    pub(super) fn into_followed(self) -> Vec<Followed> {
        self.followed.into_inner()
    }

    pub(super) fn http_issuers(&self) -> HttpIssuers {
        self.inputs.http_issuers
    }

    fn follow(&self, followed: Followed) {
        self.followed.borrow_mut().push(followed);
    }

    /// Whether the object's references have this entry: what they leave out is not read from a
    /// cluster either.
    fn names(&self, kind: DataKind, id: &NamespacedName, key: &str) -> bool {
        let named = self
            .named
            .get_or_init(|| references(self.object).into_iter().collect());
        named.contains(&Reference {
            data: DataId {
                kind,
                id: id.clone(),
            },
            key: key.to_owned(),
        })
    }

    /// The keys that the keeper made for a policy, as they stand now.
    pub(super) fn managed_keys(&self, id: &NamespacedName) -> &'a [(ManagedKey, KeyState)] {
        self.follow(Followed::ManagedKeys { id: id.clone() });
        let keys = self.inputs.managed_keys.get(id);
        keys.map(Vec::as_slice).unwrap_or_default()
    }

    /// The key that the keeper made for the secrets of a policy's second factors.
    pub(super) fn managed_encryption_key(&self, id: &NamespacedName) -> Option<&'a Secret> {
        self.follow(Followed::ManagedEncryptionKey { id: id.clone() });
        self.inputs.managed_encryption_keys.get(id)
    }

    /// Which addresses the objects of this namespace may reach.
    pub(super) fn egress(&self) -> Egress {
        if self.inputs.installer.may_reach_cluster(self.namespace) {
            Egress::Cluster
        } else {
            Egress::Public
        }
    }

    /// A Secret for a use that lets something out. Outside the installer's own namespace who may
    /// write to the Secret says what it is for: an author of objects may name it, and need not be
    /// able to read it.
    pub(super) fn secret_for(
        &self,
        use_: SecretUse,
        wanted: &SecretKeyRef,
    ) -> Result<&'a Secret, RefError> {
        let secret = self.secret(wanted)?;
        if self.inputs.installer.is_own(self.namespace) {
            return Ok(secret);
        }
        let id = NamespacedName::new(self.namespace, &wanted.name);
        self.follow(Followed::SecretUse { id: id.clone() });
        let label = self.inputs.secret_uses.get(&id).map(String::as_str);
        if label == Some(use_.name()) {
            return Ok(secret);
        }
        Err(RefError::WrongUse {
            id,
            use_name: use_.name(),
        })
    }

    pub(super) fn secret(&self, wanted: &SecretKeyRef) -> Result<&'a Secret, RefError> {
        let id = NamespacedName::new(self.namespace, &wanted.name);
        self.follow(Followed::SecretEntry {
            id: id.clone(),
            key: wanted.key.clone(),
        });
        let named = self.names(DataKind::Secret, &id, &wanted.key);
        let Some(secret) = self.inputs.secrets.get(&id).filter(|_| named) else {
            return Err(RefError::NoObject {
                kind: DataKind::Secret,
                id,
            });
        };
        let entry = secret.get(&wanted.key);
        entry.ok_or_else(|| RefError::NoEntry {
            kind: DataKind::Secret,
            id,
            key: wanted.key.clone(),
        })
    }

    pub(super) fn config_map(&self, wanted: &ConfigMapKeyRef) -> Result<&'a str, RefError> {
        let id = NamespacedName::new(self.namespace, &wanted.name);
        self.follow(Followed::ConfigMapEntry {
            id: id.clone(),
            key: wanted.key.clone(),
        });
        let named = self.names(DataKind::ConfigMap, &id, &wanted.key);
        let Some(config_map) = self.inputs.config_maps.get(&id).filter(|_| named) else {
            return Err(RefError::NoObject {
                kind: DataKind::ConfigMap,
                id,
            });
        };
        let entry = config_map.get(&wanted.key).map(String::as_str);
        entry.ok_or_else(|| RefError::NoEntry {
            kind: DataKind::ConfigMap,
            id,
            key: wanted.key.clone(),
        })
    }

    /// The JWK Set in a ConfigMap, as it stands there.
    pub(super) fn jwks(
        &self,
        wanted: &ConfigMapKeyRef,
    ) -> Result<Value, (ResolvedRefsReason, String)> {
        let text = self
            .config_map(wanted)
            .map_err(|error| (ResolvedRefsReason::RefNotFound, error.to_string()))?;
        if text.len() > TEXT_BYTES_MAX {
            let message = "the JWK Set is larger than 1 MiB: leave keys out".to_owned();
            return Err((ResolvedRefsReason::KeyInvalid, message));
        }
        serde_json::from_str(text).map_err(|error| {
            let message = format!(
                "the ConfigMap's entry is not JSON (line {}): write a JWK Set",
                error.line()
            );
            (ResolvedRefsReason::KeyInvalid, message)
        })
    }

    /// The bundle's certificates alone, as PEM: a Secret often holds a private key as well.
    pub(super) fn ca_bundle(
        &self,
        bundle: &CaBundle,
        path: &str,
        problems: &mut Problems,
    ) -> Option<String> {
        let CaBundle {
            config_map_ref,
            secret_ref,
            inline,
        } = bundle;
        let (source, text) = if let Some(wanted) = config_map_ref {
            ("configMapRef", self.config_map(wanted))
        } else if let Some(wanted) = secret_ref {
            let secret = self.secret_for(SecretUse::Tls, wanted);
            ("secretRef", secret.map(Secret::expose))
        } else {
            ("inline", Ok(inline.as_deref()?))
        };
        let path = format!("{path}.{source}");
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                problems.unresolved(ResolvedRefsReason::RefNotFound, &path, error);
                return None;
            }
        };
        match certificates(text) {
            Ok(pem) => Some(pem),
            Err(error) => {
                problems.unresolved(ResolvedRefsReason::InvalidCaBundle, &path, error);
                None
            }
        }
    }
}

/// The usable keys of a set that stands in a manifest or a ConfigMap; at least one must be usable.
pub(super) fn usable_keys(
    jwks: &Value,
    allowed: &[Algorithm],
    path: &str,
    problems: &mut Problems,
) -> Option<Value> {
    let set = match KeySet::parse(jwks, allowed) {
        Ok(set) => set,
        Err(error) => {
            problems.unresolved(ResolvedRefsReason::KeyInvalid, path, error);
            return None;
        }
    };
    let rejected = set.rejected().iter().map(|key| {
        let kid = key.kid.as_deref().unwrap_or("without kid");
        format!("key {kid}: {}", key.reason)
    });
    if set.is_empty() {
        let reasons: Vec<String> = rejected.take(REASONS_MAX).collect();
        let message = format!("no key of the set is usable: {}", reasons.join("; "));
        problems.unresolved(ResolvedRefsReason::KeyInvalid, path, message);
        return None;
    }
    let foreign = |reason: &KeyError| matches!(reason, KeyError::UseNotSignature);
    let unused = set.rejected().iter().filter(|key| !foreign(&key.reason));
    for key in unused.take(REASONS_MAX) {
        let kid = key.kid.as_deref().unwrap_or("without kid");
        problems.warn(path, format!("key {kid} is not used: {}", key.reason));
    }
    Some(set.to_jwks())
}

fn certificates(text: &str) -> Result<String, BundleError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(BundleError::TooLarge);
    }
    let mut bundle = String::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
        let number = index + 1;
        if index == CERTIFICATES_MAX {
            return Err(BundleError::TooMany);
        }
        let der = certificate.map_err(|_| BundleError::NotPem(number))?;
        webpki::anchor_from_trusted_cert(&der).map_err(|_| BundleError::NotX509(number))?;
        bundle.push_str(&signing_key::pem("CERTIFICATE", &der));
    }
    if bundle.is_empty() {
        return Err(BundleError::Empty);
    }
    Ok(bundle)
}
