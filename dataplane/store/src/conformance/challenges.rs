//! A challenge holds a sign-in until it is answered, once; tries are counted of the user, whatever becomes of challenges.

use std::sync::Arc;

use tokio::task::JoinSet;
use uuid::Uuid;
use vestibule_crds::signin_policy::MfaMethod;

use super::Fixture;
use super::rows::*;
use crate::attempts::{Tried, TryLimits};
use crate::mfa::{
    CHALLENGES_MAX, Challenge, Completion, DeviceKey, ForgetDevices, FoundChallenge, KnowsDevice,
    NewDevice, OpenChallenge, Proof, ReadChallenge, Try, TryOutcome, Waiting,
};
use crate::{
    Account, EventKind, NewHistory, Profile, SetUserStatus, Signin, SigninOutcome, Store, User,
    UserStatus,
};

pub(crate) const LIMITS: TryLimits = TryLimits {
    per_challenge: 5,
    per_15m: 10,
    per_day: 50,
};

/// Valid for five minutes.
pub(crate) fn opening(account: Account) -> OpenChallenge {
    OpenChallenge {
        account,
        login: None,
        replay: None,
        digest: digest(next_id()),
        provider: "shop/example".to_owned(),
        expires_at: NOW + 300,
        content: r#"{"a":1}"#.to_owned(),
        event: event(EventKind::Signin),
        now: NOW,
    }
}

/// The digest of a new challenge of this user.
pub(crate) async fn challenged(store: &Store, user_id: Uuid) -> [u8; 32] {
    let opening = opening(Account::Existing {
        user_id,
        profile: None,
    });
    let digest = opening.digest;
    opened(store, opening).await;
    digest
}

async fn opened(store: &Store, opening: OpenChallenge) {
    assert_eq!(store.run(opening).await, Ok(SigninOutcome::Committed));
}

/// A sign-in that completes a challenge.
pub(crate) fn answer(user: Uuid, challenge: [u8; 32], proof: Proof) -> Signin {
    Signin {
        completion: Some(Completion {
            challenge,
            proof,
            tried: None,
            device: None,
        }),
        now: NOW + 10,
        ..existing(user)
    }
}

fn attempt(user: Uuid, challenge: [u8; 32]) -> Try {
    Try {
        user,
        challenge,
        limits: LIMITS,
        guesses: Some(MfaMethod::Totp),
        takes_pending: false,
        now: NOW + 10,
    }
}

async fn tried(store: &Store, attempt: Try) -> TryOutcome {
    store.run(attempt).await.expect("the store is there")
}

async fn read(store: &Store, digest: [u8; 32]) -> Option<FoundChallenge> {
    store
        .run(ReadChallenge(digest))
        .await
        .expect("the store is there")
}

pub(crate) async fn challenge_is_read_as_it_was_opened(fixture: impl Fixture) {
    let store = fixture.store();
    let profile = verified("ann@shop.example");
    let user = created(&store, "ann", profile.clone()).await;
    let digest = challenged(&store, user).await;
    let found = read(&store, digest).await.expect("it was opened");
    assert_eq!(
        found.challenge,
        Challenge {
            digest,
            provider: "shop/example".to_owned(),
            created_at: NOW,
            expires_at: NOW + 300,
            consumed_at: None,
            tries: 0,
            content: r#"{"a":1}"#.to_owned(),
            pending: None,
        }
    );
    assert_eq!((found.user.id, found.user.profile), (user, profile));
    assert!(found.factors.all.is_empty());
    assert_eq!(read(&store, [9; 32]).await, None);
}

