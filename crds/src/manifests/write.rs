//! YAML that every reader takes for the same: kubectl reads YAML 1.1, where a bare `Off` is false.

use serde::Serialize;
use serde_json::Value;

/// Words that YAML 1.1 takes for booleans and YAML 1.2 does not.
const BOOLEAN_WORDS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("it cannot be written as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    #[error("it cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "a text holds a line that looks like a YAML 1.1 boolean, and quoting it would change the text"
    )]
    Ambiguous,
}

/// One document.
pub fn to_yaml(value: &impl Serialize) -> Result<String, WriteError> {
    let mut value = serde_json::to_value(value)?;
    // Sorted, whatever else is built with and asks of the JSON library.
    value.sort_all_objects();
    let mut yaml = String::new();
    for line in serde_yaml::to_string(&value)?.lines() {
        yaml.push_str(&quoted(line));
        yaml.push('\n');
    }
    let back: Value = serde_yaml::from_str(&yaml)?;
    if back == value {
        Ok(yaml)
    } else {
        Err(WriteError::Ambiguous)
    }
}

/// The line with its scalar in quotes, if YAML 1.1 would take that for a boolean. `true` and
/// `false` are left, since the writer quotes the strings itself.
fn quoted(line: &str) -> String {
    let start = line.rfind([' ', '\t']).map_or(0, |space| space + 1);
    let (before, word) = line.split_at(start);
    let lower = word.to_ascii_lowercase();
    let is_word = BOOLEAN_WORDS.contains(&lower.as_str()) && word != "true" && word != "false";
    let is_whole = before.trim_end().ends_with([':', '-']) || before.trim().is_empty();
    if is_word && is_whole {
        format!("{before}'{word}'")
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_yaml_1_1_takes_for_a_boolean_is_quoted() {
        let yaml = to_yaml(&json!({"mode": "Off", "list": ["yes", "y", "maybe"], "real": true}));
        let yaml = yaml.expect("it can be written");
        assert_eq!(
            yaml,
            "list:\n- 'yes'\n- 'y'\n- maybe\nmode: 'Off'\nreal: true\n"
        );
    }

    #[test]
    fn text_that_only_ends_in_such_a_word_is_left_alone() {
        let value = json!({"description": "turn it off\nor on", "other": "say no"});
        let yaml = to_yaml(&value).expect("it can be written");
        assert!(!yaml.contains('\''), "{yaml}");
    }

    #[test]
    fn text_that_cannot_be_told_apart_is_an_error() {
        let value = json!({"description": "either\nOff\nor on"});
        assert!(matches!(to_yaml(&value), Err(WriteError::Ambiguous)));
    }
}
