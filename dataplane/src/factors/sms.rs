//! Sends codes by text message: one signed request to the policy's webhook, which knows how
//! messages are sent.
//!
//! The signature is that of Standard Webhooks 1.0, for which there are libraries in most languages:
//! `webhook-id` is the same when a request is repeated, `webhook-timestamp` says when it was
//! signed, and `webhook-signature` is `v1,` and the base64 of the HMAC-SHA-256 of both and the
//! body, joined by dots.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use uuid::Uuid;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::snapshot::{Egress, Sms};

use vestibule_idtoken::keys::fetch::{BoundedFetcher, FetchError, unreachable};

/// For everything: resolution, connection and the head of the answer.
pub const SEND_TIME_MAX: Duration = Duration::from_secs(3);
/// Digits of an international number (E.164); shorter ones are emergency and short numbers, which
/// cost the sender money.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
const NUMBER_BYTES_MAX: usize = 32;
/// How Standard Webhooks writes a key in base64.
const BASE64_KEY: &str = "whsec_";

/// A policy's webhook.
pub struct Webhook {
    url: String,
    fetcher: BoundedFetcher,
    key: hmac::Key,
}

/// An international telephone number: `+` and digits.
#[derive(Clone, PartialEq, Eq)]
pub struct PhoneNumber(String);

/// A message to one number.
pub struct Message<'a> {
    pub to: &'a PhoneNumber,
    pub text: &'a str,
    pub code: &'a str,
    /// Seconds for which the code is good.
    pub expires_in: u64,
    /// Of the text, such as `en`.
    pub language: &'a str,
    /// The same for each try to send this message, so that it is sent once.
    pub id: Uuid,
    /// Now, seconds since the Unix epoch: the webhook refuses what was signed long ago.
    pub signed_at: i64,
}

/// What the webhook reads.
#[derive(Serialize)]
struct Body<'a> {
    to: &'a str,
    text: &'a str,
    code: &'a str,
    expires_in: u64,
    language: &'a str,
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the webhook did not answer within {} s", SEND_TIME_MAX.as_secs())]
    TimedOut,
    #[error("the webhook answered with status {0}")]
    Refused(u16),
    #[error("the webhook redirects, which is not followed: write the URL that it leads to")]
    Redirects,
    #[error("the webhook could not be asked: {0}")]
    Unreachable(FetchError),
}

impl Webhook {
    /// `egress`: which addresses its name may lead to.
    pub fn new(sms: &Sms, http: HttpIssuers, egress: Egress) -> Self {
        let Sms {
            url,
            key,
            ca_bundle,
        } = sms;
        let key = key.expose();
        let decoded = key.strip_prefix(BASE64_KEY).map(|key| STANDARD.decode(key));
        let key = match &decoded {
            Some(Ok(bytes)) => bytes,
            Some(Err(_)) | None => key.as_bytes(),
        };
        Self {
            url: url.clone(),
            fetcher: BoundedFetcher::new(egress, http, ca_bundle.as_deref()),
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The webhook has taken it over, or it is an error. Repeating it with the same `id` sends it
    /// once.
    pub async fn send(&self, message: &Message<'_>) -> Result<(), SendError> {
        let asking = self.ask(message);
        let asked = tokio::time::timeout(SEND_TIME_MAX, asking).await;
        let status = asked.map_err(|_| SendError::TimedOut)??;
        if status.is_success() {
            Ok(())
        } else if status.is_redirection() {
            Err(SendError::Redirects)
        } else {
            Err(SendError::Refused(status.as_u16()))
        }
    }

    async fn ask(&self, message: &Message<'_>) -> Result<StatusCode, SendError> {
        let url = self
            .fetcher
            .admit(&self.url)
            .map_err(SendError::Unreachable)?;
        let body = Body {
            to: &message.to.0,
            text: message.text,
            code: message.code,
            expires_in: message.expires_in,
            language: message.language,
        };
        let body = serde_json::to_vec(&body).expect("strings and numbers are JSON");
        let id = message.id.to_string();
        let signed_at = message.signed_at.to_string();
        let request = Request::post(url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("vestibule/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", &id)
            .header("webhook-id", &id)
            .header("webhook-timestamp", &signed_at)
            .header("webhook-signature", self.signature(&id, &signed_at, &body))
            .body(Full::new(Bytes::from(body)))
            .expect("each header is printable ASCII, and the URL was parsed");
        let response = self.fetcher.client().request(request).await;
        let response = response.map_err(|error| SendError::Unreachable(unreachable(error)))?;
        Ok(response.status())
    }

    fn signature(&self, id: &str, signed_at: &str, body: &[u8]) -> String {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(id.as_bytes());
        signing.update(b".");
        signing.update(signed_at.as_bytes());
        signing.update(b".");
        signing.update(body);
        format!("v1,{}", STANDARD.encode(signing.sign()))
    }
}

impl PhoneNumber {
    /// An international number as people write it: with `+` or `00`, perhaps spaces, hyphens, dots
    /// and brackets.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > NUMBER_BYTES_MAX {
            return None;
        }
        let text: String = text
            .chars()
            .filter(|character| !" -.()".contains(*character))
            .collect();
        let digits = text.strip_prefix('+').or_else(|| text.strip_prefix("00"))?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit())
            && DIGITS.contains(&digits.len())
            && !digits.starts_with('0');
        is_number.then(|| Self(format!("+{digits}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[a telephone number]")
    }
}

/// It holds a code.
impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
