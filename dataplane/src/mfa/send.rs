//! Sends a code to the address or number that was stored before the sign-in.

use vestibule_crds::signin_policy::MfaMethod;

use crate::app::App;
use crate::factors::email::Letter;
use crate::factors::sms::Message;
use crate::failure::{Code, Failure};
use crate::flows::mfa_requirement::number_for_codes;
use crate::language::{Language, object};
use crate::mfa::attempt::{Attempt, Open};
use crate::mfa::fill;
use crate::mfa::pending::Pending;
use vestibule_store::mfa::{TryOutcome, Waiting};

/// How long a code is good, where the challenge is not over before.
const CODE_SECONDS: i64 = 600;
const CODES: u64 = 1_000_000;

/// Where a code went, and how long it is good.
pub(super) struct Sent {
    pub(super) to: String,
    pub(super) expires_in: i64,
}

pub(super) async fn send(
    app: &App,
    attempt: &Attempt<'_>,
    open: &Open,
    method: MfaMethod,
    language: Language,
) -> Result<Sent, Failure> {
    let now = attempt.now();
    let number = u64::from_be_bytes(app.random()?) % CODES;
    let code = format!("{number:06}");
    let expires_at = open
        .challenge
        .expires_at
        .min(now.saturating_add(CODE_SECONDS));
    let pending = Pending::code(method, &open.token, &code, expires_at);
    wait(app, open, &pending, Some(method), now).await?;
    let expires_in = expires_at.saturating_sub(now);
    let outgoing = Outgoing {
        code: &code,
        expires_in,
        language,
    };
    let to = match method {
        MfaMethod::EmailOtp => mail(app, attempt, open, outgoing).await?,
        MfaMethod::SmsOtp => text(app, attempt, open, outgoing).await?,
        MfaMethod::Webauthn | MfaMethod::Totp | MfaMethod::RecoveryCode => {
            return Err(Code::MfaMethodUnavailable.into());
        }
    };
    app.record(attempt.frame.audit.noted("ok", method.name()));
    Ok(Sent { to, expires_in })
}

/// The challenge waits for this from here on.
pub(super) async fn wait(
    app: &App,
    open: &Open,
    pending: &Pending,
    sends: Option<MfaMethod>,
    now: i64,
) -> Result<(), Failure> {
    let waiting = Waiting {
        user: open.user.id,
        challenge: open.token.digest(),
        pending: pending.encode(),
        sends,
        now,
    };
    match app.store.run(waiting).await? {
        TryOutcome::Counted(_) => Ok(()),
        TryOutcome::Gone => Err(crate::mfa::attempt::invalid("it was answered meanwhile")),
        TryOutcome::Locked(seconds) => Err(crate::mfa::attempt::budget_used(sends, seconds)),
    }
}

#[derive(Clone, Copy)]
struct Outgoing<'a> {
    code: &'a str,
    expires_in: i64,
    language: Language,
}

impl Outgoing<'_> {
    /// A text of the language's file, with the code.
    fn text(&self, part: &str, name: &str) -> String {
        let minutes = self.expires_in.unsigned_abs().div_ceil(60);
        let texts = object(self.language, part);
        fill(
            texts.get(name).map_or("", String::as_str),
            self.code,
            minutes,
        )
    }
}

async fn mail(
    app: &App,
    attempt: &Attempt<'_>,
    open: &Open,
    outgoing: Outgoing<'_>,
) -> Result<String, Failure> {
    let profile = &open.user.profile;
    let address = profile.email.clone().filter(|_| profile.email_verified);
    let (Some(server), Some(to)) = (&open.policy.mail_server, address) else {
        return Err(Code::MfaUnavailable.because("mail cannot be sent").into());
    };
    let masked = masked_address(&to);
    let letter = Letter {
        to,
        subject: outgoing.text("mail", "subject"),
        text: outgoing.text("mail", "text"),
        sent_at: attempt.now(),
        id: app.id(attempt.now())?,
    };
    server
        .send(&letter)
        .await
        .map_err(|error| Code::MfaUnavailable.because(error.to_string()))?;
    Ok(masked)
}

async fn text(
    app: &App,
    attempt: &Attempt<'_>,
    open: &Open,
    outgoing: Outgoing<'_>,
) -> Result<String, Failure> {
    let number = number_for_codes(&open.user.profile);
    let (Some(webhook), Some(to)) = (&open.policy.sms_webhook, number) else {
        return Err(Code::MfaUnavailable.because("no text can be sent").into());
    };
    let message = Message {
        to: &to,
        text: &outgoing.text("sms", "text"),
        code: outgoing.code,
        expires_in: outgoing.expires_in.unsigned_abs(),
        language: outgoing.language.tag(),
        id: app.id(attempt.now())?,
        signed_at: attempt.now(),
    };
    webhook
        .send(&message)
        .await
        .map_err(|error| Code::MfaUnavailable.because(error.to_string()))?;
    Ok(masked_number(to.as_str()))
}

/// Enough for its owner to know which it is.
fn masked_address(address: &str) -> String {
    let (local, domain) = address.split_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).collect();
    format!("{first}***@{domain}")
}

fn masked_number(number: &str) -> String {
    let end = number.len().saturating_sub(2);
    format!("***{}", number.get(end..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_address_is_no_address() {
        assert_eq!(masked_address("alice@corp.example"), "a***@corp.example");
        assert_eq!(masked_address("émile@corp.example"), "é***@corp.example");
        assert_eq!(masked_number("+15550123"), "***23");
    }
}
