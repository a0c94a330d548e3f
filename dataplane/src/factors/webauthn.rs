//! Passkeys and security keys (Web Authentication Level 3): the two ceremonies, each in a beginning
//! whose state is kept with a challenge and an end that is given it back once. User presence and
//! user verification are always asked for.
//!
//! What leaves and comes back is the JSON of `PublicKeyCredential.parseCreationOptionsFromJSON` and
//! its siblings.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use uuid::Uuid;
use vestibule_crds::snapshot;
use webauthn_rs::prelude::{
    Credential as Internals, Passkey, PasskeyAuthentication, PasskeyRegistration,
    PublicKeyCredential, RegisterPublicKeyCredential, Webauthn, WebauthnBuilder, WebauthnError,
};

/// Longest credential that is kept: an id of 1023 bytes and an RSA key fit.
pub const CREDENTIAL_BYTES_MAX: usize = 4 * 1024;
/// Most credentials of one user.
pub const CREDENTIALS_MAX: usize = 16;
/// Longest state that is kept with a challenge: all credentials of a user fit.
pub const STATE_BYTES_MAX: usize = CREDENTIALS_MAX * CREDENTIAL_BYTES_MAX + 1024;
/// Longest name that is shown on a person's device.
const NAME_CHARS_MAX: usize = 64;

/// The site that credentials are made for.
#[derive(Debug)]
pub struct RelyingParty {
    webauthn: Webauthn,
}

/// Whose credential is made.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub id: Uuid,
    /// What the person knows the account by.
    pub name: &'a str,
}

/// A registered passkey or security key. It holds no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credential(Passkey);

/// A ceremony that has begun.
#[derive(Debug)]
pub struct Begun {
    /// For the browser.
    pub options: Value,
    /// For the end of this ceremony, and no other.
    pub state: Vec<u8>,
}

/// A credential that was used by its holder.
#[derive(Debug)]
pub struct Assertion {
    /// As it is to be kept from now on.
    pub credential: Credential,
    pub counter: Counter,
}

/// Whether the signature counter (section 6.1.1) speaks of a copy of the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// It has gone on, or the authenticator has none, as synchronised passkeys.
    Plausible,
    /// It has not gone on since the last use: two authenticators may have the same key.
    Regressed,
}

/// Why there is no relying party, or no ceremony.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    #[error("{0} is no origin")]
    Origin(String),
    #[error("more than {CREDENTIALS_MAX} credentials")]
    TooManyCredentials,
    #[error("there is no credential")]
    NoCredential,
    #[error(transparent)]
    Webauthn(#[from] WebauthnError),
}

/// Why an answer is not accepted. For the audit event: a caller learns only that it is not.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("it is no answer of a browser")]
    Malformed,
    #[error("what was kept of the ceremony cannot be read")]
    State,
    #[error("it answers another ceremony")]
    Ceremony,
    #[error("it answers another challenge")]
    Challenge,
    #[error("it was made on another origin")]
    Origin,
    #[error("it was made within a page of another origin")]
    CrossOrigin,
    #[error("it was made for another relying party")]
    RelyingParty,
    #[error("no user was present")]
    UserAbsent,
    #[error("the user who was present was not verified")]
    UserUnverified,
    #[error("its credential is none of this user's")]
    UnknownCredential,
    #[error("its signature is not valid")]
    Signature,
    #[error("its credential is larger than {CREDENTIAL_BYTES_MAX} bytes")]
    TooLarge,
    #[error("{0}")]
    Other(WebauthnError),
}

impl RelyingParty {
    /// `timeout` is sent to browsers.
    pub fn new(site: &snapshot::Webauthn, timeout: Duration) -> Result<Self, CeremonyError> {
        let snapshot::Webauthn {
            rp_id,
            rp_name,
            origins,
        } = site;
        let parse =
            |text: &String| Url::parse(text).map_err(|_| CeremonyError::Origin(text.clone()));
        let origins: Vec<Url> = origins.iter().map(parse).collect::<Result<_, _>>()?;
        let (first, others) = origins
            .split_first()
            .ok_or_else(|| CeremonyError::Origin(String::new()))?;
        let mut builder = WebauthnBuilder::new(rp_id, first)?
            .rp_name(rp_name)
            .timeout(timeout);
        for origin in others {
            builder = builder.append_allowed_origin(origin);
        }
        Ok(Self {
            webauthn: builder.build()?,
        })
    }

    /// `existing` are the owner's, so that an authenticator is not registered twice.
    pub fn begin_registration(
        &self,
        owner: Owner<'_>,
        existing: &[Credential],
    ) -> Result<Begun, CeremonyError> {
        if existing.len() >= CREDENTIALS_MAX {
            return Err(CeremonyError::TooManyCredentials);
        }
        let name: String = owner.name.chars().take(NAME_CHARS_MAX).collect();
        let existing = existing
            .iter()
            .map(|credential| credential.0.cred_id().clone());
        let (challenge, state) = self.webauthn.start_passkey_registration(
            owner.id,
            &name,
            &name,
            Some(existing.collect()),
        )?;
        Ok(begun(&challenge.public_key, &state))
    }

