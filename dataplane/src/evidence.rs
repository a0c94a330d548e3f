//! What the risk engine sees of a request: keyed hashes, so that neither an address nor a user
//! agent is ever stored.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::hmac;

use crate::agent;
use crate::geography::Location;
use crate::limits::of_address;
use vestibule_idtoken::keys::egress::is_public;
use vestibule_risk::Values;
use vestibule_risk::history::Kind;
use vestibule_store::HashKey;

/// HMAC-SHA-256 with the store's key.
pub struct Hashing(hmac::Key);

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashing")
    }
}

impl Hashing {
    pub fn new(key: &HashKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key.0))
    }

    /// A private address is no evidence, and an agent that cannot be parsed is a device of its own.
    pub fn values(&self, client: IpAddr, location: &Location, agent: Option<&str>) -> Values {
        let mut values = Values::default();
        let mut set = |kind: Kind, text: &[&[u8]]| {
            values.0[kind as usize] = Some(self.hash(kind, text));
        };
        if is_public(client) {
            set(Kind::Ip, &[&of_address(client)]);
            if let Some(asn) = location.asn {
                set(Kind::Asn, &[&asn.to_be_bytes()]);
            }
            if let Some(country) = &location.country {
                set(Kind::Country, &[country]);
            }
        }
        let Some(agent) = agent.filter(|agent| !agent.is_empty()) else {
            return values;
        };
        let agent = agent::shortened(agent);
        set(Kind::Agent, &[agent.as_bytes()]);
        let Some(read) = agent::read(agent) else {
            set(Kind::Device, &[agent.as_bytes()]);
            return values;
        };
        let major = read.version.split('.').next().unwrap_or_default();
        let (browser, os, device) = (&read.name, &read.os, &read.category);
        set(Kind::Browser, &[browser.as_bytes(), major.as_bytes()]);
        set(Kind::Os, &[os.as_bytes(), read.os_version.as_bytes()]);
        set(Kind::DeviceType, &[device.as_bytes()]);
        set(
            Kind::Device,
            &[browser.as_bytes(), os.as_bytes(), device.as_bytes()],
        );
        values
    }

    /// 64 bits: enough to distinguish one user's values, and a policy's.
    fn hash(&self, kind: Kind, parts: &[&[u8]]) -> u64 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[kind as u8]);
        for part in parts {
            context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let (first, _) = tag.as_ref().split_at(8);
        first
            .iter()
            .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME_120: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
    const CHROME_121: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.0.0 Safari/537.36";
    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

    fn values(key: u8, client: &str, agent: &str) -> Values {
        let hashing = Hashing::new(&HashKey([key; 32]));
        let client = client.parse().expect("an address");
        hashing.values(client, &Location::default(), Some(agent))
    }

    fn equal(a: &Values, b: &Values, kind: Kind) -> bool {
        a.of(kind).is_some() && a.of(kind) == b.of(kind)
    }

    #[test]
    fn an_update_of_the_browser_is_the_same_device() {
        let old = values(1, "192.0.1.1", CHROME_120);
        let new = values(1, "192.0.1.1", CHROME_121);
        for kind in [Kind::Ip, Kind::Os, Kind::DeviceType, Kind::Device] {
            assert!(equal(&old, &new, kind), "{kind:?}");
        }
        for kind in [Kind::Agent, Kind::Browser] {
            assert!(!equal(&old, &new, kind), "{kind:?}");
        }
        let phone = values(1, "192.0.1.1", IPHONE);
        for kind in [
            Kind::Agent,
            Kind::Browser,
            Kind::Os,
            Kind::DeviceType,
            Kind::Device,
        ] {
            assert!(!equal(&old, &phone, kind), "{kind:?}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_evidence() {
        let none = values(1, "10.1.2.3", "");
        assert_eq!(none, Values::default());
        let odd = values(1, "::1", "made-up-client/1.0");
        assert!(odd.of(Kind::Ip).is_none() && odd.of(Kind::Browser).is_none());
        assert!(odd.of(Kind::Agent).is_some() && odd.of(Kind::Device).is_some());
    }

    #[test]
    fn another_key_gives_other_hashes_and_another_kind_too() {
        let one = values(1, "192.0.1.1", CHROME_120);
        let other = values(2, "192.0.1.1", CHROME_120);
        for kind in Kind::ALL {
            assert!(!equal(&one, &other, kind), "{kind:?}");
        }
        let odd = values(1, "192.0.1.1", "made-up-client/1.0");
        assert_ne!(odd.of(Kind::Agent), odd.of(Kind::Device));
    }

    #[test]
    fn any_agent_is_read_without_a_panic() {
        for agent in [
            "\u{00e9}".repeat(600),
            "(".repeat(5000),
            "Mozilla/".to_owned(),
        ] {
            values(1, "2606:4700::1", &agent);
        }
    }
}
