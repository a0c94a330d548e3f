//! Keeps the population statistics of the risk engine: reads them from the store, and adds what
//! this data plane has counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use vestibule_store::population::{AddToPopulation, Addition, Populations, ReadPopulations};

use crate::app::App;
use vestibule_risk::history::Kind;
use vestibule_risk::population::{self, ADD_EVERY, PolicyPopulation, READ_EVERY, VALUES_MAX};

/// Values that one write adds.
const PART_VALUES: usize = 256;

pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut read_at: Option<Instant> = None;
    loop {
        let due = match read_at {
            None => true,
            Some(at) => app.store.is_shared() && at.elapsed() >= READ_EVERY,
        };
        // The next run tries again; the store has logged why it cannot be used.
        if due && let Ok(populations) = app.store.run(question()).await {
            app.populations.replace(counted(populations));
            read_at = Some(Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(ADD_EVERY) => {}
            () = stop.cancelled() => return,
        }
        add(&app).await;
    }
}

/// Adds what has been counted since it was added last.
pub async fn add(app: &App) {
    let now = app.clock.now();
    let additions = app.populations.take().into_iter();
    let mut parts = additions.flat_map(|addition| addition.parts(PART_VALUES));
    while let Some(part) = parts.next() {
        if app
            .store
            .run(AddToPopulation {
                part: stored(&part),
                now,
            })
            .await
            .is_err()
        {
            app.populations
                .put_back(std::iter::once(part).chain(parts).collect());
            return;
        }
    }
}

fn question() -> ReadPopulations {
    ReadPopulations {
        kinds: Kind::ALL.iter().map(|kind| *kind as u8).collect(),
        values_max: VALUES_MAX,
    }
}

fn stored(part: &population::Addition) -> Addition {
    let values = part.values.iter();
    Addition {
        policy: part.policy.clone(),
        users: part.users,
        signins: part.signins,
        values: values
            .map(|((kind, value), count)| ((*kind as u8, *value), *count))
            .collect(),
    }
}

fn counted(populations: Populations) -> HashMap<String, PolicyPopulation> {
    let of = |stored: vestibule_store::population::Population| {
        let mut population = PolicyPopulation::default();
        (population.users, population.signins) = (stored.users, stored.signins);
        for (number, shown) in stored.kinds {
            let Some(kind) = Kind::numbered(number) else {
                continue;
            };
            for (value, count) in shown.counts {
                population.add(kind, value, count);
            }
            population.set_distinct(kind, shown.distinct);
        }
        population
    };
    populations
        .into_iter()
        .map(|(policy, stored)| (policy, of(stored)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_risk::Values;
    use vestibule_risk::history::Popularity;

    #[test]
    fn what_is_added_is_what_is_read() {
        let part = population::Addition {
            policy: "shop/default".to_owned(),
            users: 1,
            signins: 10,
            values: HashMap::from([((Kind::Ip, u64::MAX), 3), ((Kind::Asn, 7), 1)]),
        };
        let stored = stored(&part);
        let mut population = vestibule_store::population::Population {
            users: stored.users,
            signins: stored.signins,
            ..Default::default()
        };
        for ((kind, value), count) in stored.values {
            let shown = population.kinds.entry(kind).or_default();
            shown.counts.insert(value, count);
            shown.distinct += 1;
        }
        // Of a later version: it is left out.
        population.kinds.insert(200, Default::default());
        let read = counted(Populations::from([(stored.policy, population)]));
        let mut values = Values::default();
        values.0[Kind::Ip as usize] = Some(u64::MAX);
        let shown = read["shop/default"].of(&values);
        assert_eq!((shown.users, shown.signins), (1, 10));
        let expected = Popularity {
            count: 3,
            distinct: 1,
        };
        assert_eq!(shown.of(Kind::Ip), expected);
        assert_eq!(shown.of(Kind::Asn).count, 0, "the sign-in shows no other");
    }
}
