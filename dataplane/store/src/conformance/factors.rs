//! Factors are confirmed before they count, and what proves one is used once.

use std::sync::Arc;

use tokio::task::JoinSet;
use uuid::Uuid;
use vestibule_crds::signin_policy::MfaMethod;

use super::Fixture;
use super::challenges::{answer, challenged, remembered};
use super::rows::*;
use crate::mfa::{
    ConfirmOutcome, Confirmation, Confirming, Enrollment, FACTORS_MAX, Factor, Factors,
    KnowsDevice, Proof, ReadFactors, Removal,
};
use crate::{EventKind, Profile, SigninOutcome, Store};

const STEP: i64 = 60_000_000;

fn totp() -> Factor {
    Factor {
        id: next_id(),
        method: MfaMethod::Totp,
        name: Some("phone".to_owned()),
        secret: b"sealed".to_vec(),
        last_step: -1,
        created_at: NOW,
        last_used_at: None,
        expires_at: Some(NOW + 600),
    }
}

async fn begun(store: &Store, user: Uuid, factor: Factor) -> Uuid {
    let id = factor.id;
    let began = store.run(Enrollment { user, factor }).await;
    assert_eq!(began, Ok(true));
    id
}

fn confirmation(factor: Uuid) -> Confirmation {
    Confirmation {
        factor,
        step: STEP,
        secret: None,
        recovery_codes: vec![[1; 32], [2; 32]],
    }
}

async fn confirmed(store: &Store, user: Uuid, factor: Uuid) -> ConfirmOutcome {
    let confirming = Confirming {
        user,
        confirmation: confirmation(factor),
        event: event(EventKind::MfaEnroll),
        now: NOW + 10,
    };
    let outcome = store.run(confirming).await;
    outcome.expect("the store is there")
}

/// A confirmed factor.
async fn enrolled(store: &Store, user: Uuid) -> Uuid {
    let factor = begun(store, user, totp()).await;
    let outcome = confirmed(store, user, factor).await;
    assert!(matches!(outcome, ConfirmOutcome::Confirmed { .. }));
    factor
}

async fn factors(store: &Store, user: Uuid) -> Factors {
    store
        .run(ReadFactors(user))
        .await
        .expect("the store is there")
}

async fn removed(store: &Store, user: Uuid, factor: Uuid) -> bool {
    let removal = Removal {
        user,
        factor,
        event: event(EventKind::MfaRemove),
    };
    let removed = store.run(removal).await;
    removed.expect("the store is there")
}

pub(crate) async fn factor_counts_once_it_is_confirmed(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    assert_eq!(factors(&store, user).await, Factors::default());
    let factor = totp();
    let id = begun(&store, user, factor.clone()).await;
    let waiting = factors(&store, user).await;
    assert_eq!(
        (&waiting.all, waiting.confirmed().count()),
        (&vec![factor.clone()], 0)
    );
    assert_eq!(
        confirmed(&store, user, id).await,
        ConfirmOutcome::Confirmed { first: true }
    );
    let good = Factor {
        expires_at: None,
        last_step: STEP,
        last_used_at: Some(NOW + 10),
        ..factor
    };
    let expected = Factors {
        all: vec![good],
        recovery_codes_left: 2,
    };
    assert_eq!(factors(&store, user).await, expected);
    assert_eq!(
        confirmed(&store, user, id).await,
        ConfirmOutcome::Gone,
        "once"
    );
}

pub(crate) async fn factor_of_another_or_too_late_is_not_confirmed(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let bob = created(&store, "bob", Profile::default()).await;
    let factor = begun(&store, ann, totp()).await;
    assert_eq!(confirmed(&store, bob, factor).await, ConfirmOutcome::Gone);
    let late = Factor {
        expires_at: Some(NOW + 10),
        ..totp()
    };
    let late = begun(&store, ann, late).await;
    assert_eq!(confirmed(&store, ann, late).await, ConfirmOutcome::Gone);
    assert_eq!(
        confirmed(&store, ann, factor).await,
        ConfirmOutcome::Gone,
        "another took its place"
    );
}

pub(crate) async fn only_the_first_factor_brings_recovery_codes(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    enrolled(&store, user).await;
    let challenge = challenged(&store, user).await;
    committed(
        &store,
        answer(user, challenge, Proof::RecoveryCode([1; 32])),
    )
    .await;
    let second = begun(&store, user, totp()).await;
    assert_eq!(
        confirmed(&store, user, second).await,
        ConfirmOutcome::Confirmed { first: false }
    );
    assert_eq!(factors(&store, user).await.recovery_codes_left, 1);
}

pub(crate) async fn user_has_a_bounded_number_of_factors(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    for _ in 1..FACTORS_MAX {
        enrolled(&store, user).await;
    }
    let (last, other) = (
        totp(),
        Factor {
            method: MfaMethod::Webauthn,
            ..totp()
        },
    );
    let last = begun(&store, user, last).await;
    let other = begun(&store, user, other).await;
    assert_eq!(
        confirmed(&store, user, last).await,
        ConfirmOutcome::Confirmed { first: false }
    );
    assert_eq!(confirmed(&store, user, other).await, ConfirmOutcome::Gone);
    let factor = totp();
    assert_eq!(store.run(Enrollment { user, factor }).await, Ok(false));
}

