use super::*;
use vestibule_store::EventClass;

const NOW: i64 = 1_800_000_000;

fn event(kind: EventKind) -> Event {
    Event {
        at: NOW,
        kind,
        outcome: "ok",
        class: EventClass::Accepted,
        policy: "shop/default".to_owned(),
        provider: "shop/example".to_owned(),
        user_id: None,
        session_id: None,
        request_id: "r-1".to_owned(),
        network: "192.0.2.0/24".to_owned(),
        detail: String::new(),
        count: 1,
    }
}

fn refusal(network: &str, outcome: &'static str, at: i64) -> Event {
    Event {
        at,
        outcome,
        class: EventClass::Refusal,
        network: network.to_owned(),
        ..event(EventKind::Signin)
    }
}

fn junk(at: i64) -> Event {
    refusal("192.0.2.0/24", "token_malformed", at)
}

fn is_written(condensed: &Condensed) -> bool {
    matches!(condensed, Condensed::Write(_))
}

#[test]
fn a_flood_of_refusals_is_a_few_rows_and_one_with_a_count() {
    let condenser = Condenser::default();
    let taken: Vec<_> = (0..100_000).map(|_| condenser.take(junk(NOW))).collect();
    assert_eq!(taken.iter().filter(|taken| is_written(taken)).count(), 5);
    assert!(condenser.ended(NOW + 59).is_empty());
    let ended = condenser.ended(NOW + 60);
    assert_eq!(
        ended.iter().map(|event| event.count).collect::<Vec<_>>(),
        [99_995]
    );
    assert!(condenser.ended(NOW + 600).is_empty(), "it is written once");
}

#[test]
fn seldom_refusals_are_written_each() {
    let condenser = Condenser::default();
    for minute in 0..10 {
        for _ in 0..EACH_MAX {
            assert!(is_written(&condenser.take(junk(NOW + minute * 60))));
        }
    }
    assert!(condenser.ended(i64::MAX).is_empty());
}

#[test]
fn a_window_that_goes_on_writes_the_row_of_the_one_before() {
    let condenser = Condenser::default();
    for _ in 0..8 {
        condenser.take(junk(NOW));
    }
    assert!(is_written(&condenser.take(junk(NOW + 61))));
    let counts: Vec<i64> = condenser
        .ended(NOW + 62)
        .iter()
        .map(|event| event.count)
        .collect();
    assert_eq!(counts, [3]);
}

#[test]
fn refusals_that_differ_are_counted_apart() {
    let condenser = Condenser::default();
    for _ in 0..10 {
        for (network, outcome) in [
            ("192.0.2.0/24", "token_malformed"),
            ("192.0.2.0/24", "token_expired"),
            ("198.51.100.0/24", "token_malformed"),
        ] {
            condenser.take(refusal(network, outcome, NOW));
        }
    }
    let counts: Vec<i64> = condenser
        .ended(i64::MAX)
        .iter()
        .map(|event| event.count)
        .collect();
    assert_eq!(counts, [5, 5, 5]);
}

#[test]
fn refusals_from_many_networks_are_bounded_and_all_are_counted() {
    const FLOOD: i64 = 50_000;
    let condenser = Condenser::default();
    let networks = (0..FLOOD).map(|number| format!("2001:db8:{number:x}::/48"));
    let taken = networks.map(|network| condenser.take(refusal(&network, "token_malformed", NOW)));
    let written = taken.filter(is_written).count();
    assert_eq!(written, usize::try_from(ALL_MAX).expect("it fits"));
    let rows = condenser.ended(i64::MAX);
    assert!(rows.len() <= KINDS_MAX + 1, "{}", rows.len());
    let counted: i64 = rows.iter().map(|event| event.count).sum();
    assert_eq!(counted + i64::from(ALL_MAX), FLOOD);
}

#[test]
fn what_was_accepted_is_written_whatever_comes_beside_it() {
    let condenser = Condenser::default();
    for _ in 0..10_000 {
        condenser.take(junk(NOW));
        let accepted = event(EventKind::Signin);
        assert_eq!(condenser.take(accepted.clone()), Condensed::Write(accepted));
    }
    for kind in [EventKind::Refresh, EventKind::UserChange] {
        assert!(is_written(&condenser.take(event(kind))));
    }
}

#[test]
fn a_reuse_or_a_lock_is_written_though_refusals_have_used_up_the_minute() {
    let condenser = Condenser::default();
    for number in 0..2000 {
        condenser.take(refusal(
            &format!("10.{number}.0.0/24"),
            "token_malformed",
            NOW,
        ));
    }
    for outcome in ["refresh_token_reused", "mfa_locked", "password_locked"] {
        assert!(
            is_written(&condenser.take(Event {
                class: EventClass::Incident,
                ..refusal("192.0.2.0/24", outcome, NOW)
            })),
            "{outcome}"
        );
    }
    assert_eq!(condenser.take(junk(NOW)), Condensed::Counted);
}

#[test]
fn nothing_is_written_of_what_is_over_a_rate_limit() {
    let condenser = Condenser::default();
    let over = refusal("192.0.2.0/24", "rate_limited", NOW);
    assert_eq!(condenser.take(over), Condensed::Left);
    assert!(condenser.ended(i64::MAX).is_empty());
}
