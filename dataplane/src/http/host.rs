//! Which host a request is for: named once, or not at all where HTTP/1.0 lets it be (RFC 9112,
//! section 3.2; RFC 9113, section 8.3.1). A request that two readers could take for two hosts is
//! answered by none.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version};

pub fn check(head: &Parts) -> Result<(), &'static str> {
    let mut named = head.headers.get_all(HOST).iter();
    let (host, second) = (named.next(), named.next());
    if second.is_some() {
        return Err("the request names its host more than once");
    }
    let host = match host.map(|host| host.to_str().ok().and_then(parse)) {
        Some(None) => return Err("the Host header is not a host with an optional port"),
        Some(Some(host)) => Some(host),
        None => None,
    };
    // Of HTTP/2, or of a target in absolute form.
    let authority = head.uri.authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("the target of the request names a user");
    }
    match (&host, authority) {
        (Some(host), Some(authority)) if !is_same(head, host, authority) => {
            Err("the target and the Host header of the request name different hosts")
        }
        (None, None) if head.version > Version::HTTP_10 => Err("the request names no host"),
        (None, Some(_)) if head.version == Version::HTTP_11 && head.method != Method::CONNECT => {
            Err("the request has no Host header")
        }
        _ => Ok(()),
    }
}

/// `uri-host [ ":" port ]` of RFC 9110, section 7.2.
fn parse(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let port = text.strip_prefix(authority.host())?;
    let port_is_good = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(port) => port.is_empty() || (authority.port_u16().is_some() && is_number(port)),
    };
    // RFC 3986 lets a name have commas, which a list of two hosts has as well; no name of DNS has
    // more than these.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%:[]".contains(&byte);
    let host_is_good = !authority.host().is_empty() && text.bytes().all(is_name);
    (host_is_good && port_is_good).then_some(authority)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The default port may be left out.
fn is_same(head: &Parts, host: &Authority, authority: &Authority) -> bool {
    let default = match head.uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    host.host().eq_ignore_ascii_case(authority.host()) && port(host) == port(authority)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(version: Version, uri: &str, hosts: &[&str]) -> bool {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        check(&head).is_ok()
    }

    #[test]
    fn http_1_1_names_its_host_exactly_once() {
        let is_good = |hosts: &[&str]| checked(Version::HTTP_11, "/", hosts);
        for host in [
            "a.example",
            "A.example:8080",
            "192.0.2.1:80",
            "[2001:db8::1]:443",
            "a:",
        ] {
            assert!(is_good(&[host]), "{host}");
        }
        assert!(!is_good(&[]));
        assert!(!is_good(&["a.example", "a.example"]));
        assert!(!is_good(&["a.example", "b.example"]));
        for host in [
            "",
            " ",
            "a b",
            "a.example/x",
            "u@a.example",
            "a:b",
            "a:1:2",
            ":80",
            "a,b",
            "a:99999",
            "a:+80",
            "[::1",
            "http://a",
            "a?x",
            "a#x",
        ] {
            assert!(!is_good(&[host]), "{host:?}");
        }
    }

    #[test]
    fn http_1_0_may_name_no_host_but_not_two() {
        let is_good = |hosts: &[&str]| checked(Version::HTTP_10, "/", hosts);
        assert!(is_good(&[]) && is_good(&["a.example"]));
        assert!(!is_good(&["a.example", "a.example"]) && !is_good(&["a b"]));
    }

    #[test]
    fn a_target_in_absolute_form_and_the_header_name_one_host() {
        let is_good = |hosts: &[&str]| checked(Version::HTTP_11, "http://a.example/x", hosts);
        assert!(is_good(&["a.example"]) && is_good(&["A.EXAMPLE:80"]));
        assert!(!is_good(&[]) && !is_good(&["b.example"]) && !is_good(&["a.example:81"]));
        assert!(!checked(
            Version::HTTP_11,
            "http://u@a.example/",
            &["a.example"]
        ));
    }

    #[test]
    fn http_2_names_its_host_in_either_place_and_never_two() {
        let is_good = |uri: &str, hosts: &[&str]| checked(Version::HTTP_2, uri, hosts);
        assert!(is_good("https://a.example/x", &[]));
        assert!(is_good("https://a.example/x", &["a.example:443"]));
        assert!(is_good("/x", &["a.example"]));
        assert!(!is_good("/x", &[]));
        assert!(!is_good("https://a.example/x", &["b.example"]));
        assert!(!is_good("https://a.example/x", &["a.example", "a.example"]));
        assert!(!is_good("https://u:p@a.example/x", &[]));
    }
}
