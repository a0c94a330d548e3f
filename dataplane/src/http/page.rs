//! `GET /auth/mfa`: the page on which a person completes a challenge. Three files that are part of
//! the program, the page in the language that the browser asks for, or `?lang=` does.
//!
//! Nothing here knows of a challenge: the page has its token from a fragment, which no request
//! carries.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::encoding::{hex, sha256};
use crate::language::{self, Language};
use crate::server::Answer;

const HTML: &str = include_str!("../mfa/page/page.html");
const SCRIPT: &str = include_str!("../mfa/page/page.js");
const STYLE: &str = include_str!("../mfa/page/page.css");

/// Nothing but its own files and endpoints, no frame around it, and no text that the script could
/// turn into markup. `Cross-Origin-Opener-Policy` is left out on purpose: the page answers to the
/// window that opened it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);
const TLS_FOR_A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    Page,
    Script,
    Style,
}

impl File {
    pub fn at(path: &str) -> Option<Self> {
        match path {
            "/auth/mfa" => Some(Self::Page),
            "/auth/mfa/page.js" => Some(Self::Script),
            "/auth/mfa/page.css" => Some(Self::Style),
            _ => None,
        }
    }

    const fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Page => "text/html; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
        })
    }
}

/// What is sent, and the tag that distinguishes it from what another version of this program sends.
#[derive(Debug)]
struct Content {
    bytes: Bytes,
    tag: HeaderValue,
}

impl Content {
    fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let tag = format!("\"{}\"", hex(&sha256(&bytes)[..16]));
        Self {
            bytes,
            tag: HeaderValue::try_from(tag).expect("hexadecimal is a header's text"),
        }
    }

    fn of_page(language: Language) -> Self {
        Self::of(render(HTML, &language::object(language, "page")))
    }
}

pub fn answer(file: File, headers: &HeaderMap, query: Option<&str>) -> Answer {
    static ENGLISH: LazyLock<Content> = LazyLock::new(|| Content::of_page(Language::English));
    static CHINESE: LazyLock<Content> = LazyLock::new(|| Content::of_page(Language::Chinese));
    static SCRIPT_CONTENT: LazyLock<Content> = LazyLock::new(|| Content::of(SCRIPT));
    static STYLE_CONTENT: LazyLock<Content> = LazyLock::new(|| Content::of(STYLE));

    let language = asked_for(query).unwrap_or_else(|| Language::of(headers));
    let content: &Content = match (file, language) {
        (File::Page, Language::English) => &ENGLISH,
        (File::Page, Language::Chinese) => &CHINESE,
        (File::Script, _) => &SCRIPT_CONTENT,
        (File::Style, _) => &STYLE_CONTENT,
    };
    let mut answer = Response::new(Full::default());
    if has_already(headers, &content.tag) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *answer.body_mut() = Full::new(content.bytes.clone());
    }
    let known = answer.headers_mut();
    known.insert(CONTENT_TYPE, file.media_type());
    known.insert(ETAG, content.tag.clone());
    // Cached, but revalidated each time: page and script of two versions must not meet.
    known.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    known.insert(CONTENT_SECURITY_POLICY, POLICY);
    known.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A browser heeds it over TLS alone, wherever TLS ends (RFC 6797, section 8.1).
    known.insert(STRICT_TRANSPORT_SECURITY, TLS_FOR_A_YEAR);
    known.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if file == File::Page {
        let language = HeaderValue::from_static(language.tag());
        known.insert(CONTENT_LANGUAGE, language);
        known.insert(VARY, HeaderValue::from_static("accept-language"));
    }
    answer
}

fn asked_for(query: Option<&str>) -> Option<Language> {
    let members = url::form_urlencoded::parse(query?.as_bytes());
    let mut asked = members.filter(|(name, _)| name == "lang");
    asked.next().and_then(|(_, tag)| Language::named(&tag))
}

/// `If-None-Match` (RFC 9110, section 13.1.2): a weak comparison, for what a proxy compresses it
/// marks as weak.
fn has_already(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let sent = headers.get_all(IF_NONE_MATCH).into_iter();
    sent.flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .map(|one| one.strip_prefix(b"W/").unwrap_or(one))
        .any(|one| one == b"*" || one == tag.as_bytes())
}

/// Puts the texts where the page names them in double braces.
fn render(page: &str, texts: &HashMap<String, String>) -> String {
    let mut pieces = page.split("{{");
    let mut rendered = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").expect("a name ends with its braces");
        let text = texts.get(name);
        let text =
            text.unwrap_or_else(|| panic!("the page names {name}, and there is no such text"));
        escape(text, &mut rendered);
        rendered.push_str(rest);
    }
    rendered
}

/// For text and for values between double quotes.
fn escape(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests;
