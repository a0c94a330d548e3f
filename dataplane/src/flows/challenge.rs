//! Pending sign-ins wait for a second factor. Each is stored under the SHA-256 of a token, until
//! its challenge is answered.
//!
//! A new user is created with the challenge, without a profile: tries are counted for a user, and
//! the holder of a valid ID token could otherwise reset the count by never finishing. What the
//! provider says of a person, a link to an account, the session and all that the risk engine learns
//! come with the completion.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use vestibule_crds::signin_policy::MfaMethod;

use crate::app::App;
use crate::audit::context::AuditContext;
use crate::clock::lifetime;
use crate::dto::{LoginResponse, RiskAssessmentInfo};
use crate::encoding::{hex, sha256};
use crate::failure::{Code, Failure};
use crate::flows::account::Plan;
use crate::flows::issue::SessionClaims;
use crate::flows::mfa_requirement::{Contact, MfaRequirement, Offer, offer};
use crate::flows::signin::VerifiedIdentity;
use crate::language::Language;
use crate::runtime_config::{ActivePolicy, ActiveProvider};
use vestibule_risk::{Level, Values};
use vestibule_store::mfa::{Factors, OpenChallenge, ReadFactors};
use vestibule_store::sessions::Origin;
use vestibule_store::{Account, IdentityKey, NewHistory, Profile, SigninOutcome};

/// So that secret scanners and people know one when they see it.
const PREFIX: &str = "vct_";
const TOKEN_BYTES: usize = 32;

/// In the clear: it exists only while a request is answered.
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengeToken([u8; TOKEN_BYTES]);

impl ChallengeToken {
    pub fn new(random: [u8; TOKEN_BYTES]) -> Self {
        Self(random)
    }

    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The token as the caller gets it.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    /// A digest of a code that was sent for this challenge.
    pub fn bind(&self, code: &str) -> [u8; 32] {
        sha256(&[b"code".as_slice(), &self.0, code.as_bytes()].concat())
    }
}

impl fmt::Debug for ChallengeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeToken([redacted])")
    }
}

/// The sign-in as far as it went, as the store keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PendingSignin {
    /// `namespace/name` and revision of the policy that asked.
    pub policy: String,
    pub policy_revision: String,
    pub issuer: String,
    pub subject: String,
    /// SHA-256 of the ID token, to find out where a challenge came from.
    pub token: String,
    pub account: PendingAccount,
    pub carried: SessionClaims,
    /// Missing in what an older version kept.
    #[serde(default)]
    pub origin: Origin,
    /// When the ID token was issued. 0 in what an older version kept: any logout at the provider
    /// since ends it.
    #[serde(default)]
    pub issued_at: i64,
    pub level: PendingLevel,
    /// Whether risk asked for the factor, not the mode alone.
    pub by_risk: bool,
    /// How the sign-in was assessed, for the audit event.
    pub assessment: String,
    pub risk: Option<RiskAssessmentInfo>,
    pub history: Option<KeptHistory>,
    pub methods: Vec<MfaMethod>,
    pub enrollable: Vec<MfaMethod>,
}

/// What becomes of the account once the sign-in is complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PendingAccount {
    /// With the attributes to store, when they changed or are the first.
    Existing(Option<Profile>),
    /// A link to the owner of this verified address.
    Link(String),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum PendingLevel {
    Low,
    Medium,
    High,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptHistory {
    replaces: Option<i64>,
    /// Base64.
    content: String,
    /// What the sign-in showed: it counts among all once it is complete.
    #[serde(default)]
    pub values: Values,
}

impl PendingLevel {
    pub fn level(self) -> Level {
        match self {
            Self::Low => Level::Low,
            Self::Medium => Level::Medium,
            Self::High => Level::High,
        }
    }

    fn of(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
        }
    }
}

impl KeptHistory {
    fn of(history: &NewHistory, values: Values) -> Self {
        Self {
            replaces: history.replaces,
            content: STANDARD_NO_PAD.encode(&history.content),
            values,
        }
    }

    /// None for content that this program did not write: the risk engine then learns nothing.
    pub fn history(&self) -> Option<NewHistory> {
        Some(NewHistory {
            replaces: self.replaces,
            content: STANDARD_NO_PAD.decode(&self.content).ok()?,
        })
    }
}

impl PendingSignin {
    pub fn identity(&self) -> IdentityKey {
        IdentityKey {
            policy: self.policy.clone(),
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
        }
    }

    /// Why a factor is asked for: the heaviest of the risk's reasons, or that this policy always
    /// does.
    pub fn reason(&self, language: Language) -> &'static str {
        let heaviest = self.risk.as_ref().and_then(|risk| risk.reasons.first());
        language.reason(match heaviest {
            Some(code) if self.by_risk => code.as_ref(),
            Some(_) | None if self.by_risk => "risk",
            Some(_) | None => "always",
        })
    }
}

