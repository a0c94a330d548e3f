//! Sessions.

use uuid::Uuid;

use super::cells::Cells;
use super::value::Value;
use super::{Table, Text};
use crate::rotated::decode;
use crate::sessions::Origin;
use crate::{NewSession, Session};

/// Of a new session.
pub(crate) const SESSIONS: Table = Table {
    name: "sessions",
    columns: &[
        ("user_id", "uuid"),
        ("id", "uuid"),
        ("provider", "text"),
        ("created_at", "bigint"),
        ("refresh_digest", "bytea"),
        ("refresh_expires_at", "bigint"),
        ("ends_at", "bigint"),
        ("carried", "text"),
        ("device", "text"),
        ("network", "text"),
        ("subject_digest", "bytea"),
        ("sid_digest", "bytea"),
    ],
};

pub(crate) static INSERT: Text = Text::new(|| SESSIONS.insert());

/// `network`: where it is made from.
pub(crate) fn row<'a>(
    session: &'a NewSession,
    user_id: Uuid,
    created_at: i64,
    network: &'a str,
) -> [Value<'a>; SESSIONS.columns.len()] {
    let NewSession {
        id,
        provider,
        refresh_digest,
        refresh_expires_at,
        ends_at,
        carried,
        device,
        origin: Origin { subject, sid },
    } = session;
    [
        user_id.into(),
        (*id).into(),
        provider.into(),
        created_at.into(),
        refresh_digest.into(),
        (*refresh_expires_at).into(),
        (*ends_at).into(),
        carried.into(),
        device.as_ref().into(),
        network.into(),
        subject.as_ref().into(),
        sid.as_ref().into(),
    ]
}

/// What [`read`] reads, in its order, of a session `s` and its user `u`.
macro_rules! session_columns {
    () => {
        "s.id, s.provider, s.created_at, s.refresh_digest, s.refresh_expires_at, s.ends_at, s.ended_at, s.rotated, s.carried, \
         s.last_used_at, s.device, s.network, s.subject_digest, s.sid_digest, u.policy"
    };
}
pub(crate) use session_columns;

/// How many columns they are.
pub(crate) const COLUMNS: usize = 15;

pub(crate) fn read<C: Cells>(row: &C) -> Result<Session, C::Error> {
    const TABLE: &str = "sessions";
    let digest = |column| row.bytes(column, TABLE, |bytes| bytes?.try_into().ok());
    let origin = |column| {
        row.bytes(column, TABLE, |bytes| {
            bytes.map(TryInto::try_into).transpose().ok()
        })
    };
    Ok(Session {
        id: row.id(0)?,
        policy: row.get(14)?,
        provider: row.get(1)?,
        created_at: row.get(2)?,
        refresh_digest: digest(3)?,
        refresh_expires_at: row.get(4)?,
        ends_at: row.get(5)?,
        ended_at: row.get(6)?,
        rotated: row.bytes(7, TABLE, |bytes| decode(bytes.unwrap_or_default()))?,
        carried: row.get(8)?,
        last_used_at: row.get(9)?,
        device: row.get(10)?,
        network: row.get(11)?,
        origin: Origin {
            subject: origin(12)?,
            sid: origin(13)?,
        },
    })
}
