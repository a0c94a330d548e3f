//! TLS: the server's certificate and key, reloaded when their files change, and the CA for client
//! certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::encoding::sha256;

/// How often the files are checked; a mounted Secret changes by a symlink swap that no watch of a
/// file sees.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// When set, callers must show a certificate of this CA.
    pub client_ca: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {error}", path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: it has no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("{}: it is not a private key in PEM", .0.display())]
    Key(PathBuf),
    #[error("{}: it has no usable CA certificate in PEM", .0.display())]
    ClientCa(PathBuf),
    #[error("certificate and key do not work together: {0}")]
    Mismatch(rustls::Error),
}

/// The configuration for new connections.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    digest: std::sync::Mutex<[u8; 32]>,
}

impl Tls {
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let contents = Contents::read(&files)?;
        let config = contents.config(&files)?;
        Ok(Arc::new(Self {
            files,
            current: ArcSwap::new(config),
            digest: std::sync::Mutex::new(contents.digest()),
        }))
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Takes over changed files, and keeps what it has while they are not usable (they are replaced
    /// one after the other).
    pub fn reload(&self) -> Result<bool, TlsError> {
        let contents = Contents::read(&self.files)?;
        let digest = contents.digest();
        let mut last = self
            .digest
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last == digest {
            return Ok(false);
        }
        let config = contents.config(&self.files)?;
        self.current.store(config);
        *last = digest;
        Ok(true)
    }

    /// Looks for changes for ever.
    pub async fn watch(self: Arc<Self>) {
        let mut complaint = String::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.reload() {
                Ok(false) => complaint.clear(),
                Ok(true) => tracing::info!("a new TLS certificate is served"),
                Err(error) if error.to_string() == complaint => {}
                Err(error) => {
                    complaint = error.to_string();
                    tracing::warn!(%error, "the TLS files changed but cannot be used: the last certificate is kept");
                }
            }
        }
    }
}

struct Contents {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| TlsError::Read {
                path: path.to_owned(),
                error,
            })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?.into(),
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        let parts = [
            sha256(&self.certificate),
            sha256(&self.key),
            sha256(client_ca),
        ];
        sha256(&parts.concat())
    }

    fn config(&self, files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
        let certificates: Vec<CertificateDer> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .unwrap_or_default();
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate(files.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| TlsError::Key(files.key.clone()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Mismatch)?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(path)) => {
                let mut roots = RootCertStore::empty();
                let found = CertificateDer::pem_slice_iter(pem).flatten();
                let (usable, _) = roots.add_parsable_certificates(found);
                if usable == 0 {
                    return Err(TlsError::ClientCa(path.clone()));
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|_| TlsError::ClientCa(path.clone()))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(TlsError::Mismatch)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
