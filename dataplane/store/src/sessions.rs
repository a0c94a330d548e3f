//! Sessions as their user and an administrator see them, and where each comes from.

use uuid::Uuid;

use super::{Event, IdentityKey, ReplayKey};
use crate::digest::sha256;

/// Sessions of one page.
pub const PAGE_SESSIONS_MAX: u32 = 100;
/// Of a digest over the provider's own names: as much as tells them apart.
pub const ORIGIN_BYTES: usize = 16;

/// The live sessions of a user, the newest first.
#[derive(Debug, Clone, Copy)]
pub struct SessionPage {
    pub user: Uuid,
    /// The last session of the page before.
    pub after: Option<Uuid>,
    /// At most [`PAGE_SESSIONS_MAX`].
    pub limit: u32,
    pub now: i64,
}

/// What a logout token says: it is used up and ends what it names, in one transaction.
#[derive(Debug, Clone)]
pub struct ProviderLogout {
    /// The providers that it is for.
    pub meant: Vec<LoggedOut>,
    /// Without it the session alone is named.
    pub subject: Option<String>,
    /// With a subject: of its sessions only this one, and those that do not say which session of the provider they come from.
    pub sid: Option<String>,
    /// When the provider said so, by its own clock.
    pub issued_at: i64,
    pub replay: ReplayKey,
    pub event: Event,
    pub now: i64,
}

/// One provider that a user signed out of.
#[derive(Debug, Clone)]
pub struct LoggedOut {
    /// `namespace/name`.
    pub provider: String,
    /// How long a token that it issued before could sign in.
    pub tokens_live: i64,
    /// Of the subject, at the provider's policy.
    pub identity: IdentityKey,
}

impl ProviderLogout {
    /// What the sessions of one provider may be known by.
    pub(super) fn origin_at(&self, one: &LoggedOut) -> Origin {
        let issuer = &one.identity.issuer;
        Origin {
            subject: self.subject.as_deref().map(|of| named("sub", issuer, of)),
            sid: self.sid.as_deref().map(|sid| named("sid", issuer, sid)),
        }
    }

    /// What of one provider is over, and must stay so.
    pub(super) fn ended_logins(&self, one: &LoggedOut) -> Vec<EndedLogin> {
        let issuer = &one.identity.issuer;
        let ended = |digest, issued_until| EndedLogin {
            provider: one.provider.clone(),
            digest,
            issued_until,
            expires_at: self.now.saturating_add(one.tokens_live),
        };
        let subject = self.subject.as_deref();
        match (subject, self.sid.as_deref()) {
            (None, None) => Vec::new(),
            (Some(subject), None) => vec![ended(named("sub", issuer, subject), self.issued_at)],
            // A session of the provider's ends once.
            (None, Some(sid)) => vec![ended(named("sid", issuer, sid), i64::MAX)],
            (Some(subject), Some(sid)) => vec![
                ended(named("sid", issuer, sid), i64::MAX),
                ended(named(WITHOUT_SID, issuer, subject), self.issued_at),
            ],
        }
    }

    /// Its event, with what came of it.
    pub(super) fn event_of(&self, user: Option<Uuid>, ended: usize) -> Event {
        Event {
            user_id: user,
            detail: format!("{ended} sessions ended"),
            ..self.event.clone()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoutOutcome {
    /// So many sessions, none included.
    Ended(usize),
    /// The token was used before: nothing was written.
    Replayed,
}

/// A login at a provider, as one of its tokens names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `namespace/name`.
    pub provider: String,
    /// What a logout that ends it is kept under: all of the subject's logins, and this one.
    pub ended_by: [[u8; ORIGIN_BYTES]; 2],
    /// When the token was issued.
    pub issued_at: i64,
}

/// What a logout leaves behind, so that no token from before it signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndedLogin {
    pub(super) provider: String,
    pub(super) digest: [u8; ORIGIN_BYTES],
    /// Tokens issued until then are from before it.
    pub(super) issued_until: i64,
    /// When no such token could sign in any more.
    pub(super) expires_at: i64,
}

/// Logins of a subject whose tokens name no session: the logout of any session may have been theirs.
const WITHOUT_SID: &str = "sub without sid";

impl Login {
    pub fn of(provider: &str, origin: Origin, identity: &IdentityKey, issued_at: i64) -> Self {
        let IdentityKey {
            policy: _,
            issuer,
            subject,
        } = identity;
        // What an older version kept has no subject's digest.
        let all = || named("sub", issuer, subject);
        let without_sid = || named(WITHOUT_SID, issuer, subject);
        Self {
            provider: provider.to_owned(),
            ended_by: [
                origin.subject.unwrap_or_else(all),
                origin.sid.unwrap_or_else(without_sid),
            ],
            issued_at,
        }
    }
}

/// What a provider may end a session by. Of digests, so that what a provider writes takes no more room than this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// Missing where an older version made the session.
    pub subject: Option<[u8; ORIGIN_BYTES]>,
    /// Where the provider names its own session.
    pub sid: Option<[u8; ORIGIN_BYTES]>,
}

impl Origin {
    /// `issuer`: the provider's canonical one.
    pub fn of(issuer: &str, subject: &str, sid: Option<&str>) -> Self {
        Self {
            subject: Some(named("sub", issuer, subject)),
            sid: sid.map(|sid| named("sid", issuer, sid)),
        }
    }
}

/// No issuer and no kind holds a character 0, so that no two names are one text.
fn named(kind: &str, issuer: &str, name: &str) -> [u8; ORIGIN_BYTES] {
    let digest = sha256(format!("{kind}\0{issuer}\0{name}").as_bytes());
    let mut first = [0; ORIGIN_BYTES];
    first.copy_from_slice(&digest[..ORIGIN_BYTES]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_issuer_says_of_another_names_nothing_of_the_others() {
        let origin = Origin::of("https://a.example", "ann", Some("s"));
        assert_eq!(origin, Origin::of("https://a.example", "ann", Some("s")));
        let other = Origin::of("https://b.example", "ann", Some("s"));
        assert_ne!(origin.subject, other.subject);
        assert_ne!(origin.sid, other.sid);
        let swapped = Origin::of("https://a.example", "s", Some("ann"));
        assert_ne!(origin.subject, swapped.sid);
    }
}