pub(crate) async fn step_is_used_once(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let factor = enrolled(&store, user).await;
    let used = async |step| {
        let challenge = challenged(&store, user).await;
        let answer = answer(user, challenge, Proof::Step { factor, step });
        store.run(answer).await.expect("the store is there")
    };
    // The code that confirmed the factor used its step.
    for (step, outcome) in [
        (STEP, SigninOutcome::ProofUsed),
        (STEP - 1, SigninOutcome::ProofUsed),
        (STEP + 2, SigninOutcome::Committed),
        (STEP + 2, SigninOutcome::ProofUsed),
        (STEP + 1, SigninOutcome::ProofUsed),
        (STEP + 3, SigninOutcome::Committed),
    ] {
        assert_eq!(used(step).await, outcome, "{step}");
    }
    let other = created(&store, "bob", Profile::default()).await;
    let challenge = challenged(&store, other).await;
    let step = STEP + 9;
    let foreign = answer(other, challenge, Proof::Step { factor, step });
    assert_eq!(store.run(foreign).await, Ok(SigninOutcome::ProofUsed));
}

pub(crate) async fn step_works_once_under_fifty_tries_at_once(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let factor = enrolled(&store, user).await;
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            // Each with a challenge of its own: the last one opened is live.
            let challenge = challenged(&store, user).await;
            let step = STEP + 1;
            let answer = answer(user, challenge, Proof::Step { factor, step });
            store.run(answer).await
        });
    }
    let outcomes = tasks.join_all().await;
    let won = |outcome: &&Result<SigninOutcome, _>| **outcome == Ok(SigninOutcome::Committed);
    assert_eq!(outcomes.iter().filter(won).count(), 1);
}

pub(crate) async fn recovery_code_is_used_once(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    enrolled(&store, user).await;
    let used = async |code| {
        let challenge = challenged(&store, user).await;
        let answer = answer(user, challenge, Proof::RecoveryCode(code));
        store.run(answer).await.expect("the store is there")
    };
    assert_eq!(used([1; 32]).await, SigninOutcome::Committed);
    assert_eq!(used([1; 32]).await, SigninOutcome::ProofUsed);
    assert_eq!(used([3; 32]).await, SigninOutcome::ProofUsed, "never given");
    assert_eq!(used([2; 32]).await, SigninOutcome::Committed);
    assert_eq!(factors(&store, user).await.recovery_codes_left, 0);
}

pub(crate) async fn wrong_proof_leaves_the_challenge_to_be_answered(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let factor = enrolled(&store, user).await;
    let challenge = challenged(&store, user).await;
    let step = |step| answer(user, challenge, Proof::Step { factor, step });
    assert_eq!(store.run(step(STEP)).await, Ok(SigninOutcome::ProofUsed));
    committed(&store, step(STEP + 1)).await;
}

pub(crate) async fn first_factor_is_enrolled_with_a_challenge(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let factor = begun(&store, user, totp()).await;
    let challenge = challenged(&store, user).await;
    let enroll = || answer(user, challenge, Proof::Enrolled(confirmation(factor)));
    committed(&store, enroll()).await;
    let good = factors(&store, user).await;
    assert_eq!((good.confirmed().count(), good.recovery_codes_left), (1, 2));
    assert_eq!(store.run(enroll()).await, Ok(SigninOutcome::ChallengeGone));
}

pub(crate) async fn second_factor_is_not_enrolled_with_a_challenge(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    enrolled(&store, user).await;
    let second = begun(&store, user, totp()).await;
    let challenge = challenged(&store, user).await;
    let enroll = answer(user, challenge, Proof::Enrolled(confirmation(second)));
    assert_eq!(store.run(enroll).await, Ok(SigninOutcome::ProofUsed));
    assert_eq!(factors(&store, user).await.confirmed().count(), 1);
}

pub(crate) async fn credential_is_kept_as_its_use_left_it(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let factor = begun(&store, user, totp()).await;
    let secret = b"counter 1".to_vec();
    let unconfirmed = challenged(&store, user).await;
    let early = Proof::Credential {
        factor,
        secret: secret.clone(),
    };
    assert_eq!(
        store.run(answer(user, unconfirmed, early.clone())).await,
        Ok(SigninOutcome::ProofUsed)
    );
    confirmed(&store, user, factor).await;
    committed(&store, answer(user, unconfirmed, early)).await;
    assert_eq!(factors(&store, user).await.all[0].secret, secret);
}

pub(crate) async fn the_last_factor_takes_the_recovery_codes_along(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let bob = created(&store, "bob", Profile::default()).await;
    let (first, second) = (enrolled(&store, ann).await, enrolled(&store, ann).await);
    enrolled(&store, bob).await;
    assert!(!removed(&store, bob, first).await, "of another user");
    assert!(removed(&store, ann, first).await);
    assert!(!removed(&store, ann, first).await);
    assert_eq!(factors(&store, ann).await.recovery_codes_left, 2);
    assert!(removed(&store, ann, second).await);
    assert_eq!(factors(&store, ann).await, Factors::default());
    assert_eq!(factors(&store, bob).await.recovery_codes_left, 2);
}

pub(crate) async fn change_of_factors_forgets_devices(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let known = async |device| {
        let known = store
            .run(KnowsDevice {
                user,
                device,
                now: NOW,
            })
            .await;
        known.expect("the store is there")
    };
    let device = remembered(&store, user).await;
    let waiting = begun(&store, user, totp()).await;
    assert!(known(device).await);
    confirmed(&store, user, waiting).await;
    assert!(!known(device).await);
    let device = remembered(&store, user).await;
    assert!(known(device).await);
    assert!(removed(&store, user, waiting).await);
    assert!(!known(device).await);
}

pub(crate) async fn factor_that_was_never_confirmed_is_swept(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let good = enrolled(&store, user).await;
    begun(&store, user, totp()).await;
    assert_eq!(store.run(sweep(NOW + 600, 1000)).await, Ok(0));
    assert_eq!(store.run(sweep(NOW + 601, 1000)).await, Ok(1));
    let left = factors(&store, user).await.all;
    assert_eq!(
        left.iter().map(|factor| factor.id).collect::<Vec<_>>(),
        [good]
    );
}
