//! A mapped value becomes an attribute of the user, or is refused: what is stored, shown and put
//! into tokens is short and has no invisible characters.

use std::fmt;

use serde_json::Value;

const USERNAME_BYTES_MAX: usize = 256;
const PHONE_BYTES_MAX: usize = 64;
const GROUPS_MAX: usize = 256;
const GROUP_BYTES_MAX: usize = 256;

/// RFC 5321, section 4.5.3.1.3, without the angle brackets.
const EMAIL_BYTES_MAX: usize = 254;
const EMAIL_LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_LABEL_BYTES_MAX: usize = 63;

/// A field of `claims.mapping`; displayed as it is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    Username,
    Email,
    EmailVerified,
    Phone,
    Groups,
}

/// Why a value cannot be the attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("is no string")]
    NotAString,
    #[error("is neither a string nor a list of strings")]
    NotStrings,
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    #[error("has more than {0} entries")]
    TooMany(usize),
    #[error("has control or invisible characters")]
    Invisible,
    #[error("is no plausible address")]
    NotAnAddress,
    #[error("is no plausible telephone number")]
    NotAPhone,
}

/// Absent, null and empty are the same: providers send `""` for what they do not know.
pub(super) fn username(value: Option<Value>) -> Result<Option<String>, Unusable> {
    text(value, USERNAME_BYTES_MAX)
}

pub(super) fn email(value: Option<Value>) -> Result<Option<String>, Unusable> {
    let Some(mut email) = text(value, EMAIL_BYTES_MAX)? else {
        return Ok(None);
    };
    if !is_plausible_address(&email) {
        return Err(Unusable::NotAnAddress);
    }
    // ASCII only: full case folding would make one address of two that belong to different people.
    email.make_ascii_lowercase();
    Ok(Some(email))
}

pub(super) fn phone(value: Option<Value>) -> Result<Option<String>, Unusable> {
    let phone = text(value, PHONE_BYTES_MAX)?;
    let plausible = phone.as_ref().is_none_or(|phone| {
        phone.bytes().any(|byte| byte.is_ascii_digit())
            && phone
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || "+-.() ;=".contains(char))
    });
    if !plausible {
        return Err(Unusable::NotAPhone);
    }
    Ok(phone)
}

/// A single string is a list of one; empty strings name no group.
pub(super) fn groups(value: Option<Value>) -> Result<Vec<String>, Unusable> {
    let items = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(item @ Value::String(_)) => vec![item],
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(Unusable::NotStrings);
        }
    };
    if items.len() > GROUPS_MAX {
        return Err(Unusable::TooMany(GROUPS_MAX));
    }
    let groups = items.into_iter().map(|item| match item {
        Value::String(_) => text(Some(item), GROUP_BYTES_MAX),
        _ => Err(Unusable::NotStrings),
    });
    groups.filter_map(Result::transpose).collect()
}

fn text(value: Option<Value>, bytes_max: usize) -> Result<Option<String>, Unusable> {
    let text = match value {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err(Unusable::NotAString),
    };
    if text.len() > bytes_max {
        return Err(Unusable::TooLong(bytes_max));
    }
    if text.chars().any(is_invisible) {
        return Err(Unusable::Invisible);
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Control characters, and the format characters that make two texts look alike or run backwards.
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Stricter than RFC 5321, which allows quoted local parts: they are not used for sign-ins, and
/// software disagrees on them.
fn is_plausible_address(address: &str) -> bool {
    let Some((local, domain)) = address.split_once('@') else {
        return false;
    };
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .chars()
                .all(|char| char.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(char))
    };
    let is_label = |label: &str| {
        (1..=DOMAIN_LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|char| char.is_alphanumeric() || char == '-')
    };
    local.len() <= EMAIL_LOCAL_BYTES_MAX
        && local.split('.').all(is_atom)
        && domain.split('.').all(is_label)
}

impl Attribute {
    /// What the caller reads when the claims cannot give this attribute.
    pub(super) fn refusal(self) -> &'static str {
        match self {
            Self::Username => "the user name in the token cannot be used",
            Self::Email => "the email address in the token cannot be used",
            Self::EmailVerified => "the token does not say whether the email address is verified",
            Self::Phone => "the telephone number in the token cannot be used",
            Self::Groups => "the groups in the token cannot be used",
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Username => "username",
            Self::Email => "email",
            Self::EmailVerified => "emailVerified",
            Self::Phone => "phone",
            Self::Groups => "groups",
        })
    }
}