    /// The new credential. The store ensures that no other user has it: its id is unique.
    pub fn end_registration(&self, state: &[u8], answer: &Value) -> Result<Credential, Refused> {
        let state: PasskeyRegistration = read_state(state)?;
        let answer: RegisterPublicKeyCredential =
            serde_json::from_value(answer.clone()).map_err(|_| Refused::Malformed)?;
        check_embedding(&answer.response.client_data_json)?;
        let passkey = self
            .webauthn
            .finish_passkey_registration(&answer, &state)
            .map_err(refused)?;
        let credential = Credential(passkey);
        if credential.to_bytes().len() > CREDENTIAL_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        Ok(credential)
    }

    /// With any of `credentials`.
    pub fn begin_authentication(&self, credentials: &[Credential]) -> Result<Begun, CeremonyError> {
        if credentials.is_empty() {
            return Err(CeremonyError::NoCredential);
        }
        if credentials.len() > CREDENTIALS_MAX {
            return Err(CeremonyError::TooManyCredentials);
        }
        // Without a counter in the state none is compared there: the counter at the end is the one
        // that counts, and a step back is reported rather than refused.
        let passkeys = credentials.iter().map(Credential::without_counter);
        let passkeys: Vec<Passkey> = passkeys.collect();
        let (challenge, state) = self.webauthn.start_passkey_authentication(&passkeys)?;
        Ok(begun(&challenge.public_key, &state))
    }

    /// `credentials` are the user's as they are now: one that was removed since the beginning
    /// counts no more.
    pub fn end_authentication(
        &self,
        state: &[u8],
        credentials: &[Credential],
        answer: &Value,
    ) -> Result<Assertion, Refused> {
        let state: PasskeyAuthentication = read_state(state)?;
        let answer: PublicKeyCredential =
            serde_json::from_value(answer.clone()).map_err(|_| Refused::Malformed)?;
        check_embedding(&answer.response.client_data_json)?;
        let result = self
            .webauthn
            .finish_passkey_authentication(&answer, &state)
            .map_err(refused)?;
        let used = credentials
            .iter()
            .find(|credential| credential.0.cred_id() == result.cred_id())
            .ok_or(Refused::UnknownCredential)?;
        let before = used.counter();
        let has_counter = before > 0 || result.counter() > 0;
        let mut credential = used.clone();
        credential.0.update_credential(&result);
        Ok(Assertion {
            credential,
            counter: if has_counter && result.counter() <= before {
                Counter::Regressed
            } else {
                Counter::Plausible
            },
        })
    }
}

impl Credential {
    /// What authenticators know it by, unique over all users of a relying party.
    pub fn id(&self) -> &[u8] {
        self.0.cred_id()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a credential is bytes, numbers and names")
    }

    /// None for what [`Self::to_bytes`] has not written.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    fn counter(&self) -> u32 {
        Internals::from(self.0.clone()).counter
    }

    fn without_counter(&self) -> Passkey {
        let mut internals = Internals::from(self.0.clone());
        internals.counter = 0;
        Passkey::from(internals)
    }
}

fn begun(options: &impl Serialize, state: &impl Serialize) -> Begun {
    Begun {
        options: serde_json::to_value(options).expect("options are JSON"),
        state: serde_json::to_vec(state).expect("a state is JSON"),
    }
}

fn read_state<T: DeserializeOwned>(state: &[u8]) -> Result<T, Refused> {
    if state.len() > STATE_BYTES_MAX {
        return Err(Refused::State);
    }
    serde_json::from_slice(state).map_err(|_| Refused::State)
}

/// No other site embeds the page on which a factor is used (section 5.8.1).
fn check_embedding(client_data: &[u8]) -> Result<(), Refused> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ClientData {
        #[serde(default)]
        cross_origin: bool,
        top_origin: Option<String>,
    }
    let data: ClientData = serde_json::from_slice(client_data).map_err(|_| Refused::Malformed)?;
    if data.cross_origin || data.top_origin.is_some() {
        return Err(Refused::CrossOrigin);
    }
    Ok(())
}

fn refused(error: WebauthnError) -> Refused {
    match error {
        WebauthnError::InvalidClientDataType => Refused::Ceremony,
        WebauthnError::MismatchedChallenge => Refused::Challenge,
        WebauthnError::InvalidRPOrigin => Refused::Origin,
        WebauthnError::CredentialCrossOrigin => Refused::CrossOrigin,
        WebauthnError::InvalidRPIDHash => Refused::RelyingParty,
        WebauthnError::UserNotPresent => Refused::UserAbsent,
        WebauthnError::UserNotVerified => Refused::UserUnverified,
        WebauthnError::CredentialNotFound => Refused::UnknownCredential,
        WebauthnError::AuthenticationFailure => Refused::Signature,
        other => Refused::Other(other),
    }
}

#[cfg(test)]
pub(crate) mod tests;
