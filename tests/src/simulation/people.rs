//! People with routine: where they are, what they sign in from, when; now and then they travel, update, or buy something new.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};

use rand::{Rng, RngExt as _};
use vestibule_risk::history::Kind;
use vestibule_risk::{Context, Listed, Place, Values};

pub const DAYS: u32 = 180;
pub const DAY: i64 = 86_400;
/// A Monday.
const BEGIN: i64 = 1_767_571_200;
const COUNTRIES: usize = 30;
/// Operators of networks in each country: the first has three customers of ten, the second three of ten of the rest, and so on.
const OPERATORS: u32 = 12;
const OPERATOR_SHARE: f64 = 0.3;
/// Whose addresses can be rented, in every country.
pub const HOSTING: u32 = 90;

pub fn begin(day: u32) -> i64 {
    BEGIN + i64::from(day) * DAY
}

/// Countries, and what people sign in from.
#[derive(Debug)]
pub struct World {
    countries: Vec<Place>,
}

impl Default for World {
    /// Spread over the globe, the same ones in each run.
    fn default() -> Self {
        let countries = (0..COUNTRIES).map(|number| {
            let turn = number as f64 * 137.5;
            Place {
                latitude: 55.0 - number as f64 * 3.0,
                longitude: turn % 360.0 - 180.0,
            }
        });
        Self {
            countries: countries.collect(),
        }
    }
}

impl World {
    /// Half of the people live in the first, a quarter in the second, and so on.
    fn country(&self, rng: &mut impl Rng) -> usize {
        (0..COUNTRIES - 1)
            .find(|_| rng.random_bool(0.5))
            .unwrap_or(COUNTRIES - 1)
    }

    pub fn operator(&self, rng: &mut impl Rng) -> u32 {
        (0..OPERATORS - 1)
            .find(|_| rng.random_bool(OPERATOR_SHARE))
            .unwrap_or(OPERATORS - 1)
    }

    pub fn any_country(&self, rng: &mut impl Rng) -> usize {
        rng.random_range(0..COUNTRIES)
    }

    fn place(&self, country: usize) -> Place {
        self.countries[country]
    }

    pub fn at(&self, network: Network, device: Device, failures: (u32, u32)) -> Shown {
        Shown {
            network,
            place: self.place(network.country),
            device,
            failures,
        }
    }
}

/// What an agent string says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device {
    pub browser: u32,
    pub version: u32,
    pub os: u32,
    /// 0: computer, 1: phone, 2: no person.
    pub kind: u32,
}

impl Device {
    fn new(kind: u32, rng: &mut impl Rng) -> Self {
        Self {
            browser: one_of_three(rng),
            version: 100 + rng.random_range(0..3),
            os: kind * 10 + one_of_three(rng),
            kind,
        }
    }
}

/// Most have the first.
fn one_of_three(rng: &mut impl Rng) -> u32 {
    u32::from(rng.random_bool(0.35)) + u32::from(rng.random_bool(0.15))
}

/// Where an address belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    pub country: usize,
    pub operator: u32,
    pub address: u32,
}

/// What one attempt shows.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    pub network: Network,
    pub place: Place,
    pub device: Device,
    /// Of the user and of the address, a moment ago.
    pub failures: (u32, u32),
}

