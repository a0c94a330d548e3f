//! Sign-ins of known users whose profiles have not changed, many in one statement.
//!
//! All that isolates one ([`super`]) isolates these as well. Nobody's row is waited for: whose it is that somebody else
//! holds, or that is gone, signs in alone. Rows of the replay guard and of histories, which two batches may have in common,
//! are taken in the order of their keys, so that neither waits for the other in a circle.

use std::sync::LazyLock;

use uuid::Uuid;

use super::{Connection, Fault, Line, Parameters, Parts, outcome, status_of, text};
use crate::postgres::events::Columns;
use crate::postgres::together::{AskTogether, column, place_of};
use crate::{Account, Signin, SigninOutcome};

impl Signin {
    /// Whether it is one that others can be asked for along with.
    pub(in crate::postgres) fn goes_together(&self) -> bool {
        self.completion.is_none() && self.known_user().is_some()
    }

    /// Of whom nothing changes.
    fn known_user(&self) -> Option<Uuid> {
        match self.account {
            Account::Existing {
                user_id,
                profile: None,
            } => Some(user_id),
            Account::Existing {
                profile: Some(_), ..
            }
            | Account::Create { .. }
            | Account::Link { .. } => None,
        }
    }
}

/// What is asked of each, as arrays of its columns.
const COLUMNS: &str = "\
    user_id, id, provider, refresh_digest, refresh_expires_at, ends_at, carried, now, device, subject_digest, sid_digest, \
    login_all, login_this, issued_at, \
    at, kind, outcome, event_policy, event_provider, event_user, event_session, request_id, network, detail";
const TYPES: [&str; 24] = [
    "uuid", "uuid", "text", "bytea", "bigint", "bigint", "text", "bigint", "text", "bytea",
    "bytea", "bytea", "bytea", "bigint", "bigint", "text", "text", "text", "text", "uuid", "uuid",
    "text", "text", "text",
];

pub(in crate::postgres) fn statement(parts: Parts) -> &'static str {
    static TEXTS: LazyLock<[String; 4]> = LazyLock::new(|| Parts::ALL.map(build));
    &TEXTS[parts.index()]
}

fn build(parts: Parts) -> String {
    let Parts {
        replay_guarded,
        learns,
    } = parts;
    let mut types = TYPES.to_vec();
    let mut columns = COLUMNS.to_owned();
    let (mut first, mut is_first, mut learnt) = ("", "", "");
    if replay_guarded {
        types.extend(["bigint", "bytea"]);
        columns.push_str(", replay_expires_at, replay_digest");
        first = "first AS (INSERT INTO replay_guard (expires_at, digest) SELECT a.replay_expires_at, a.replay_digest \
                 FROM asked a JOIN owner o ON o.id = a.user_id WHERE o.status = 'active' AND a.replay_digest IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM ended e WHERE e.place = a.place) \
                 ORDER BY 1, 2 ON CONFLICT DO NOTHING RETURNING expires_at, digest), ";
        is_first = " AND (a.replay_digest IS NULL OR EXISTS (SELECT 1 FROM first f \
                    WHERE f.expires_at = a.replay_expires_at AND f.digest = a.replay_digest))";
    }
    if learns {
        types.extend(["bytea", "bigint"]);
        columns.push_str(", history, replaces");
        // The version counts the writes, from 1 on.
        learnt = "learnt AS (INSERT INTO risk_history AS h (user_id, version, content) \
                  SELECT user_id, coalesce(replaces, 0) + 1, history FROM may WHERE history IS NOT NULL ORDER BY 1 \
                  ON CONFLICT (user_id) DO UPDATE SET version = excluded.version, content = excluded.content \
                  WHERE h.version = excluded.version - 1), ";
    }
    let arrays: Vec<String> = (1..)
        .zip(types)
        .map(|(at, kind)| format!("${at}::{kind}[]"))
        .collect();
    let arrays = arrays.join(", ");
    // Sessions may have been revoked within this very second; these came after.
    format!(
        "WITH asked AS MATERIALIZED (SELECT * FROM unnest({arrays}) WITH ORDINALITY AS a ({columns}, place)), \
         owner AS MATERIALIZED (SELECT id, status, sessions_valid_from FROM users WHERE id = ANY($1) \
         FOR SHARE SKIP LOCKED), \
         ended AS MATERIALIZED (SELECT a.place FROM asked a JOIN ended_logins e ON e.provider = a.provider \
         AND e.digest = ANY (ARRAY[a.login_all, a.login_this]) AND e.issued_until >= a.issued_at), {first}\
         may AS MATERIALIZED (SELECT a.*, o.sessions_valid_from FROM asked a JOIN owner o ON o.id = a.user_id \
         WHERE o.status = 'active' AND NOT EXISTS (SELECT 1 FROM ended e WHERE e.place = a.place){is_first}), {learnt}\
         made AS (INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, \
         carried, network, device, subject_digest, sid_digest) SELECT id, user_id, provider, \
         greatest(now, sessions_valid_from), refresh_digest, refresh_expires_at, ends_at, carried, network, device, \
         subject_digest, sid_digest FROM may), \
         told AS (INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, \
         detail) SELECT at, kind, outcome, event_policy, event_provider, event_user, event_session, request_id, network, \
         detail FROM may) \
         SELECT a.place, o.status, m.place IS NOT NULL, EXISTS (SELECT 1 FROM ended e WHERE e.place = a.place) \
         FROM asked a JOIN owner o ON o.id = a.user_id LEFT JOIN may m ON m.place = a.place"
    )
}

