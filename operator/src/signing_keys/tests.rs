use std::collections::BTreeSet;

use super::*;

const DAY: i64 = 24 * 3600;
const TTL: i64 = 600;
/// As `rotation` keeps it for clocks that run behind.
const MARGIN: i64 = 300;
const SCHEDULE: Schedule = Schedule {
    algorithm: SigningAlgorithm::ES256,
    rotate_every: Duration::from_secs(30 * 24 * 3600),
    pre_publish: Duration::from_secs(24 * 3600),
};
const NOTHING: KeyProof = KeyProof {
    published: false,
    signing: false,
};
const PUBLISHED: KeyProof = KeyProof {
    published: true,
    signing: false,
};
const ALL: KeyProof = KeyProof {
    published: true,
    signing: true,
};

fn wish(rotate: Option<&str>) -> Wish<'_> {
    Wish {
        schedule: SCHEDULE,
        access_ttl: Duration::from_secs(TTL.unsigned_abs()),
        rotate,
    }
}

fn rotate(keys: &mut PolicyKeys, proof: KeyProof, now: i64) -> i64 {
    keys.rotate(wish(None), |_| proof, now).expect("keys")
}

fn ask(keys: &mut PolicyKeys, value: &str, proof: KeyProof, now: i64) {
    keys.rotate(wish(Some(value)), |_| proof, now)
        .expect("keys");
}

fn states(keys: &PolicyKeys) -> Vec<KeyState> {
    keys.with_states()
        .into_iter()
        .map(|(_, state)| state)
        .collect()
}

/// One key that signs alone since 0.
fn settled() -> PolicyKeys {
    let mut keys = PolicyKeys::default();
    rotate(&mut keys, NOTHING, 0);
    rotate(&mut keys, ALL, 0);
    keys
}

#[test]
fn the_first_key_signs_at_once() {
    let mut keys = PolicyKeys::default();
    rotate(&mut keys, NOTHING, 7);
    assert_eq!(states(&keys), [KeyState::Current]);
    assert_eq!(keys.next_rotation(SCHEDULE), Some(7 + 30 * DAY));
}

#[test]
fn the_next_key_signs_when_its_time_has_come_and_every_pod_publishes_it() {
    let mut keys = settled();
    assert_eq!(rotate(&mut keys, ALL, DAY), 29 * DAY);
    rotate(&mut keys, NOTHING, 29 * DAY);
    assert_eq!(states(&keys), [KeyState::Current, KeyState::Next]);
    assert_eq!(keys.next_rotation(SCHEDULE), Some(30 * DAY));
    rotate(&mut keys, PUBLISHED, 29 * DAY + 60);
    assert_eq!(
        states(&keys),
        [KeyState::Current, KeyState::Next],
        "not its time yet"
    );
    rotate(&mut keys, NOTHING, 30 * DAY);
    assert_eq!(states(&keys), [KeyState::Previous, KeyState::Current]);
}

#[test]
fn a_key_that_some_pod_does_not_publish_never_signs() {
    let mut keys = settled();
    rotate(&mut keys, NOTHING, 29 * DAY);
    for later in [30 * DAY, 31 * DAY, 60 * DAY] {
        let due = rotate(&mut keys, NOTHING, later);
        assert_eq!(states(&keys), [KeyState::Current, KeyState::Next]);
        assert!(due <= later + PROOF_SYNC_SECONDS);
    }
    rotate(&mut keys, PUBLISHED, 60 * DAY);
    assert_eq!(states(&keys), [KeyState::Previous, KeyState::Current]);
}

#[test]
fn a_key_that_signs_stays_the_one_when_a_pod_comes_that_has_proved_nothing() {
    let mut keys = settled();
    rotate(&mut keys, PUBLISHED, 29 * DAY);
    rotate(&mut keys, PUBLISHED, 30 * DAY);
    rotate(&mut keys, NOTHING, 30 * DAY + 1);
    assert_eq!(states(&keys).last(), Some(&KeyState::Current));
}

