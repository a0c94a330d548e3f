//! Challenges.

use uuid::Uuid;

use super::cells::Cells;
use super::users::{self, user_columns};
use super::value::Value;
use super::{Table, Text};
use crate::User;
use crate::mfa::{Challenge, OpenChallenge};

/// Of a challenge that is opened.
pub(crate) const CHALLENGES: Table = Table {
    name: "challenges",
    columns: &[
        ("digest", "bytea"),
        ("user_id", "uuid"),
        ("provider", "text"),
        ("network", "text"),
        ("created_at", "bigint"),
        ("expires_at", "bigint"),
        ("tries", "integer"),
        ("content", "text"),
    ],
};

pub(crate) static INSERT: Text = Text::new(|| CHALLENGES.insert());

pub(crate) fn row(
    opening: &OpenChallenge,
    user_id: Uuid,
    created_at: i64,
) -> [Value<'_>; CHALLENGES.columns.len()] {
    let OpenChallenge {
        account: _,
        login: _,
        replay: _,
        digest,
        provider,
        expires_at,
        content,
        event,
        now: _,
    } = opening;
    [
        digest.into(),
        user_id.into(),
        provider.into(),
        (&event.network).into(),
        created_at.into(),
        (*expires_at).into(),
        0.into(),
        content.into(),
    ]
}

/// The one with a digest and its user, for [`read`].
pub(crate) static OF_DIGEST: Text = Text::new(|| {
    concat!(
        "SELECT c.digest, c.provider, c.created_at, c.expires_at, c.consumed_at, c.tries, c.content, c.pending, ",
        user_columns!(),
        " FROM challenges c JOIN users u ON u.id = c.user_id WHERE c.digest = $1"
    )
    .to_owned()
});

pub(crate) fn read<C: Cells>(row: &C) -> Result<(Challenge, User), C::Error> {
    let tries: i32 = row.get(5)?;
    let challenge = Challenge {
        digest: row.bytes(0, "challenges", |digest| digest?.try_into().ok())?,
        provider: row.get(1)?,
        created_at: row.get(2)?,
        expires_at: row.get(3)?,
        consumed_at: row.get(4)?,
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
        content: row.get(6)?,
        pending: row.get(7)?,
    };
    Ok((challenge, users::read(row, 8)?))
}