impl Shown {
    pub fn context(&self, at: i64) -> Context {
        let Self {
            network,
            place,
            device,
            failures: (user_failures, address_failures),
        } = *self;
        let mut values = Values::default();
        let mut set = |kind: Kind, value: u64| values.0[kind as usize] = Some(value);
        set(Kind::Ip, hash(&network));
        set(Kind::Asn, hash(&(network.country, network.operator)));
        set(Kind::Country, hash(&network.country));
        set(Kind::Agent, hash(&device));
        set(Kind::Browser, hash(&(device.browser, device.version)));
        set(Kind::Os, hash(&device.os));
        set(Kind::DeviceType, hash(&device.kind));
        set(
            Kind::Device,
            hash(&(device.browser, device.os, device.kind)),
        );
        Context {
            now: at,
            values,
            place: Some(place),
            listed: Listed::No,
            auth_time: None,
            provider_mfa: false,
            remembered_device: false,
            user_failures,
            address_failures,
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

#[derive(Debug)]
pub struct Person {
    pub country: usize,
    /// The operator of the network at home, and of the phone.
    pub operators: (u32, u32),
    home: u32,
    home_moves: bool,
    office: Option<Network>,
    /// Of those who hide behind a rented address now and then, as some attackers do.
    vpn: Option<u32>,
    /// A browser for what the other one does not show well.
    second: Option<Device>,
    pub computer: Device,
    pub phone: Device,
    /// Sign-ins on a working day.
    eager: f64,
    /// The hour at which the day begins, UTC.
    morning: i64,
    /// Abroad until this day.
    trip: Option<(usize, u32)>,
}

impl Person {
    pub fn born(world: &World, rng: &mut impl Rng) -> Self {
        let country = world.country(rng);
        let office = rng.random_bool(0.6).then(|| Network {
            country,
            operator: world.operator(rng),
            address: rng.random_range(0..20),
        });
        let vpn = rng
            .random_bool(0.25)
            .then(|| HOSTING + rng.random_range(0..4));
        let second = rng.random_bool(0.3).then(|| Device::new(0, rng));
        Self {
            vpn,
            second,
            country,
            operators: (world.operator(rng), world.operator(rng)),
            home: rng.random(),
            home_moves: rng.random_bool(0.4),
            office,
            computer: Device::new(0, rng),
            phone: Device::new(1, rng),
            eager: rng.random_range(0.3..2.0),
            morning: rng.random_range(6..10) + country as i64 % 3,
            trip: None,
        }
    }

    /// What has become of the person over night.
    pub fn wake(&mut self, world: &World, day: u32, rng: &mut impl Rng) {
        if self.trip.is_some_and(|(_, until)| until <= day) {
            self.trip = None;
        }
        // About two trips a year.
        if self.trip.is_none() && rng.random_bool(1.0 / 180.0) {
            self.trip = Some((world.any_country(rng), day + rng.random_range(2..10)));
        }
        // Browsers are renewed about every six weeks.
        for device in [&mut self.computer, &mut self.phone] {
            if rng.random_bool(1.0 / 42.0) {
                device.version += 1;
            }
        }
        // A device lives for about two years.
        if rng.random_bool(1.0 / 730.0) {
            self.computer = Device::new(0, rng);
        }
        if rng.random_bool(1.0 / 730.0) {
            self.phone = Device::new(1, rng);
        }
        // Some homes have another address each night, and the others about each month.
        if rng.random_bool(if self.home_moves { 0.9 } else { 1.0 / 30.0 }) {
            self.home = rng.random();
        }
    }

    /// Some hour of the person's working day.
    pub fn hour(&self, day: u32, rng: &mut impl Rng) -> i64 {
        begin(day) + self.morning * 3600 + rng.random_range(0..36_000)
    }

    /// When the person signs in on a day: less at weekends.
    pub fn signins(&self, day: u32, rng: &mut impl Rng) -> Vec<i64> {
        let weekend = day % 7 >= 5;
        let eager = if weekend {
            self.eager / 4.0
        } else {
            self.eager
        };
        let mut times = Vec::new();
        // Thirds of an hour over ten hours, and seldom the night.
        for third in 0..30 {
            if rng.random_bool(eager / 30.0) {
                let within = rng.random_range(0..1200);
                let late = if rng.random_bool(0.02) { 9 * 3600 } else { 0 };
                times.push(
                    BEGIN
                        + i64::from(day) * DAY
                        + self.morning * 3600
                        + third * 1200
                        + within
                        + late,
                );
            }
        }
        times.sort_unstable();
        times
    }

    /// What the person shows now.
    pub fn show(&self, world: &World, at: i64, rng: &mut impl Rng) -> Shown {
        let with_phone = rng.random_bool(0.3);
        let seldom = rng.random_bool(0.04);
        let device = match self.second {
            _ if with_phone => self.phone,
            Some(second) if seldom => second,
            _ => self.computer,
        };
        let guest = rng.random_bool(0.05);
        let hidden = self.vpn.filter(|_| rng.random_bool(0.04));
        let network = match (self.trip, self.office) {
            (None, _) if let Some(operator) = hidden => Network {
                country: self.country,
                operator,
                address: rng.random_range(0..2000),
            },
            (Some((country, _)), _) => Network {
                country,
                operator: world.operator(rng),
                address: rng.random(),
            },
            (None, _) if guest => Network {
                country: self.country,
                operator: world.operator(rng),
                address: rng.random(),
            },
            _ if with_phone && rng.random_bool(0.6) => Network {
                country: self.country,
                operator: self.operators.1,
                // Phones share addresses.
                address: rng.random_range(0..50_000),
            },
            (None, Some(office)) if at.rem_euclid(7) < 4 => office,
            (None, _) => Network {
                country: self.country,
                operator: self.operators.0,
                address: self.home,
            },
        };
        // People mistype, too.
        world.at(network, device, (u32::from(rng.random_bool(0.05)), 0))
    }
}
