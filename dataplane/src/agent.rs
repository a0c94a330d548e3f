//! Parses the `User-Agent` header into the names of a program and its system: nothing of it is kept
//! letter for letter in the store.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use http::HeaderMap;
use http::header::USER_AGENT;
use woothee::parser::Parser;

/// As much of a user agent as is read.
const BYTES_MAX: usize = 512;
/// Agents that a thread remembers, until there are more.
const KNOWN_MAX: usize = 256;

/// What the parser made of an agent.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// Of the browser, or another program.
    pub name: String,
    pub version: String,
    pub os: String,
    pub os_version: String,
    pub category: String,
}

thread_local! {
    /// The same programs come again and again, and reading one costs microseconds.
    static KNOWN: RefCell<HashMap<Box<str>, Option<Rc<Read>>>> = RefCell::default();
}

/// As much of it as is read.
pub fn shortened(agent: &str) -> &str {
    &agent[..agent.floor_char_boundary(BYTES_MAX)]
}

/// None for what the parser does not know.
pub fn read(agent: &str) -> Option<Rc<Read>> {
    let agent = shortened(agent);
    KNOWN.with_borrow_mut(|known| {
        if let Some(read) = known.get(agent) {
            return read.clone();
        }
        if known.len() == KNOWN_MAX {
            known.clear();
        }
        let read = Parser::new().parse(agent).map(|read| {
            Rc::new(Read {
                name: read.name.to_owned(),
                version: read.version.to_owned(),
                os: read.os.to_owned(),
                os_version: read.os_version.to_string(),
                category: read.category.to_owned(),
            })
        });
        known.insert(agent.into(), read.clone());
        read
    })
}

/// The browser, or other program, and its operating system, so that a user recognises a device;
/// none where it is not clear.
pub fn device(headers: &HeaderMap) -> Option<String> {
    let read = read(headers.get(USER_AGENT)?.to_str().ok()?)?;
    // Both are words of the parser's own list.
    match (read.name.as_str(), read.os.as_str()) {
        ("" | UNKNOWN, _) => None,
        (name, "" | UNKNOWN) => Some(name.to_owned()),
        (name, os) => Some(format!("{name}, {os}")),
    }
}

/// What kind of program asks: the browser and its operating system, or the first product that the
/// agent names (RFC 9110, section 10.1.5); empty where it says nothing.
pub fn class(headers: &HeaderMap) -> String {
    let said = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let product = || {
        let product = shortened(said.unwrap_or_default()).split(['/', ' ']).next();
        product.unwrap_or_default().to_ascii_lowercase()
    };
    device(headers).unwrap_or_else(product)
}

/// The parser's word for what it does not recognise.
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

    #[test]
    fn an_agent_is_read_the_same_however_many_came_before() {
        let agent = |major: usize| {
            format!(
                "Mozilla/5.0 (X11; Linux x86_64; rv:{major}.0) Gecko/20100101 Firefox/{major}.0"
            )
        };
        for major in (0..2 * KNOWN_MAX).chain(0..3) {
            let read = read(&agent(major)).expect("a browser");
            assert_eq!(read.version, format!("{major}.0"));
        }
        let known = KNOWN.with_borrow(HashMap::len);
        assert!(known <= KNOWN_MAX, "{known}");
        let unknown = read("-").expect("the parser has a word for it");
        assert_eq!(unknown.name, UNKNOWN);
    }
}
