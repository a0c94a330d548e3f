//! Request bodies: one JSON object, bounded in bytes and in time.

use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use serde_json::{Map, Value};

use crate::failure::{Code, Failure};
use crate::strict_json;

/// An ID token of 16 KiB, its JSON escapes and the other members fit.
pub const BODY_BYTES_MAX: usize = 32 * 1024;
/// For the whole body, however slowly it comes.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// The members of a JSON body.
#[derive(Debug)]
pub struct Members(Map<String, Value>);

pub async fn read(headers: &HeaderMap, body: Incoming) -> Result<Members, Failure> {
    check_media_type(headers)?;
    let too_large = || Code::RequestTooLarge.because("the body is too large");
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large().into());
    }
    let bytes = tokio::time::timeout(BODY_TIME_MAX, collect(body))
        .await
        .map_err(|_| Code::RequestTimeout.because("the body did not arrive in time"))??;
    let members = strict_json::parse_object(&bytes)
        .map_err(|error| Code::InvalidRequest.because(error.to_string()))?;
    Ok(Members(members))
}

impl Members {
    /// A member that is a string; missing and `null` are the same.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Code::InvalidRequest
                .because(format!("{name} is not a string"))
                .into()),
        }
    }

    pub fn required_text(&mut self, name: &'static str) -> Result<String, Failure> {
        self.text(name)?.ok_or_else(|| {
            Code::InvalidRequest
                .because(format!("{name} is missing"))
                .into()
        })
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    // JSON is UTF-8 (RFC 8259, section 8.1), whether the request says so or not.
    let utf8 = parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.eq_ignore_ascii_case("charset")
            || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|encoding| encoding == "identity");
    if json && utf8 && plain {
        Ok(())
    } else {
        Err(Code::UnsupportedMediaType.into())
    }
}

async fn collect(mut body: Incoming) -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Code::InvalidRequest.because("the body broke off"))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(Code::RequestTooLarge
                    .because("the body is too large")
                    .into());
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}
