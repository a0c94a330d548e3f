//! What the methods of second factors need: who browsers talk to, the server that sends mail, the
//! webhook that sends messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::oidc_provider::CaBundle;
use crate::reference::{
    HOST_PATTERN, MAILBOX_PATTERN, ORIGIN_PATTERN, SecretKeyRef, SecretRef, URL_PATTERN,
};

/// The site that passkeys and security keys are made for (WebAuthn).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Webauthn {
    /// The relying party: the domain of each origin, or a parent of it. A key works only for the
    /// relying party that it was made for. Default: the host of `token.issuer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST_PATTERN))]
    pub rp_id: Option<String>,
    /// What people's devices show as the site's name. Default: rpId.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub rp_name: Option<String>,
    /// Where browsers may be when they use a key, such as https://app.example.com: no path.
    /// Default: the origin of `token.issuer`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "set"),
        inner(length(min = 1, max = 512), regex(pattern = ORIGIN_PATTERN))
    )]
    pub origins: Vec<String>,
}

/// The server that sends mail (SMTP).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Email {
    /// Name or address of the server.
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST_PATTERN))]
    pub host: String,
    /// Default: 465 for Implicit, 587 for StartTls, 25 for None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Default: Implicit.
    #[serde(default)]
    pub tls: EmailTls,
    /// Who the mail is from: an address, or a name and an address in angle brackets.
    #[schemars(length(min = 3, max = 320), regex(pattern = MAILBOX_PATTERN))]
    pub from: String,
    /// A Secret with `username` and `password`. Left out: mail is sent without a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<SecretRef>,
    /// PEM certificates that replace the public roots for this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
}

/// Implicit: TLS from the first byte. StartTls: TLS before any part of the mail is sent, or nothing
/// is sent. None: no TLS, only to a loopback or in-cluster host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EmailTls {
    #[default]
    Implicit,
    StartTls,
    None,
}

/// The webhook that sends text messages. Each request has its time and an HMAC-SHA-256 of that and
/// of the body, so that the webhook can verify the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sms {
    /// https, or http for a loopback or in-cluster host when the process allows it.
    #[schemars(length(min = 1, max = 2048), regex(pattern = URL_PATTERN))]
    pub url: String,
    /// The HMAC key, of 16 bytes at least.
    pub secret_ref: SecretKeyRef,
    /// PEM certificates that replace the public roots for this webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
}
