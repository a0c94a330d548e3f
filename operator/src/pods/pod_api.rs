//! Asking one pod: plain HTTP to its admin port, with a bound on time and size. A pod's answer is
//! outside input, and counts only with its proof.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use vestibule_crds::publication::{ProofKey, Seed};
use vestibule_crds::report::{
    ANSWER_PROOF_HEADER, DiscoveryReport, ProviderKeysReport, QUESTION_PROOF_HEADER,
    REPORT_BYTES_MAX, RevisionReport,
};

use crate::status::discovered::Finding;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Of a nonce.
const NONCE_RANDOM_BYTES: usize = 24;
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest text of a pod that is repeated in a condition.
const TEXT_CHARS_MAX: usize = 512;

#[derive(Debug, Clone)]
pub(crate) struct PodApi {
    client: Client<HttpConnector, Empty<Bytes>>,
    port: u16,
}

/// A pod that is asked: by its address, and who it must prove to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pod<'p> {
    pub(crate) name: &'p str,
    pub(crate) address: IpAddr,
}

/// Why a pod's answer cannot be had, without its address: that changes by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error("its admin port cannot be reached: check the network policy")]
    Unreachable,
    #[error("it does not answer in time")]
    TimedOut,
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("its answer is too long or breaks off")]
    Body,
    #[error("it has not loaded what was published: its answer has no proof")]
    Unproved,
    #[error(
        "its answer is not one that this version reads: upgrade the data plane and the operator together"
    )]
    Unreadable,
}

impl PodApi {
    pub(crate) fn new(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIME_MAX));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(2)
            .build(connector);
        Self { client, port }
    }

    pub(crate) async fn revision(
        &self,
        pod: Pod<'_>,
        proof_key: &ProofKey,
    ) -> Result<RevisionReport, AskError> {
        let body = self.get(pod, "/revision?", proof_key).await?;
        serde_json::from_slice(&body).map_err(|_| AskError::Unreadable)
    }

    pub(crate) async fn discovery(
        &self,
        pod: Pod<'_>,
        proof_key: &ProofKey,
        since: u64,
    ) -> Result<DiscoveryReport, AskError> {
        let path = format!("/discovery?since={since}&");
        let body = self.get(pod, &path, proof_key).await?;
        serde_json::from_slice(&body).map_err(|_| AskError::Unreadable)
    }

    async fn get(&self, pod: Pod<'_>, path: &str, proof_key: &ProofKey) -> Result<Bytes, AskError> {
        let Pod { name, address } = pod;
        let nonce = nonce().ok_or(AskError::Unproved)?;
        let path = format!("{path}nonce={nonce}");
        let authority = SocketAddr::new(address, self.port).to_string();
        let uri = Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query(path.as_str())
            .build()
            .map_err(|_| AskError::Unreachable)?;
        let request = Request::get(uri)
            .header(QUESTION_PROOF_HEADER, proof_key.prove_question(name, &path))
            .body(Empty::new())
            .map_err(|_| AskError::Unreachable)?;
        let asking = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|_| AskError::Unreachable)?;
            if answer.status() != StatusCode::OK {
                return Err(AskError::Status(answer.status().as_u16()));
            }
            let proof = answer.headers().get(ANSWER_PROOF_HEADER).cloned();
            let body = Limited::new(answer.into_body(), REPORT_BYTES_MAX);
            let body = body.collect().await.map_err(|_| AskError::Body)?.to_bytes();
            let proof = proof.as_ref().and_then(|proof| proof.to_str().ok());
            let proved =
                proof.is_some_and(|proof| proof_key.verify_answer(name, &path, &body, proof));
            if proved {
                Ok(body)
            } else {
                Err(AskError::Unproved)
            }
        };
        tokio::time::timeout(ANSWER_TIME_MAX, asking)
            .await
            .map_err(|_elapsed| AskError::TimedOut)?
    }
}

/// What of a report is kept, under the provider's `namespace/name`, and the keys if it has some.
pub(crate) fn finding(report: ProviderKeysReport) -> (String, Finding, Option<Seed>) {
    let ProviderKeysReport {
        namespace,
        name,
        source,
        state,
        error,
        fetched_at,
        jwks,
    } = report;
    let seed = jwks.zip(fetched_at).map(|(jwks, fetched_at)| Seed {
        source: source.clone(),
        jwks,
        fetched_at,
    });
    let finding = Finding {
        source,
        state,
        error: error.map(shortened),
    };
    (format!("{namespace}/{name}"), finding, seed)
}

/// None when the system gives no random bytes.
fn nonce() -> Option<String> {
    let mut bytes = [0; NONCE_RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn shortened(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
