//! The risk signals. A signal's points are the score that it gives alone; each type carries its own
//! defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// Points from 0 to 100: the score if that signal alone fires. 0 turns a signal off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Signals {
    /// The user never signed in from this device. Default: 25 points.
    pub new_device: NewDevice,
    /// The user never signed in from this address. Default: 8 points.
    pub new_ip: NewIp,
    /// The user never signed in from this network operator. Default: 20 points.
    pub new_asn: NewAsn,
    /// The user never signed in from this country. Default: 35 points.
    pub new_country: NewCountry,
    /// Two sign-ins farther apart than a person can travel in the time between. Default: 60 points
    /// over 1000 km/h.
    pub impossible_travel: ImpossibleTravel,
    /// Recent failures for this user. Default: 40 points for 5 in 15m.
    pub user_failures: UserFailures,
    /// Recent failures from this address. Default: 40 points for 20 in 15m.
    pub ip_failures: IpFailures,
    /// An hour at which the user does not sign in. Default: 8 points after 20 sign-ins.
    pub unusual_hour: UnusualHour,
    /// The user has not signed in for a long time. Default: 20 points after 2160h.
    pub dormant: Dormant,
    /// The user signs in for the first time. Default: 15 points.
    pub first_signin: FirstSignin,
    /// The provider asked for the user's credentials long ago. Default: 15 points after 12h.
    pub stale_auth_time: StaleAuthTime,
    /// How unlike the user's history the sign-in is. Default: at most 60 points.
    pub statistical: Statistical,
}

/// A signal that fires or does not.
macro_rules! plain_signal {
    ($name:ident, $points:literal) => {
        /// A signal that fires or does not.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            #[doc = concat!("0 to 100. Default: ", $points, ".")]
            #[schemars(range(min = 0, max = 100))]
            pub points: u8,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { points: $points }
            }
        }
    };
}

plain_signal!(NewDevice, 25);
plain_signal!(NewIp, 8);
plain_signal!(NewAsn, 20);
plain_signal!(NewCountry, 35);
plain_signal!(FirstSignin, 15);

/// A signal of a number of failures within a window of time.
macro_rules! failures_signal {
    ($name:ident, $points:literal, $count:literal) => {
        /// A number of failures within a window of time.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, rename_all = "camelCase")]
        #[schemars(extend("x-kubernetes-validations" = [{
                                            "rule": "duration(self.window) > duration('0s')",
                                            "message": "window must be longer than 0s",
                                            "fieldPath": ".window"
                                        }]))]
        pub struct $name {
            #[doc = concat!("0 to 100. Default: ", $points, ".")]
            #[schemars(range(min = 0, max = 100))]
            pub points: u8,
            #[doc = concat!("Failures at which the signal fires. Default: ", $count, ".")]
            #[schemars(range(min = 1, max = 100_000))]
            pub count: u32,
            /// The window in which they are counted. Default: 15m.
            pub window: Duration,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    points: $points,
                    count: $count,
                    window: Duration::from_secs(900),
                }
            }
        }
    };
}

failures_signal!(UserFailures, 40, 5);
failures_signal!(IpFailures, 40, 20);

/// A signal of something that happened too long ago.
macro_rules! age_signal {
    ($name:ident, $points:literal, $hours:literal) => {
        /// Something that happened too long ago.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            #[doc = concat!("0 to 100. Default: ", $points, ".")]
            #[schemars(range(min = 0, max = 100))]
            pub points: u8,
            #[doc = concat!("The age at which the signal fires. Default: ", $hours, "h.")]
            pub after: Duration,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    points: $points,
                    after: Duration::from_secs($hours * 3600),
                }
            }
        }
    };
}

age_signal!(Dormant, 20, 2160);
age_signal!(StaleAuthTime, 15, 12);

/// A speed between two sign-ins that is too high for travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ImpossibleTravel {
    /// 0 to 100. Default: 15.
    #[schemars(range(min = 0, max = 100))]
    pub points: u8,
    /// Kilometres in an hour that are still possible. Default: 1000.
    #[schemars(range(min = 1, max = 100_000))]
    pub speed_km_per_hour: u32,
    /// Kilometres that geolocation may be wrong by. Default: 100.
    #[schemars(range(min = 0, max = 20_000))]
    pub tolerance_km: u32,
}

impl Default for ImpossibleTravel {
    fn default() -> Self {
        Self {
            points: 60,
            speed_km_per_hour: 1000,
            tolerance_km: 100,
        }
    }
}

/// An hour of the day at which the user does not sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct UnusualHour {
    /// 0 to 100. Default: 8.
    #[schemars(range(min = 0, max = 100))]
    pub points: u8,
    /// Sign-ins of the user before which the signal is silent. Default: 20.
    #[schemars(range(min = 1, max = 10_000))]
    pub min_signins: u32,
}

impl Default for UnusualHour {
    fn default() -> Self {
        Self {
            points: 8,
            min_signins: 20,
        }
    }
}

/// The statistical model: `cap * S / (S + s50)`.
///
/// It separates sign-ins that the other signals score the same, from the same facts: few points, or
/// what is new would count twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
// The API server compares a whole number with the whole part of a minimum, so a small one is a rule
// of its own.
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.s50 >= 0.001",
    "message": "s50 must be at least 0.001",
    "fieldPath": ".s50"
}]))]
pub struct Statistical {
    /// The most points that it gives, 0 to 100. Default: 60.
    #[schemars(range(min = 0, max = 100))]
    pub cap: u8,
    /// The S at which it gives half of them. Default: 1.0.
    #[schemars(range(min = 0, max = 1000))]
    pub s50: f64,
}

impl Default for Statistical {
    fn default() -> Self {
        Self { cap: 15, s50: 1.0 }
    }
}
