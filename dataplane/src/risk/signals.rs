//! Which signals fire.

use vestibule_crds::snapshot::Risk;

use super::history::{Kind, UserHistory};
use super::score::{Fired, Group, Signal};
use super::{Context, History, Listed, Place, freeman};

/// Sign-ins of the user, and of all users, before which the statistical model is silent.
const USER_SIGNINS_MIN: u32 = 3;
const ALL_SIGNINS_MIN: u64 = 200;
/// What the groups that yield to trust are multiplied by.
const PROVIDER_MFA_TRUST: f64 = 0.5;
const ALLOWED_NETWORK_TRUST: f64 = 0.5;
const REMEMBERED_DEVICE_TRUST: f64 = 0.25;
/// Kilometres.
const EARTH_RADIUS: f64 = 6371.0;

pub(super) fn fired(context: &Context, history: &History, policy: &Risk) -> Vec<Fired> {
    let mut fired = Vec::with_capacity(16);
    let signals = &policy.signals;
    let mut when = |fires: bool, signal: Signal, p: f64| {
        let p = p * trust(context, signal.group());
        if fires && p > 0.0 {
            fired.push(Fired { signal, p });
        }
    };
    let points = |points: u8| f64::from(points) / 100.0;

    when(context.listed == Listed::Denied, Signal::IpDenied, 1.0);
    when(
        context.user_failures >= signals.user_failures.count,
        Signal::UserFailures,
        points(signals.user_failures.points),
    );
    when(
        context.address_failures >= signals.ip_failures.count,
        Signal::IpFailures,
        points(signals.ip_failures.points),
    );
    let stale = signals.stale_auth_time.after.as_secs();
    when(
        context
            .auth_time
            .is_some_and(|at| age(context.now, at) >= stale),
        Signal::StaleAuthTime,
        points(signals.stale_auth_time.points),
    );
    let Some(user) = history.user.as_ref().filter(|user| user.signins > 0) else {
        when(
            true,
            Signal::FirstSignin,
            points(signals.first_signin.points),
        );
        return fired;
    };
    for (kind, signal, new) in [
        (Kind::Device, Signal::NewDevice, signals.new_device.points),
        (Kind::Ip, Signal::NewIp, signals.new_ip.points),
        (Kind::Asn, Signal::NewAsn, signals.new_asn.points),
        (
            Kind::Country,
            Signal::NewCountry,
            signals.new_country.points,
        ),
    ] {
        when(is_new(context, user, kind), signal, points(new));
    }
    let travel = &signals.impossible_travel;
    when(
        is_impossible(context, user, travel.speed_km_per_hour, travel.tolerance_km),
        Signal::ImpossibleTravel,
        points(travel.points),
    );
    when(
        user.signins >= signals.unusual_hour.min_signins && !user.knows_hour(context.now),
        Signal::UnusualHour,
        points(signals.unusual_hour.points),
    );
    when(
        age(context.now, user.last_at) >= signals.dormant.after.as_secs(),
        Signal::Dormant,
        points(signals.dormant.points),
    );
    let s = history
        .population
        .as_ref()
        .filter(|all| user.signins >= USER_SIGNINS_MIN && all.signins >= ALL_SIGNINS_MIN)
        .and_then(|all| freeman::likelihood(&context.values, user, all));
    if let Some(s) = s {
        let statistical = &signals.statistical;
        when(
            true,
            Signal::UnlikeHistory,
            points(statistical.cap) * s / (s + statistical.s50),
        );
    }
    fired
}

fn trust(context: &Context, group: Group) -> f64 {
    if !group.yields_to_trust() {
        return 1.0;
    }
    let network = match (context.listed, group) {
        // A listed network adds no risk of its own.
        (Listed::Allowed, Group::Network) => 0.0,
        (Listed::Allowed, _) => ALLOWED_NETWORK_TRUST,
        (Listed::Denied | Listed::No, _) => 1.0,
    };
    let factor = if context.provider_mfa {
        PROVIDER_MFA_TRUST
    } else {
        1.0
    };
    let device = match (context.remembered_device, group) {
        // It is not new, however it calls itself by now.
        (true, Group::Device) => 0.0,
        (true, _) => REMEMBERED_DEVICE_TRUST,
        (false, _) => 1.0,
    };
    network * factor * device
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

fn is_impossible(context: &Context, user: &UserHistory, speed: u32, tolerance: u32) -> bool {
    let (Some(here), Some(there)) = (context.place, user.last_place) else {
        return false;
    };
    let hours = age(context.now, there.at) as f64 / 3600.0;
    let possible = f64::from(tolerance) + f64::from(speed) * hours;
    distance(here, there.place) > possible
}

/// Kilometres on a sphere (haversine).
fn distance(a: Place, b: Place) -> f64 {
    let half_chord = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let along = half_chord(b.latitude - a.latitude);
    let across = half_chord(b.longitude - a.longitude);
    let h = along + a.latitude.to_radians().cos() * b.latitude.to_radians().cos() * across;
    2.0 * EARTH_RADIUS * h.sqrt().min(1.0).asin()
}
