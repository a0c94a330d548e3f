//! Three attackers who all hold a valid ID token of their victim.

use rand::{Rng, RngExt as _};

use super::people::{DAY, Device, HOSTING, Network, Person, Shown, World, begin};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attacker {
    /// A program on rented machines anywhere, which tries many tokens.
    Naive,
    /// Knows the victim's country and rents an address in it; a browser as most people have.
    Vpn,
    /// Sat between the victim and the provider: shows the victim's own browser, at the victim's hours, from a home's address in the
    /// victim's country.
    Targeted,
}

impl Attacker {
    pub const COUNT: usize = 3;
    pub const ALL: [Self; Self::COUNT] = [Self::Naive, Self::Vpn, Self::Targeted];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Vpn => "VPN",
            Self::Targeted => "targeted",
        }
    }

    /// An attempt on this day.
    pub(super) fn tries(
        self,
        world: &World,
        victim: &Person,
        day: u32,
        rng: &mut impl Rng,
    ) -> (i64, Shown) {
        let any_time = begin(day) + rng.random_range(0..DAY);
        match self {
            Self::Naive => {
                let network = Network {
                    country: world.any_country(rng),
                    operator: HOSTING + rng.random_range(0..4),
                    address: rng.random_range(0..2000),
                };
                let device = Device {
                    browser: 50 + rng.random_range(0..5),
                    version: 1,
                    os: 99,
                    kind: 2,
                };
                let failures = (0, rng.random_range(0..60));
                (any_time, world.at(network, device, failures))
            }
            Self::Vpn => {
                let network = Network {
                    country: victim.country,
                    operator: HOSTING + rng.random_range(0..4),
                    address: rng.random_range(0..2000),
                };
                let device = Device {
                    browser: 0,
                    version: 102 + rng.random_range(0..4),
                    os: 0,
                    kind: 0,
                };
                (any_time, world.at(network, device, (0, 0)))
            }
            Self::Targeted => {
                let network = Network {
                    country: victim.country,
                    operator: world.operator(rng),
                    address: rng.random(),
                };
                let shown = world.at(network, victim.computer, (0, 0));
                (victim.hour(day, rng), shown)
            }
        }
    }
}
