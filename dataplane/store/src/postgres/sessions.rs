//! Sessions: read, carried on by refreshes, ended once.
//!
//! Each is one statement, and so one transaction and one round trip. Under READ COMMITTED an `UPDATE` that had to wait for
//! another looks at the row again as that one left it: of two rotations the second finds another digest and changes nothing.

pub(super) mod batch;

use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::connect::Connection;
use super::events::insert_event;
use super::fault::Fault;
use super::mfa::begin;
use super::pool::Ask;
use crate::rotated::encode;
use crate::sessions::{
    EndedLogin, LogoutOutcome, Origin, PAGE_SESSIONS_MAX, ProviderLogout, SessionPage,
};
use crate::statements::events::{self, EVENTS};
use crate::statements::sessions::{COLUMNS, read, session_columns};
use crate::statements::users::{self, user_columns};
use crate::statements::value::{Value, parameters};
use crate::statements::{Column, Text};
use crate::{EndSession, IdentityKey, ReadSession, Rotation, RotationOutcome, Session, User};

/// What [`owned_session_of`] reads, and where from.
macro_rules! owned_sessions {
    () => {
        concat!(
            "SELECT ",
            session_columns!(),
            ", ",
            user_columns!(),
            " FROM sessions s JOIN users u ON u.id = s.user_id"
        )
    };
}
use owned_sessions;

impl Ask for ReadSession {
    type Answer = Option<(Session, User)>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Self::Answer, Fault> {
        let statement = db
            .prepared(concat!(owned_sessions!(), " WHERE s.id = $1"))
            .await?;
        let row = db.client.query_opt(&statement, &[&self.0]).await?;
        row.as_ref().map(owned_session_of).transpose()
    }
}

impl Ask for SessionPage {
    type Answer = Vec<Session>;
    const ONLY_READS: bool = true;

    async fn ask(&self, db: &mut Connection) -> Result<Self::Answer, Fault> {
        let Self {
            user,
            after,
            limit,
            now,
        } = self;
        let statement = db
            .prepared(concat!(
                "SELECT ",
                session_columns!(),
                " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.user_id = $1 AND s.id < $2 AND s.ended_at IS NULL \
                 AND s.ends_at > $3 AND s.refresh_expires_at > $3 AND s.created_at >= u.sessions_valid_from ORDER BY s.id DESC \
                 LIMIT $4"
            ))
            .await?;
        let before = after.unwrap_or(Uuid::max());
        let limit = i64::from((*limit).min(PAGE_SESSIONS_MAX));
        let rows = db
            .client
            .query(&statement, &[user, &before, now, &limit])
            .await?;
        rows.iter().map(read).collect()
    }
}

fn owned_session_of(row: &Row) -> Result<(Session, User), Fault> {
    Ok((read(row)?, users::read(row, COLUMNS)?))
}

/// The user's row is locked first, so that a user who is disabled while this runs is disabled before it or after it.
static ROTATE: Text = Text::new(|| {
    format!(
        "WITH owner AS MATERIALIZED (\
            SELECT u.id, u.status, u.sessions_valid_from FROM users u \
            WHERE u.id = (SELECT user_id FROM sessions WHERE id = $1) FOR SHARE), \
        changed AS (\
            UPDATE sessions s SET refresh_digest = $3, refresh_expires_at = $4, rotated = $5, last_used_at = $6, network = $7 \
            FROM owner \
            WHERE s.id = $1 AND s.refresh_digest = $2 AND s.ended_at IS NULL AND s.refresh_expires_at > $6 AND s.ends_at > $6 \
            AND owner.id = s.user_id AND owner.status = 'active' AND owner.sessions_valid_from <= s.created_at RETURNING 1) \
        {}",
        EVENTS.insert_for_each(8, "changed")
    )
});

/// What is asked of a rotation, before its event.
const ROTATION: [Column; 7] = [
    ("session", "uuid"),
    ("expected", "bytea"),
    ("new", "bytea"),
    ("refresh_expires_at", "bigint"),
    ("rotated", "bytea"),
    ("now", "bigint"),
    ("network", "text"),
];

/// `rotated`: as the session's row holds them.
fn rotation<'a>(rotation: &'a Rotation, rotated: &'a [u8]) -> Vec<Value<'a>> {
    let Rotation {
        session,
        expected_digest,
        new_digest,
        refresh_expires_at,
        rotated: _,
        now,
        event,
    } = rotation;
    let mut values: Vec<Value<'_>> = Vec::with_capacity(ROTATION.len() + EVENTS.columns.len());
    values.extend::<[Value<'_>; ROTATION.len()]>([
        (*session).into(),
        expected_digest.into(),
        new_digest.into(),
        (*refresh_expires_at).into(),
        rotated.into(),
        (*now).into(),
        (&event.network).into(),
    ]);
    values.extend(events::row(event));
    values
}

impl Ask for Rotation {
    type Answer = RotationOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<RotationOutcome, Fault> {
        let statement = db.prepared(ROTATE.postgres()).await?;
        let rotated = encode(&self.rotated);
        let values = rotation(self, &rotated);
        let written = db.client.execute(&statement, &parameters(&values)).await?;
        Ok(if written == 0 {
            RotationOutcome::Changed
        } else {
            RotationOutcome::Rotated
        })
    }
}

static END: Text = Text::new(|| {
    format!(
        "WITH ended AS (UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING 1) {}",
        EVENTS.insert_for_each(3, "ended")
    )
});

