//! An HTTP client whose every request has a deadline.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::eventually::DEADLINE;

/// Node closes a connection that has been idle for 5 s, perhaps while a request is on its way.
const IDLE_TIME_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct Client {
    client: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    pub fn new() -> Self {
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .build_http();
        Self { client }
    }

    pub async fn get(&self, url: &str) -> anyhow::Result<Reply> {
        self.send(Request::get(url).body(Full::default())?).await
    }

    pub async fn post(&self, url: &str, body: &Value) -> anyhow::Result<Reply> {
        self.send_json(Method::POST, url, body).await
    }

    /// As `application/x-www-form-urlencoded`.
    pub async fn post_form(&self, url: &str, form: &[(&str, String)]) -> anyhow::Result<Reply> {
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(body))?;
        self.send(request).await
    }

    pub async fn send_json(
        &self,
        method: Method,
        url: &str,
        body: &Value,
    ) -> anyhow::Result<Reply> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))?;
        self.send(request).await
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
        let answering = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Reply {
                status: head.status.as_u16(),
                headers: head.headers,
                body: String::from_utf8(body.to_vec())?,
            })
        };
        tokio::time::timeout(DEADLINE, answering)
            .await
            .context("no answer within the deadline")?
    }
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.body);
        parsed.unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.body))
    }

    /// A member that is a string.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        let body = self.json();
        let text = body[name].as_str();
        text.unwrap_or_else(|| panic!("no {name} in {}: {}", self.status, self.body))
            .to_owned()
    }

    /// The error code, or `ok`.
    #[track_caller]
    pub fn code(&self) -> String {
        if self.status < 300 {
            return "ok".to_owned();
        }
        let content_type = self
            .headers
            .get("content-type")
            .map(|value| value.as_bytes());
        let problem: Option<&[u8]> = Some(b"application/problem+json");
        assert_eq!(content_type, problem, "{}: {}", self.status, self.body);
        self.text("code")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Seconds of `Retry-After`.
    #[track_caller]
    pub fn retry_after(&self) -> u64 {
        let value = self.header("retry-after").expect("there is a Retry-After");
        value.parse().expect("it is in seconds")
    }
}
