//! The tokens of CEL (language definition, "Syntax").

use super::text;
use crate::expression::ExpressionError;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    /// Where it starts, in bytes.
    pub(super) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'t> {
    /// Identifiers and words such as `true` and `in`.
    Word(&'t str),
    Int {
        digits: &'t str,
        radix: u32,
    },
    Double(f64),
    Text(String),
    Sign(&'static str),
    End,
}

/// A longer sign stands before its beginning.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// All tokens of a text, [`Kind::End`] last.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip_blank(text, at);
        let (kind, end) = next(text, at)?;
        let is_end = kind == Kind::End;
        tokens.push(Token { kind, at });
        if is_end {
            return Ok(tokens);
        }
        at = end;
    }
}

fn skip_blank(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let blank = rest.len()
            - rest
                .trim_start_matches([' ', '\t', '\n', '\r', '\u{c}'])
                .len();
        let comment = if rest[blank..].starts_with("//") {
            rest[blank..].find('\n').unwrap_or(rest.len() - blank)
        } else {
            0
        };
        if blank + comment == 0 {
            return at;
        }
        at += blank + comment;
    }
}

/// The token at a place that is not blank, and where it ends.
fn next(text: &str, at: usize) -> Result<(Kind<'_>, usize), ExpressionError> {
    let rest = &text[at..];
    let Some(first) = rest.chars().next() else {
        return Ok((Kind::End, at));
    };
    if let Some((value, bytes)) = text::read(text, at)? {
        return Ok((Kind::Text(value), at + bytes));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let bytes = count(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return Ok((Kind::Word(&rest[..bytes]), at + bytes));
    }
    let is_fraction = first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit());
    if first.is_ascii_digit() || is_fraction {
        return number(text, at);
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok((Kind::Sign(sign), at + sign.len())),
        None => Err(super::cursor::error(text, at, format!("remove `{first}`"))),
    }
}

fn number(text: &str, at: usize) -> Result<(Kind<'_>, usize), ExpressionError> {
    let rest = &text[at..];
    let (kind, bytes) = if let Some(hexadecimal) = rest.strip_prefix("0x") {
        let digits = &hexadecimal[..count(hexadecimal, |byte| byte.is_ascii_hexdigit())];
        (Kind::Int { digits, radix: 16 }, 2 + digits.len())
    } else {
        let bytes = decimal(rest);
        let digits = &rest[..bytes];
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            (Kind::Int { digits, radix: 10 }, bytes)
        } else {
            let value = digits.parse().ok().filter(|value: &f64| value.is_finite());
            let value =
                value.ok_or_else(|| super::cursor::error(text, at, "write a smaller number"))?;
            (Kind::Double(value), bytes)
        }
    };
    if rest[bytes..].starts_with(['u', 'U']) {
        return Err(ExpressionError::Unsupported("the `u` after the number"));
    }
    Ok((kind, at + bytes))
}

/// Digits, and a fraction and an exponent where they are complete: `1.size()` begins with an
/// integer.
fn decimal(text: &str) -> usize {
    let digits = |from: usize| count(&text[from..], |byte| byte.is_ascii_digit());
    let mut end = digits(0);
    if text[end..].starts_with('.') {
        let fraction = digits(end + 1);
        if fraction > 0 {
            end += 1 + fraction;
        }
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

/// How many of the first bytes, all of them ASCII, are of a kind.
fn count(text: &str, is_of_kind: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is_of_kind(*byte)).count()
}
