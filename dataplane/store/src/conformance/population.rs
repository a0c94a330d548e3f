//! What all users have shown together.

use std::collections::HashMap;

use super::Fixture;
use super::rows::*;
use crate::Store;
use crate::population::{AddToPopulation, Addition, Populations, ReadPopulations};

/// Two kinds of values.
const IP: u8 = 0;
const ASN: u8 = 1;

/// How popular one address is.
#[derive(Debug, PartialEq, Eq)]
struct Popularity {
    count: u64,
    distinct: u64,
}

fn addition(policy: &str, values: &[(u8, u64, u64)]) -> Addition {
    Addition {
        policy: policy.to_owned(),
        users: 1,
        signins: 10,
        values: values
            .iter()
            .map(|(kind, value, count)| ((*kind, *value), *count))
            .collect(),
    }
}

async fn added(store: &Store, addition: Addition, now: i64) {
    let adding = store
        .run(AddToPopulation {
            part: addition,
            now,
        })
        .await;
    adding.expect("the store takes it");
}

/// Of this policy: sign-ins, users, and how popular an address is.
async fn popularity(store: &Store, policy: &str, address: u64) -> Option<(u64, u64, Popularity)> {
    let populations = all(store).await;
    let population = populations.get(policy)?;
    let shown = &population.kinds[&IP];
    let popularity = Popularity {
        count: shown.counts.get(&address).copied().unwrap_or(0),
        distinct: shown.distinct,
    };
    Some((population.signins, population.users, popularity))
}

async fn all(store: &Store) -> Populations {
    let question = ReadPopulations {
        kinds: vec![IP, ASN],
        values_max: 1000,
    };
    let populations = store.run(question).await;
    populations.expect("the store answers")
}

pub(crate) async fn population_of_nobody_is_empty(fixture: impl Fixture) {
    let store = fixture.store();
    assert_eq!(all(&store).await, HashMap::new());
}

pub(crate) async fn population_is_added_up_by_policy_and_survives_reopening(
    mut fixture: impl Fixture,
) {
    // The bits of a hash: the largest is a negative number in a database.
    let high = u64::MAX - 5;
    let store = fixture.store();
    added(
        &store,
        addition("auth/one", &[(IP, high, 3), (ASN, high, 1)]),
        NOW,
    )
    .await;
    added(
        &store,
        addition("auth/one", &[(IP, high, 4), (IP, 2, 1)]),
        NOW,
    )
    .await;
    added(&store, addition("auth/two", &[(IP, high, 100)]), NOW).await;
    drop(store);
    fixture.reopen().await;
    let store = fixture.store();
    let one = Popularity {
        count: 7,
        distinct: 2,
    };
    assert_eq!(
        popularity(&store, "auth/one", high).await,
        Some((20, 2, one))
    );
    let two = Popularity {
        count: 100,
        distinct: 1,
    };
    assert_eq!(
        popularity(&store, "auth/two", high).await,
        Some((10, 1, two))
    );
    let unseen = Popularity {
        count: 0,
        distinct: 1,
    };
    assert_eq!(
        popularity(&store, "auth/two", 9).await,
        Some((10, 1, unseen))
    );
}

pub(crate) async fn population_forgets_what_nobody_has_shown_for_a_year(fixture: impl Fixture) {
    let store = fixture.store();
    added(&store, addition("auth/one", &[(IP, 1, 3), (IP, 2, 5)]), NOW).await;
    added(&store, addition("auth/one", &[(IP, 2, 1)]), NOW + 100 * DAY).await;
    let swept = async |days: i64| {
        store
            .run(sweep(NOW + days * DAY, 100))
            .await
            .expect("it sweeps")
    };
    assert_eq!(swept(366).await, 0);
    assert_eq!(swept(367).await, 1);
    let two = Popularity {
        count: 6,
        distinct: 1,
    };
    assert_eq!(popularity(&store, "auth/one", 2).await, Some((20, 2, two)));
}

pub(crate) async fn concurrent_additions_lose_nothing(fixture: impl Fixture) {
    let store = fixture.store();
    let values: Vec<(u8, u64, u64)> = (0..50).map(|value| (IP, value, 1)).collect();
    let adding = (0..20).map(|_| {
        store.run(AddToPopulation {
            part: addition("auth/one", &values),
            now: NOW,
        })
    });
    for added in futures_util::future::join_all(adding).await {
        added.expect("the store takes it");
    }
    let each = Popularity {
        count: 20,
        distinct: 50,
    };
    assert_eq!(
        popularity(&store, "auth/one", 7).await,
        Some((200, 20, each))
    );
}
