//! Computes the score from the signals that fired, and the share of each in it.

use super::Reason;

/// A signal that fired, and how likely it alone makes an attack: its points of a hundred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fired {
    pub(super) signal: Signal,
    pub(super) p: f64,
}

macro_rules! signals {
    ($($variant:ident $code:literal $group:ident;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Signal { $($variant),* }

        impl Signal {
            pub(super) const ALL: &[Self] = &[$(Self::$variant),*];

            pub(super) const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            pub(super) const fn group(self) -> Group {
                match self { $(Self::$variant => Group::$group),* }
            }
        }
    };
}

signals! {
    IpDenied "ip_denied" Reputation;
    ImpossibleTravel "impossible_travel" Travel;
    UserFailures "user_failures" Velocity;
    IpFailures "ip_failures" Velocity;
    NewCountry "new_country" Network;
    NewAsn "new_asn" Network;
    NewIp "new_ip" Network;
    NewDevice "new_device" Device;
    UnlikeHistory "unlike_history" Statistical;
    FirstSignin "first_signin" Account;
    Dormant "dormant" Account;
    StaleAuthTime "stale_auth_time" Assurance;
    UnusualHour "unusual_hour" Time;
    NotScored "not_scored" Engine;
}

/// Facts that come together: the strongest of a group counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Network,
    Device,
    Statistical,
    Time,
    Travel,
    Velocity,
    Reputation,
    Account,
    Assurance,
    Engine,
}

impl Group {
    const COUNT: usize = 10;

    /// Whether the facts are about who else might be signing in, whatever factor was asked for
    /// elsewhere.
    pub(super) const fn is_hard(self) -> bool {
        match self {
            Self::Travel | Self::Velocity | Self::Reputation => true,
            Self::Network
            | Self::Device
            | Self::Statistical
            | Self::Time
            | Self::Account
            | Self::Assurance
            | Self::Engine => false,
        }
    }

    /// Whether trust in a device, a network or a second factor makes the group weigh less. An
    /// attacker may have all of these, and still not travel at that speed.
    pub(super) const fn yields_to_trust(self) -> bool {
        match self {
            Self::Network | Self::Device | Self::Statistical | Self::Time => true,
            Self::Travel
            | Self::Velocity
            | Self::Reputation
            | Self::Account
            | Self::Assurance
            | Self::Engine => false,
        }
    }
}

/// The score, 0 to 100, and its reasons: each has the points that the score would lose without it,
/// rescaled so that they sum to the score.
pub(super) fn combine(fired: &[Fired]) -> (u8, Vec<Reason>) {
    let raw = raw(fired, |_| true);
    let score = raw.round();
    let mut shares: Vec<(Signal, f64)> = fired
        .iter()
        .map(|one| {
            // Those that tie in a group hide each other: they go together and share what is lost.
            let ties = |other: &Fired| {
                other.signal.group() == one.signal.group() && other.p.total_cmp(&one.p).is_eq()
            };
            let tied = fired.iter().filter(|other| ties(other)).count().max(1);
            let without = self::raw(fired, |other| !ties(other));
            (one.signal, (raw - without).max(0.0) / tied as f64)
        })
        .collect();
    if shares.iter().all(|(_, share)| *share == 0.0) {
        // Signals that are certain hide each other whole.
        for (share, one) in shares.iter_mut().zip(fired) {
            share.1 = one.p;
        }
    }
    // Whatever order they came in.
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let score = as_points(score);
    (score, apportion(score, &shares))
}

/// `100·(1 − Π(1 − p))` of those that `counts` lets count.
fn raw(fired: &[Fired], counts: impl Fn(&Fired) -> bool) -> f64 {
    let mut strongest = [0.0_f64; Group::COUNT];
    for one in fired.iter().filter(|one| counts(one)) {
        let group = &mut strongest[one.signal.group() as usize];
        *group = group.max(one.p.clamp(0.0, 1.0));
    }
    let of = |group: Group| strongest[group as usize];
    let groups = [
        Group::Network,
        Group::Device,
        Group::Statistical,
        Group::Time,
        Group::Travel,
        Group::Velocity,
        Group::Reputation,
        Group::Account,
        Group::Assurance,
        Group::Engine,
    ];
    let spared: f64 = groups.iter().map(|group| 1.0 - of(*group)).product();
    100.0 * (1.0 - spared)
}

/// Largest remainders: whole points that sum to `score`.
fn apportion(score: u8, shares: &[(Signal, f64)]) -> Vec<Reason> {
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    let exact = |share: f64| {
        if sum > 0.0 {
            f64::from(score) * share / sum
        } else {
            0.0
        }
    };
    let mut reasons: Vec<Reason> = shares
        .iter()
        .map(|(signal, share)| Reason {
            code: signal.code(),
            points: as_points(exact(*share).floor()),
        })
        .collect();
    let given: u32 = reasons.iter().map(|reason| u32::from(reason.points)).sum();
    let left = usize::try_from(u32::from(score).saturating_sub(given)).unwrap_or(0);
    let mut by_remainder: Vec<usize> = (0..reasons.len()).collect();
    // A stable sort: of equal remainders the heavier reason comes first.
    by_remainder.sort_by(|a, b| {
        let remainder = |index: usize| exact(shares[index].1).fract();
        remainder(*b).total_cmp(&remainder(*a))
    });
    for index in by_remainder.into_iter().cycle().take(left) {
        reasons[index].points += 1;
    }
    reasons
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what it can hold"
)]
fn as_points(value: f64) -> u8 {
    value.clamp(0.0, 100.0) as u8
}
