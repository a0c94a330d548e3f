//! Whether a sign-in needs a second factor, and which of them may answer. Pure.
//!
//! A factor is asked for when the policy's mode is `Always`, or when risk is enforced and the
//! level's action is `RequireMfa`. The provider's own second factor answers in its place when the
//! operator honours it and it is recent, unless the sign-in shows what such a factor does not
//! explain: travel, velocity or a reputation.
//!
//! | the user has | level | may answer | may enrol |
//! |---|---|---|---|
//! | a factor that the policy offers | any | the factors enrolled, then recovery codes | nothing with a challenge |
//! | none | low, `noEnrollment.low: Enroll` | codes to the stored number or address | totp, webauthn |
//! | none | low, `noEnrollment.low: EmailOtp` | codes to the stored number or address | nothing |
//! | none | medium, `noEnrollment.medium: EmailOtp` | codes to the stored number or address | nothing |
//! | none | high, `noEnrollment.high: EmailOtp` | codes to the stored number or address | nothing |
//! | none | any, `Deny` | nothing | nothing |
//!
//! An enrolled factor always counts: a code to an address or a number never takes its place.

use vestibule_crds::signin_policy::{
    LowRiskEnrollment, MfaMethod, MfaMode, NoEnrollmentAction, RiskAction,
};
use vestibule_crds::snapshot::{Acting, Mfa};

use crate::factors::sms::PhoneNumber;
use vestibule_risk::Level;
use vestibule_store::mfa::Factors;
use vestibule_store::{Profile, User};

/// How risk sees a sign-in, as far as it acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssessedRisk {
    pub acting: Acting,
    pub level: Level,
    pub action: RiskAction,
    /// Whether it shows what no trust explains.
    pub hard: bool,
}

/// A second factor is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MfaRequirement {
    /// Low where risk is not enforced.
    pub level: Level,
    /// Whether risk asks for it, not the mode alone.
    pub by_risk: bool,
}

/// None where no factor is asked for, or the provider's stands for it.
pub fn mfa_requirement(
    mode: MfaMode,
    seen: Option<AssessedRisk>,
    provider_mfa: impl Fn() -> bool,
) -> Option<MfaRequirement> {
    let enforced = seen.filter(|seen| seen.acting == Acting::Enforce);
    let by_risk = enforced.is_some_and(|seen| seen.action == RiskAction::RequireMfa);
    let always = match mode {
        MfaMode::Always => true,
        MfaMode::Adaptive | MfaMode::Never => false,
    };
    if !by_risk && !always {
        return None;
    }
    let hard = enforced.is_some_and(|seen| seen.hard);
    if !hard && provider_mfa() {
        return None;
    }
    Some(MfaRequirement {
        level: enforced.map_or(Level::Low, |seen| seen.level),
        by_risk,
    })
}

/// Where codes may be sent: what was stored before this sign-in, never what it brings along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contact {
    pub verified_email: bool,
    pub phone: bool,
}

impl Contact {
    pub fn of(user: &User) -> Self {
        Self {
            verified_email: user.profile.email.is_some() && user.profile.email_verified,
            phone: number_for_codes(&user.profile).is_some(),
        }
    }
}

/// The number that codes may be sent to: not one that the provider says is not verified.
pub fn number_for_codes(profile: &Profile) -> Option<PhoneNumber> {
    let number = profile
        .phone
        .as_deref()
        .filter(|_| !profile.phone_unverified);
    number.and_then(PhoneNumber::parse)
}

/// How a challenge may be answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Best first.
    pub methods: Vec<MfaMethod>,
    /// What the user may enrol to answer it.
    pub enrollable: Vec<MfaMethod>,
}

impl Offer {
    pub fn is_empty(&self) -> bool {
        let Self {
            methods,
            enrollable,
        } = self;
        methods.is_empty() && enrollable.is_empty()
    }
}

