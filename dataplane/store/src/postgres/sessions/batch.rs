//! Many sessions read or carried on, each kind in one statement.

use super::{
    Connection, EVENTS, Fault, ROTATION, ReadSession, Rotation, RotationOutcome, Session, Text,
    User, Uuid, encode, owned_session_of, owned_sessions, parameters, rotation, session_columns,
    user_columns,
};
use crate::postgres::batch::{AskBatch, column};
use crate::statements::Asked;
use crate::statements::value::arrays;

impl AskBatch for ReadSession {
    fn goes_with(&self, _other: &Self) -> bool {
        true
    }

    async fn ask_batch(
        questions: &[&Self],
        db: &mut Connection,
    ) -> Result<Vec<Option<Option<(Session, User)>>>, Fault> {
        let statement = db
            .prepared(concat!(owned_sessions!(), " WHERE s.id = ANY($1)"))
            .await?;
        let ids = column(questions, |asked| asked.0);
        let rows = db.client.query(&statement, &[&ids]).await?;
        let mut found = rows
            .iter()
            .map(owned_session_of)
            .collect::<Result<Vec<_>, Fault>>()?;
        let mut answers = Vec::with_capacity(questions.len());
        for (place, asked) in (1..).zip(questions) {
            let at = found.iter().position(|(session, _)| session.id == asked.0);
            // It goes to the last who asks for it.
            let again = questions[place..].iter().any(|later| later.0 == asked.0);
            answers.push(Some(match at {
                Some(at) if again => found.get(at).cloned(),
                Some(at) => Some(found.swap_remove(at)),
                None => None,
            }));
        }
        Ok(answers)
    }
}

/// No session's row is waited for: what another transaction has locked is asked for again alone, as
/// is what does not find what it expects. Since nothing is waited for, users are as they were when
/// the statement began: a user who is disabled or loses the sessions after that was refreshed
/// before it, and the session is over all the same.
pub(in crate::postgres) static ROTATE_MANY: Text = Text::new(|| {
    let asked = Asked::default().and(&ROTATION).with(&EVENTS, "event_");
    let event = EVENTS.select(|column| format!("event_{column}"));
    format!(
        "WITH asked AS MATERIALIZED ({}), \
        held AS MATERIALIZED (SELECT s.id, s.refresh_digest, s.refresh_expires_at, s.ends_at FROM sessions s \
        JOIN users u ON u.id = s.user_id WHERE s.id = ANY($1) AND s.ended_at IS NULL AND u.status = 'active' \
        AND u.sessions_valid_from <= s.created_at FOR NO KEY UPDATE OF s SKIP LOCKED), \
        may AS MATERIALIZED (SELECT a.* FROM asked a JOIN held h ON h.id = a.session WHERE h.refresh_digest = a.expected \
        AND h.refresh_expires_at > a.now AND h.ends_at > a.now), \
        changed AS (UPDATE sessions s SET refresh_digest = m.new, refresh_expires_at = m.refresh_expires_at, \
        rotated = m.rotated, last_used_at = m.now, network = m.network FROM may m WHERE s.id = m.session), \
        audited AS ({}) \
        SELECT session FROM may",
        asked.rows(),
        EVENTS.insert_from(&format!("SELECT {event} FROM may"))
    )
});

impl AskBatch for Rotation {
    fn goes_with(&self, other: &Self) -> bool {
        self.session != other.session
    }

    async fn ask_batch(
        questions: &[&Self],
        db: &mut Connection,
    ) -> Result<Vec<Option<RotationOutcome>>, Fault> {
        let statement = db.prepared(ROTATE_MANY.postgres()).await?;
        let rotated = column(questions, |asked| encode(&asked.rotated));
        let asked = questions.iter().zip(&rotated);
        let rows: Vec<_> = asked
            .map(|(asked, rotated)| rotation(asked, rotated))
            .collect();
        let columns = arrays(&rows);
        let rows = db.client.query(&statement, &parameters(&columns)).await?;
        let changed = rows
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<Vec<Uuid>, _>>()?;
        Ok(column(questions, |asked| {
            let changed = changed.contains(&asked.session);
            changed.then_some(RotationOutcome::Rotated)
        }))
    }
}