pub(crate) async fn challenge_creates_a_new_user_without_a_profile(fixture: impl Fixture) {
    let store = fixture.store();
    let profile = verified("ann@shop.example");
    let ann = user(POLICY, profile.clone());
    let create = || Account::Create {
        user: ann.clone(),
        identity: identity("ann"),
    };
    let first = opening(create());
    let digest = first.digest;
    opened(&store, first).await;
    let bare = User {
        profile: Profile::default(),
        ..ann.clone()
    };
    let gathered = gathered(&store, identity("ann"), Some("ann@shop.example")).await;
    assert_eq!((gathered.user, gathered.history), (Some(bare), None));
    let other = super::rows::gathered(&store, identity("bob"), Some("ann@shop.example")).await;
    assert_eq!(
        other.email_owners,
        [],
        "nobody is linked to who never signed in"
    );
    assert_eq!(
        store.run(opening(create())).await,
        Ok(SigninOutcome::Changed)
    );
    let mut complete = answer(ann.id, digest, Proof::SentCode);
    complete.account = Account::Existing {
        user_id: ann.id,
        profile: Some(profile),
    };
    committed(&store, complete).await;
    assert_eq!(found(&store, identity("ann")).await, Some(ann));
}

pub(crate) async fn challenge_is_answered_once(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let digest = challenged(&store, user).await;
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let answer = answer(user, digest, Proof::SentCode);
            store.run(answer).await
        });
    }
    let outcomes = tasks.join_all().await;
    let won = |outcome: &&Result<SigninOutcome, _>| **outcome == Ok(SigninOutcome::Committed);
    assert_eq!(outcomes.iter().filter(won).count(), 1);
    let lost = |outcome: &Result<SigninOutcome, _>| *outcome == Ok(SigninOutcome::ChallengeGone);
    assert_eq!(outcomes.iter().filter(|outcome| lost(outcome)).count(), 49);
    assert_eq!(
        read(&store, digest)
            .await
            .map(|found| found.challenge.consumed_at),
        Some(Some(NOW + 10))
    );
    assert_eq!(tried(&store, attempt(user, digest)).await, TryOutcome::Gone);
}

pub(crate) async fn expired_void_or_foreign_challenge_is_not_answered(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let bob = created(&store, "bob", Profile::default()).await;
    let void = challenged(&store, ann).await;
    let mut live = void;
    for _ in 0..CHALLENGES_MAX {
        let later = OpenChallenge {
            now: NOW + 1,
            ..opening(Account::Existing {
                user_id: ann,
                profile: None,
            })
        };
        live = later.digest;
        opened(&store, later).await;
    }
    let gone = async |answer: Signin| {
        assert_eq!(store.run(answer).await, Ok(SigninOutcome::ChallengeGone));
    };
    gone(answer(ann, void, Proof::SentCode)).await;
    gone(answer(ann, [9; 32], Proof::SentCode)).await;
    gone(answer(bob, live, Proof::SentCode)).await;
    gone(Signin {
        now: NOW + 300,
        ..answer(ann, live, Proof::SentCode)
    })
    .await;
    for attempt in [
        attempt(ann, void),
        attempt(bob, live),
        Try {
            now: NOW + 300,
            ..attempt(ann, live)
        },
    ] {
        assert_eq!(tried(&store, attempt).await, TryOutcome::Gone);
    }
    committed(
        &store,
        Signin {
            now: NOW + 299,
            ..answer(ann, live, Proof::SentCode)
        },
    )
    .await;
}

pub(crate) async fn used_token_opens_no_challenge(fixture: impl Fixture) {
    let store = fixture.store();
    let user_id = created(&store, "ann", Profile::default()).await;
    let account = || Account::Existing {
        user_id,
        profile: None,
    };
    let open = |replay| OpenChallenge {
        replay,
        ..opening(account())
    };
    opened(&store, open(token(NOW + 60, 1))).await;
    assert_eq!(
        store.run(open(token(NOW + 60, 1))).await,
        Ok(SigninOutcome::Replayed)
    );
    let again = Signin {
        replay: token(NOW + 60, 1),
        ..existing(user_id)
    };
    assert_eq!(store.run(again).await, Ok(SigninOutcome::Replayed));
    opened(&store, open(token(NOW + 60, 2))).await;
}

