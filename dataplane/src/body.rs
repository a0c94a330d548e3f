//! Request bodies: one JSON object, bounded in bytes and in time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use serde_json::{Map, Value};

use crate::failure::{Code, Failure};
use crate::server::reading_body;
use vestibule_idtoken::strict_json;

pub mod form;

/// An ID token of 16 KiB, its JSON escapes and the other members fit.
pub const BODY_BYTES_MAX: usize = 32 * 1024;
/// For the whole body, however slowly it comes.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// The members of a JSON body.
#[derive(Debug)]
pub struct Members(Map<String, Value>);

pub async fn read(headers: &HeaderMap, body: Incoming) -> Result<Members, Failure> {
    check_media_type(headers, "application/json")?;
    let bytes = read_bytes(body).await?;
    let members = strict_json::parse_object(&bytes)
        .map_err(|error| Code::InvalidRequest.because(error.to_string()))?;
    Ok(Members(members))
}

pub(super) async fn read_bytes(body: Incoming) -> Result<Bytes, Failure> {
    let too_large = || Code::RequestTooLarge.because("the body is too large");
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large().into());
    }
    let _waiting = reading_body();
    tokio::time::timeout(BODY_TIME_MAX, collect(body))
        .await
        .map_err(|_| Code::RequestTimeout.because("the body did not arrive in time"))?
}

impl Members {
    /// A member that is a string, as long as the API says at most; missing and `null` are the same.
    pub fn text(
        &mut self,
        name: &'static str,
        chars_max: usize,
    ) -> Result<Option<String>, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text))
                if text.len() > chars_max && text.chars().count() > chars_max =>
            {
                Err(Code::InvalidRequest
                    .because(format!("{name} is longer than {chars_max} characters"))
                    .into())
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Code::InvalidRequest
                .because(format!("{name} is not a string"))
                .into()),
        }
    }

    /// A member that is true or false; missing and `null` are false.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(Code::InvalidRequest
                .because(format!("{name} is neither true nor false"))
                .into()),
        }
    }

    /// A member that is an object; missing and `null` are the same.
    pub fn object(&mut self, name: &'static str) -> Result<Option<Value>, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(object @ Value::Object(_)) => Ok(Some(object)),
            Some(_) => Err(Code::InvalidRequest
                .because(format!("{name} is not an object"))
                .into()),
        }
    }

    pub fn required_text(
        &mut self,
        name: &'static str,
        chars_max: usize,
    ) -> Result<String, Failure> {
        self.text(name, chars_max)?.ok_or_else(|| {
            Code::InvalidRequest
                .because(format!("{name} is missing"))
                .into()
        })
    }
}

pub(super) fn check_media_type(headers: &HeaderMap, wanted: &str) -> Result<(), Failure> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let wanted = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case(wanted));
    // Both are UTF-8 (RFC 8259, section 8.1; RFC 6749, appendix B), whether the request says so or
    // not.
    let utf8 = parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.eq_ignore_ascii_case("charset")
            || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|encoding| encoding == "identity");
    if wanted && utf8 && plain {
        Ok(())
    } else {
        Err(Code::UnsupportedMediaType.into())
    }
}

async fn collect(mut body: impl Body<Data = Bytes> + Unpin) -> Result<Bytes, Failure> {
    let mut whole = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Code::InvalidRequest.because("the body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + more.len() + data.len() > BODY_BYTES_MAX {
            return Err(Code::RequestTooLarge
                .because("the body is too large")
                .into());
        }
        if whole.is_empty() {
            // Nearly every body comes in one piece, and is then not copied.
            whole = data;
        } else {
            more.extend_from_slice(&data);
        }
    }
    if more.is_empty() {
        return Ok(whole);
    }
    Ok([whole, more.freeze()].concat().into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    async fn collected(pieces: &[&'static [u8]]) -> Result<Bytes, &'static str> {
        let frames = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece))));
        let body = StreamBody::new(stream::iter(frames));
        collect(body).await.map_err(|failure| failure.code())
    }

    #[tokio::test]
    async fn a_body_is_the_same_in_however_many_pieces_it_comes() {
        for pieces in [
            [b"{\"a\": 1}".as_slice(), b"", b""],
            [b"", b"{\"a\": 1}", b""],
            [b"{\"a\"", b": ", b"1}"],
        ] {
            assert_eq!(collected(&pieces).await.as_deref(), Ok(&b"{\"a\": 1}"[..]));
        }
        assert_eq!(collected(&[]).await.as_deref(), Ok(&b""[..]));
    }

    #[tokio::test]
    async fn the_pieces_count_together() {
        static HALF: [u8; BODY_BYTES_MAX / 2] = [b' '; BODY_BYTES_MAX / 2];
        assert!(collected(&[&HALF, &HALF]).await.is_ok());
        let one_more = collected(&[&HALF, &HALF, b" "]).await;
        assert_eq!(one_more, Err("request_too_large"));
    }
}
