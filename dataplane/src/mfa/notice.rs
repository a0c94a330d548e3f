//! A mail to a user about a change to the own second factors: a user who did not make it learns of
//! it.
//!
//! It is sent in the background, and neither delays the request nor makes it fail.

use std::sync::Arc;

use vestibule_crds::signin_policy::MfaMethod;

use crate::app::App;
use crate::factors::email::Letter;
use crate::language::{Language, object};
use crate::runtime_config::ActivePolicy;
use vestibule_store::Profile;

/// What happened to a factor, in words for its user.
pub(super) struct Notice {
    subject: String,
    text: String,
}

impl Notice {
    pub(super) fn added(method: MfaMethod, language: Language) -> Self {
        Self::of("added", method, language)
    }

    pub(super) fn removed(method: MfaMethod, language: Language) -> Self {
        Self::of("removed", method, language)
    }

    fn of(change: &str, method: MfaMethod, language: Language) -> Self {
        let texts = object(language, "notice");
        let text = |name: &str| texts.get(name).cloned().unwrap_or_default();
        Self {
            subject: text(&format!("{change}_subject")),
            text: text(change).replace("{method}", &text(method.name())),
        }
    }

    /// To the verified address of the user, where the policy sends mail; otherwise there is no
    /// recipient.
    pub(super) fn send(
        self,
        app: &Arc<App>,
        policy: &Arc<ActivePolicy>,
        profile: &Profile,
        now: i64,
    ) {
        let address = profile.email.clone().filter(|_| profile.email_verified);
        let (Some(_), Some(to)) = (&policy.mail_server, address) else {
            return;
        };
        let (Ok(id), Ok(permit)) = (app.id(now), Arc::clone(&app.notices).try_acquire_owned())
        else {
            tracing::warn!("a notice was not sent: too many are under way");
            return;
        };
        let letter = Letter {
            to,
            subject: self.subject,
            text: self.text,
            sent_at: now,
            id,
        };
        let policy = Arc::clone(policy);
        tokio::spawn(async move {
            let _permit = permit;
            let Some(server) = &policy.mail_server else {
                return;
            };
            if let Err(error) = server.send(&letter).await {
                tracing::warn!(policy = policy.key, "a notice was not sent: {error}");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_each_method_has_its_words_in_each_language() {
        for language in [Language::English, Language::Chinese] {
            for method in [MfaMethod::Webauthn, MfaMethod::Totp] {
                for notice in [
                    Notice::added(method, language),
                    Notice::removed(method, language),
                ] {
                    assert!(!notice.subject.is_empty());
                    assert!(notice.text.len() > 20 && !notice.text.contains('{'));
                }
            }
        }
    }
}
