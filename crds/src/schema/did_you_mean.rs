//! The known name that an unknown one was probably meant to be.

/// Two slips of the finger; more, and the guess would be a riddle.
const DISTANCE_MAX: usize = 2;
/// Longer names are no slips of the pen.
const NAME_CHARS_MAX: usize = 64;

/// What to tell about an unknown field.
pub(super) fn did_you_mean<'a>(
    unknown: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    if let Some(name) = nearest(unknown, known.clone()) {
        return format!("the field is not known: did you mean `{name}`?");
    }
    let known: Vec<&str> = known.collect();
    if known.is_empty() {
        return "the field is not known: remove it".to_owned();
    }
    format!(
        "the field is not known: the fields here are {}",
        known.join(", ")
    )
}

fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.chars().count() > NAME_CHARS_MAX {
        return None;
    }
    known
        .map(|name| (distance(&squashed(unknown), &squashed(name)), name))
        .filter(|(distance, name)| *distance <= DISTANCE_MAX && *distance * 2 <= name.len())
        .min()
        .map(|(_, name)| name)
}

/// `jwks_uri` and `JWKSURI` are `jwksUri`.
fn squashed(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|c| *c != '_' && *c != '-');
    letters.flat_map(char::to_lowercase).collect()
}

/// Levenshtein's distance.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["discoveryUrl", "jwksUri", "jwks", "maxStale"];

    #[test]
    fn a_slip_is_recognised() {
        for (unknown, meant) in [
            ("jwks_uri", "jwksUri"),
            ("jwksURI", "jwksUri"),
            ("discoveryURL", "discoveryUrl"),
            ("maxStall", "maxStale"),
        ] {
            assert_eq!(
                did_you_mean(unknown, KNOWN.into_iter()),
                format!("the field is not known: did you mean `{meant}`?")
            );
        }
    }

    #[test]
    fn something_else_is_not_guessed_at() {
        let message = did_you_mean("colour", KNOWN.into_iter());
        assert!(
            message.contains("the fields here are discoveryUrl"),
            "{message}"
        );
    }
}
