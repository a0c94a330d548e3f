use std::collections::BTreeSet;

use proptest::prelude::*;
use vestibule_crds::duration::Duration;
use vestibule_crds::signin_policy::{Actions, MfaMethod, Signals, Thresholds};
use vestibule_crds::snapshot::Acting;

use super::history::{PlaceAt, VALUES_MAX};
use super::score::{Fired, Signal, combine};
use super::*;

/// At noon, UTC.
const NOW: i64 = 1_900_022_400 + 12 * 3600;
const DAY: i64 = 86_400;

fn policy() -> Risk {
    Risk {
        acting: Acting::Enforce,
        thresholds: Thresholds::default(),
        actions: Actions::default(),
        on_error: OnError::default(),
        signals: Signals::default(),
        deny: vec!["203.0.113.0/24".parse().expect("a network")],
        allow: vec!["198.51.100.0/24".parse().expect("a network")],
        mfa_methods: vec![MfaMethod::Totp],
    }
}

/// The context of a user at home.
fn usual() -> Context {
    Context {
        now: NOW,
        values: Values(std::array::from_fn(|kind| Some(kind as u64))),
        place: Some(OSLO),
        listed: Listed::No,
        auth_time: Some(NOW - 60),
        provider_mfa: false,
        remembered_device: false,
        user_failures: 0,
        address_failures: 0,
    }
}

/// Nothing of it was ever seen.
fn all_new() -> Context {
    Context {
        values: Values(std::array::from_fn(|kind| Some(1000 + kind as u64))),
        ..usual()
    }
}

const OSLO: Place = Place {
    latitude: 59.91,
    longitude: 10.75,
};
const SYDNEY: Place = Place {
    latitude: -33.87,
    longitude: 151.21,
};

fn with_value(mut context: Context, kind: Kind, value: Option<u64>) -> Context {
    context.values.0[kind as usize] = value;
    context
}

/// So many sign-ins at home, one each day, the last of them yesterday.
fn at_home(signins: u32) -> UserHistory {
    (0..signins).fold(UserHistory::default(), |history, day| {
        history.with(&Context {
            now: NOW - i64::from(signins - day) * DAY,
            ..usual()
        })
    })
}

fn known(signins: u32) -> History {
    History {
        user: Some(at_home(signins)),
        population: None,
    }
}

fn codes(context: &Context, history: &History) -> Vec<&'static str> {
    let mut codes: Vec<_> = assess(context, history, &policy())
        .reasons
        .iter()
        .map(|reason| reason.code)
        .collect();
    codes.sort_unstable();
    codes
}

#[test]
fn a_user_at_home_scores_nothing() {
    let assessment = assess(&usual(), &known(30), &policy());
    assert_eq!(
        assessment,
        Assessment {
            score: 0,
            level: Level::Low,
            action: RiskAction::Allow,
            reasons: Vec::new()
        }
    );
}

#[test]
fn each_signal_alone_has_its_points() {
    let new = |kind| with_value(usual(), kind, Some(999));
    let failures = |user_failures, address_failures| Context {
        user_failures,
        address_failures,
        ..usual()
    };
    let later = |seconds| Context {
        now: NOW + seconds,
        auth_time: None,
        ..usual()
    };
    let authenticated = |seconds: i64| Context {
        auth_time: Some(NOW - seconds),
        ..usual()
    };
    let table: &[(&str, Context, History, u8)] = &[
        ("new_device", new(Kind::Device), known(5), 25),
        ("new_ip", new(Kind::Ip), known(5), 8),
        ("new_asn", new(Kind::Asn), known(5), 20),
        ("new_country", new(Kind::Country), known(5), 35),
        ("user_failures", failures(5, 0), known(5), 40),
        ("ip_failures", failures(0, 20), known(5), 40),
        ("unusual_hour", later(6 * 3600), known(20), 8),
        ("dormant", later(89 * DAY), known(5), 20),
        ("first_signin", usual(), History::default(), 15),
        ("stale_auth_time", authenticated(12 * 3600), known(5), 15),
        (
            "ip_denied",
            Context {
                listed: Listed::Denied,
                ..usual()
            },
            known(5),
            100,
        ),
        (
            "impossible_travel",
            Context {
                now: NOW - DAY + 3600,
                place: Some(SYDNEY),
                auth_time: None,
                ..usual()
            },
            known(5),
            60,
        ),
    ];
    for (code, context, history, points) in table {
        let assessment = assess(context, history, &policy());
        assert_eq!(
            assessment.reasons,
            [Reason {
                code,
                points: *points
            }],
            "{code}"
        );
        assert_eq!(assessment.score, *points, "{code}");
    }
}

