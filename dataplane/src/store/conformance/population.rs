//! What all users have shown together.

use std::collections::HashMap;

use super::Fixture;
use super::rows::*;
use crate::risk::Values;
use crate::risk::census::Addition;
use crate::risk::history::{Kind, Popularity};
use crate::store::Store;

const DAY: i64 = 86_400;

fn addition(policy: &str, values: &[(Kind, u64, u64)]) -> Addition {
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

async fn added(store: &dyn Store, addition: Addition, now: i64) {
    let adding = store.add_to_population(addition, now).await;
    adding.expect("the store takes it");
}

/// Of this policy: sign-ins, users, and how popular an address is.
async fn popularity(
    store: &dyn Store,
    policy: &str,
    address: u64,
) -> Option<(u64, u64, Popularity)> {
    let censuses = store.censuses().await.expect("the store answers");
    let census = censuses.get(policy)?;
    let mut values = Values::default();
    values.0[Kind::Ip as usize] = Some(address);
    let population = census.of(&values);
    Some((
        population.signins,
        population.users,
        population.of(Kind::Ip),
    ))
}

pub(crate) async fn population_of_nobody_is_empty(fixture: impl Fixture) {
    let store = fixture.store();
    assert_eq!(store.censuses().await, Ok(HashMap::new()));
}

pub(crate) async fn population_is_added_up_by_policy_and_survives_reopening(
    mut fixture: impl Fixture,
) {
    // The bits of a hash: the largest is a negative number in a database.
    let high = u64::MAX - 5;
    let store = fixture.store();
    added(
        &*store,
        addition("auth/one", &[(Kind::Ip, high, 3), (Kind::Asn, high, 1)]),
        NOW,
    )
    .await;
    added(
        &*store,
        addition("auth/one", &[(Kind::Ip, high, 4), (Kind::Ip, 2, 1)]),
        NOW,
    )
    .await;
    added(&*store, addition("auth/two", &[(Kind::Ip, high, 100)]), NOW).await;
    drop(store);
    fixture.reopen().await;
    let store = fixture.store();
    let one = Popularity {
        count: 7,
        distinct: 2,
    };
    assert_eq!(
        popularity(&*store, "auth/one", high).await,
        Some((20, 2, one))
    );
    let two = Popularity {
        count: 100,
        distinct: 1,
    };
    assert_eq!(
        popularity(&*store, "auth/two", high).await,
        Some((10, 1, two))
    );
    let unseen = Popularity {
        count: 0,
        distinct: 1,
    };
    assert_eq!(
        popularity(&*store, "auth/two", 9).await,
        Some((10, 1, unseen))
    );
}

pub(crate) async fn population_forgets_what_nobody_has_shown_for_a_year(fixture: impl Fixture) {
    let store = fixture.store();
    added(
        &*store,
        addition("auth/one", &[(Kind::Ip, 1, 3), (Kind::Ip, 2, 5)]),
        NOW,
    )
    .await;
    added(
        &*store,
        addition("auth/one", &[(Kind::Ip, 2, 1)]),
        NOW + 100 * DAY,
    )
    .await;
    let swept = async |days: i64| store.sweep(NOW + days * DAY, 100).await.expect("it sweeps");
    assert_eq!(swept(366).await, 0);
    assert_eq!(swept(367).await, 1);
    let two = Popularity {
        count: 6,
        distinct: 1,
    };
    assert_eq!(popularity(&*store, "auth/one", 2).await, Some((20, 2, two)));
}

pub(crate) async fn concurrent_additions_lose_nothing(fixture: impl Fixture) {
    let store = fixture.store();
    let values: Vec<(Kind, u64, u64)> = (0..50).map(|value| (Kind::Ip, value, 1)).collect();
    let adding = (0..20).map(|_| store.add_to_population(addition("auth/one", &values), NOW));
    for added in futures_util::future::join_all(adding).await {
        added.expect("the store takes it");
    }
    let each = Popularity {
        count: 20,
        distinct: 50,
    };
    assert_eq!(
        popularity(&*store, "auth/one", 7).await,
        Some((200, 20, each))
    );
}
