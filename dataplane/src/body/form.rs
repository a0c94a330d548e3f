//! The bodies of OAuth's requests: `application/x-www-form-urlencoded` (RFC 6749, appendix B), read
//! strictly.

use std::fmt;

use http::HeaderMap;
use hyper::body::Incoming;
use url::form_urlencoded;

use crate::body;
pub use crate::body::BODY_BYTES_MAX;
use crate::failure::{Code, Failure};

/// More than any request of ours has.
const PARAMETERS_MAX: usize = 32;

/// The parameters of a form. What is not asked for is ignored (RFC 6749, section 3.1); one without
/// a value is as good as left out (RFC 6749, section 3.2).
pub struct Form(Vec<(String, String)>);

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

pub async fn read(headers: &HeaderMap, body: Incoming) -> Result<Form, Failure> {
    body::check_media_type(headers, "application/x-www-form-urlencoded")?;
    Form::parse(&body::read_bytes(body).await?)
}

/// One name or value; none for what is not encoded as it should be.
pub fn decode(text: &str) -> Option<String> {
    let name = text.as_bytes();
    if !is_encoded(name) || text.contains(['&', '=']) {
        return None;
    }
    let decoded = form_urlencoded::parse(name).next();
    // A lone name has an empty value; and what is no UTF-8 shows as this character.
    let (decoded, _) = decoded.unwrap_or_default();
    (!decoded.contains('\u{FFFD}')).then(|| decoded.into_owned())
}

/// Every percent sign is followed by two hexadecimal digits.
fn is_encoded(text: &[u8]) -> bool {
    let mut escapes = text.split(|byte| *byte == b'%').skip(1);
    escapes.all(|rest| matches!(rest, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

impl Form {
    pub fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        if !is_encoded(bytes) {
            return Err(invalid("a percent sign that encodes nothing".to_owned()));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if name.contains('\u{FFFD}') || value.contains('\u{FFFD}') {
                return Err(invalid("it is not UTF-8".to_owned()));
            }
            if parameters.len() == PARAMETERS_MAX {
                return Err(invalid(format!("more than {PARAMETERS_MAX} parameters")));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    /// Takes a parameter out, which may be there once (RFC 6749, section 3.1).
    pub fn text(
        &mut self,
        name: &'static str,
        chars_max: usize,
    ) -> Result<Option<String>, Failure> {
        let place = self.0.iter().position(|(known, _)| known == name);
        let Some((_, value)) = place.map(|place| self.0.remove(place)) else {
            return Ok(None);
        };
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(invalid(format!("{name} stands there twice")));
        }
        if value.len() > chars_max && value.chars().count() > chars_max {
            return Err(invalid(format!(
                "{name} is longer than {chars_max} characters"
            )));
        }
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    pub fn required(&mut self, name: &'static str, chars_max: usize) -> Result<String, Failure> {
        let value = self.text(name, chars_max)?;
        value.ok_or_else(|| invalid(format!("{name} is missing")))
    }

    /// Takes all of one name out, which may be there several times (RFC 8693, section 2.1).
    pub fn all(&mut self, name: &'static str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(known, _)| known == name);
        self.0 = left;
        let taken: Vec<(String, String)> = taken;
        let values = taken.into_iter().map(|(_, value)| value);
        values.filter(|value| !value.is_empty()).collect()
    }
}

fn invalid(why: String) -> Failure {
    Code::InvalidRequest.because(why).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_and_libraries_write_it() {
        let mut form = Form::parse(b"a=1&b=x%2By+z&empty=&resource=r1&resource=r2&%C3%A4=%C3%B6")
            .expect("a form");
        assert_eq!(form.text("a", 10), Ok(Some("1".to_owned())));
        assert_eq!(form.text("a", 10), Ok(None), "it was taken out");
        assert_eq!(form.required("b", 10), Ok("x+y z".to_owned()));
        assert_eq!(form.text("empty", 10), Ok(None));
        assert_eq!(form.all("resource"), ["r1", "r2"]);
        assert_eq!(form.text("\u{e4}", 1), Ok(Some("\u{f6}".to_owned())));
        assert!(Form::parse(b"").is_ok());
    }

    #[test]
    fn a_form_that_two_readers_could_read_differently_is_refused() {
        let many = (0..=PARAMETERS_MAX).map(|n| format!("p{n}=1&"));
        let many: String = many.collect();
        for bad in [
            b"a=%".as_slice(),
            b"a=%4",
            b"a=%zz",
            b"a=%ff",
            b"a=\xff",
            many.as_bytes(),
        ] {
            let code = Form::parse(bad).map_err(|failure| failure.code());
            assert_eq!(
                code.err(),
                Some("invalid_request"),
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[test]
    fn a_parameter_that_stands_there_twice_is_refused_where_it_is_asked_for() {
        for bad in [
            b"a=1&a=2".as_slice(),
            b"a=1&%61=1",
            b"a=&a=1",
            b"a=1&b=2&a=1",
        ] {
            let mut form = Form::parse(bad).expect("a form");
            let code = form.text("a", 10).map_err(|failure| failure.code());
            assert_eq!(code, Err("invalid_request"), "{}", bad.escape_ascii());
        }
        let mut form = Form::parse(b"a=1&other=1&other=2").expect("a form");
        assert_eq!(form.text("a", 10), Ok(Some("1".to_owned())));
    }

    #[test]
    fn what_is_missing_or_too_long_is_an_invalid_request() {
        let mut form = Form::parse(b"long=12345&empty=").expect("a form");
        for (name, max) in [("long", 4), ("empty", 4), ("absent", 4)] {
            let code = form.required(name, max).map_err(|failure| failure.code());
            assert_eq!(code, Err("invalid_request"), "{name}");
        }
    }

    #[test]
    fn one_value_is_decoded_by_itself() {
        assert_eq!(decode("a%2Bb+c").as_deref(), Some("a+b c"));
        assert_eq!(decode("").as_deref(), Some(""));
        for bad in ["a=b", "a&b", "%", "%ff"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
