//! What a user agent says of itself, in a few words of ours: nothing of it is kept letter for letter.

use http::HeaderMap;
use http::header::USER_AGENT;
use woothee::parser::Parser;

/// As much of a user agent as is looked at.
pub const AGENT_BYTES_MAX: usize = 512;

/// The browser, or other program, and its operating system, for whoever must know a device again; none where it is not plain.
pub fn device(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(USER_AGENT)?.to_str().ok()?;
    let agent = &agent[..agent.floor_char_boundary(AGENT_BYTES_MAX)];
    let read = Parser::new().parse(agent)?;
    // Both are words of the parser's own list.
    match (read.name, read.os) {
        ("" | UNKNOWN, _) => None,
        (name, "" | UNKNOWN) => Some(name.to_owned()),
        (name, os) => Some(format!("{name}, {os}")),
    }
}

/// The parser's word for what it cannot tell.
const UNKNOWN: &str = woothee::woothee::VALUE_UNKNOWN;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(agent: &[u8]) -> Option<String> {
        let value = HeaderValue::from_bytes(agent).expect("a header");
        device(&HeaderMap::from_iter([(USER_AGENT, value)]))
    }

    #[test]
    fn a_browser_is_named_with_its_system() {
        let chrome = b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
        assert_eq!(of(chrome).as_deref(), Some("Chrome, Windows 10"));
        let iphone = b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";
        assert_eq!(of(iphone).as_deref(), Some("Safari, iPhone"));
    }

    #[test]
    fn what_says_nothing_plain_is_no_device() {
        for agent in [&b""[..], b"\xff\xfe", b"-", &[b'('; 4096]] {
            assert_eq!(of(agent), None);
        }
        assert_eq!(device(&HeaderMap::new()), None);
    }

    #[test]
    fn nothing_of_the_agents_own_words_is_kept() {
        let named = of(
            b"Mozilla/5.0 (X11; Ann Smith; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
        );
        assert_eq!(named.as_deref(), Some("Firefox, Linux"));
    }
}
