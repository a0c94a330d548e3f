//! Many sessions read or carried on, each kind in one statement.

use tokio_postgres::types::ToSql;

use super::{
    Connection, Fault, Line, ReadSession, Rotation, RotationOutcome, Session, User, Uuid, encode,
    owned_session_of, owned_sessions, session_columns, user_columns,
};
use crate::postgres::events::Columns;
use crate::postgres::together::{AskTogether, column};

impl AskTogether for ReadSession {
    fn goes_with(&self, _other: &Self) -> bool {
        true
    }

    async fn ask_together(
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

/// No session's row is waited for: what somebody else holds is asked for again alone, as is what does not find what it expects.
/// Since nothing is waited for, users are as they were when the statement began: whoever is disabled or loses the sessions after
/// that was refreshed before it, and the session is over all the same.
pub(in crate::postgres) const ROTATE_MANY: &str = "\
    WITH asked AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bytea[], \
    $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::uuid[], $13::uuid[], $14::text[], \
    $15::text[], $16::text[]) AS a (session, expected, new, refresh_expires_at, rotated, now, at, kind, outcome, policy, \
    provider, event_user, event_session, request_id, network, detail)), \
    held AS MATERIALIZED (SELECT s.id, s.refresh_digest, s.refresh_expires_at, s.ends_at FROM sessions s \
    JOIN users u ON u.id = s.user_id WHERE s.id = ANY($1) AND s.ended_at IS NULL AND u.status = 'active' \
    AND u.sessions_valid_from <= s.created_at FOR NO KEY UPDATE OF s SKIP LOCKED), \
    may AS MATERIALIZED (SELECT a.* FROM asked a JOIN held h ON h.id = a.session WHERE h.refresh_digest = a.expected \
    AND h.refresh_expires_at > a.now AND h.ends_at > a.now), \
    changed AS (UPDATE sessions s SET refresh_digest = m.new, refresh_expires_at = m.refresh_expires_at, \
    rotated = m.rotated, last_used_at = m.now, network = m.network FROM may m WHERE s.id = m.session), \
    told AS (INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail) \
    SELECT at, kind, outcome, policy, provider, event_user, event_session, request_id, network, detail FROM may) \
    SELECT session FROM may";

impl AskTogether for Rotation {
    fn goes_with(&self, other: &Self) -> bool {
        self.session != other.session
    }

    async fn ask_together(
        questions: &[&Self],
        db: &mut Connection,
    ) -> Result<Vec<Option<RotationOutcome>>, Fault> {
        let statement = db.prepared(ROTATE_MANY).await?;
        let session = column(questions, |asked| asked.session);
        let expected: Vec<&[u8]> = column(questions, |asked| asked.expected_digest.as_slice());
        let new: Vec<&[u8]> = column(questions, |asked| asked.new_digest.as_slice());
        let refresh_ends = column(questions, |asked| asked.refresh_expires_at);
        let rotated = column(questions, |asked| encode(&asked.rotated));
        let now = column(questions, |asked| asked.now);
        let lines = column(questions, |asked| Line::from(&asked.event));
        let events = Columns::of(&lines);
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&session, &expected, &new, &refresh_ends, &rotated, &now];
        parameters.extend(events.parameters());
        let rows = db.client.query(&statement, &parameters).await?;
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