pub fn offer(mfa: &Mfa, level: Level, factors: &Factors, contact: Contact) -> Offer {
    let enrolled = |method: MfaMethod| factors.confirmed().any(|factor| factor.method == method);
    let listed = |wanted: &dyn Fn(MfaMethod) -> bool| {
        let mut methods: Vec<MfaMethod> = mfa.methods.clone();
        methods.retain(|method| wanted(*method));
        methods.sort_by_key(|method| weakness(*method));
        methods
    };
    let own = listed(&enrolled);
    if !own.is_empty() {
        let recovery =
            listed(&|method| method == MfaMethod::RecoveryCode && factors.recovery_codes_left > 0);
        return Offer {
            methods: [own, recovery].concat(),
            enrollable: Vec::new(),
        };
    }
    let action = match level {
        Level::Low => match mfa.no_enrollment.low {
            LowRiskEnrollment::Enroll | LowRiskEnrollment::EmailOtp => NoEnrollmentAction::EmailOtp,
            LowRiskEnrollment::Deny => NoEnrollmentAction::Deny,
        },
        Level::Medium => mfa.no_enrollment.medium,
        Level::High => mfa.no_enrollment.high,
    };
    let methods = match action {
        NoEnrollmentAction::EmailOtp => listed(&|method| match method {
            MfaMethod::EmailOtp => contact.verified_email,
            MfaMethod::SmsOtp => contact.phone,
            MfaMethod::Webauthn | MfaMethod::Totp | MfaMethod::RecoveryCode => false,
        }),
        NoEnrollmentAction::Deny => Vec::new(),
    };
    // A user with a factor that is not offered any more enrols no other one with a challenge alone.
    let may_enroll = level == Level::Low
        && mfa.no_enrollment.low == LowRiskEnrollment::Enroll
        && factors.confirmed().next().is_none();
    let enrollable = listed(&|method| may_enroll && can_be_enrolled(method));
    Offer {
        methods,
        enrollable,
    }
}

pub const fn can_be_enrolled(method: MfaMethod) -> bool {
    match method {
        MfaMethod::Webauthn | MfaMethod::Totp => true,
        MfaMethod::SmsOtp | MfaMethod::EmailOtp | MfaMethod::RecoveryCode => false,
    }
}