/// A sign-in that was asked for a factor.
#[derive(Debug)]
pub struct NewChallenge<'a> {
    pub provider: &'a ActiveProvider,
    pub policy: &'a ActivePolicy,
    pub identity: &'a VerifiedIdentity<'a>,
    pub plan: &'a Plan,
    pub account: Account,
    /// Of the user as stored.
    pub contact: Contact,
    pub requirement: MfaRequirement,
    pub carried: SessionClaims,
    pub risk: Option<RiskAssessmentInfo>,
    /// What the risk engine learns, and what the sign-in showed.
    pub history: Option<(NewHistory, Values)>,
    pub language: Language,
    pub now: i64,
}

/// Keeps the sign-in, and answers with its challenge or with why there is none.
pub async fn open(
    app: &App,
    asked: NewChallenge<'_>,
    audit: &mut AuditContext,
) -> Result<Result<LoginResponse, SigninOutcome>, Failure> {
    let NewChallenge {
        provider,
        policy,
        identity,
        plan,
        account,
        contact,
        requirement,
        carried,
        risk,
        history,
        language,
        now,
    } = asked;
    let mfa = &policy.spec.mfa;
    let factors = match plan {
        Plan::Create { .. } => Factors::default(),
        Plan::SignIn { user, .. } | Plan::Link { user } => {
            app.store.run(ReadFactors(user.id)).await?
        }
    };
    let offered = offer(mfa, requirement.level, &factors, contact);
    if offered.is_empty() {
        let audit = format!("no factor can be asked for: {}", audit.assessment);
        return Err(Code::MfaUnavailable.because(audit).into());
    }
    let Offer {
        methods,
        enrollable,
    } = offered;
    let kept = PendingSignin {
        policy: policy.key.clone(),
        policy_revision: policy.spec.revision.as_str().to_owned(),
        issuer: identity.identity.issuer.clone(),
        subject: identity.identity.subject.clone(),
        token: hex(&identity.digest()),
        account: match plan {
            Plan::SignIn { user, changed } => {
                PendingAccount::Existing(changed.then(|| user.profile.clone()))
            }
            Plan::Create { user } => PendingAccount::Existing(Some(user.profile.clone())),
            Plan::Link { .. } => {
                PendingAccount::Link(identity.mapped.email.clone().unwrap_or_default())
            }
        },
        carried,
        origin: identity.origin(),
        issued_at: identity.issued_at,
        level: PendingLevel::of(requirement.level),
        by_risk: requirement.by_risk,
        assessment: audit.assessment.clone(),
        risk,
        history: history.map(|(history, values)| KeptHistory::of(&history, values)),
        methods,
        enrollable,
    };
    let token = ChallengeToken::new(app.random()?);
    let ttl = lifetime(mfa.challenge_ttl);
    audit.session_id = None;
    let opening = OpenChallenge {
        account,
        login: Some(identity.login(&provider.key, kept.origin)),
        replay: identity.replay_key(provider.spec.token.replay),
        digest: token.digest(),
        provider: provider.key.clone(),
        expires_at: now.saturating_add(ttl),
        content: serde_json::to_string(&kept)
            .map_err(|_| Code::Internal.because("the sign-in cannot be kept"))?,
        event: audit.challenged(),
        now,
    };
    match app.store.run(opening).await? {
        SigninOutcome::Committed => {}
        outcome => return Ok(Err(outcome)),
    }
    app.metrics.challenged();
    let reason = kept.reason(language);
    let PendingSignin { risk, methods, .. } = kept;
    Ok(Ok(LoginResponse {
        expires_in: Some(ttl),
        requires_mfa: Some(true),
        challenge_token: Some(token.expose()),
        required_mfa_methods: Some(methods.into_iter().map(MfaMethod::name).collect()),
        mfa_check_reason: Some(reason),
        risk_level: risk.as_ref().map(|risk| risk.level.clone()),
        risk_assessment: risk,
        ..LoginResponse::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_reads_back_and_nothing_else_does() {
        let token = ChallengeToken::new([7; 32]);
        let text = token.expose();
        assert_eq!(ChallengeToken::parse(&text), Some(token));
        let cut = &text[..text.len() - 1];
        for bad in ["", "vct_", cut, &text[4..], &format!("{text}A"), "vct_!"] {
            assert_eq!(ChallengeToken::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let token = ChallengeToken::new([7; 32]);
        assert!(!format!("{token:?}").contains('7'));
    }
}
