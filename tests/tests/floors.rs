//! The structure of the crates: a module uses what is on its own floor or below, and no two modules
//! use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The data plane's top-level modules, from the lowest floor to the highest. A module uses modules
/// of lower floors, and of its own.
const DATAPLANE: &[&[&str]] = &[
    // Leaves: words, times and encodings.
    &[
        "agent",
        "client_address",
        "clock",
        "encoding",
        "failure",
        "language",
        "limits",
        "protocol",
        "tls",
    ],
    // What one subject knows: audit, passwords, factors, places, the listener.
    &[
        "audit",
        "dto",
        "evidence",
        "factors",
        "geography",
        "metrics",
        "password",
        "refresh_token",
        "server",
        "telemetry",
        "users",
    ],
    // The configuration that is served.
    &["runtime_config"],
    // What every request shares.
    &["app", "body"],
    // The stories of requests.
    &["flows"],
    &["mfa"],
    &["oauth"],
    &["background", "http"],
    // The process.
    &["admin"],
    &["config"],
    &["cli"],
    &["commands"],
];

const CRATES: &[&str] = &[
    "crds",
    "dataplane",
    "dataplane/idtoken",
    "dataplane/process",
    "dataplane/risk",
    "dataplane/store",
    "operator",
];

/// One module uses another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
    /// `file:line: the line`.
    place: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).expect("a directory");
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            if !matches!(name, "tests" | "conformance") {
                sources(&path, found);
            }
        } else if name.ends_with(".rs")
            && !matches!(
                name,
                "tests.rs" | "testing.rs" | "conformance.rs" | "lib.rs" | "main.rs"
            )
        {
            found.push(path);
        }
    }
}

/// Each use of a top-level module of the same crate, apart from tests.
fn arrows(name: &str) -> Vec<Arrow> {
    let source = root().join(name).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&source).expect("it is below");
        let top = relative.iter().next().and_then(|part| part.to_str());
        let from = top.expect("a name").trim_end_matches(".rs");
        let text = std::fs::read_to_string(&file).expect("a source file");
        let text = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for to in named(code) {
                if to != from {
                    let place = format!(
                        "{name}/src/{}:{}: {}",
                        relative.display(),
                        number + 1,
                        line.trim()
                    );
                    found.push(Arrow {
                        from: from.to_owned(),
                        to: to.to_owned(),
                        place,
                    });
                }
            }
        }
    }
    found
}

/// The modules that a line names after `crate::`.
fn named(code: &str) -> Vec<&str> {
    let mut named = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::") {
        let is_whole = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        rest = &rest[at + "crate::".len()..];
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        let module = &rest[..end.unwrap_or(rest.len())];
        if is_whole && !module.is_empty() {
            named.push(module);
        }
    }
    named
}

/// The modules of a cycle, where there is one.
fn cycle(arrows: &[Arrow]) -> Option<BTreeSet<&str>> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for arrow in arrows {
        uses.entry(&arrow.from).or_default().insert(&arrow.to);
    }
    let reached = |from: &str| {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![from]);
        while let Some(module) = todo.pop() {
            for next in uses.get(module).into_iter().flatten() {
                if seen.insert(*next) {
                    todo.push(next);
                }
            }
        }
        seen
    };
    let module = *uses
        .keys()
        .find(|module| reached(module).contains(**module))?;
    Some(
        reached(module)
            .into_iter()
            .filter(|other| reached(other).contains(module))
            .collect(),
    )
}

#[test]
fn no_modules_use_each_other() {
    for name in CRATES {
        let arrows = arrows(name);
        let Some(modules) = cycle(&arrows) else {
            continue;
        };
        let mut lines = String::new();
        for arrow in &arrows {
            if modules.contains(&*arrow.from) && modules.contains(&*arrow.to) {
                writeln!(lines, "  {} uses {}: {}", arrow.from, arrow.to, arrow.place)
                    .expect("a text");
            }
        }
        panic!("{name}: the modules {modules:?} use each other:\n{lines}");
    }
}

#[test]
fn no_module_of_the_data_plane_uses_a_higher_floor() {
    let floor = |module: &str| DATAPLANE.iter().position(|floor| floor.contains(&module));
    let mut upward = String::new();
    for Arrow { from, to, place } in arrows("dataplane") {
        let (Some(below), Some(above)) = (floor(&from), floor(&to)) else {
            panic!(
                "{from} or {to} is on no floor: give it one in {}\n{place}",
                file!()
            );
        };
        if above > below {
            writeln!(upward, "  {from} is below {to}: {place}").expect("a text");
        }
    }
    assert!(upward.is_empty(), "arrows that run up:\n{upward}");
}

#[test]
fn a_line_names_the_modules_that_it_uses() {
    assert_eq!(named("use crate::live::Live;"), ["live"]);
    assert_eq!(named("let x = crate::a::b(crate::c_1::d());"), ["a", "c_1"]);
    assert!(named("use mycrate::live; use crate::Live;").is_empty());
}

#[test]
fn a_cycle_is_found() {
    let arrow = |from: &str, to: &str| Arrow {
        from: from.to_owned(),
        to: to.to_owned(),
        place: String::new(),
    };
    let straight = [arrow("a", "b"), arrow("b", "c")];
    assert_eq!(cycle(&straight), None);
    let round = [arrow("a", "b"), arrow("b", "c"), arrow("c", "b")];
    assert_eq!(cycle(&round), Some(BTreeSet::from(["b", "c"])));
}
