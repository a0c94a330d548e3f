//! Audit events.

use super::value::Value;
use super::{Table, Text};
use crate::{EVENT_DETAIL_BYTES_MAX, Event};

pub(crate) const EVENTS: Table = Table {
    name: "events",
    columns: &[
        ("at", "bigint"),
        ("kind", "text"),
        ("outcome", "text"),
        ("policy", "text"),
        ("provider", "text"),
        ("user_id", "uuid"),
        ("session_id", "uuid"),
        ("request_id", "text"),
        ("network", "text"),
        ("detail", "text"),
        ("count", "bigint"),
        ("refusal_bytes", "bigint"),
    ],
};

pub(crate) static INSERT: Text = Text::new(|| EVENTS.insert());
pub(crate) static INSERT_MANY: Text = Text::new(|| EVENTS.insert_many());

pub(crate) fn row(event: &Event) -> [Value<'_>; EVENTS.columns.len()] {
    let Event {
        at,
        kind,
        outcome,
        class: _,
        policy,
        provider,
        user_id,
        session_id,
        request_id,
        network,
        detail,
        count,
    } = event;
    let detail = &detail[..detail.floor_char_boundary(EVENT_DETAIL_BYTES_MAX)];
    [
        (*at).into(),
        kind.as_str().into(),
        (*outcome).into(),
        Value::Readable(policy),
        Value::Readable(provider),
        (*user_id).into(),
        (*session_id).into(),
        Value::Readable(request_id),
        Value::Readable(network),
        Value::Readable(detail),
        (*count).into(),
        event.refusal_bytes().into(),
    ]
}
