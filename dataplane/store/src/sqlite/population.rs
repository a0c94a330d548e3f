//! What all users of a policy have shown together.

use rusqlite::{Connection, params};

use super::job::{Read, Write};
use crate::DAY_SECONDS;
use crate::population::{AddToPopulation, Populations, ReadPopulations};

impl Write for AddToPopulation {
    type Answer = ();

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        let Self { part, now } = self;
        let day = now.div_euclid(DAY_SECONDS);
        db.prepare_cached(
            "INSERT INTO risk_totals (policy, users, signins) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE \
             SET users = users + excluded.users, signins = signins + excluded.signins",
        )?
        .execute(params![part.policy, part.users.cast_signed(), part.signins.cast_signed()])?;
        let mut add = db.prepare_cached(
            "INSERT INTO risk_population (policy, kind, value, count, seen_day) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO UPDATE SET count = count + excluded.count, seen_day = excluded.seen_day",
        )?;
        for ((kind, value), count) in &part.values {
            add.execute(params![
                part.policy,
                kind,
                value.cast_signed(),
                count.cast_signed(),
                day
            ])?;
        }
        Ok(())
    }
}

impl Read for ReadPopulations {
    fn read(&self, db: &Connection) -> rusqlite::Result<Populations> {
        let mut all = Populations::new();
        let mut totals = db.prepare("SELECT policy, users, signins FROM risk_totals")?;
        let mut rows = totals.query([])?;
        while let Some(row) = rows.next()? {
            let population = all.entry(row.get(0)?).or_default();
            population.users = row.get::<_, i64>(1)?.cast_unsigned();
            population.signins = row.get::<_, i64>(2)?.cast_unsigned();
        }
        let mut values = db.prepare(
        "SELECT policy, value, count FROM risk_population WHERE kind = ?1 ORDER BY count DESC LIMIT ?2",
    )?;
        let mut distinct = db.prepare(
            "SELECT policy, count(*) FROM risk_population WHERE kind = ?1 GROUP BY policy",
        )?;
        for kind in self.kinds.iter().copied() {
            let mut rows = values.query(params![kind, self.values_max as i64])?;
            while let Some(row) = rows.next()? {
                if let Some(population) = all.get_mut(row.get_ref(0)?.as_str()?) {
                    let (value, count) = (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
                    let counts = &mut population.kinds.entry(kind).or_default().counts;
                    counts.insert(value.cast_unsigned(), count.cast_unsigned());
                }
            }
            let mut rows = distinct.query([kind])?;
            while let Some(row) = rows.next()? {
                if let Some(population) = all.get_mut(row.get_ref(0)?.as_str()?) {
                    let distinct = row.get::<_, i64>(1)?.cast_unsigned();
                    population.kinds.entry(kind).or_default().distinct = distinct;
                }
            }
        }
        Ok(all)
    }
}
