//! Second factors: when one is asked for, what answers it, and how one is enrolled.
//!
//! A sign-in that needs a factor becomes a pending sign-in behind a challenge ([`challenge`]), and
//! the answer to the challenge completes it ([`verify`]). Until then it leaves no session, teaches
//! the risk engine nothing and changes no profile.

mod attempt;
mod complete;
pub mod describe;
pub mod enroll;
mod notice;
mod pending;
mod send;
pub mod verify;

/// A text for a person with the code, and for how many minutes it is good.
pub fn fill(text: &str, code: &str, minutes: u64) -> String {
    text.replace("{code}", code)
        .replace("{minutes}", &minutes.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::fill;

    type Texts = BTreeMap<String, BTreeMap<String, String>>;

    #[test]
    fn each_text_with_a_code_names_it_and_how_long_it_is_good() {
        for file in [
            include_str!("../texts/en.json"),
            include_str!("../texts/zh.json"),
        ] {
            let texts: Texts = serde_json::from_str(file).expect("texts by part and name");
            for part in ["mail", "sms"] {
                let text = fill(&texts[part]["text"], "012345", 10);
                assert!(text.contains("012345") && text.contains("10"), "{text}");
                assert!(!text.contains('{'), "{text}");
            }
            // A subject is read on a locked screen, and kept in logs.
            assert!(!texts["mail"]["subject"].contains('{'));
        }
    }
}