pub(crate) async fn disabled_user_opens_and_completes_nothing(fixture: impl Fixture) {
    let store = fixture.store();
    for status in [UserStatus::Disabled, UserStatus::Locked] {
        let user_id = created(&store, &next_id().to_string(), Profile::default()).await;
        let digest = challenged(&store, user_id).await;
        let set = store
            .run(SetUserStatus {
                user: user_id,
                status,
                now: NOW,
            })
            .await;
        assert_eq!(set, Ok(true));
        let opening = opening(Account::Existing {
            user_id,
            profile: None,
        });
        assert_eq!(
            store.run(opening).await,
            Ok(SigninOutcome::UserNotActive(status))
        );
        let outcome = store.run(answer(user_id, digest, Proof::SentCode)).await;
        assert_ne!(outcome, Ok(SigninOutcome::Committed));
        let set = store
            .run(SetUserStatus {
                user: user_id,
                status: UserStatus::Active,
                now: NOW,
            })
            .await;
        assert_eq!(set, Ok(true));
        assert_eq!(
            store.run(answer(user_id, digest, Proof::SentCode)).await,
            Ok(SigninOutcome::ChallengeGone),
            "it does not come back to life with its user"
        );
    }
}

pub(crate) async fn link_is_made_once_its_challenge_is_answered(fixture: impl Fixture) {
    let store = fixture.store();
    let email = "ann@shop.example";
    let user = created(&store, "ann", verified(email)).await;
    let link = |allowed| link_if(user, identity("second"), email, allowed).account;
    let open = opening(link(true));
    let digest = open.digest;
    assert_eq!(
        store.run(opening(link(false))).await,
        Ok(SigninOutcome::LinkRefused)
    );
    opened(&store, open).await;
    assert_eq!(found(&store, identity("second")).await, None);
    let complete = |allowed| Signin {
        account: link(allowed),
        ..answer(user, digest, Proof::SentCode)
    };
    assert_eq!(
        store.run(complete(false)).await,
        Ok(SigninOutcome::LinkRefused)
    );
    committed(&store, complete(true)).await;
    let linked = found(&store, identity("second")).await;
    assert_eq!(linked.map(|linked| linked.id), Some(user));
}

pub(crate) async fn abandoned_challenge_leaves_history_and_profile_unchanged(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let profile = verified("ann@shop.example");
    let mut first = create_as(identity("ann"), profile.clone());
    first.history = Some(NewHistory {
        replaces: None,
        content: b"one".to_vec(),
    });
    committed(&store, first).await;
    let before = gathered(&store, identity("ann"), None).await;
    let ann = before.user.clone().expect("she is known");
    for _ in 0..3 {
        let changed = opening(Account::Existing {
            user_id: ann.id,
            profile: Some(verified("other@shop.example")),
        });
        let digest = changed.digest;
        opened(&store, changed).await;
        let tried = tried(&store, attempt(ann.id, digest)).await;
        assert_eq!(tried, TryOutcome::Counted(None));
    }
    let after = gathered(&store, identity("ann"), None).await;
    assert_eq!((after.user, after.history), (before.user, before.history));
}

pub(crate) async fn challenge_has_so_many_tries(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let digest = challenged(&store, user).await;
    for _ in 0..5 {
        let tried = tried(&store, attempt(user, digest)).await;
        assert_eq!(tried, TryOutcome::Counted(None));
    }
    assert_eq!(tried(&store, attempt(user, digest)).await, TryOutcome::Gone);
}

pub(crate) async fn tries_are_counted_over_challenges(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    for _ in 0..2 {
        let digest = challenged(&store, user).await;
        for _ in 0..5 {
            let tried = tried(&store, attempt(user, digest)).await;
            assert_eq!(tried, TryOutcome::Counted(None));
        }
    }
    let digest = challenged(&store, user).await;
    assert_eq!(
        tried(&store, attempt(user, digest)).await,
        TryOutcome::Locked(900)
    );
    let other = created(&store, "bob", Profile::default()).await;
    let others = challenged(&store, other).await;
    let tried_other = tried(&store, attempt(other, others)).await;
    assert_eq!(tried_other, TryOutcome::Counted(None));
    // Whoever unlocks a user lets the user try again.
    let set = store
        .run(SetUserStatus {
            user,
            status: UserStatus::Active,
            now: NOW,
        })
        .await;
    assert_eq!(set, Ok(true));
    let again = tried(&store, attempt(user, digest)).await;
    assert_eq!(again, TryOutcome::Counted(None));
}

