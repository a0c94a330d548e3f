//! Users from another system: one JSON object a line, with the hash of the password that the user
//! has there. Pure; no message repeats what stands in the line.

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};
use vestibule_crds::secret::Secret;

use super::change_event;
use crate::encoding::sha256;
use crate::password::hashing;
use vestibule_store::LocalPassword;
use vestibule_store::passwords::ImportUser;
use vestibule_store::{IdentityKey, Profile, User, UserStatus};

pub const LINE_BYTES_MAX: usize = 8 * 1024;
const TEXT_BYTES_MAX: usize = 512;

/// A line and its place in the file, from 1 on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportLine {
    pub number: usize,
    pub text: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    pub line: usize,
    pub error: String,
}

/// What may stand in a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Left out: made of the policy and the identity, the user name or the address, so that the
    /// same line is the same user.
    id: Option<Uuid>,
    username: Option<String>,
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
    phone: Option<String>,
    status: Option<String>,
    /// RFC 3339.
    created_at: Option<String>,
    /// argon2id as a PHC string, or bcrypt.
    password_hash: Option<Secret>,
    /// RFC 3339. Left out: now.
    password_changed_at: Option<String>,
    #[serde(default)]
    must_change_password: bool,
    /// By which a provider knows the user, both or neither.
    issuer: Option<String>,
    subject: Option<String>,
}

/// The user of a line.
pub fn read(policy: &str, line: &ImportLine, now: i64) -> Result<ImportUser, LineError> {
    user_of(policy, line.text.expose(), now).map_err(|error| LineError {
        line: line.number,
        error,
    })
}

fn user_of(policy: &str, text: &str, now: i64) -> Result<ImportUser, String> {
    if text.len() > LINE_BYTES_MAX {
        return Err(format!("it is longer than {LINE_BYTES_MAX} bytes"));
    }
    let written: Written = serde_json::from_str(text).map_err(|error| place(&error))?;
    let Written {
        id,
        username,
        email,
        email_verified,
        phone,
        status,
        created_at,
        password_hash,
        password_changed_at,
        must_change_password,
        issuer,
        subject,
    } = written;
    for (name, text) in [
        ("username", &username),
        ("email", &email),
        ("phone", &phone),
        ("issuer", &issuer),
        ("subject", &subject),
    ] {
        check_text(name, text.as_deref())?;
    }
    // As addresses of tokens are kept.
    let email = email.map(|email| email.to_lowercase());
    if email.as_ref().is_some_and(|email| !email.contains('@')) {
        return Err("email is no address".to_owned());
    }
    if email.is_none() && email_verified {
        return Err("email_verified is true, and there is no email".to_owned());
    }
    let identity = match (issuer, subject) {
        (Some(issuer), Some(subject)) => Some(IdentityKey {
            policy: policy.to_owned(),
            issuer,
            subject,
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err("write issuer and subject, or neither".to_owned());
        }
    };
    let status = match status.as_deref() {
        None => UserStatus::Active,
        Some(name) => UserStatus::parse(name).ok_or("status is active, disabled or locked")?,
    };
    if let Some(hash) = &password_hash {
        let hash = hashing::check(hash.expose());
        hash.map_err(|error| format!("password_hash: {error}"))?;
    } else if must_change_password || password_changed_at.is_some() {
        return Err("there is no password_hash".to_owned());
    }
    let created_at = seconds("created_at", created_at.as_deref(), now)?;
    let changed_at = seconds("password_changed_at", password_changed_at.as_deref(), now)?;
    let key = match (&identity, &username, &email) {
        (Some(identity), _, _) => Some(("identity", [&*identity.issuer, &identity.subject])),
        (None, Some(username), _) => Some(("username", [&**username, ""])),
        (None, None, Some(email)) => Some(("email", [&**email, ""])),
        (None, None, None) => None,
    };
    let id = id.or_else(|| key.map(|(kind, key)| id_of(policy, kind, key)));
    let id = id.ok_or("write an id, an issuer and a subject, a username or an email")?;
    Ok(ImportUser {
        user: User {
            id,
            policy: policy.to_owned(),
            profile: Profile {
                username,
                email,
                email_verified,
                // The administrator says whose address it is.
                email_linkable: email_verified,
                phone,
                phone_unverified: false,
            },
            status,
            created_at,
            sessions_valid_from: 0,
            password: password_hash.as_ref().map(|_| LocalPassword {
                changed_at,
                must_change: must_change_password,
            }),
        },
        hash: password_hash,
        identity,
        event: change_event(now, policy, id, String::new()),
    })
}

/// The same for the same line, whenever and wherever it is read (RFC 9562, version 8).
fn id_of(policy: &str, kind: &str, key: [&str; 2]) -> Uuid {
    let [first, second] = key;
    let named = serde_json::json!([policy, kind, first, second]).to_string();
    let digest = sha256(named.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

fn check_text(name: &str, text: Option<&str>) -> Result<(), String> {
    let Some(text) = text else {
        return Ok(());
    };
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(format!("{name} has 1 to {TEXT_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err(format!(
            "{name} has a control character, or a space at an end"
        ));
    }
    Ok(())
}

fn seconds(name: &str, text: Option<&str>, now: i64) -> Result<i64, String> {
    let Some(text) = text else {
        return Ok(now);
    };
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|_| format!("{name} is no time such as 2026-01-31T12:00:00Z"))?;
    if at.as_second() > now {
        return Err(format!("{name} is in the future"));
    }
    Ok(at.as_second())
}

/// Where it is not as it should be. The text of the error may repeat a value.
fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => {
            "it has a member that is unknown, stands twice or has another type"
        }
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => "it is not one JSON object",
    };
    format!("{what} (column {})", error.column())
}

