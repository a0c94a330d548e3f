//! Sessions: read, carried on by refreshes, ended once.
//!
//! Each is one statement, and so one transaction and one round trip. Under READ COMMITTED an `UPDATE` that had to wait for
//! another looks at the row again as that one left it: of two rotations the second finds another digest and changes nothing.

pub(super) mod together;

use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::connect::Connection;
use super::events::{EVENT, Line, insert_event};
use super::fault::Fault;
use super::mfa::begin;
use super::pool::Ask;
use super::users::{user_columns, user_of};
use crate::rotated::{decode, encode};
use crate::sessions::{
    EndedLogin, LogoutOutcome, ORIGIN_BYTES, Origin, PAGE_SESSIONS_MAX, ProviderLogout, SessionPage,
};
use crate::{EndSession, IdentityKey, ReadSession, Rotation, RotationOutcome, Session, User};

const DIGEST_BYTES: usize = 32;

/// What [`session_of`] reads, in its order.
macro_rules! session_columns {
    () => {
        "s.id, s.provider, s.created_at, s.refresh_digest, s.refresh_expires_at, s.ends_at, s.ended_at, s.rotated, s.carried, \
         s.last_used_at, s.device, s.network, s.subject_digest, s.sid_digest, u.policy"
    };
}
/// How many columns they are.
const SESSION_COLUMNS: usize = 15;

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
use {owned_sessions, session_columns};

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
        rows.iter().map(session_of).collect()
    }
}

fn owned_session_of(row: &Row) -> Result<(Session, User), Fault> {
    Ok((session_of(row)?, user_of(row, SESSION_COLUMNS)?))
}

fn session_of(row: &Row) -> Result<Session, Fault> {
    let damaged = || Fault::Unreadable("sessions");
    let digest_of = |column: usize| -> Result<Option<[u8; ORIGIN_BYTES]>, Fault> {
        let digest: Option<&[u8]> = row.try_get(column)?;
        let digest = digest.map(<[u8; ORIGIN_BYTES]>::try_from);
        digest.transpose().map_err(|_| damaged())
    };
    let digest: &[u8] = row.try_get(3)?;
    let rotated: Option<&[u8]> = row.try_get(7)?;
    Ok(Session {
        id: row.try_get(0)?,
        policy: row.try_get(14)?,
        provider: row.try_get(1)?,
        created_at: row.try_get(2)?,
        refresh_digest: <[u8; DIGEST_BYTES]>::try_from(digest).map_err(|_| damaged())?,
        refresh_expires_at: row.try_get(4)?,
        ends_at: row.try_get(5)?,
        ended_at: row.try_get(6)?,
        rotated: decode(rotated.unwrap_or_default()).ok_or_else(damaged)?,
        carried: row.try_get(8)?,
        last_used_at: row.try_get(9)?,
        device: row.try_get(10)?,
        network: row.try_get(11)?,
        origin: Origin {
            subject: digest_of(12)?,
            sid: digest_of(13)?,
        },
    })
}

/// The user's row is locked first, so that whoever is disabled while this runs is disabled before it or after it.
const ROTATE: &str = "\
    WITH owner AS MATERIALIZED (\
        SELECT u.id, u.status, u.sessions_valid_from FROM users u \
        WHERE u.id = (SELECT user_id FROM sessions WHERE id = $1) FOR SHARE), \
    changed AS (\
        UPDATE sessions s SET refresh_digest = $3, refresh_expires_at = $4, rotated = $5, last_used_at = $6, network = $15 \
        FROM owner \
        WHERE s.id = $1 AND s.refresh_digest = $2 AND s.ended_at IS NULL AND s.refresh_expires_at > $6 AND s.ends_at > $6 \
        AND owner.id = s.user_id AND owner.status = 'active' AND owner.sessions_valid_from <= s.created_at RETURNING 1) \
    INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail) \
    SELECT $7::bigint, $8::text, $9::text, $10::text, $11::text, $12::uuid, $13::uuid, $14::text, $15::text, $16::text FROM changed";

impl Ask for Rotation {
    type Answer = RotationOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<RotationOutcome, Fault> {
        let Self {
            session,
            expected_digest,
            new_digest,
            refresh_expires_at,
            rotated,
            now,
            event,
        } = self;
        let statement = db.prepared(ROTATE).await?;
        let rotated = encode(rotated);
        let line = Line::from(event);
        let written = db
            .client
            .execute(
                &statement,
                &[
                    session,
                    &expected_digest.as_slice(),
                    &new_digest.as_slice(),
                    refresh_expires_at,
                    &rotated,
                    now,
                    &event.at,
                    &event.kind.as_str(),
                    &event.outcome,
                    &line.policy.as_ref(),
                    &line.provider.as_ref(),
                    &event.user_id,
                    &event.session_id,
                    &line.request_id.as_ref(),
                    &line.network.as_ref(),
                    &line.detail.as_ref(),
                ],
            )
            .await?;
        Ok(if written == 0 {
            RotationOutcome::Changed
        } else {
            RotationOutcome::Rotated
        })
    }
}

const END: &str = "\
    WITH ended AS (UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING 1) \
    INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail) \
    SELECT $3::bigint, $4::text, $5::text, $6::text, $7::text, $8::uuid, $9::uuid, $10::text, $11::text, $12::text FROM ended";

impl Ask for EndSession {
    type Answer = bool;

    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let Self { id, now, event } = self;
        let statement = db.prepared(END).await?;
        let line = Line::from(event);
        let written = db
            .client
            .execute(
                &statement,
                &[
                    id,
                    now,
                    &event.at,
                    &event.kind.as_str(),
                    &event.outcome,
                    &line.policy.as_ref(),
                    &line.provider.as_ref(),
                    &event.user_id,
                    &event.session_id,
                    &line.request_id.as_ref(),
                    &line.network.as_ref(),
                    &line.detail.as_ref(),
                ],
            )
            .await?;
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
        let tell = db.prepared(EVENT).await?;
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

    /// How many sessions have ended, and of whom.
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
