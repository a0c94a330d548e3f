//! Which addresses a provider's endpoints may lead to.
//!
//! Under `egress: Public` a name that resolves to a private or otherwise special address is refused
//! after resolution, for every connection and so for every redirect: what a name meant a moment ago
//! does not count (DNS rebinding).

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;
use url::{Host, Url};
use vestibule_crds::snapshot::Egress;

/// Resolves names as the system does, then drops what the provider may not reach.
#[derive(Debug, Clone)]
pub struct GuardedResolver {
    inner: GaiResolver,
    egress: Egress,
}

impl GuardedResolver {
    pub fn new(egress: Egress) -> Self {
        Self {
            inner: GaiResolver::new(),
            egress,
        }
    }
}

/// A URL that names an address outright is never resolved, so it is checked by itself.
pub fn allows_literal(egress: Egress, url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => allows(egress, IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => allows(egress, IpAddr::V6(ip)),
        Some(Host::Domain(_)) | None => true,
    }
}

pub fn allows(egress: Egress, ip: IpAddr) -> bool {
    match egress {
        Egress::Cluster => true,
        Egress::Public => is_public(ip),
    }
}

/// Global unicast, by the IANA special-purpose address registries (RFC 6890 and its updates).
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        // Shared address space (RFC 6598).
        || (a == 100 && (64..128).contains(&b))
        // IETF protocol assignments, 6to4 relay anycast, benchmarking.
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(embedded) = embedded_v4(ip) {
        return is_public_v4(embedded);
    }
    let [a, b, ..] = ip.segments();
    // Global unicast is 2000::/3; documentation, ORCHIDv2, Teredo and benchmarking lie inside it.
    (a & 0xe000) == 0x2000 && !(a == 0x2001 && (b == 0x0db8 || b < 0x0200)) && a != 0x3fff
}

/// IPv4-mapped, NAT64 (RFC 6052) and 6to4 addresses lead to the IPv4 address inside them.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = ip.octets();
    let last4 = || Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]);
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(last4()),
        [0x2002, ..] => Some(Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5])),
        _ => None,
    }
}

type ResolveFuture =
    Pin<Box<dyn Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> + Send>>;

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = ResolveFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> ResolveFuture {
        let resolving = self.inner.call(name);
        let egress = self.egress;
        Box::pin(async move {
            let allowed: Vec<SocketAddr> = resolving
                .await?
                .filter(|address| allows(egress, address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotPublic));
            }
            Ok(allowed.into_iter())
        })
    }
}

/// The name has only addresses that `egress: Public` refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it resolves to no public address, and no other may be reached")]
pub struct NotPublic;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_refuses_every_special_address() {
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "100::1",
            "64:ff9b:1::1",
            "::127.0.0.1",
        ] {
            let ip: IpAddr = text.parse().expect("an address");
            assert!(!allows(Egress::Public, ip), "{text}");
            assert!(allows(Egress::Cluster, ip), "{text}");
        }
    }

    #[test]
    fn public_allows_the_public_internet() {
        for text in [
            "8.8.8.8",
            "100.63.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            let ip: IpAddr = text.parse().expect("an address");
            assert!(allows(Egress::Public, ip), "{text}");
        }
    }

    #[test]
    fn an_address_in_the_url_is_checked_in_every_spelling() {
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            let url = Url::parse(text).expect("a URL");
            assert!(!allows_literal(Egress::Public, &url), "{text}");
        }
        let url = Url::parse("https://8.8.8.8/").expect("a URL");
        assert!(allows_literal(Egress::Public, &url));
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_refused_after_resolution() {
        use std::str::FromStr as _;
        let name = || Name::from_str("localhost").expect("a name");
        let refused = GuardedResolver::new(Egress::Public).call(name()).await;
        let error = refused.map(|_| ()).expect_err("loopback is not public");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let allowed = GuardedResolver::new(Egress::Cluster).call(name()).await;
        assert!(allowed.is_ok_and(|mut addresses| addresses.next().is_some()));
    }
}