impl std::fmt::Debug for ImportLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImportLine({})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_900_000_000;
    const BCRYPT: &str = "$2b$04$rK07NaV7T.iN7p7wMdl3Pel0l.PIeKpDvm2Sq7zAjq9ZVcLavjXmy";

    fn line(text: &str) -> ImportLine {
        ImportLine {
            number: 7,
            text: Secret::new(text),
        }
    }

    fn valid() -> Value {
        json!({"username": "ann", "email": "Ann@shop.example", "email_verified": true, "password_hash": BCRYPT})
    }

    fn with(name: &str, value: Value) -> Result<ImportUser, LineError> {
        let mut written = valid();
        written[name] = value;
        read("shop/default", &line(&written.to_string()), NOW)
    }

    #[test]
    fn a_line_is_a_user() {
        let mut written = valid();
        written["created_at"] = json!("2020-01-31T12:00:00Z");
        written["password_changed_at"] = json!("2025-01-31T12:00:00Z");
        written["must_change_password"] = json!(true);
        written["status"] = json!("disabled");
        written["issuer"] = json!("https://id.example");
        written["subject"] = json!("00u1");
        let import = read("shop/default", &line(&written.to_string()), NOW).expect("a user");
        assert_eq!(
            import.user.profile.email.as_deref(),
            Some("ann@shop.example")
        );
        assert_eq!(import.user.created_at, 1_580_472_000);
        assert_eq!(
            import.user.password,
            Some(LocalPassword {
                changed_at: 1_738_324_800,
                must_change: true
            })
        );
        assert_eq!(import.user.status, UserStatus::Disabled);
        assert_eq!(
            import.identity.map(|identity| identity.subject).as_deref(),
            Some("00u1")
        );
    }

    #[test]
    fn the_same_line_is_the_same_user_and_another_is_another() {
        let id = |line: Result<ImportUser, LineError>| line.expect("a user").user.id;
        assert_eq!(
            id(with("phone", json!("+15550100"))),
            id(with("status", json!("locked")))
        );
        assert_ne!(
            id(with("phone", json!("1"))),
            id(with("username", json!("bob")))
        );
        let other_policy = read("shop/other", &line(&valid().to_string()), NOW);
        assert_ne!(id(with("phone", json!("1"))), id(other_policy));
        let own = Uuid::from_u128(7);
        assert_eq!(id(with("id", json!(own))), own);
    }

    #[test]
    fn a_line_that_is_not_whole_is_refused_without_being_repeated() {
        for (name, value) in [
            ("password_hash", json!("hunter2")),
            ("password_hash", json!(7)),
            ("password", json!("hunter2")),
            ("username", json!("")),
            ("username", json!("hunter2\n")),
            ("username", json!("x".repeat(513))),
            ("email", json!("hunter2")),
            ("email", json!(null)),
            ("status", json!("hunter2")),
            ("issuer", json!("https://hunter2.example")),
            ("created_at", json!("hunter2")),
            ("password_changed_at", json!("2999-01-01T00:00:00Z")),
            ("id", json!("hunter2")),
        ] {
            let error = with(name, value.clone()).expect_err("it is refused");
            assert_eq!(error.line, 7);
            assert!(!error.error.contains("hunter2"), "{name}: {}", error.error);
        }
        for text in [
            "",
            "{",
            "[]",
            "{}",
            "hunter2",
            r#"{"username": "a", "username": "b"}"#,
            r#"{"username": "a", "must_change_password": true}"#,
            r#"{"phone": "+15550100"}"#,
        ] {
            let error = read("shop/default", &line(text), NOW).expect_err("it is refused");
            assert!(!error.error.contains("hunter2"), "{text}: {}", error.error);
        }
    }
}
