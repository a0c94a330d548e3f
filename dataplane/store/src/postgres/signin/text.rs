//! The statement of a sign-in: one text for one and for many, which differ in how they wait ([`Wait`]).

use std::sync::LazyLock;

use crate::statements::events::EVENTS;
use crate::statements::sessions::SESSIONS;
use crate::statements::users::{PROFILE, USERS};
use crate::statements::{Asked, Table, Wait};

/// What becomes of the account: the shapes of the statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Existing,
    /// With a profile that changed.
    Changed,
    Create,
    Link,
}

/// What comes with the session and its event.
#[derive(Debug, Clone, Copy)]
pub(in crate::postgres) struct Parts {
    pub(super) replay_guarded: bool,
    /// Whether the user's history is written.
    pub(super) learns: bool,
}

impl Parts {
    const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(true, false),
        Self::new(false, true),
        Self::new(true, true),
    ];

    pub(in crate::postgres) const fn new(replay_guarded: bool, learns: bool) -> Self {
        Self {
            replay_guarded,
            learns,
        }
    }

    fn index(self) -> usize {
        usize::from(self.replay_guarded) + 2 * usize::from(self.learns)
    }
}

impl Shape {
    const ALL: [Self; 4] = [Self::Existing, Self::Changed, Self::Create, Self::Link];

    /// For one sign-in.
    pub(super) fn text(self, parts: Parts) -> &'static str {
        static TEXTS: LazyLock<[[String; 4]; 4]> = LazyLock::new(|| {
            Shape::ALL.map(|shape| Parts::ALL.map(|parts| build(shape, parts, Wait::ForRow)))
        });
        &TEXTS[self as usize][parts.index()]
    }
}

/// For many sign-ins of known users whose profiles have not changed.
pub(in crate::postgres) fn many(parts: Parts) -> &'static str {
    static TEXTS: LazyLock<[String; 4]> =
        LazyLock::new(|| Parts::ALL.map(|parts| build(Shape::Existing, parts, Wait::Skip)));
    &TEXTS[parts.index()]
}

/// What is asked of a sign-in: what every one has, in the order of [`super::values`], and then what
/// its shape has.
fn asked(shape: Shape, parts: Parts) -> Asked {
    let mut asked = Asked::default()
        .with(&SESSIONS, "")
        .with(&EVENTS, "event_")
        .and(&[
            ("login_all", "bytea"),
            ("login_this", "bytea"),
            ("issued_at", "bigint"),
        ]);
    if parts.replay_guarded {
        asked = asked.and(&[("replay_expires_at", "bigint"), ("replay_digest", "bytea")]);
    }
    if parts.learns {
        asked = asked.and(&[("history", "bytea"), ("replaces", "bigint")]);
    }
    let identity = [
        ("identity_policy", "text"),
        ("issuer", "text"),
        ("subject", "text"),
    ];
    match shape {
        Shape::Existing => asked,
        Shape::Changed => asked.with(&PROFILE, "new_"),
        Shape::Create => asked.with(&USERS, "new_").and(&identity),
        Shape::Link => asked.and(&identity),
    }
}

/// Where a statement finds what is asked: of one sign-in in its parameters themselves, which is cheaper than a row of them;
/// of many in the rows `asked`.
struct Form {
    asked: Asked,
    wait: Wait,
    /// The rows, as a part of the statement.
    rows: String,
    /// Each sign-in with its user.
    signins: &'static str,
    /// Of the users: the first column of the parameters.
    user: &'static str,
    /// Rows that two statements may have in common are written in the order of their keys, so that neither waits for the
    /// other in a circle.
    in_order: &'static str,
    /// Whether the provider has ended the login of a sign-in.
    has_ended: &'static str,
}

impl Form {
    fn new(asked: Asked, wait: Wait) -> Self {
        match wait {
            Wait::ForRow => Self {
                rows: String::new(),
                signins: "owner o",
                user: "$1",
                in_order: "",
                has_ended: "EXISTS (SELECT 1 FROM ended)",
                asked,
                wait,
            },
            Wait::Skip => Self {
                rows: format!("asked AS MATERIALIZED ({}), ", asked.rows()),
                signins: "asked a JOIN owner o ON o.id = a.user_id",
                user: "ANY($1)",
                in_order: " ORDER BY 1, 2",
                has_ended: "EXISTS (SELECT 1 FROM ended e WHERE e.place = a.place)",
                asked,
                wait,
            },
        }
    }

    /// What is asked under this name, in a query whose rows are called `a`.
    fn value(&self, name: &str) -> String {
        match self.wait {
            Wait::ForRow => self.asked.parameter(name),
            Wait::Skip => format!("a.{name}"),
        }
    }

    /// A row of a table for each of `may`, of what is asked under names with a prefix.
    fn insert(&self, table: &Table, prefix: &str, instead: &[(&str, &str)]) -> String {
        let values = table.select(|column| {
            let instead = instead.iter().find(|(of, _)| *of == column);
            match instead {
                Some((_, expression)) => (*expression).to_owned(),
                None => self.value(&format!("{prefix}{column}")),
            }
        });
        table.insert_from(&format!("SELECT {values} FROM may a"))
    }

    fn ended(&self) -> String {
        let (place, asked) = match self.wait {
            Wait::ForRow => ("1", ""),
            Wait::Skip => ("a.place", "asked a, "),
        };
        format!(
            "ended AS MATERIALIZED (SELECT {place} AS place FROM {asked}ended_logins e WHERE e.provider = {} \
             AND e.digest = ANY (ARRAY[{}, {}]) AND e.issued_until >= {}), ",
            self.value("provider"),
            self.value("login_all"),
            self.value("login_this"),
            self.value("issued_at")
        )
    }

