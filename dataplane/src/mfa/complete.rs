//! A pending sign-in is completed: the proof, the session, what the risk engine learns and the
//! audit event in one commit.

use std::sync::Arc;

use vestibule_crds::claims::MappedClaims;
use vestibule_crds::signin_policy::MfaMethod;

use crate::app::App;
use crate::clock::lifetime;
use crate::dto::{LoginResponse, UserInfo};
use crate::failure::Failure;
use crate::flows::challenge::PendingAccount;
use crate::flows::device::DeviceToken;
use crate::flows::issue::{SessionClaims, TokenTimes, Wanted, access_token};
use crate::flows::signin::linking::link_account;
use crate::flows::signin::{OpenSession, decide_again, session_end};
use crate::mfa::attempt::{Attempt, Open, invalid};
use crate::password;
use crate::refresh_token::RefreshToken;
use vestibule_store::attempts::Tried;
use vestibule_store::mfa::{Completion, NewDevice, Proof};
use vestibule_store::sessions::Login;
use vestibule_store::{Account, Signin, SigninOutcome, User};

/// What the answer to a challenge proved.
#[derive(Debug)]
pub(super) struct Proved {
    pub(super) method: MfaMethod,
    pub(super) proof: Proof,
    /// The try that was right; none where none was counted.
    pub(super) tried: Option<Tried>,
    pub(super) remember_device: bool,
    pub(super) wanted: Wanted,
}

pub(super) async fn complete(
    app: &Arc<App>,
    attempt: &mut Attempt<'_>,
    open: Open,
    proved: Proved,
) -> Result<LoginResponse, Failure> {
    let Proved {
        method,
        proof,
        tried,
        remember_device,
        wanted,
    } = proved;
    let now = attempt.now();
    let (policy, kept) = (&open.policy, &open.kept);
    policy.current_key()?;
    let (account, user) = account(app, &open);
    let standing = password::standing(user.password, policy.spec.password.as_ref(), now);
    let info = UserInfo::of(&user, standing);
    let mut carried = SessionClaims {
        auth_time: Some(now),
        amr: amr(&proved_upstream(&kept.carried), method, kept.by_risk),
        ..kept.carried.clone()
    };
    carried.restrict(standing);
    let refresh = RefreshToken::first(now, app.random()?);
    let (from, origin) = (attempt.device.take(), kept.origin);
    let provider = &open.provider.key;
    let session = OpenSession {
        policy,
        provider,
        refresh: &refresh,
        carried: &carried,
        device: from,
        origin,
        ends_at: session_end(policy, now),
        now,
    };
    let session = session.new_session()?;
    let (session_id, ends_at) = (session.id, session.ends_at);
    attempt.frame.audit.session_id = Some(session_id);
    let trusted = remember_device && earns_trust(method);
    let device = trusted.then(|| new_device(app, now)).transpose()?;
    let remembered = lifetime(policy.spec.mfa.remember_device);
    let new_history = kept.history.as_ref();
    let history = new_history.and_then(|new_history| new_history.history());
    let counted = new_history.zip(history.as_ref());
    let counted = counted.map(|(new_history, history)| (new_history.values, history.is_first()));
    let signin = Signin {
        account,
        session,
        login: Some(Login::of(
            provider,
            origin,
            &kept.identity(),
            kept.issued_at,
        )),
        // The token was used up when the challenge was opened.
        replay: None,
        history,
        completion: Some(Completion {
            challenge: open.token.digest(),
            proof,
            tried,
            device: device.as_ref().map(|device| NewDevice {
                key: device.key(),
                expires_at: now.saturating_add(remembered),
            }),
        }),
        event: attempt.frame.audit.success(),
        now,
    };
    match app.store.run(signin).await? {
        SigninOutcome::Committed => {}
        outcome => {
            decide_again(outcome)?;
            return Err(invalid("its account changed meanwhile"));
        }
    }
    if let Some((values, first)) = counted {
        app.populations.count(&policy.key, &values, first);
    }
    let stamp = TokenTimes {
        now,
        jti: app.id(now)?,
        session: session_id,
        session_ends_at: ends_at,
    };
    let spec = &open.provider.spec;
    let token = access_token(policy, spec, &user, &carried, wanted, stamp)?;
    Ok(LoginResponse {
        requires_mfa: Some(false),
        device_token: device.map(|device| device.expose()),
        risk_level: kept.risk.as_ref().map(|risk| risk.level.clone()),
        risk_assessment: kept.risk.clone(),
        ..LoginResponse::of_session(token, &refresh, info, standing)
    })
}

