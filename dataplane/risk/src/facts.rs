//! Facts of a sign-in compared with what was seen before, independent of any policy. The audit
//! trail keeps it, so that another policy can be tried on what has happened.

use serde::{Deserialize, Serialize};

use super::history::{Kind, UserHistory};
use super::{Context, History, Listed, Place, freeman};

/// Sign-ins of the user, and of all users, before which the statistical model is silent.
const USER_SIGNINS_MIN: u32 = 3;
const ALL_SIGNINS_MIN: u64 = 200;
/// Kilometres.
const EARTH_RADIUS: f64 = 6371.0;

/// What is not there, or does not apply, is left out of the text form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    #[serde(skip_serializing_if = "is_default")]
    pub listed: Listed,
    #[serde(skip_serializing_if = "is_default")]
    pub provider_mfa: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub remembered_device: bool,
    /// Recent ones, within the windows of the policy of that time.
    #[serde(skip_serializing_if = "is_default")]
    pub user_failures: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub address_failures: u32,
    /// Seconds since the provider asked for the user's credentials.
    #[serde(skip_serializing_if = "is_default")]
    pub auth_age: Option<u64>,
    /// None before the first sign-in that was recorded.
    #[serde(skip_serializing_if = "is_default")]
    pub known: Option<Known>,
}

/// Against the user's history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    pub signins: u32,
    /// Seconds since the last one.
    pub last_age: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub new_device: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub new_ip: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub new_asn: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub new_country: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub unknown_hour: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub travel: Option<Travel>,
    /// The statistical model's `S`; none while it is silent.
    #[serde(skip_serializing_if = "is_default")]
    pub likelihood: Option<f64>,
}

/// Since the user was seen at a place.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Travel {
    pub kilometres: f64,
    pub seconds: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Facts {
    pub fn of(context: &Context, history: &History) -> Self {
        let user = history.user.as_ref().filter(|user| user.signins > 0);
        Self {
            listed: context.listed,
            provider_mfa: context.provider_mfa,
            remembered_device: context.remembered_device,
            user_failures: context.user_failures,
            address_failures: context.address_failures,
            auth_age: context.auth_time.map(|at| age(context.now, at)),
            known: user.map(|user| Known::of(context, user, history)),
        }
    }
}

impl Known {
    fn of(context: &Context, user: &UserHistory, history: &History) -> Self {
        let population = history.population.as_ref();
        let counted = population
            .filter(|all| user.signins >= USER_SIGNINS_MIN && all.signins >= ALL_SIGNINS_MIN);
        Self {
            signins: user.signins,
            last_age: age(context.now, user.last_at),
            new_device: is_new(context, user, Kind::Device),
            new_ip: is_new(context, user, Kind::Ip),
            new_asn: is_new(context, user, Kind::Asn),
            new_country: is_new(context, user, Kind::Country),
            unknown_hour: !user.knows_hour(context.now),
            travel: context
                .place
                .zip(user.last_place)
                .map(|(here, there)| Travel {
                    kilometres: distance(here, there.place),
                    seconds: age(context.now, there.at),
                }),
            likelihood: counted.and_then(|all| freeman::likelihood(&context.values, user, all)),
        }
    }
}

/// No evidence is nothing new, and neither is what the user has never shown any of.
fn is_new(context: &Context, user: &UserHistory, kind: Kind) -> bool {
    context
        .values
        .of(kind)
        .is_some_and(|value| user.has_any(kind) && user.count(kind, value) == 0)
}

/// Seconds; none for what lies in the future.
fn age(now: i64, at: i64) -> u64 {
    u64::try_from(now.saturating_sub(at)).unwrap_or(0)
}

/// Kilometres on a sphere (haversine).
fn distance(a: Place, b: Place) -> f64 {
    let half_chord = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let along = half_chord(b.latitude - a.latitude);
    let across = half_chord(b.longitude - a.longitude);
    let h = along + a.latitude.to_radians().cos() * b.latitude.to_radians().cos() * across;
    2.0 * EARTH_RADIUS * h.sqrt().min(1.0).asin()
}