    /// The replay guard, and the condition of `may` that comes of it.
    fn first(&self) -> (String, String) {
        let (expires_at, digest) = (self.value("replay_expires_at"), self.value("replay_digest"));
        let Self {
            signins,
            in_order,
            has_ended,
            ..
        } = self;
        let first = format!(
            "first AS (INSERT INTO replay_guard (expires_at, digest) SELECT {expires_at}, {digest} FROM {signins} \
             WHERE o.status = 'active' AND {digest} IS NOT NULL AND NOT {has_ended}{in_order} \
             ON CONFLICT DO NOTHING RETURNING expires_at, digest), "
        );
        let is_first = format!(
            " AND ({digest} IS NULL OR EXISTS (SELECT 1 FROM first f WHERE f.expires_at = {expires_at} \
             AND f.digest = {digest}))"
        );
        (first, is_first)
    }

    /// The user's history. Its version counts the writes, from 1 on.
    fn remembered(&self) -> String {
        let (user, history) = (self.value("user_id"), self.value("history"));
        let replaces = self.value("replaces");
        let in_order = self.in_order;
        format!(
            "remembered AS (INSERT INTO risk_history AS h (user_id, version, content) \
             SELECT {user}, coalesce({replaces}, 0) + 1, {history} FROM may a WHERE {history} IS NOT NULL{in_order} \
             ON CONFLICT (user_id) DO UPDATE SET version = excluded.version, content = excluded.content \
             WHERE h.version = excluded.version - 1), "
        )
    }
}

/// `owner` is whose session it will be; `may` has a row for each sign-in for which everything that was checked holds, and
/// all writes come from it.
fn build(shape: Shape, parts: Parts, wait: Wait) -> String {
    let form = Form::new(asked(shape, parts), wait);
    let owner = owner(shape, &form);
    let account = account(shape, &form);
    let (first, is_first) = if parts.replay_guarded {
        form.first()
    } else {
        <(String, String)>::default()
    };
    let remembered = if parts.learns {
        form.remembered()
    } else {
        String::new()
    };
    // Sessions may have been revoked within this very second; these came after.
    let created_at = format!(
        "greatest({}, a.sessions_valid_from)",
        form.value("created_at")
    );
    let session = form.insert(&SESSIONS, "", &[("created_at", &created_at)]);
    let event = form.insert(&EVENTS, "event_", &[]);
    let (of_may, answers) = match wait {
        Wait::ForRow => (
            "o.sessions_valid_from",
            "1::bigint, o.status, EXISTS (SELECT 1 FROM may)",
        ),
        Wait::Skip => (
            "a.*, o.sessions_valid_from",
            "a.place, o.status, m.place IS NOT NULL",
        ),
    };
    let made = match wait {
        Wait::ForRow => "",
        Wait::Skip => " LEFT JOIN may m ON m.place = a.place",
    };
    let ended = form.ended();
    let Form {
        rows,
        signins,
        has_ended,
        ..
    } = form;
    format!(
        "WITH {rows}{owner}, {ended}{first}\
         may AS MATERIALIZED (SELECT {of_may} FROM {signins} WHERE o.status = 'active' AND NOT {has_ended}{is_first}), \
         {account}{remembered}made AS ({session}), audited AS ({event}) \
         SELECT {answers}, {has_ended} FROM {signins}{made}"
    )
}

fn owner(shape: Shape, form: &Form) -> String {
    let (user, lock) = (form.user, form.wait.lock());
    let found = format!("SELECT id, status, sessions_valid_from FROM users WHERE id = {user}");
    let known = || {
        let [policy, issuer, subject] = identity(form);
        format!(
            "known AS MATERIALIZED (SELECT 1 FROM identities WHERE policy = {policy} AND issuer = {issuer} \
             AND subject = {subject}), "
        )
    };
    match shape {
        Shape::Existing => format!("owner AS MATERIALIZED ({found} FOR SHARE{lock})"),
        Shape::Changed => format!("owner AS MATERIALIZED ({found} FOR NO KEY UPDATE{lock})"),
        Shape::Create => format!(
            "{}owner AS MATERIALIZED (SELECT {} AS id, {} AS status, {} AS sessions_valid_from \
             WHERE NOT EXISTS (SELECT 1 FROM known))",
            known(),
            form.value("new_id"),
            form.value("new_status"),
            form.value("new_sessions_valid_from")
        ),
        Shape::Link => format!(
            "{}owner AS MATERIALIZED ({found} AND NOT EXISTS (SELECT 1 FROM known) FOR SHARE{lock})",
            known()
        ),
    }
}

/// The identity that becomes the user's.
fn identity(form: &Form) -> [String; 3] {
    ["identity_policy", "issuer", "subject"].map(|name| form.value(name))
}

/// What is written of the account of one sign-in.
fn account(shape: Shape, form: &Form) -> String {
    let named = || {
        let identity = identity(form).join(", ");
        let user = form.value("user_id");
        format!(
            "named AS (INSERT INTO identities (policy, issuer, subject, user_id) SELECT {identity}, {user} FROM may), "
        )
    };
    match shape {
        Shape::Existing => String::new(),
        Shape::Changed => {
            let profile = PROFILE.columns.iter();
            let profile: Vec<String> = profile
                .map(|(name, _)| format!("{name} = {}", form.value(&format!("new_{name}"))))
                .collect();
            let (profile, user) = (profile.join(", "), form.value("user_id"));
            format!("changed AS (UPDATE users SET {profile} FROM may WHERE users.id = {user}), ")
        }
        Shape::Create => {
            let created = form.insert(&USERS, "new_", &[]);
            format!("created AS ({created}), {}", named())
        }
        Shape::Link => named(),
    }
}
