//! TLS: both versions of HTTP, certificates that change, and callers who must show one.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{Builder, LocalIssuer, Service, eventually};

/// A certificate authority and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("it signs").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn certificate(&self, name: &str) -> Pair {
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The files that the service is given.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(pair: &Pair) -> Self {
        let files = Self {
            folder: tempfile::tempdir().expect("a directory"),
        };
        files.replace(pair);
        files
    }

    fn replace(&self, pair: &Pair) {
        fs::write(self.path("tls.crt"), &pair.certificate).expect("it can be written");
        fs::write(self.path("tls.key"), &pair.key).expect("it can be written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn builder(&self, issuer: &LocalIssuer) -> Builder {
        Service::builder()
            .manifests("all.yaml", &[issuer.provider(), policy()])
            .tls([
                "--tls-cert".into(),
                self.path("tls.crt").into(),
                "--tls-key".into(),
                self.path("tls.key").into(),
            ])
    }
}

/// A caller: whom it trusts, what it can speak, and what it shows.
struct Caller {
    config: ClientConfig,
}

impl Caller {
    fn new(authority: &Authority, protocol: &str, shown: Option<&Pair>) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(authority.pem.as_bytes());
        roots
            .add(authority.expect("a certificate"))
            .expect("it is a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports them")
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
                let chain = vec![certificate.expect("a certificate")];
                builder
                    .with_client_auth_cert(chain, key.expect("a key"))
                    .expect("they fit")
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Self { config }
    }

    async fn connect(&self, address: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.config.clone()));
        Ok(connector
            .connect(ServerName::try_from("localhost")?, stream)
            .await?)
    }

    /// Signs in over a connection of its own: the version, the status and the body of the answer.
    async fn signin(
        &self,
        address: SocketAddr,
        token: &str,
    ) -> anyhow::Result<(Version, u16, Value)> {
        let stream = self.connect(address).await?;
        let request = Request::post("https://localhost/auth/id-token/signin")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(json!({"id_token": token}).to_string()))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let answer = if http2 {
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = handshake.await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        };
        let (head, body) = answer.into_parts();
        let body = serde_json::from_slice(&body.collect().await?.to_bytes())?;
        Ok((head.version, head.status.as_u16(), body))
    }
}

#[tokio::test]
async fn both_versions_of_http_sign_in_over_tls() {
    let (authority, issuer) = (Authority::new(), LocalIssuer::new());
    let files = Files::new(&authority.certificate("localhost"));
    let service = files.builder(&issuer).start().await;
    for (protocol, version) in [("http/1.1", Version::HTTP_11), ("h2", Version::HTTP_2)] {
        let caller = Caller::new(&authority, protocol, None);
        let answer = caller
            .signin(service.address, &issuer.id_token("alice"))
            .await;
        let (spoken, status, body) = answer.expect("it is answered");
        assert_eq!((spoken, status), (version, 200), "{body}");
        let refused = caller.signin(service.address, "no token").await;
        let (spoken, status, body) = refused.expect("it is answered");
        assert_eq!((spoken, status), (version, 401));
        assert_eq!(body["code"], "token_malformed");
    }
}

#[tokio::test]
async fn a_caller_that_trusts_another_authority_does_not_connect() {
    let (authority, issuer) = (Authority::new(), LocalIssuer::new());
    let files = Files::new(&authority.certificate("localhost"));
    let service = files.builder(&issuer).start().await;
    let stranger = Caller::new(&Authority::new(), "h2", None);
    assert!(stranger.connect(service.address).await.is_err());
    let friend = Caller::new(&authority, "h2", None);
    assert!(friend.connect(service.address).await.is_ok());
}

#[tokio::test]
async fn plain_http_to_a_tls_port_gets_no_answer() {
    let (authority, issuer) = (Authority::new(), LocalIssuer::new());
    let files = Files::new(&authority.certificate("localhost"));
    let service = files.builder(&issuer).start().await;
    let mut stream = TcpStream::connect(service.address).await.expect("a place");
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("it is sent");
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let _ended = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("HTTP"), "{answer}");

    let caller = Caller::new(&authority, "http/1.1", None);
    let answer = caller
        .signin(service.address, &issuer.id_token("alice"))
        .await;
    assert_eq!(answer.expect("it is answered").1, 200);
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart_and_half_of_one_is_waited_for() {
    let (authority, issuer) = (Authority::new(), LocalIssuer::new());
    let (old, new) = (
        authority.certificate("localhost"),
        authority.certificate("localhost"),
    );
    let files = Files::new(&old);
    let service = files.builder(&issuer).start().await;
    let caller = Caller::new(&authority, "h2", None);
    let served = async || {
        let stream = caller.connect(service.address).await.expect("it connects");
        let chain = stream.get_ref().1.peer_certificates();
        chain.expect("a certificate")[0].clone().into_owned()
    };
    let der = |pair: &Pair| {
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")
    };
    assert_eq!(served().await, der(&old));

    // A certificate without its key is no use yet.
    fs::write(files.path("tls.crt"), &new.certificate).expect("it can be written");
    service.logs("the last certificate is kept").await;
    assert_eq!(served().await, der(&old));

    fs::write(files.path("tls.key"), &new.key).expect("it can be written");
    eventually("the new certificate is served", || async {
        if served().await == der(&new) {
            Ok(())
        } else {
            Err("the old one is")
        }
    })
    .await;
    let answer = caller
        .signin(service.address, &issuer.id_token("alice"))
        .await;
    assert_eq!(answer.expect("it is answered").1, 200);
}

#[tokio::test]
async fn with_a_client_ca_only_callers_with_its_certificates_are_answered() {
    let (authority, clients, issuer) = (Authority::new(), Authority::new(), LocalIssuer::new());
    let files = Files::new(&authority.certificate("localhost"));
    fs::write(files.path("clients.crt"), &clients.pem).expect("it can be written");
    let service = files
        .builder(&issuer)
        .argument("--tls-client-ca")
        .argument(files.path("clients.crt"))
        .start()
        .await;
    let token = issuer.id_token("alice");
    for protocol in ["http/1.1", "h2"] {
        let with = |shown: Option<&Pair>| Caller::new(&authority, protocol, shown);
        let known = with(Some(&clients.certificate("gateway")));
        let answer = known.signin(service.address, &token).await;
        let answer = answer.context(protocol).expect("it is answered");
        assert_eq!(answer.1, 200, "{}", answer.2);

        let nobody = with(None).signin(service.address, &token).await;
        assert!(nobody.is_err(), "{protocol}: {nobody:?}");
        let stranger = with(Some(&authority.certificate("gateway")));
        let stranger = stranger.signin(service.address, &token).await;
        assert!(stranger.is_err(), "{protocol}: {stranger:?}");
    }
}