#[test]
fn a_signal_is_silent_just_short_of_its_bound() {
    let silent: &[(&str, Context, History)] = &[
        (
            "user_failures",
            Context {
                user_failures: 4,
                ..usual()
            },
            known(5),
        ),
        (
            "ip_failures",
            Context {
                address_failures: 19,
                ..usual()
            },
            known(5),
        ),
        (
            "an hour off at 19 sign-ins",
            Context {
                now: NOW + 6 * 3600,
                auth_time: None,
                ..usual()
            },
            known(19),
        ),
        (
            "a neighbouring hour",
            Context {
                now: NOW + 3600,
                ..usual()
            },
            known(20),
        ),
        (
            "dormant",
            Context {
                now: NOW + 88 * DAY,
                auth_time: None,
                ..usual()
            },
            known(5),
        ),
        (
            "stale_auth_time",
            Context {
                auth_time: Some(NOW - 12 * 3600 + 1),
                ..usual()
            },
            known(5),
        ),
        (
            "travel that takes its time",
            Context {
                place: Some(SYDNEY),
                ..usual()
            },
            known(5),
        ),
        (
            "auth_time in the future",
            Context {
                auth_time: Some(NOW + DAY),
                ..usual()
            },
            known(5),
        ),
    ];
    for (what, context, history) in silent {
        assert_eq!(codes(context, history), [""; 0], "{what}");
    }
}

#[test]
fn missing_data_is_neutral() {
    let nothing = Context {
        values: Values::default(),
        place: None,
        auth_time: None,
        ..usual()
    };
    assert_eq!(codes(&nothing, &known(30)), [""; 0]);
    // A user who never showed any of it has nothing to be unlike.
    let blind = History {
        user: Some(UserHistory::default().with(&nothing)),
        population: None,
    };
    assert_eq!(codes(&all_new(), &blind), [""; 0]);
}

#[test]
fn a_signal_of_no_points_is_off() {
    let mut policy = policy();
    policy.signals.new_device.points = 0;
    let context = with_value(usual(), Kind::Device, Some(999));
    assert_eq!(assess(&context, &known(5), &policy).reasons, []);
}

#[test]
fn facts_that_come_together_count_once() {
    let mut context = with_value(usual(), Kind::Ip, Some(999));
    context = with_value(context, Kind::Asn, Some(999));
    context = with_value(context, Kind::Country, Some(999));
    let assessment = assess(&context, &known(5), &policy());
    assert_eq!(assessment.score, 35);
    assert_eq!(
        codes(&context, &known(5)),
        ["new_asn", "new_country", "new_ip"]
    );
}

#[test]
fn an_all_new_attempt_is_at_least_medium_with_and_without_geolocation() {
    let mut blind = with_value(all_new(), Kind::Asn, None);
    blind = with_value(blind, Kind::Country, None);
    for context in [all_new(), blind] {
        for signins in [1, 3, 30] {
            for population in [None, Some(crowd(&context))] {
                let history = History {
                    user: Some(at_home(signins)),
                    population,
                };
                let assessment = assess(&context, &history, &policy());
                assert!(assessment.level >= Level::Medium, "{assessment:?}");
            }
        }
    }
}

#[test]
fn trust_weighs_on_novelty_and_on_nothing_else() {
    let trusted = |context: Context| Context {
        provider_mfa: true,
        ..context
    };
    let score = |context: &Context| assess(context, &known(5), &policy()).score;
    assert!(score(&trusted(all_new())) < score(&all_new()));
    let failing = Context {
        user_failures: 5,
        ..usual()
    };
    assert_eq!(score(&trusted(failing.clone())), score(&failing));
    let remembered = |context: Context| Context {
        remembered_device: true,
        ..context
    };
    assert!(score(&remembered(all_new())) < score(&trusted(all_new())));
    assert_eq!(score(&remembered(failing.clone())), score(&failing));
    let new_device = with_value(usual(), Kind::Device, Some(999));
    assert_eq!(score(&remembered(new_device)), 0);
}

