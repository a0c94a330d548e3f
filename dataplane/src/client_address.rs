//! The address at the other end: the peer, or the client that a trusted proxy names
//! (`X-Forwarded-For`; `Forwarded`, RFC 7239).
//!
//! The list is read from its end: each address that a trusted proxy vouches for is stepped over,
//! and the first that is not a trusted proxy is the client. Whatever stands before it was written
//! by the client and means nothing.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use ipnet::IpNet;

/// Entries that are read, from the end.
const HOPS_MAX: usize = 16;

pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    let peer = canonical(peer);
    if trusted.is_empty() || !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    for hop in hops(headers).into_iter().rev().take(HOPS_MAX) {
        // What cannot be read ends the chain: the proxy behind it is all that is known.
        let Some(ip) = hop else {
            return client;
        };
        client = ip;
        if !is_trusted(ip) {
            return client;
        }
    }
    client
}

/// The network of an address, for the audit event: /24 of IPv4, /48 of IPv6.
pub fn network(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

/// The network that a refresh token is held to, of a client that no proxy names. Pods of one
/// service stand in several networks of the cluster, so all private ones are one.
pub fn holder_network(ip: IpAddr) -> String {
    let is_private = match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // RFC 1918, and the shared address space of RFC 6598.
            ip.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    if is_private {
        "private".to_owned()
    } else {
        network(ip)
    }
}

/// An IPv4 address that came in as IPv6 is the same address.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Each hop in order, over all lines of the header; `None` for one that is not an address.
/// `X-Forwarded-For` wins when both headers are there: it is what most proxies set, and a proxy
/// that sets one passes the other on unread.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = |name: &str| -> Vec<Option<String>> {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().ok().map(str::to_owned))
            .collect()
    };
    let forwarded_for = lines("x-forwarded-for");
    if !forwarded_for.is_empty() {
        return each_entry(&forwarded_for, |entry| address(entry.trim()));
    }
    each_entry(&lines("forwarded"), |entry| {
        let pair = entry.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then_some(value)
        })?;
        address(pair.trim().trim_matches('"'))
    })
}

fn each_entry(
    lines: &[Option<String>],
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Vec<Option<IpAddr>> {
    let mut hops = Vec::new();
    for line in lines {
        match line {
            Some(line) => hops.extend(line.split(',').map(&read)),
            None => hops.push(None),
        }
    }
    hops
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(canonical(ip));
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(canonical(socket.ip()));
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner
        .parse::<Ipv6Addr>()
        .ok()
        .map(|ip| canonical(ip.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted = [
            "10.0.0.0/8".parse().expect("a network"),
            "fd00::/8".parse().expect("a network"),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        client_address(peer.parse().expect("an address"), &map, &trusted).to_string()
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        for value in [
            "192.0.2.1",
            "192.0.2.1:80",
            " 192.0.2.1 ",
            "6.6.6.6, 192.0.2.1",
            "192.0.2.1, 10.9.9.9",
            "junk, 192.0.2.1",
        ] {
            assert_eq!(
                from("10.0.0.1", &[("x-forwarded-for", value)]),
                "192.0.2.1",
                "{value}"
            );
        }
        for value in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:99"] {
            assert_eq!(
                from("10.0.0.1", &[("x-forwarded-for", value)]),
                "2001:db8::1",
                "{value}"
            );
        }
        for value in [
            "for=192.0.2.1",
            "For=\"192.0.2.1:47\";proto=https;by=10.1.1.1",
            "for=6.6.6.6, for=192.0.2.1",
        ] {
            assert_eq!(
                from("fd00::1", &[("forwarded", value)]),
                "192.0.2.1",
                "{value}"
            );
        }
        let ipv6 = [("forwarded", "for=\"[2001:db8::1]:47\"")];
        assert_eq!(from("10.0.0.1", &ipv6), "2001:db8::1");
    }

    #[test]
    fn nobody_else_does() {
        let spoof = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
        ];
        assert_eq!(from("198.51.100.7", &spoof), "198.51.100.7");
        assert_eq!(from("::ffff:198.51.100.7", &spoof), "198.51.100.7");
    }

    #[test]
    fn what_the_client_wrote_in_front_means_nothing() {
        let lines = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "192.0.2.1, 10.3.3.3"),
        ];
        assert_eq!(from("10.0.0.1", &lines), "192.0.2.1");
    }

    #[test]
    fn what_cannot_be_read_leaves_the_last_trusted_hop() {
        for value in ["junk", "", "192.0.2.1, junk", "for=192.0.2.1", "192.0.2.1;"] {
            assert_eq!(
                from("10.0.0.1", &[("x-forwarded-for", value)]),
                "10.0.0.1",
                "{value}"
            );
        }
        assert_eq!(
            from("10.0.0.1", &[("forwarded", "for=_hidden")]),
            "10.0.0.1"
        );
        assert_eq!(
            from("10.0.0.1", &[("x-forwarded-for", "junk, 10.2.2.2")]),
            "10.2.2.2"
        );
    }

    #[test]
    fn pods_of_one_service_hold_a_token_together_and_others_do_not() {
        let of = |text: &str| holder_network(text.parse().expect("an address"));
        assert_eq!(of("10.244.1.7"), of("10.244.2.9"));
        assert_eq!(of("fd00::1"), of("10.0.0.1"));
        assert_ne!(of("203.0.113.7"), of("198.51.100.7"));
        assert_ne!(of("127.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("203.0.113.7"), of("203.0.113.8"));
    }

    #[test]
    fn a_network_hides_the_host() {
        assert_eq!(
            network("192.0.2.77".parse().expect("an address")),
            "192.0.2.0/24"
        );
        assert_eq!(
            network("2001:db8:1:2::3".parse().expect("an address")),
            "2001:db8:1::/48"
        );
    }
}