/// The policy says which is best; the two weakest are last all the same.
const fn weakness(method: MfaMethod) -> u8 {
    match method {
        MfaMethod::Webauthn | MfaMethod::Totp | MfaMethod::SmsOtp => 0,
        MfaMethod::EmailOtp => 1,
        MfaMethod::RecoveryCode => 2,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use vestibule_crds::signin_policy::NoEnrollment;

    use super::*;
    use crate::testing;
    use vestibule_store::mfa::Factor;

    const ALL: [MfaMethod; 5] = [
        MfaMethod::RecoveryCode,
        MfaMethod::EmailOtp,
        MfaMethod::SmsOtp,
        MfaMethod::Totp,
        MfaMethod::Webauthn,
    ];
    const BOTH: Contact = Contact {
        verified_email: true,
        phone: true,
    };
    const NEITHER: Contact = Contact {
        verified_email: false,
        phone: false,
    };

    fn mfa(methods: &[MfaMethod]) -> Mfa {
        Mfa {
            methods: methods.to_vec(),
            ..testing::policy().mfa
        }
    }

    fn having(methods: &[MfaMethod]) -> Factors {
        let all = methods.iter().map(|method| Factor {
            id: Uuid::nil(),
            method: *method,
            name: None,
            secret: Vec::new(),
            last_step: 0,
            created_at: 0,
            last_used_at: None,
            expires_at: None,
        });
        Factors {
            all: all.collect(),
            recovery_codes_left: if methods.is_empty() { 0 } else { 10 },
        }
    }

    fn seen(acting: Acting, action: RiskAction, hard: bool) -> Option<AssessedRisk> {
        Some(AssessedRisk {
            acting,
            level: Level::Medium,
            action,
            hard,
        })
    }

    #[test]
    fn a_factor_is_asked_for_by_the_level_or_always() {
        use Acting::{Enforce, Observe};
        use MfaMode::{Adaptive, Always, Never};
        use RiskAction::{Allow, RequireMfa};
        let medium = Some((Level::Medium, true));
        let low = Some((Level::Low, false));
        for (mode, seen, provider_mfa, expected) in [
            (Never, None, false, None),
            (Adaptive, None, false, None),
            (Always, None, false, low),
            (Always, None, true, None),
            (Adaptive, seen(Enforce, Allow, false), false, None),
            (Adaptive, seen(Enforce, RequireMfa, false), false, medium),
            (Adaptive, seen(Enforce, RequireMfa, false), true, None),
            // What the provider asked for does not explain how the user can be there.
            (Adaptive, seen(Enforce, RequireMfa, true), true, medium),
            (
                Always,
                seen(Enforce, Allow, true),
                true,
                Some((Level::Medium, false)),
            ),
            // A level's action is never weakened by the mode.
            (Never, seen(Enforce, RequireMfa, false), false, medium),
            (Adaptive, seen(Observe, RequireMfa, true), false, None),
            (Always, seen(Observe, RequireMfa, true), false, low),
            (Always, seen(Observe, RequireMfa, true), true, None),
        ] {
            let demanded = mfa_requirement(mode, seen, || provider_mfa);
            let demanded = demanded.map(|requirement| (requirement.level, requirement.by_risk));
            assert_eq!(demanded, expected, "{mode:?} {seen:?} {provider_mfa}");
        }
    }

    #[test]
    fn who_has_no_factor_may_do_what_the_level_allows() {
        use MfaMethod::{EmailOtp, SmsOtp, Totp, Webauthn};
        let mut strict = mfa(&ALL);
        strict.no_enrollment.medium = NoEnrollmentAction::Deny;
        let mut lenient = mfa(&ALL);
        lenient.no_enrollment = NoEnrollment {
            low: LowRiskEnrollment::EmailOtp,
            medium: NoEnrollmentAction::EmailOtp,
            high: NoEnrollmentAction::EmailOtp,
        };
        let mut closed = mfa(&ALL);
        closed.no_enrollment.low = LowRiskEnrollment::Deny;
        let codes = vec![SmsOtp, EmailOtp];
        let enroll = vec![Totp, Webauthn];
        for (mfa, level, contact, methods, enrollable) in [
            (&mfa(&ALL), Level::Low, BOTH, codes.clone(), enroll.clone()),
            (&mfa(&ALL), Level::Low, NEITHER, vec![], enroll),
            (&mfa(&ALL), Level::Medium, BOTH, codes.clone(), vec![]),
            (&mfa(&ALL), Level::Medium, NEITHER, vec![], vec![]),
            (&mfa(&ALL), Level::High, BOTH, vec![], vec![]),
            (&strict, Level::Medium, BOTH, vec![], vec![]),
            (&lenient, Level::High, BOTH, codes, vec![]),
            (&lenient, Level::Low, BOTH, vec![SmsOtp, EmailOtp], vec![]),
            (&closed, Level::Low, BOTH, vec![], vec![]),
            (&mfa(&[Totp]), Level::Medium, BOTH, vec![], vec![]),
            (&mfa(&[Totp]), Level::Low, BOTH, vec![], vec![Totp]),
        ] {
            let expected = Offer {
                methods,
                enrollable,
            };
            let offered = offer(mfa, level, &Factors::default(), contact);
            assert_eq!(offered, expected, "{level:?} {contact:?}");
        }
    }

    #[test]
    fn an_enrolled_factor_always_counts() {
        use MfaMethod::{EmailOtp, RecoveryCode, Totp, Webauthn};
        for level in [Level::Low, Level::Medium, Level::High] {
            for (enrolled, methods) in [
                (vec![Totp], vec![Totp, RecoveryCode]),
                (vec![Webauthn], vec![Webauthn, RecoveryCode]),
                (vec![Webauthn, Totp], vec![Totp, Webauthn, RecoveryCode]),
            ] {
                let offered = offer(&mfa(&ALL), level, &having(&enrolled), BOTH);
                let expected = Offer {
                    methods,
                    enrollable: vec![],
                };
                assert_eq!(offered, expected, "{level:?} {enrolled:?}");
            }
        }
        // What the policy does not offer any more cannot be answered with, and opens nothing new.
        let offered = offer(
            &mfa(&[EmailOtp, Totp]),
            Level::Low,
            &having(&[Webauthn]),
            BOTH,
        );
        assert_eq!(offered.methods, [EmailOtp]);
        assert_eq!(offered.enrollable, []);
    }

    #[test]
    fn a_factor_that_was_never_confirmed_counts_for_nothing() {
        let mut waiting = having(&[MfaMethod::Totp]);
        waiting.all[0].expires_at = Some(600);
        let offered = offer(&mfa(&ALL), Level::High, &waiting, BOTH);
        assert!(offered.is_empty());
    }

    #[test]
    fn without_codes_left_none_is_asked_for() {
        let mut used_up = having(&[MfaMethod::Totp]);
        used_up.recovery_codes_left = 0;
        let offered = offer(&mfa(&ALL), Level::Low, &used_up, BOTH);
        assert_eq!(offered.methods, [MfaMethod::Totp]);
    }
}