#[test]
fn only_travel_velocity_and_reputation_are_hard() {
    let hard = |context: &Context| assess(context, &known(5), &policy()).is_hard();
    assert!(!hard(&all_new()));
    let failing = Context {
        user_failures: 5,
        ..usual()
    };
    let denied = Context {
        listed: Listed::Denied,
        ..usual()
    };
    assert!(hard(&failing) && hard(&denied));
}

#[test]
fn an_allowed_network_adds_no_risk_of_its_own_and_a_denied_one_is_refused() {
    let policy = policy();
    let listed = |address: &str| Listed::of(address.parse().expect("an address"), &policy);
    assert_eq!(listed("198.51.100.7"), Listed::Allowed);
    assert_eq!(listed("203.0.113.7"), Listed::Denied);
    assert_eq!(listed("192.0.2.7"), Listed::No);
    let mut context = with_value(usual(), Kind::Country, Some(999));
    context.listed = Listed::Allowed;
    assert_eq!(assess(&context, &known(5), &policy).score, 0);
    context.listed = Listed::Denied;
    let denied = assess(&context, &known(5), &policy);
    assert_eq!((denied.score, denied.action), (100, RiskAction::Deny));
}

#[test]
fn what_cannot_be_scored_gets_the_policys_level() {
    let mut policy = policy();
    for (on_error, level, score) in [
        (OnError::Low, Level::Low, 0),
        (OnError::Medium, Level::Medium, 30),
        (OnError::High, Level::High, 70),
    ] {
        policy.on_error = on_error;
        let assessment = unscored(&usual(), &policy);
        assert_eq!((assessment.level, assessment.score), (level, score));
    }
    let denied = Context {
        listed: Listed::Denied,
        ..usual()
    };
    assert_eq!(unscored(&denied, &policy).action, RiskAction::Deny);
}

#[test]
fn levels_begin_at_their_thresholds() {
    let mut policy = policy();
    policy.actions = Actions {
        low: RiskAction::Allow,
        medium: RiskAction::RequireMfa,
        high: RiskAction::Deny,
    };
    for (medium, high, level, action) in [
        (26, 70, Level::Low, RiskAction::Allow),
        (25, 70, Level::Medium, RiskAction::RequireMfa),
        (20, 26, Level::Medium, RiskAction::RequireMfa),
        (20, 25, Level::High, RiskAction::Deny),
    ] {
        policy.thresholds = Thresholds { medium, high };
        let context = with_value(usual(), Kind::Device, Some(999));
        let assessment = assess(&context, &known(5), &policy);
        assert_eq!((assessment.level, assessment.action), (level, action));
    }
}

#[test]
fn the_windows_of_signals_are_the_policys() {
    let mut policy = policy();
    policy.signals.dormant.after = Duration::from_secs(7 * 86_400);
    let context = Context {
        now: NOW + 6 * DAY,
        auth_time: None,
        ..usual()
    };
    assert_eq!(assess(&context, &known(5), &policy).score, 20);
}

#[test]
fn a_history_remembers_a_bounded_number_of_values_the_newest_of_them() {
    let mut history = UserHistory::default();
    for value in 0..200 {
        let mut context = with_value(usual(), Kind::Ip, Some(value));
        context.now = NOW + i64::try_from(value).expect("a small number");
        history = history.with(&context);
    }
    let held = (0..200).filter(|value| history.count(Kind::Ip, *value) > 0);
    assert_eq!(held.count(), VALUES_MAX);
    assert_eq!(history.count(Kind::Ip, 199), 1);
    assert_eq!(history.count(Kind::Ip, 0), 0);
    assert_eq!(history.signins, 200);
}

#[test]
fn every_signal_has_a_code_of_its_own() {
    let codes: BTreeSet<_> = Signal::ALL.iter().map(|signal| signal.code()).collect();
    assert_eq!(codes.len(), Signal::ALL.len());
}

