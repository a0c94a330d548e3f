//! Texts of statements and codecs of tables, each once for both databases.
//!
//! A text has its parameters as `$n`, with types (`$1::uuid`) where PostgreSQL cannot know them. A table says what its columns
//! are, and how a row is written and read.

use std::sync::OnceLock;

pub(crate) mod cells;
pub(crate) mod challenges;
pub(crate) mod events;
pub(crate) mod factors;
pub(crate) mod sessions;
pub(crate) mod users;
pub(crate) mod value;

/// A statement, built when it is first needed.
pub(crate) struct Text {
    build: fn() -> String,
    text: OnceLock<String>,
    sqlite: OnceLock<String>,
}

impl Text {
    pub(crate) const fn new(build: fn() -> String) -> Self {
        Self {
            build,
            text: OnceLock::new(),
            sqlite: OnceLock::new(),
        }
    }

    pub(crate) fn postgres(&'static self) -> &'static str {
        self.text.get_or_init(self.build)
    }

    /// With `?n`: SQLite takes `$n` for a name, and knows no types of parameters.
    pub(crate) fn sqlite(&'static self) -> &'static str {
        self.sqlite
            .get_or_init(|| without_types(self.postgres()).replace('$', "?"))
    }
}

fn without_types(text: &str) -> String {
    let mut parts = text.split("::");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.trim_start_matches(|of: char| of.is_ascii_alphabetic()));
    }
    plain
}

/// A column and its type in PostgreSQL.
pub(crate) type Column = (&'static str, &'static str);

/// The columns of a table that are written when a row is made, in the order of its values.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [Column],
}

impl Table {
    fn names(&self) -> String {
        self.select(str::to_owned)
    }

    /// What to insert into each column.
    pub(crate) fn select(&self, value: impl Fn(&str) -> String) -> String {
        let columns = self.columns.iter().map(|(name, _)| value(name));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// A row of parameters.
    pub(crate) fn insert(&self) -> String {
        let parameters: Vec<String> = (1..=self.columns.len())
            .map(|at| format!("${at}"))
            .collect();
        self.insert_from(&format!("VALUES ({})", parameters.join(", ")))
    }

    /// The rows that a query finds.
    pub(crate) fn insert_from(&self, query: &str) -> String {
        format!("INSERT INTO {} ({}) {query}", self.name, self.names())
    }

    /// A row of parameters from `$first` on, for each row of `from`.
    pub(crate) fn insert_for_each(&self, first: usize, from: &str) -> String {
        let columns = (first..).zip(self.columns);
        let values: Vec<String> = columns
            .map(|(at, (_, kind))| format!("${at}::{kind}"))
            .collect();
        self.insert_from(&format!("SELECT {} FROM {from}", values.join(", ")))
    }

    /// Rows of parameters, each an array of a column.
    pub(crate) fn insert_many(&self) -> String {
        let rows = Asked::default().with(self, "").rows();
        self.insert_from(&format!("SELECT {} FROM ({rows}) AS rows", self.names()))
    }
}

/// Whose statement it is: of one operation, which waits for a row that another transaction holds, or of many, which wait
/// for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    ForRow,
    Skip,
}

impl Wait {
    /// After the strength of a lock.
    pub(crate) fn lock(self) -> &'static str {
        match self {
            Self::ForRow => "",
            Self::Skip => " SKIP LOCKED",
        }
    }
}

/// What is asked of each operation of a statement, in the order of its values.
#[derive(Debug, Default)]
pub(crate) struct Asked(Vec<(String, &'static str)>);

impl Asked {
    /// A row of a table, its columns under names with a prefix.
    pub(crate) fn with(mut self, table: &Table, prefix: &str) -> Self {
        let columns = table.columns.iter();
        self.0
            .extend(columns.map(|(name, kind)| (format!("{prefix}{name}"), *kind)));
        self
    }

    pub(crate) fn and(mut self, columns: &[Column]) -> Self {
        let columns = columns.iter();
        self.0
            .extend(columns.map(|(name, kind)| ((*name).to_owned(), *kind)));
        self
    }

    /// The parameter of this name, of a statement of one operation.
    pub(crate) fn parameter(&self, name: &str) -> String {
        let mut columns = (1..).zip(&self.0);
        let found = columns.find(|(_, (column, _))| column == name);
        let (at, (_, kind)) = found.expect("a statement asks for its own columns");
        format!("${at}::{kind}")
    }

    /// The operations of a statement of many as rows, from an array for each column; with the place of each, from 1 on.
    pub(crate) fn rows(&self) -> String {
        let columns = (1..).zip(&self.0);
        let arrays: Vec<String> = columns
            .map(|(at, (_, kind))| format!("${at}::{kind}[]"))
            .collect();
        let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        let (arrays, names) = (arrays.join(", "), names.join(", "));
        format!("SELECT * FROM unnest({arrays}) WITH ORDINALITY AS a ({names}, place)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: Table = Table {
        name: "pairs",
        columns: &[("id", "uuid"), ("at", "bigint")],
    };

    #[test]
    fn one_text_serves_both_databases() {
        static INSERT: Text = Text::new(|| PAIRS.insert_for_each(2, "found"));
        assert_eq!(
            INSERT.postgres(),
            "INSERT INTO pairs (id, at) SELECT $2::uuid, $3::bigint FROM found"
        );
        assert_eq!(
            INSERT.sqlite(),
            "INSERT INTO pairs (id, at) SELECT ?2, ?3 FROM found"
        );
    }

    #[test]
    fn one_operation_has_parameters_and_many_have_arrays() {
        let asked = Asked::default()
            .with(&PAIRS, "pair_")
            .and(&[("now", "bigint")]);
        assert_eq!(asked.parameter("pair_at"), "$2::bigint");
        assert_eq!(
            asked.rows(),
            "SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) \
             WITH ORDINALITY AS a (pair_id, pair_at, now, place)"
        );
    }
}