#[test]
fn the_key_before_is_kept_until_its_last_token_has_expired() {
    let mut keys = settled();
    rotate(&mut keys, PUBLISHED, 29 * DAY);
    rotate(&mut keys, PUBLISHED, 30 * DAY);
    rotate(&mut keys, PUBLISHED, 30 * DAY);
    // A pod went on signing with the old key for an hour.
    let proved = 30 * DAY + 3600;
    rotate(&mut keys, PUBLISHED, proved - 1);
    assert_eq!(states(&keys), [KeyState::Previous, KeyState::Current]);
    rotate(&mut keys, ALL, proved);
    let gone = proved + TTL + MARGIN;
    rotate(&mut keys, ALL, gone - 1);
    assert_eq!(keys.keys.len(), 2);
    rotate(&mut keys, ALL, gone);
    assert_eq!(states(&keys), [KeyState::Current]);
}

#[test]
fn a_request_rotates_as_soon_as_it_is_proved_and_once() {
    let mut keys = settled();
    ask(&mut keys, "now", NOTHING, DAY);
    assert_eq!(states(&keys), [KeyState::Current, KeyState::Next]);
    assert_eq!(keys.next_rotation(SCHEDULE), Some(DAY));
    ask(&mut keys, "now", NOTHING, DAY + 1);
    assert_eq!(states(&keys), [KeyState::Current, KeyState::Next]);
    ask(&mut keys, "now", PUBLISHED, DAY + 2);
    assert_eq!(states(&keys), [KeyState::Previous, KeyState::Current]);
    ask(&mut keys, "now", ALL, DAY + 3);
    assert_eq!(keys.keys.len(), 2, "the same value asks for nothing more");
    ask(&mut keys, "again", ALL, DAY + 4);
    assert_eq!(keys.keys.len(), 3);
}

#[test]
fn a_request_hurries_the_key_that_is_published_already() {
    let mut keys = settled();
    rotate(&mut keys, PUBLISHED, 29 * DAY);
    rotate(&mut keys, PUBLISHED, 29 * DAY);
    ask(&mut keys, "now", PUBLISHED, 29 * DAY + 5);
    ask(&mut keys, "now", PUBLISHED, 29 * DAY + 5);
    assert_eq!(states(&keys), [KeyState::Previous, KeyState::Current]);
    assert_eq!(keys.keys.len(), 2);
}

#[test]
fn a_request_that_stood_there_at_the_beginning_asks_for_nothing() {
    let mut keys = PolicyKeys::default();
    ask(&mut keys, "old", NOTHING, 0);
    ask(&mut keys, "old", ALL, 1);
    assert_eq!(states(&keys), [KeyState::Current]);
}

#[test]
fn requests_without_end_do_not_make_keys_without_end() {
    let mut keys = settled();
    for number in 0..100 {
        ask(&mut keys, &number.to_string(), ALL, DAY + number);
        ask(&mut keys, &number.to_string(), ALL, DAY + number);
    }
    assert!(keys.keys.len() <= KEYS_MAX);
    let later = DAY + 200 + TTL + MARGIN;
    ask(&mut keys, "last", ALL, later);
    ask(&mut keys, "last", ALL, later);
    assert_eq!(
        keys.rotated.as_deref(),
        Some("last"),
        "the last one is heeded in the end"
    );
}

#[test]
fn a_changed_algorithm_makes_the_next_key() {
    let mut keys = settled();
    let wish = Wish {
        schedule: Schedule {
            algorithm: SigningAlgorithm::EdDSA,
            ..SCHEDULE
        },
        ..wish(None)
    };
    keys.rotate(wish, |_| ALL, DAY).expect("keys");
    assert_eq!(keys.keys[1].key.algorithm, SigningAlgorithm::EdDSA);
    assert_eq!(states(&keys), [KeyState::Current, KeyState::Next]);
}

#[test]
fn every_state_has_one_current_key_at_most_and_kids_are_distinct() {
    let mut keys = settled();
    for step in 0..200 {
        let proof = [NOTHING, PUBLISHED, ALL][usize::try_from(step % 3).expect("small")];
        let value = (step / 20).to_string();
        ask(&mut keys, &value, proof, step * DAY / 2);
        let current = states(&keys)
            .iter()
            .filter(|state| **state == KeyState::Current)
            .count();
        assert_eq!(current, 1);
        let kids: BTreeSet<&str> = keys.keys.iter().map(|kept| kept.kid.as_str()).collect();
        assert_eq!(kids.len(), keys.keys.len());
    }
}