fn new_device(app: &App, now: i64) -> Result<DeviceToken, Failure> {
    Ok(DeviceToken::new(app.id(now)?, app.random()?))
}

/// What becomes of the account, and the user as it is then.
fn account(app: &Arc<App>, open: &Open) -> (Account, User) {
    let user = open.user.clone();
    match &open.kept.account {
        PendingAccount::Existing(profile) => {
            let account = Account::Existing {
                user_id: user.id,
                profile: profile.clone(),
            };
            let profile = profile.clone().unwrap_or_else(|| user.profile.clone());
            (account, User { profile, ..user })
        }
        PendingAccount::Link(email) => {
            let mapped = MappedClaims {
                email: Some(email.clone()),
                email_verified: true,
                ..MappedClaims::default()
            };
            let identity = open.kept.identity();
            let account = link_account(app, &open.provider.spec, &mapped, identity, user.id);
            (account, user)
        }
    }
}

/// A device is remembered only after a factor that is more than a code that another person could
/// have been given.
const fn earns_trust(method: MfaMethod) -> bool {
    match method {
        MfaMethod::Webauthn | MfaMethod::Totp | MfaMethod::SmsOtp => true,
        MfaMethod::EmailOtp | MfaMethod::RecoveryCode => false,
    }
}

/// What the provider said of how it asked, as far as the operator trusts it.
fn proved_upstream(carried: &SessionClaims) -> Vec<String> {
    let upstream = carried.upstream.as_ref();
    upstream.map_or_else(Vec::new, |upstream| upstream.amr.clone())
}

/// Values of RFC 8176 for what was proved here: the factor, `mfa` where it is of another kind than
/// what the provider asked for, and `rba` where risk asked for it.
fn amr(trusted: &[String], method: MfaMethod, by_risk: bool) -> Vec<String> {
    /// Something that the person has.
    const POSSESSION: [&str; 7] = ["otp", "sms", "hwk", "swk", "sc", "tel", "pop"];
    let proved = match method {
        // User verification on the device is a kind of its own.
        MfaMethod::Webauthn => "hwk",
        MfaMethod::SmsOtp => "sms",
        MfaMethod::Totp | MfaMethod::EmailOtp | MfaMethod::RecoveryCode => "otp",
    };
    // A provider that says how it asked, and only for something that the person has, asked for the
    // same kind.
    let same_kind = !trusted.is_empty()
        && trusted
            .iter()
            .all(|value| POSSESSION.contains(&value.as_str()));
    let two_kinds = method == MfaMethod::Webauthn || !same_kind;
    let mut amr: Vec<String> = Vec::new();
    let own = [
        Some(proved),
        two_kinds.then_some("mfa"),
        by_risk.then_some("rba"),
    ];
    for value in own.into_iter().flatten() {
        if !amr.iter().any(|known| known == value) {
            amr.push(value.to_owned());
        }
    }
    amr
}

/// Whether a session's `amr` holds a second factor.
pub(super) fn holds_second_factor(amr: &[String]) -> bool {
    const SECOND: [&str; 4] = ["otp", "sms", "hwk", "mfa"];
    amr.iter().any(|value| SECOND.contains(&value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amr_says_what_was_proved_and_by_how_many_kinds() {
        use MfaMethod::{EmailOtp, RecoveryCode, SmsOtp, Totp, Webauthn};
        for (trusted, method, by_risk, expected) in [
            (vec![], Totp, false, "otp mfa"),
            (vec![], Totp, true, "otp mfa rba"),
            (vec!["pwd"], Totp, false, "otp mfa"),
            (vec!["pwd", "mfa"], SmsOtp, true, "sms mfa rba"),
            (vec!["otp"], Totp, false, "otp"),
            (vec!["hwk"], SmsOtp, false, "sms"),
            (vec!["otp"], Webauthn, false, "hwk mfa"),
            (vec![], Webauthn, false, "hwk mfa"),
            (vec![], EmailOtp, true, "otp mfa rba"),
            (vec![], RecoveryCode, false, "otp mfa"),
        ] {
            let trusted: Vec<String> = trusted.into_iter().map(str::to_owned).collect();
            assert_eq!(
                amr(&trusted, method, by_risk).join(" "),
                expected,
                "{method:?}"
            );
        }
    }

    #[test]
    fn only_what_was_proved_is_a_second_factor() {
        let held = |values: &[&str]| {
            let amr: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            holds_second_factor(&amr)
        };
        assert!(held(&["pwd", "otp"]) && held(&["hwk"]) && held(&["mfa"]));
        assert!(!held(&[]) && !held(&["pwd"]) && !held(&["rba"]));
    }
}