impl Ask for EndSession {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let Self { id, now, event } = self;
        let statement = db.prepared(END.postgres()).await?;
        let mut values: Vec<Value<'_>> = vec![(*id).into(), (*now).into()];
        values.extend(events::row(event));
        let written = db.client.execute(&statement, &parameters(&values)).await?;
        Ok(written == 1)
    }
}

const USE_UP: &str =
    "INSERT INTO replay_guard (expires_at, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const OWNER: &str =
    "SELECT user_id FROM identities WHERE policy = $1 AND issuer = $2 AND subject = $3";
const END_OF_USER: &str = "\
    UPDATE sessions SET ended_at = $1 WHERE user_id = $2 AND provider = $3 AND ended_at IS NULL \
    AND (subject_digest IS NULL OR subject_digest = $4) AND ($5::bytea IS NULL OR sid_digest IS NULL OR sid_digest = $5)";
const VOID_CHALLENGE: &str = "\
    UPDATE challenges SET consumed_at = $1 WHERE user_id = $2 AND provider = $3 AND consumed_at IS NULL";
const END_BY_SID: &str = "\
    UPDATE sessions SET ended_at = $1 WHERE sid_digest = $2 AND provider = $3 AND ended_at IS NULL";

const END_LOGIN: &str = "\
    INSERT INTO ended_logins AS e (provider, digest, issued_until, expires_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (provider, digest) DO UPDATE SET issued_until = greatest(e.issued_until, excluded.issued_until), \
    expires_at = greatest(e.expires_at, excluded.expires_at)";
/// Waits for sign-ins of the user that are under way.
const LOCK_USER: &str = "SELECT 1 FROM users WHERE id = $1 FOR UPDATE";

/// Of one token at two replicas the second waits for the first's row, and finds it used.
///
/// A sign-in whose statement began before this is committed does not see that its login has ended, and may make a session
/// that this does not see. So once it is committed, sessions are looked for again, behind the lock of the user's row: who
/// signs in holds that row until the session is there.
impl Ask for ProviderLogout {
    type Answer = LogoutOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<LogoutOutcome, Fault> {
        let statements = Ending::prepare(db).await?;
        let use_up = db.prepared(USE_UP).await?;
        let end_login = db.prepared(END_LOGIN).await?;
        let tell = db.prepared(events::INSERT.postgres()).await?;
        // Dropped without a commit it is rolled back.
        let transaction = begin(db).await?;
        let client = transaction.client();
        let digest = self.replay.digest.as_slice();
        let used = client
            .execute(&use_up, &[&self.replay.expires_at, &digest])
            .await?;
        if used == 0 {
            return Ok(LogoutOutcome::Replayed);
        }
        for EndedLogin {
            provider,
            digest,
            issued_until,
            expires_at,
        } in self.meant.iter().flat_map(|one| self.ended_logins(one))
        {
            let digest = digest.as_slice();
            client
                .execute(
                    &end_login,
                    &[&provider, &digest, &issued_until, &expires_at],
                )
                .await?;
        }
        let (ended, user) = statements.end(client, self).await?;
        let ended = usize::try_from(ended).unwrap_or(usize::MAX);
        insert_event(client, &tell, &self.event_of(user, ended)).await?;
        transaction.commit().await?;

        let transaction = begin(db).await?;
        statements.end(transaction.client(), self).await?;
        transaction.commit().await?;
        Ok(LogoutOutcome::Ended(ended))
    }
}

/// The statements that end what a logout names.
struct Ending {
    owner: Statement,
    lock_user: Statement,
    end_of_user: Statement,
    void_challenge: Statement,
    end_by_sid: Statement,
}

impl Ending {
    async fn prepare(db: &Connection) -> Result<Self, Fault> {
        Ok(Self {
            owner: db.prepared(OWNER).await?,
            lock_user: db.prepared(LOCK_USER).await?,
            end_of_user: db.prepared(END_OF_USER).await?,
            void_challenge: db.prepared(VOID_CHALLENGE).await?,
            end_by_sid: db.prepared(END_BY_SID).await?,
        })
    }

    /// How many sessions have ended, and which user they belong to.
    async fn end(
        &self,
        client: &Client,
        logout: &ProviderLogout,
    ) -> Result<(u64, Option<Uuid>), Fault> {
        let (mut ended, mut user) = (0, None);
        for one in &logout.meant {
            let Origin { subject, sid } = logout.origin_at(one);
            let sid = sid.as_ref().map(|sid| sid.as_slice());
            let Some(subject) = subject else {
                ended += client
                    .execute(&self.end_by_sid, &[&logout.now, &sid, &one.provider])
                    .await?;
                continue;
            };
            let IdentityKey {
                policy,
                issuer,
                subject: name,
            } = &one.identity;
            let Some(row) = client
                .query_opt(&self.owner, &[policy, issuer, name])
                .await?
            else {
                continue;
            };
            let found: Uuid = row.try_get(0)?;
            // In the order in which a challenge is completed.
            client
                .execute(&self.void_challenge, &[&logout.now, &found, &one.provider])
                .await?;
            client.execute(&self.lock_user, &[&found]).await?;
            let subject = subject.as_slice();
            ended += client
                .execute(
                    &self.end_of_user,
                    &[&logout.now, &found, &one.provider, &subject, &sid],
                )
                .await?;
            user = Some(found);
        }
        Ok((ended, user))
    }
}
