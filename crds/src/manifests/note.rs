//! Where YAML 1.2, which is read here, and YAML 1.1, which kubectl reads, part.

use super::{FileError, ManifestFile};

/// Fields of ours that may say `Off`.
const FIELDS: [&str; 2] = ["nonce:", "mode:"];
/// Most notes of one file.
const NOTES_MAX: usize = 16;

/// A note for each bare `Off`: YAML 1.1 takes it for false.
pub(super) fn bare_off(file: &ManifestFile) -> impl Iterator<Item = FileError> + '_ {
    let lines = file.text.lines().enumerate();
    let bare = lines.filter(|(_, line)| has_bare_off(line));
    bare.take(NOTES_MAX).map(|(index, _)| FileError {
        path: file.path.clone(),
        document: None,
        line: Some(index + 1),
        message: "kubectl takes a bare Off for false: write \"Off\", in quotes".to_owned(),
    })
}

fn has_bare_off(line: &str) -> bool {
    FIELDS.into_iter().any(|field| {
        let values = line
            .match_indices(field)
            .map(|(at, _)| &line[at + field.len()..]);
        let mut words = values.filter_map(|value| value.trim_start().strip_prefix("Off"));
        words.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    })
}
