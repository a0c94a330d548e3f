//! Second factors of a SigninPolicy: which methods can be offered, and all that they need. A method
//! that is listed and lacks what it needs is not offered, and the condition `Accepted` says so.

use url::{Host, Url};

use super::references::{PASSWORD_KEY, USERNAME_KEY};
use super::resolve::{Resolver, SecretUse};
use super::verdict::{Problems, ResolvedRefsReason};
use crate::encryption_key::EncryptionKey;
use crate::issuer::{Issuer, is_nearby, parse_endpoint};
use crate::object::NamespacedName;
use crate::reference::{SecretKeyRef, SecretRef};
use crate::secret::Secret;
use crate::signin_policy::{
    Actions, Email as EmailSpec, EmailTls, Mfa as MfaSpec, MfaMethod, MfaMode, Risk, RiskAction,
    RiskMode, Sms as SmsSpec, Webauthn as WebauthnSpec,
};
use crate::snapshot::{Credentials, Email, EncryptionKeySource, Mfa, Sms, Webauthn};

/// Shortest HMAC key: with a key that can be guessed, anyone could sign messages.
const SMS_KEY_BYTES_MIN: usize = 16;

/// Whether a sign-in can be asked for a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Never,
    /// Only recorded.
    Observed,
    Sometimes,
}

