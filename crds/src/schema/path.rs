//! Where in an object the walk is. It is only written out where something is found: most objects
//! are valid.

use std::fmt::{self, Write as _};

/// Longest name of a member that a path repeats.
const NAME_CHARS_MAX: usize = 80;

#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'a> {
    Root(&'a str),
    Member(&'a Self, &'a str),
    Item(&'a Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => write_shortened(name, f),
            Self::Item(list, index) => write!(f, "{list}[{index}]"),
            Self::Member(object, name) if is_plain(name) => {
                write!(f, "{object}.")?;
                write_shortened(name, f)
            }
            Self::Member(object, name) => {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                write!(f, "{object}[{name:?}]")
            }
        }
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !name.is_empty() && name.chars().all(plain)
}

fn write_shortened(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    name.chars()
        .take(NAME_CHARS_MAX)
        .try_for_each(|c| f.write_char(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_one_would_write_it() {
        let spec = Path::Root("spec");
        let claims = Path::Member(&spec, "extraClaims");
        let first = Path::Item(&claims, 0);
        assert_eq!(
            Path::Member(&first, "a_b-c").to_string(),
            "spec.extraClaims[0].a_b-c"
        );
        assert_eq!(
            Path::Member(&claims, "a.b \"c\"").to_string(),
            r#"spec.extraClaims["a.b \"c\""]"#
        );
    }

    #[test]
    fn a_long_name_is_cut_short() {
        let spec = Path::Root("spec");
        let name = "x".repeat(10_000);
        assert_eq!(
            Path::Member(&spec, &name).to_string().len(),
            5 + NAME_CHARS_MAX
        );
    }
}
