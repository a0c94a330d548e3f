//! The normal form of a URL (RFC 3986, sections 6.2.2 and 6.2.3): case, percent-encoding, dot
//! segments, default port.

use url::Url;

/// Each pass may uncover something for the next, such as a dot that was encoded; two are enough,
/// and more change nothing.
const PASSES: usize = 4;

/// Text that is no URL stays as it is.
pub(super) fn form(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..PASSES {
        let Some(next) = pass(&text) else {
            return text;
        };
        if next == text {
            break;
        }
        text = next;
    }
    text
}

fn pass(text: &str) -> Option<String> {
    // Lower case of scheme and host, default port, dot segments and the forms of addresses.
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let path = encoding(url.path());
    let path = if path == "/" { "" } else { &path };
    Some(format!("{}://{host}{port}{path}", url.scheme()))
}

/// Percent-encoding in upper case, none of an unreserved character, and one of each character that
/// a path cannot hold.
fn encoding(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut normal = String::with_capacity(path.len());
    let mut at = 0;
    while at < bytes.len() {
        let encoded = bytes.get(at + 1..at + 3).and_then(hexadecimal);
        let (byte, was_encoded) = match encoded {
            Some(byte) if bytes[at] == b'%' => (byte, true),
            _ => (bytes[at], false),
        };
        let is_plain = is_unreserved(byte) || (!was_encoded && is_of_path(byte));
        if is_plain {
            normal.push(char::from(byte));
        } else {
            normal.push_str(&format!("%{byte:02X}"));
        }
        at += if was_encoded { 3 } else { 1 };
    }
    normal
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [high, low] = digits else {
        return None;
    };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// In addition to the unreserved ones: what `pchar` allows, and the slash (section 3.3).
fn is_of_path(byte: u8) -> bool {
    b"/!$&'()*+,;=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_its_own_normal_form(text in "https?://[a-zA-Z.]{1,8}(:[0-9]{0,4})?(/[a-zA-Z0-9%./~|\\\\ü]{0,12})?") {
            let once = form(&text);
            prop_assert_eq!(form(&once), once);
        }
    }
}
