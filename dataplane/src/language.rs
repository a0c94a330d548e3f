//! The language of texts for people, by `Accept-Language` (RFC 9110, section 12.5.4), and the
//! sentences.
//!
//! One file for each language, `texts/*.json`; object `reasons` has why a second factor is asked
//! for, `mail` and `sms` what is sent with a code, `page` what the page says on which one is given.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;
use serde_json::Value;

/// Ranges that are read.
const RANGES_MAX: usize = 32;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    Chinese,
}

impl Language {
    /// The language of a tag such as `zh` or `zh-Hans-CN`, where it is one of ours.
    pub fn named(tag: &str) -> Option<Self> {
        match tag.split('-').next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "zh" => Some(Self::Chinese),
            _ => None,
        }
    }

    /// The one that is wanted most of those that there are; English where none is.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut wanted = (Self::English, 0.0);
        let values = headers.get_all(ACCEPT_LANGUAGE).iter();
        let ranges = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for range in ranges.take(RANGES_MAX) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let any = (tag == "*").then_some(Self::English);
            let Some(language) = any.or_else(|| Self::named(tag)) else {
                continue;
            };
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(Some(1.0), |text| text.parse::<f32>().ok());
            // Of equal ones the first.
            if let Some(weight) = weight
                && weight > wanted.1
            {
                wanted = (language, weight);
            }
        }
        wanted.0
    }

    /// As `Accept-Language` writes it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// The file of this language.
    fn text(self) -> &'static str {
        match self {
            Self::English => include_str!("../texts/en.json"),
            Self::Chinese => include_str!("../texts/zh.json"),
        }
    }

    /// The sentence of this name in object `reasons`.
    pub fn reason(self, name: &str) -> &'static str {
        static ENGLISH: LazyLock<HashMap<String, String>> =
            LazyLock::new(|| object(Language::English, "reasons"));
        static CHINESE: LazyLock<HashMap<String, String>> =
            LazyLock::new(|| object(Language::Chinese, "reasons"));
        let sentences = match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        };
        let sentence = sentences.get(name).or_else(|| sentences.get("risk"));
        sentence.map_or("", String::as_str)
    }
}

/// The strings of one object of a language's file.
pub fn object(language: Language, name: &str) -> HashMap<String, String> {
    let file: Value = serde_json::from_str(language.text()).unwrap_or_default();
    let members = file.get(name).and_then(Value::as_object);
    members
        .into_iter()
        .flatten()
        .filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::HeaderValue;

    use super::*;

    fn language(header: &str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT_LANGUAGE,
            HeaderValue::from_str(header).expect("a value"),
        );
        Language::of(&headers)
    }

    #[test]
    fn the_language_is_the_one_that_is_wanted_most() {
        for (header, expected) in [
            ("", Language::English),
            ("en", Language::English),
            ("zh", Language::Chinese),
            ("zh-Hans-CN, en;q=0.9", Language::Chinese),
            ("ZH-TW", Language::Chinese),
            ("en;q=0.8, zh;q=0.9", Language::Chinese),
            ("en, zh", Language::English),
            ("fr, zh;q=0.5, *;q=0.1", Language::Chinese),
            ("zh;q=0, en;q=0.1", Language::English),
            ("zh;q=0", Language::English),
            ("fr", Language::English),
            ("zh;q=much", Language::English),
            ("zhx", Language::English),
        ] {
            assert_eq!(language(header), expected, "{header}");
        }
        assert_eq!(Language::of(&HeaderMap::new()), Language::English);
    }

    /// Every name that a file has, with the objects that they stand in, and what each sentence has
    /// a place for.
    fn names(language: Language) -> BTreeSet<String> {
        let file: Value = serde_json::from_str(language.text()).expect("JSON");
        let mut names = BTreeSet::new();
        for (object, members) in file.as_object().expect("an object") {
            for (name, text) in members.as_object().expect("an object of strings") {
                assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{name}");
                let places = text.as_str().unwrap_or_default().split('{').skip(1);
                let places: BTreeSet<&str> =
                    places.filter_map(|rest| rest.split('}').next()).collect();
                names.insert(format!("{object}.{name} {places:?}"));
            }
        }
        names
    }

    #[test]
    fn no_sentence_lacks_a_translation() {
        assert_eq!(names(Language::English), names(Language::Chinese));
    }

    #[test]
    fn every_reason_has_a_sentence_of_its_own() {
        for language in [Language::English, Language::Chinese] {
            let reasons = object(language, "reasons");
            let codes = vestibule_risk::reason_codes().chain(["always", "risk"]);
            for code in codes {
                assert!(reasons.contains_key(code), "{code}");
            }
        }
    }
}