/// A population large enough for the model, none of whom shares a value with the context.
fn crowd(_: &Context) -> Population {
    Population {
        users: 100,
        signins: 1000,
        ..Population::default()
    }
}

mod golden {
    use super::*;

    type Row = [&'static str; 7];
    const A1: Row = [
        "192.0.2.1",
        "64500",
        "NO",
        "UA-A",
        "Chrome 120",
        "Windows 10",
        "desktop",
    ];
    const A2: Row = [
        "192.0.2.2",
        "64500",
        "NO",
        "UA-B",
        "Safari 17",
        "iOS 17",
        "mobile",
    ];
    const B1: Row = [
        "198.51.100.9",
        "64501",
        "SE",
        "UA-C",
        "Firefox 121",
        "Linux",
        "desktop",
    ];
    const SIGNINS: [(&str, Row); 10] = [
        ("alice", A1),
        ("alice", A1),
        ("alice", A2),
        ("bob", B1),
        ("bob", B1),
        ("carol", A2),
        ("carol", A1),
        ("dave", B1),
        ("alice", A2),
        ("bob", B1),
    ];

    fn context(row: &Row) -> Context {
        let mut values = Values::default();
        for (value, text) in values.0.iter_mut().zip(row) {
            let bytes = text.bytes();
            *value = Some(bytes.fold(7, |hash: u64, byte| {
                hash.wrapping_mul(1_000_003) ^ u64::from(byte)
            }));
        }
        Context { values, ..usual() }
    }

    fn likelihood(row: Row) -> f64 {
        let context = context(&row);
        let mut alice = UserHistory::default();
        let mut population = Population {
            users: 4,
            signins: 10,
            ..Population::default()
        };
        for (user, other) in &SIGNINS {
            if *user == "alice" {
                alice = alice.with(&super::golden::context(other));
            }
        }
        for kind in 0..row.len() {
            let values: Vec<_> = SIGNINS.iter().map(|(_, other)| other[kind]).collect();
            let popularity = &mut population.popularity[kind];
            popularity.count = values.iter().filter(|value| **value == row[kind]).count() as u64;
            popularity.distinct = values.iter().collect::<BTreeSet<_>>().len() as u64;
        }
        super::super::freeman::likelihood(&context.values, &alice, &population)
            .expect("there is a history")
    }

    #[test]
    fn the_statistical_model_gives_the_published_figures() {
        let elsewhere = ["192.0.2.77", A1[1], A1[2], A1[3], A1[4], A1[5], A1[6]];
        let updated = [A1[0], A1[1], A1[2], "UA-A2", "Chrome 121", A1[5], A1[6]];
        let new = [
            "203.0.113.5",
            "64999",
            "BR",
            "UA-Z",
            "Edge 1",
            "Haiku",
            "bot",
        ];
        for (row, expected) in [
            (A1, 0.094_764_659_915_479_03),
            (elsewhere, 0.154_782_277_861_949_06),
            (updated, 0.244_951_607_709_405_38),
            (B1, 237.703_616_278_540_32),
            (new, 10.0),
        ] {
            let s = likelihood(row);
            assert!(
                (s - expected).abs() <= 1e-12 * expected.max(1.0),
                "{row:?}: {s}"
            );
        }
    }
}

fn any_fired() -> impl Strategy<Value = Vec<Fired>> {
    let one = (prop::sample::select(Signal::ALL), 0_u8..=100);
    prop::collection::vec(one, 0..14).prop_map(|all| {
        let all = all.into_iter().map(|(signal, points)| Fired {
            signal,
            p: f64::from(points) / 100.0,
        });
        all.collect()
    })
}

proptest! {
    #[test]
    fn points_sum_to_the_score(fired in any_fired()) {
        let (score, reasons) = combine(&fired);
        let sum: u32 = reasons.iter().map(|reason| u32::from(reason.points)).sum();
        prop_assert!(score <= 100);
        prop_assert_eq!(sum, if fired.is_empty() { 0 } else { u32::from(score) });
    }

    #[test]
    fn the_order_of_signals_means_nothing(fired in any_fired(), seed in any::<u64>()) {
        let mut shuffled = fired.clone();
        shuffled.sort_by_key(|one| (one.p.to_bits() ^ seed).wrapping_mul(one.signal as u64 | 1));
        prop_assert_eq!(combine(&fired).0, combine(&shuffled).0);
        let by_code = |fired: &[Fired]| {
            let mut reasons: Vec<_> = combine(fired).1.iter().map(|one| (one.code, one.points)).collect();
            reasons.sort_unstable();
            reasons
        };
        prop_assert_eq!(by_code(&fired), by_code(&shuffled));
    }

    #[test]
    fn one_more_or_stronger_signal_never_lowers_the_score(
        fired in any_fired(),
        signal in prop::sample::select(Signal::ALL),
        points in 0_u8..=100,
        index in any::<prop::sample::Index>(),
    ) {
        let (score, _) = combine(&fired);
        let mut more = fired.clone();
        more.push(Fired { signal, p: f64::from(points) / 100.0 });
        prop_assert!(combine(&more).0 >= score);
        if !fired.is_empty() {
            let mut stronger = fired.clone();
            let one = &mut stronger[index.index(fired.len())];
            one.p = one.p.max(f64::from(points) / 100.0);
            prop_assert!(combine(&stronger).0 >= score);
        }
    }

    #[test]
    fn one_signal_alone_is_its_points(signal in prop::sample::select(Signal::ALL), points in 0_u8..=100) {
        let (score, _) = combine(&[Fired { signal, p: f64::from(points) / 100.0 }]);
        prop_assert_eq!(score, points);
    }

    #[test]
    fn an_assessment_holds_together_whatever_is_seen(
        values in prop::array::uniform8(prop::option::of(0_u64..20)),
        seconds in any::<i32>(),
        auth in prop::option::of(any::<i64>()),
        failures in (0_u32..50, 0_u32..50),
        signins in 0_u32..80,
        popular in 0_u64..1000,
        mfa in any::<bool>(),
    ) {
        let context = Context {
            now: NOW + i64::from(seconds),
            values: Values(values),
            auth_time: auth,
            provider_mfa: mfa,
            user_failures: failures.0,
            address_failures: failures.1,
            ..usual()
        };
        let mut population = Population { users: 10, signins: 1000, ..Population::default() };
        for one in &mut population.popularity {
            one.count = popular;
            one.distinct = 5;
        }
        let history = History { user: Some(at_home(signins)), population: Some(population) };
        let assessment = assess(&context, &history, &policy());
        let sum: u32 = assessment.reasons.iter().map(|reason| u32::from(reason.points)).sum();
        prop_assert!(assessment.score <= 100);
        prop_assert_eq!(sum, u32::from(assessment.score));
    }
}

#[test]
fn travel_is_measured_from_the_last_known_place() {
    let history = at_home(3);
    let place = history.last_place;
    assert_eq!(
        place,
        Some(PlaceAt {
            place: OSLO,
            at: NOW - DAY
        })
    );
    let unplaced = Context {
        place: None,
        ..usual()
    };
    assert_eq!(history.with(&unplaced).last_place, place);
}

#[test]
fn a_history_reads_back_as_it_was_written() {
    for history in [
        UserHistory::default(),
        at_home(30),
        at_home(3).with(&all_new()),
    ] {
        let bytes = history.encode();
        assert_eq!(UserHistory::decode(&bytes), Some(history));
        assert_eq!(UserHistory::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(UserHistory::decode(&[&bytes[..], &[0]].concat()), None);
    }
    assert_eq!(UserHistory::decode(&[]), None);
    assert_eq!(UserHistory::decode(&[9]), None, "of a later version");
}

#[test]
fn a_value_that_is_not_shown_for_a_year_is_forgotten() {
    let history = at_home(3);
    let later = |days: i64| Context {
        now: NOW + days * DAY,
        ..all_new()
    };
    let home = |history: &UserHistory| history.count(Kind::Ip, Kind::Ip as u64);
    assert_eq!(home(&history.clone().with(&later(300))), 3);
    assert_eq!(home(&history.with(&later(400))), 0);
}
