//! What all users of a policy have shown together.

use std::collections::HashMap;

use super::connect::Connection;
use super::fault::Fault;
use super::pool::{Ask, Pool};
use crate::StoreError;
use crate::population::{Addition, Populations, ReadPopulations, Shown};

/// Adds to it, a part of one addition at a time, in one statement: it is whole, or nothing.
pub(super) struct Add {
    policy: String,
    users: i64,
    signins: i64,
    kinds: Vec<i16>,
    values: Vec<i64>,
    counts: Vec<i64>,
    day: i64,
}

impl Add {
    pub(super) fn new(part: Addition, day: i64) -> Self {
        let Addition {
            policy,
            users,
            signins,
            values,
        } = part;
        // In one order for all replicas, so that none waits for another that waits for it.
        let mut rows: Vec<(i16, i64, i64)> = values
            .into_iter()
            .map(|((kind, value), count)| {
                (i16::from(kind), value.cast_signed(), count.cast_signed())
            })
            .collect();
        rows.sort_unstable();
        Self {
            policy,
            users: users.cast_signed(),
            signins: signins.cast_signed(),
            kinds: rows.iter().map(|row| row.0).collect(),
            values: rows.iter().map(|row| row.1).collect(),
            counts: rows.iter().map(|row| row.2).collect(),
            day,
        }
    }
}

impl Ask for Add {
    type Answer = ();

    async fn ask(&self, db: &mut Connection) -> Result<(), Fault> {
        let statement = db
            .prepared(
                "WITH total AS (INSERT INTO risk_totals (policy, users, signins) VALUES ($1, $2, $3) ON CONFLICT (policy) DO UPDATE \
                 SET users = risk_totals.users + excluded.users, signins = risk_totals.signins + excluded.signins) \
                 INSERT INTO risk_population (policy, kind, value, count, seen_day) \
                 SELECT $1, kind, value, count, $7 FROM unnest($4::smallint[], $5::bigint[], $6::bigint[]) AS added (kind, value, count) \
                 ON CONFLICT (policy, kind, value) DO UPDATE \
                 SET count = risk_population.count + excluded.count, seen_day = excluded.seen_day",
            )
            .await?;
        let Self {
            policy,
            users,
            signins,
            kinds,
            values,
            counts,
            day,
        } = self;
        db.client
            .execute(
                &statement,
                &[policy, users, signins, kinds, values, counts, day],
            )
            .await?;
        Ok(())
    }
}

/// One question for each kind, so that none takes long.
pub(super) async fn populations(
    pool: &Pool,
    question: ReadPopulations,
) -> Result<Populations, StoreError> {
    let mut all = Populations::new();
    for (policy, users, signins) in pool.ask(&Totals).await? {
        let population = all.entry(policy).or_default();
        (population.users, population.signins) = (users.cast_unsigned(), signins.cast_unsigned());
    }
    for kind in question.kinds {
        let values_max = question.values_max as i64;
        let Values { counts, distinct } = pool.ask(&OfKind { kind, values_max }).await?;
        let mut shown: HashMap<String, Shown> = HashMap::new();
        for (policy, value, count) in counts {
            let shown = shown.entry(policy).or_default();
            let (value, count) = (value.cast_unsigned(), count.cast_unsigned());
            shown.counts.insert(value, count);
        }
        for (policy, distinct) in distinct {
            shown.entry(policy).or_default().distinct = distinct.cast_unsigned();
        }
        for (policy, shown) in shown {
            if let Some(population) = all.get_mut(&policy) {
                population.kinds.insert(kind, shown);
            }
        }
    }
    Ok(all)
}

struct Totals;

impl Ask for Totals {
    type Answer = Vec<(String, i64, i64)>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Self::Answer, Fault> {
        let rows = db
            .client
            .query("SELECT policy, users, signins FROM risk_totals", &[])
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
            .collect()
    }
}

struct OfKind {
    kind: u8,
    values_max: i64,
}

struct Values {
    counts: Vec<(String, i64, i64)>,
    distinct: Vec<(String, i64)>,
}

impl Ask for OfKind {
    type Answer = Values;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Values, Fault> {
        let (kind, values_max) = (i16::from(self.kind), self.values_max);
        let counts = db
            .client
            .query(
                "SELECT policy, value, count FROM risk_population WHERE kind = $1 ORDER BY count DESC LIMIT $2",
                &[&kind, &values_max],
            )
            .await?;
        let distinct = db
            .client
            .query(
                "SELECT policy, count(*) FROM risk_population WHERE kind = $1 GROUP BY policy",
                &[&kind],
            )
            .await?;
        let counts = counts
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        let distinct = distinct
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        Ok(Values {
            counts: counts.collect::<Result<_, Fault>>()?,
            distinct: distinct.collect::<Result<_, Fault>>()?,
        })
    }
}

/// Values that no user has shown for long. What another replica deletes is skipped.
pub(super) const FORGET: &str = "\
    DELETE FROM risk_population WHERE (policy, kind, value) IN (SELECT policy, kind, value FROM risk_population \
    WHERE seen_day < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