pub(crate) async fn a_thousand_tries_at_once_over_many_challenges_stay_in_bounds(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    assert_eq!(guesses(&[Arc::clone(&store)], user).await, 10);
}

/// How many tries are counted: of a thousand at once, each third with a new challenge, and of fifteen after them.
pub(crate) async fn guesses(stores: &[Arc<Store>], user: Uuid) -> usize {
    let mut tasks = JoinSet::new();
    let first = challenged(&stores[0], user).await;
    for number in 0..1000 {
        let store = Arc::clone(&stores[number % stores.len()]);
        tasks.spawn(async move {
            let mut challenge = first;
            if number % 3 == 0 {
                let opening = opening(Account::Existing {
                    user_id: user,
                    profile: None,
                });
                challenge = opening.digest;
                // A store that has too much to do says so, and counts nothing.
                let _opened = store.run(opening).await;
            }
            let tried = store.run(attempt(user, challenge)).await;
            tried.unwrap_or(TryOutcome::Gone)
        });
    }
    let mut outcomes = tasks.join_all().await;
    for _ in 0..3 {
        let digest = challenged(&stores[0], user).await;
        for _ in 0..5 {
            outcomes.push(tried(&stores[0], attempt(user, digest)).await);
        }
    }
    let counted = |outcome: &&TryOutcome| matches!(outcome, TryOutcome::Counted(_));
    outcomes.iter().filter(counted).count()
}

pub(crate) async fn success_takes_back_its_try_alone(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    for round in 0..2 {
        let digest = challenged(&store, user).await;
        for number in 0..5 {
            let now = NOW + 10 * round + number;
            let counted = Try {
                now,
                ..attempt(user, digest)
            };
            let tried = tried(&store, counted).await;
            assert_eq!(tried, TryOutcome::Counted(None));
        }
        let mut right = answer(user, digest, Proof::SentCode);
        right.now = NOW + 20;
        if let Some(completion) = &mut right.completion {
            completion.tried = Some(Tried {
                method: MfaMethod::Totp,
                at: NOW + 10 * round + 4,
            });
        }
        committed(&store, right).await;
    }
    let digest = challenged(&store, user).await;
    for expected in [
        TryOutcome::Counted(None),
        TryOutcome::Counted(None),
        TryOutcome::Locked(880),
    ] {
        let late = Try {
            now: NOW + 20,
            ..attempt(user, digest)
        };
        assert_eq!(tried(&store, late).await, expected);
    }
}

pub(crate) async fn what_is_pending_is_taken_once(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let digest = challenged(&store, user).await;
    let waiting = Waiting {
        user,
        challenge: digest,
        pending: b"state".to_vec(),
        sends: None,
        now: NOW + 1,
    };
    let waited = store.run(waiting).await;
    assert_eq!(waited, Ok(TryOutcome::Counted(None)));
    let state = Some(b"state".to_vec());
    let looked = tried(&store, attempt(user, digest)).await;
    assert_eq!(looked, TryOutcome::Counted(state.clone()));
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let taking = Try {
                takes_pending: true,
                ..attempt(user, digest)
            };
            store.run(taking).await
        });
    }
    let outcomes = tasks.join_all().await;
    let taken =
        |outcome: &&Result<TryOutcome, _>| **outcome == Ok(TryOutcome::Counted(state.clone()));
    assert_eq!(outcomes.iter().filter(taken).count(), 1);
}

