//! Second factors.

use uuid::Uuid;
use vestibule_crds::signin_policy::MfaMethod;

use super::cells::Cells;
use super::value::Value;
use super::{Table, Text};
use crate::mfa::Factor;

/// Of a factor that is not confirmed yet.
pub(crate) const FACTORS: Table = Table {
    name: "mfa_factors",
    columns: &[
        ("user_id", "uuid"),
        ("id", "uuid"),
        ("method", "text"),
        ("name", "text"),
        ("secret", "bytea"),
        ("last_step", "bigint"),
        ("created_at", "bigint"),
        ("expires_at", "bigint"),
    ],
};

pub(crate) static INSERT: Text = Text::new(|| FACTORS.insert());

pub(crate) fn row(user: Uuid, factor: &Factor) -> [Value<'_>; FACTORS.columns.len()] {
    let Factor {
        id,
        method,
        name,
        secret,
        last_step,
        created_at,
        last_used_at: _,
        expires_at,
    } = factor;
    [
        user.into(),
        (*id).into(),
        method.name().into(),
        name.as_ref().into(),
        secret.as_slice().into(),
        (*last_step).into(),
        (*created_at).into(),
        (*expires_at).into(),
    ]
}

/// All of a user's, for [`read`].
pub(crate) static OF_USER: Text = Text::new(|| {
    "SELECT id, method, name, secret, last_step, created_at, last_used_at, expires_at FROM mfa_factors \
     WHERE user_id = $1 ORDER BY id"
        .to_owned()
});

pub(crate) fn read<C: Cells>(row: &C) -> Result<Factor, C::Error> {
    Ok(Factor {
        id: row.id(0)?,
        method: row.text(1, "mfa_factors", MfaMethod::named)?,
        name: row.get(2)?,
        secret: row.get(3)?,
        last_step: row.get(4)?,
        created_at: row.get(5)?,
        last_used_at: row.get(6)?,
        expires_at: row.get(7)?,
    })
}