impl AskTogether for Signin {
    fn goes_with(&self, other: &Self) -> bool {
        let digest = |signin: &Self| signin.replay.map(|key| key.digest);
        let one_token = self.replay.is_some() && digest(self) == digest(other);
        !one_token && self.known_user() != other.known_user()
    }

    async fn ask_together(
        questions: &[&Self],
        db: &mut Connection,
    ) -> Result<Vec<Option<SigninOutcome>>, Fault> {
        let parts = Parts::new(
            questions.iter().any(|asked| asked.replay.is_some()),
            questions.iter().any(|asked| asked.history.is_some()),
        );
        let statement = db.prepared(statement(parts)).await?;
        let user = column(questions, |asked| asked.known_user());
        let session = column(questions, |asked| asked.session.id);
        let provider = column(questions, |asked| &asked.session.provider);
        let digest = column(questions, |asked| asked.session.refresh_digest.as_slice());
        let refresh_ends = column(questions, |asked| asked.session.refresh_expires_at);
        let ends = column(questions, |asked| asked.session.ends_at);
        let carried = column(questions, |asked| text(&asked.session.carried));
        let carried = column(&carried, |carried| carried.as_ref());
        let now = column(questions, |asked| asked.now);
        let device = column(questions, |asked| asked.session.device.as_deref());
        let subject = column(questions, |asked| {
            asked
                .session
                .origin
                .subject
                .as_ref()
                .map(|of| of.as_slice())
        });
        let sid = column(questions, |asked| {
            asked.session.origin.sid.as_ref().map(|of| of.as_slice())
        });
        let login_all = column(questions, |asked| {
            Some(asked.login.as_ref()?.ended_by[0].as_slice())
        });
        let login_this = column(questions, |asked| {
            Some(asked.login.as_ref()?.ended_by[1].as_slice())
        });
        let issued_at = column(questions, |asked| Some(asked.login.as_ref()?.issued_at));
        let lines = column(questions, |asked| Line::from(&asked.event));
        let events = Columns::of(&lines);
        let mut parameters: Parameters<'_> = vec![
            &user,
            &session,
            &provider,
            &digest,
            &refresh_ends,
            &ends,
            &carried,
            &now,
            &device,
            &subject,
            &sid,
            &login_all,
            &login_this,
            &issued_at,
        ];
        parameters.extend(events.parameters());
        let replay_expires = column(questions, |asked| asked.replay.map(|key| key.expires_at));
        let replay_digest = column(questions, |asked| {
            asked.replay.as_ref().map(|key| key.digest.as_slice())
        });
        if parts.replay_guarded {
            parameters.push(&replay_expires);
            parameters.push(&replay_digest);
        }
        let history = column(questions, |asked| {
            asked.history.as_ref().map(|new| new.content.as_slice())
        });
        let replaces = column(questions, |asked| asked.history.as_ref()?.replaces);
        if parts.learns {
            parameters.push(&history);
            parameters.push(&replaces);
        }
        let mut answers = vec![None; questions.len()];
        for row in db.client.query(&statement, &parameters).await? {
            if let Some(answer) = answers.get_mut(place_of(&row)?) {
                let status = status_of(row.try_get(1)?)?;
                *answer = Some(outcome(status, row.try_get(2)?, row.try_get(3)?));
            }
        }
        Ok(answers)
    }
}