/// None where something is wrong; then `problems` has it.
pub(super) fn factors(
    id: &NamespacedName,
    spec: MfaSpec,
    risk: &Risk,
    issuer: Option<&Issuer>,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Option<Mfa> {
    let asked = asked(spec.mode, risk);
    let MfaSpec {
        mode,
        methods: listed,
        challenge_ttl,
        attempts,
        no_enrollment,
        remember_device,
        encryption_keys,
        webauthn,
        email,
        sms,
    } = spec;

    let key_source = if encryption_keys.is_empty() {
        EncryptionKeySource::Managed
    } else {
        EncryptionKeySource::Secrets
    };
    let keys = match key_source {
        EncryptionKeySource::Managed => managed_key(id, resolver, problems).into_iter().collect(),
        EncryptionKeySource::Secrets => secret_keys(&encryption_keys, resolver, problems),
    };
    let is_listed = |method| listed.contains(&method);
    if sms.is_some() && !is_listed(MfaMethod::SmsOtp) {
        problems.warn("spec.mfa.sms", "it has no effect: methods has no sms_otp");
    }
    let webauthn = relying_party(webauthn, issuer, problems);
    let email = email.and_then(|spec| mail_server(spec, resolver, problems));
    let sms = sms.and_then(|spec| sms_webhook(spec, resolver, problems));

    let mut methods = Vec::new();
    let mut missing = Vec::new();
    for method in listed {
        let lacks = match method {
            MfaMethod::Totp | MfaMethod::RecoveryCode => None,
            MfaMethod::Webauthn if webauthn.is_none() => Some(
                "webauthn is not offered: the host of token.issuer is no domain with https, and spec.mfa.webauthn is left out",
            ),
            MfaMethod::EmailOtp if email.is_none() => {
                Some("email_otp is not offered: spec.mfa.email is left out")
            }
            MfaMethod::SmsOtp if sms.is_none() => {
                Some("sms_otp is not offered: spec.mfa.sms is left out")
            }
            MfaMethod::Webauthn | MfaMethod::EmailOtp | MfaMethod::SmsOtp => None,
        };
        match lacks {
            None => methods.push(method),
            Some(sentence) => missing.push(sentence),
        }
    }
    if mode == MfaMode::Never && asked == Asked::Sometimes {
        problems.warn(
            "spec.mfa.mode",
            "it is Never, and risk.actions ask for a factor all the same: write Adaptive",
        );
    }
    match asked {
        Asked::Never => {}
        Asked::Sometimes if methods.is_empty() && problems.is_empty() => {
            problems.invalid("spec.mfa.methods", missing.join("; "));
        }
        Asked::Observed | Asked::Sometimes => {
            for sentence in missing {
                problems.remark(sentence);
            }
        }
    }
    Some(Mfa {
        mode,
        webauthn: webauthn.filter(|_| methods.contains(&MfaMethod::Webauthn)),
        // Without email_otp it still tells users of changes to their factors.
        email,
        sms: sms.filter(|_| methods.contains(&MfaMethod::SmsOtp)),
        methods,
        challenge_ttl,
        attempts,
        no_enrollment,
        remember_device,
        keys,
        key_source,
    })
}

fn asked(mode: MfaMode, risk: &Risk) -> Asked {
    let Actions { low, medium, high } = &risk.actions;
    let by_risk = [low, medium, high].contains(&&RiskAction::RequireMfa);
    match (mode, risk.mode) {
        (MfaMode::Always | MfaMode::Adaptive, _) => Asked::Sometimes,
        (MfaMode::Never, RiskMode::Enforce) if by_risk => Asked::Sometimes,
        (MfaMode::Never, RiskMode::Observe) if by_risk => Asked::Observed,
        (MfaMode::Never, RiskMode::Enforce | RiskMode::Observe | RiskMode::Off) => Asked::Never,
    }
}

/// The key that the keeper made for a policy, if it has yet.
pub(super) fn managed_key(
    id: &NamespacedName,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Option<EncryptionKey> {
    let key = resolver.managed_encryption_key(id)?;
    let key = EncryptionKey::parse(key).map_err(|_| {
        let message = "the managed key cannot be read: restore what it was, or name a key";
        let path = "spec.mfa.encryptionKeys";
        problems.unresolved(ResolvedRefsReason::KeyInvalid, path, message);
    });
    key.ok()
}

fn secret_keys(
    wanted: &[SecretKeyRef],
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Vec<EncryptionKey> {
    let mut keys: Vec<EncryptionKey> = Vec::new();
    for (index, wanted) in wanted.iter().enumerate() {
        let path = format!("spec.mfa.encryptionKeys[{index}]");
        let text = match resolver.secret(wanted) {
            Ok(text) => text,
            Err(message) => {
                problems.unresolved(ResolvedRefsReason::RefNotFound, &path, message);
                continue;
            }
        };
        match EncryptionKey::parse(text) {
            Ok(key) if keys.contains(&key) => problems.unresolved(
                ResolvedRefsReason::KeyInvalid,
                &path,
                "the same key stands in the list already: remove one of them",
            ),
            Ok(key) => keys.push(key),
            Err(error) => problems.unresolved(ResolvedRefsReason::KeyInvalid, &path, error),
        }
    }
    keys
}

/// None where nothing is written of it and nothing follows from the issuer.
fn relying_party(
    spec: Option<WebauthnSpec>,
    issuer: Option<&Issuer>,
    problems: &mut Problems,
) -> Option<Webauthn> {
    let is_written = spec.is_some();
    let WebauthnSpec {
        rp_id,
        rp_name,
        origins,
    } = spec.unwrap_or_default();
    let site = Url::parse(issuer?.as_str()).ok()?;
    let rp_id = match rp_id {
        Some(rp_id) => rp_id.to_ascii_lowercase(),
        None => site.host_str()?.to_owned(),
    };
    if !matches!(Host::parse(&rp_id), Ok(Host::Domain(_))) {
        if is_written {
            let message = format!("{rp_id} is no domain: keys are made for domains only");
            problems.invalid("spec.mfa.webauthn.rpId", message);
        }
        return None;
    }
    let written = !origins.is_empty();
    let origins = if written {
        origins
    } else {
        vec![site.to_string()]
    };
    let mut accepted = Vec::new();
    for (index, text) in origins.iter().enumerate() {
        match origin(text, &rp_id) {
            Ok(origin) => accepted.push(origin),
            Err(error) if written => {
                problems.invalid(&format!("spec.mfa.webauthn.origins[{index}]"), error);
            }
            Err(error) if is_written => problems.invalid("spec.mfa.webauthn", error),
            Err(_) => {}
        }
    }
    (!accepted.is_empty()).then(|| Webauthn {
        rp_name: rp_name.unwrap_or_else(|| rp_id.clone()),
        rp_id,
        origins: accepted,
    })
}

/// Why a text is no origin that WebAuthn keys of a relying party can be used on.
#[derive(Debug, thiserror::Error)]
enum OriginError {
    #[error("{0} is no origin")]
    NotAnOrigin(String),
    #[error("browsers use no keys on {0}: write https, or http://localhost to try things out")]
    NotHttps(String),
    #[error("keys for {rp_id} cannot be used on {text}: its host must be {rp_id} or below it")]
    OtherHost { text: String, rp_id: String },
}

/// The origin as browsers write it (RFC 6454, section 6.2).
fn origin(text: &str, rp_id: &str) -> Result<String, OriginError> {
    let url = Url::parse(text).map_err(|_| OriginError::NotAnOrigin(text.to_owned()))?;
    let host = url.host_str().unwrap_or_default();
    let is_local = host == "localhost" || host.ends_with(".localhost");
    if url.scheme() != "https" && !is_local {
        return Err(OriginError::NotHttps(text.to_owned()));
    }
    if host != rp_id && !host.ends_with(&format!(".{rp_id}")) {
        return Err(OriginError::OtherHost {
            text: text.to_owned(),
            rp_id: rp_id.to_owned(),
        });
    }
    Ok(url.origin().ascii_serialization())
}

fn mail_server(spec: EmailSpec, resolver: &Resolver<'_>, problems: &mut Problems) -> Option<Email> {
    let EmailSpec {
        host,
        port,
        tls,
        from,
        credentials_ref,
        ca_bundle,
    } = spec;
    if tls == EmailTls::None && !is_nearby(&host) {
        problems.invalid(
            "spec.mfa.email.tls",
            "None is only for a loopback or in-cluster host: write Implicit or StartTls",
        );
    }
    if from.contains('<') != from.contains('>') {
        problems.invalid(
            "spec.mfa.email.from",
            "write an address, or a name and <an address>",
        );
    }
    let port = port.unwrap_or(match tls {
        EmailTls::Implicit => 465,
        EmailTls::StartTls => 587,
        EmailTls::None => 25,
    });
    let credentials = match credentials_ref {
        None => None,
        Some(wanted) => credentials(&wanted, resolver, problems),
    };
    let path = "spec.mfa.email.caBundle";
    let ca_bundle = ca_bundle.and_then(|bundle| resolver.ca_bundle(&bundle, path, problems));
    Some(Email {
        host,
        port,
        tls,
        from,
        credentials,
        ca_bundle,
    })
}

fn credentials(
    wanted: &SecretRef,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Option<Credentials> {
    let mut entry = |key: &str| {
        let wanted = SecretKeyRef {
            name: wanted.name.clone(),
            key: key.to_owned(),
        };
        let text = resolver.secret_for(SecretUse::Mail, &wanted);
        let text = text.map_err(|message| {
            let path = "spec.mfa.email.credentialsRef";
            problems.unresolved(ResolvedRefsReason::RefNotFound, path, message);
        });
        text.ok().map(line)
    };
    let (username, password) = (entry(USERNAME_KEY), entry(PASSWORD_KEY));
    Some(Credentials {
        username: username?,
        password: password?,
    })
}

fn sms_webhook(spec: SmsSpec, resolver: &Resolver<'_>, problems: &mut Problems) -> Option<Sms> {
    let SmsSpec {
        url,
        secret_ref,
        ca_bundle,
    } = spec;
    if let Err(error) = parse_endpoint(&url, resolver.http_issuers()) {
        problems.invalid("spec.mfa.sms.url", error);
    }
    let path = "spec.mfa.sms.secretRef";
    let key = match resolver.secret_for(SecretUse::Sms, &secret_ref).map(line) {
        Ok(key) if key.expose().len() < SMS_KEY_BYTES_MIN => {
            let message = "the key has less than 16 bytes: make one with `openssl rand -base64 32`";
            problems.unresolved(ResolvedRefsReason::KeyInvalid, path, message);
            None
        }
        Ok(key) => Some(key),
        Err(message) => {
            problems.unresolved(ResolvedRefsReason::RefNotFound, path, message);
            None
        }
    };
    let path = "spec.mfa.sms.caBundle";
    let ca_bundle = ca_bundle.and_then(|bundle| resolver.ca_bundle(&bundle, path, problems));
    Some(Sms {
        url,
        key: key?,
        ca_bundle,
    })
}

/// Files that Secrets are made from often end with an end of line that is not part of the secret.
pub(super) fn line(text: &Secret) -> Secret {
    Secret::new(text.expose().trim_end_matches(['\r', '\n']))
}
