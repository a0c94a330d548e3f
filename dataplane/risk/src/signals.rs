//! Decides which risk signals fire for a sign-in.

use vestibule_crds::snapshot::Risk;

use super::Listed;
use super::facts::{Facts, Travel};
use super::score::{Fired, Group, Signal};

/// What the groups that yield to trust are multiplied by.
const PROVIDER_MFA_TRUST: f64 = 0.5;
const ALLOWED_NETWORK_TRUST: f64 = 0.5;
const REMEMBERED_DEVICE_TRUST: f64 = 0.25;

pub(super) fn fired(facts: &Facts, policy: &Risk) -> Vec<Fired> {
    let mut fired = Vec::with_capacity(16);
    let signals = &policy.signals;
    let mut when = |fires: bool, signal: Signal, p: f64| {
        let p = p * trust(facts, signal.group());
        if fires && p > 0.0 {
            fired.push(Fired { signal, p });
        }
    };
    let points = |points: u8| f64::from(points) / 100.0;

    when(facts.listed == Listed::Denied, Signal::IpDenied, 1.0);
    when(
        facts.user_failures >= signals.user_failures.count,
        Signal::UserFailures,
        points(signals.user_failures.points),
    );
    when(
        facts.address_failures >= signals.ip_failures.count,
        Signal::IpFailures,
        points(signals.ip_failures.points),
    );
    let stale = signals.stale_auth_time.after.as_secs();
    when(
        facts.auth_age.is_some_and(|age| age >= stale),
        Signal::StaleAuthTime,
        points(signals.stale_auth_time.points),
    );
    let Some(known) = &facts.known else {
        when(
            true,
            Signal::FirstSignin,
            points(signals.first_signin.points),
        );
        return fired;
    };
    for (is_new, signal, new) in [
        (
            known.new_device,
            Signal::NewDevice,
            signals.new_device.points,
        ),
        (known.new_ip, Signal::NewIp, signals.new_ip.points),
        (known.new_asn, Signal::NewAsn, signals.new_asn.points),
        (
            known.new_country,
            Signal::NewCountry,
            signals.new_country.points,
        ),
    ] {
        when(is_new, signal, points(new));
    }
    let travel = &signals.impossible_travel;
    when(
        known
            .travel
            .is_some_and(|made| is_impossible(made, travel.speed_km_per_hour, travel.tolerance_km)),
        Signal::ImpossibleTravel,
        points(travel.points),
    );
    when(
        known.signins >= signals.unusual_hour.min_signins && known.unknown_hour,
        Signal::UnusualHour,
        points(signals.unusual_hour.points),
    );
    when(
        known.last_age >= signals.dormant.after.as_secs(),
        Signal::Dormant,
        points(signals.dormant.points),
    );
    if let Some(s) = known.likelihood {
        let statistical = &signals.statistical;
        when(
            true,
            Signal::UnlikeHistory,
            points(statistical.cap) * s / (s + statistical.s50),
        );
    }
    fired
}

fn trust(facts: &Facts, group: Group) -> f64 {
    if !group.yields_to_trust() {
        return 1.0;
    }
    let network = match (facts.listed, group) {
        // A listed network adds no risk of its own.
        (Listed::Allowed, Group::Network) => 0.0,
        (Listed::Allowed, _) => ALLOWED_NETWORK_TRUST,
        (Listed::Denied | Listed::No, _) => 1.0,
    };
    let factor = if facts.provider_mfa {
        PROVIDER_MFA_TRUST
    } else {
        1.0
    };
    let device = match (facts.remembered_device, group) {
        // It is not new, however it calls itself by now.
        (true, Group::Device) => 0.0,
        (true, _) => REMEMBERED_DEVICE_TRUST,
        (false, _) => 1.0,
    };
    network * factor * device
}

fn is_impossible(made: Travel, speed: u32, tolerance: u32) -> bool {
    let hours = made.seconds as f64 / 3600.0;
    made.kilometres > f64::from(tolerance) + f64::from(speed) * hours
}
