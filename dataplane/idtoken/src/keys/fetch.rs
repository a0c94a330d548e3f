//! One bounded GET of a JSON document from a provider: bytes, time, redirects, content type and
//! addresses all have limits.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use url::Url;
use vestibule_crds::issuer::{HttpIssuers, UrlError, parse_endpoint};
use vestibule_crds::snapshot::Egress;

use super::egress::{GuardedResolver, NotPublic, allows_literal};

/// A JWK Set of 128 keys of 4096 bits with certificates fits.
pub const BODY_BYTES_MAX: usize = 512 * 1024;
/// For everything: resolution, connections, redirects and the last byte of the body.
pub const FETCH_TIME_MAX: Duration = Duration::from_secs(5);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
pub const REDIRECTS_MAX: usize = 3;
/// The longest `Retry-After` that is respected.
pub const RETRY_AFTER_SECONDS_MAX: u32 = 60;

/// How a provider's endpoints may be reached.
#[derive(Clone)]
pub struct BoundedFetcher {
    pub egress: Egress,
    pub http: HttpIssuers,
    tls: Arc<ClientConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("{0}: {1}")]
    Url(String, UrlError),
    #[error("{0} is not a public address, and no other may be reached")]
    NotPublic(String),
    #[error("no answer within {} s", FETCH_TIME_MAX.as_secs())]
    TimedOut,
    #[error("it could not be reached: {0}")]
    Unreachable(String),
    #[error("more than {REDIRECTS_MAX} redirects")]
    TooManyRedirects,
    #[error("it redirects without saying where to")]
    RedirectWithoutLocation,
    #[error("it answered with status {status}")]
    Status {
        status: u16,
        retry_after_seconds: Option<u32>,
    },
    #[error("it answered with content type {0:?}, not JSON")]
    ContentType(String),
    #[error("it answered with a content encoding, which was not asked for")]
    ContentEncoding,
    #[error("it is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is not JSON")]
    NotJson,
}

static PUBLIC_ROOTS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    client_config(roots)
});

/// Trusts what browsers trust.
pub fn public_roots() -> ClientConfig {
    (**PUBLIC_ROOTS).clone()
}

fn client_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

impl BoundedFetcher {
    /// `ca_bundle`: PEM certificates instead of the public roots.
    pub fn new(egress: Egress, http: HttpIssuers, ca_bundle: Option<&str>) -> Self {
        let tls = match ca_bundle {
            None => Arc::clone(&PUBLIC_ROOTS),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                // `compile` has refused bundles with a certificate that does not parse.
                let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten();
                roots.add_parsable_certificates(certificates);
                client_config(roots)
            }
        };
        Self { egress, http, tls }
    }

    /// Fetches the JSON document at `url`.
    pub async fn json(&self, url: &str) -> Result<Value, FetchError> {
        let body = tokio::time::timeout(FETCH_TIME_MAX, self.follow(url))
            .await
            .map_err(|_| FetchError::TimedOut)??;
        serde_json::from_slice(&body).map_err(|_| FetchError::NotJson)
    }

    async fn follow(&self, url: &str) -> Result<Bytes, FetchError> {
        let mut url = self.admit(url)?;
        let client = self.client::<Empty<Bytes>>();
        for _ in 0..=REDIRECTS_MAX {
            let request = Request::get(url.as_str())
                .header(ACCEPT, "application/json, application/jwk-set+json")
                .header(ACCEPT_ENCODING, "identity")
                .header(USER_AGENT, concat!("vestibule/", env!("CARGO_PKG_VERSION")))
                .body(Empty::<Bytes>::new())
                .map_err(|_| FetchError::Url(url.to_string(), UrlError::NotAUrl))?;
            let response = client.request(request).await.map_err(unreachable)?;
            let (head, body) = response.into_parts();
            if head.status.is_redirection() {
                let location = head.headers.get(LOCATION).and_then(|to| to.to_str().ok());
                let location = location.ok_or(FetchError::RedirectWithoutLocation)?;
                let next = url
                    .join(location)
                    .map_err(|_| FetchError::Url(shortened(location), UrlError::NotAUrl))?;
                // From https there is no way back to http.
                if url.scheme() == "https" && next.scheme() != "https" {
                    return Err(FetchError::Url(
                        shortened(next.as_str()),
                        UrlError::HttpNotAllowed,
                    ));
                }
                url = self.admit(next.as_str())?;
                continue;
            }
            check_head(head.status, &head.headers)?;
            return read(body).await;
        }
        Err(FetchError::TooManyRedirects)
    }

    pub fn admit(&self, url: &str) -> Result<Url, FetchError> {
        let parsed = parse_endpoint(url, self.http)
            .map_err(|error| FetchError::Url(shortened(url), error))?;
        if !allows_literal(self.egress, &parsed) {
            return Err(FetchError::NotPublic(shortened(url)));
        }
        Ok(parsed)
    }

    /// A client for one request: connections are not worth keeping for minutes.
    pub fn client<B>(&self) -> Client<HttpsConnector<HttpConnector<GuardedResolver>>, B>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
    {
        let mut http = HttpConnector::new_with_resolver(GuardedResolver::new(self.egress));
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIME_MAX));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config((*self.tls).clone())
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_headers(64)
            .build(https)
    }
}

impl std::fmt::Debug for BoundedFetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach")
            .field("egress", &self.egress)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), FetchError> {
    if status != StatusCode::OK {
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse::<u32>().ok())
            .map(|seconds| seconds.min(RETRY_AFTER_SECONDS_MAX));
        return Err(FetchError::Status {
            status: status.as_u16(),
            retry_after_seconds: retry_after,
        });
    }
    let encoded = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    if encoded {
        return Err(FetchError::ContentEncoding);
    }
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence.to_ascii_lowercase().ends_with("+json"));
    if !json {
        return Err(FetchError::ContentType(shortened(content_type)));
    }
    Ok(())
}

async fn read(mut body: hyper::body::Incoming) -> Result<Bytes, FetchError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| FetchError::Unreachable(shortened(&error.to_string())))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes.freeze())
}

/// The innermost cause says most: "connection refused" rather than "client error".
pub fn unreachable(error: hyper_util::client::legacy::Error) -> FetchError {
    let mut cause: &dyn std::error::Error = &error;
    loop {
        // An I/O error does not name what it wraps as its source.
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if wrapped.is_some_and(|inner| inner.is::<NotPublic>()) {
            return FetchError::NotPublic("its name".to_owned());
        }
        let Some(inner) = cause.source() else {
            return FetchError::Unreachable(shortened(&cause.to_string()));
        };
        cause = inner;
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
