//! How much more likely an attacker is than the user, by what the user and all users did before:
//! Freeman et al., "Who Are You? A Statistical Approach to Measuring User Authenticity" (NDSS
//! 2016), equation 7, weighted and smoothed as the das-group reference implementation publishes it.
//!
//! A context that no user has ever used scores below one that others use much: never decide on this
//! alone.

use super::Values;
use super::history::{Kind, Population, UserHistory};

/// Two features, each by levels from the narrowest to the widest, and their weights.
const IP: &[(Kind, f64)] = &[(Kind::Ip, 0.6), (Kind::Asn, 0.3), (Kind::Country, 0.1)];
const AGENT: &[(Kind, f64)] = &[
    (Kind::Agent, 0.538_665_384_055_135_9),
    (Kind::Browser, 0.268_045_149_862_566_6),
    (Kind::Os, 0.188_182_951_001_095_36),
    (Kind::DeviceType, 0.005_106_515_081_202_152_5),
];

/// `S`; none without sign-ins to compare with. A level without a value is left out.
pub(super) fn likelihood(
    values: &Values,
    user: &UserHistory,
    population: &Population,
) -> Option<f64> {
    if user.signins == 0 || population.signins == 0 || population.users == 0 {
        return None;
    }
    let mut s = 1.0;
    for feature in [IP, AGENT] {
        if !feature.iter().any(|(kind, _)| user.has_any(*kind)) {
            // The user has never shown any of it.
            continue;
        }
        let global = of_all(feature, values, population);
        let own = of_user(feature, values, user);
        // Without any value neither side says anything.
        if global > 0.0 {
            s *= if own > 0.0 { global / own } else { 4.0 };
        }
    }
    let (own, all) = (f64::from(user.signins), population.signins as f64);
    Some(s * (all / own) / population.users as f64)
}

/// Never smoothed. Within the rows that have a value its probability is one, so that factor is left
/// out.
fn of_user(feature: &[(Kind, f64)], values: &Values, user: &UserHistory) -> f64 {
    let n = f64::from(user.signins);
    let terms = feature.iter().map(|(kind, weight)| {
        let count = values.of(*kind).map_or(0, |value| user.count(*kind, value));
        weight * f64::from(count) / n
    });
    terms.sum()
}

/// Smoothed at the narrowest level alone.
fn of_all(feature: &[(Kind, f64)], values: &Values, population: &Population) -> f64 {
    let n = population.signins as f64;
    let mut sum = 0.0;
    for (level, (kind, weight)) in feature.iter().enumerate() {
        if values.of(*kind).is_none() {
            continue;
        }
        let count = population.of(*kind).count as f64;
        let term = if level == 0 {
            let wider = &feature[1..];
            let unseen: f64 = wider
                .iter()
                .map(|(kind, _)| population.of(*kind).distinct as f64)
                .sum();
            // An address has one operator and one country, an agent one browser, one system and one
            // type of device.
            let unseen_within = wider
                .iter()
                .filter(|(kind, _)| values.of(*kind).is_some())
                .count() as f64;
            smoothed(count, count, 1.0 + unseen_within) * smoothed(count, n, 1.0 + unseen)
        } else {
            count / n
        };
        sum += weight * term;
    }
    sum
}

/// The probability of a value that `count` of `n` rows have, some of it kept for `unseen` values.
fn smoothed(count: f64, n: f64, unseen: f64) -> f64 {
    if n == 0.0 {
        1.0
    } else if count == 0.0 {
        1.0 / (n + unseen)
    } else {
        count / n * (1.0 - unseen / (n + unseen))
    }
}