pub(crate) async fn codes_are_sent_with_a_wait_between_them(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let digest = challenged(&store, user).await;
    let send = async |challenge, after| {
        let waiting = Waiting {
            user,
            challenge,
            pending: vec![1],
            sends: Some(MfaMethod::EmailOtp),
            now: NOW + after,
        };
        store.run(waiting).await.expect("the store is there")
    };
    assert_eq!(send(digest, 0).await, TryOutcome::Counted(None));
    assert_eq!(send(digest, 29).await, TryOutcome::Locked(1));
    let next = challenged(&store, user).await;
    assert_eq!(send(next, 29).await, TryOutcome::Locked(1), "of the user");
    assert_eq!(send(digest, 30).await, TryOutcome::Counted(None));
    assert_eq!(send(next, 60).await, TryOutcome::Counted(None));
}

pub(crate) async fn device_is_known_to_its_user_until_it_expires(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let bob = created(&store, "bob", Profile::default()).await;
    let device = remembered(&store, ann).await;
    let known = async |user, device, now| {
        let known = store.run(KnowsDevice { user, device, now }).await;
        known.expect("the store is there")
    };
    assert!(known(ann, device, NOW + DAY - 1).await);
    assert!(!known(ann, device, NOW + DAY).await);
    assert!(!known(bob, device, NOW).await);
    let guessed = DeviceKey {
        digest: [9; 32],
        ..device
    };
    assert!(!known(ann, guessed, NOW).await);
    let other = remembered(&store, bob).await;
    assert_eq!(store.run(ForgetDevices(ann)).await, Ok(()));
    assert!(!known(ann, device, NOW).await);
    assert!(known(bob, other, NOW).await);
}

pub(crate) async fn the_oldest_device_makes_room_for_one_more(fixture: impl Fixture) {
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let mut devices = Vec::new();
    for _ in 0..=crate::mfa::DEVICES_MAX {
        devices.push(remembered(&store, user).await);
    }
    for (index, device) in devices.into_iter().enumerate() {
        let known = store
            .run(KnowsDevice {
                user,
                device,
                now: NOW,
            })
            .await;
        assert_eq!(known, Ok(index > 0), "{index}");
    }
}

/// A device that is remembered for a day.
pub(crate) async fn remembered(store: &Store, user: Uuid) -> DeviceKey {
    let id = next_id();
    let key = DeviceKey {
        id,
        digest: digest(id),
    };
    let challenge = challenged(store, user).await;
    let mut complete = answer(user, challenge, Proof::SentCode);
    if let Some(completion) = &mut complete.completion {
        completion.device = Some(NewDevice {
            key,
            expires_at: NOW + DAY,
        });
    }
    committed(store, complete).await;
    key
}

pub(crate) async fn challenge_and_its_counters_survive_reopening(mut fixture: impl Fixture) {
    let (user, digest) = {
        let store = fixture.store();
        let user = created(&store, "ann", Profile::default()).await;
        let digest = challenged(&store, user).await;
        for _ in 0..5 {
            tried(&store, attempt(user, digest)).await;
        }
        (user, digest)
    };
    fixture.reopen().await;
    let store = fixture.store();
    let found = read(&store, digest).await.expect("it is kept");
    assert_eq!(found.challenge.tries, 5);
    let next = challenged(&store, user).await;
    for _ in 0..5 {
        tried(&store, attempt(user, next)).await;
    }
    let last = challenged(&store, user).await;
    let locked = tried(&store, attempt(user, last)).await;
    assert!(matches!(locked, TryOutcome::Locked(_)), "{locked:?}");
}

pub(crate) async fn expired_challenge_and_device_are_swept(fixture: impl Fixture) {
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let bob = created(&store, "bob", Profile::default()).await;
    remembered(&store, ann).await;
    let digest = challenged(&store, bob).await;
    let swept = async |now| {
        store
            .run(sweep(now, 1000))
            .await
            .expect("the store is there")
    };
    assert_eq!(swept(NOW + 300).await, 0);
    assert_eq!(swept(NOW + 301).await, 2, "two challenges");
    assert_eq!(read(&store, digest).await, None);
    assert_eq!(swept(NOW + DAY + 1).await, 1, "a device");
}
