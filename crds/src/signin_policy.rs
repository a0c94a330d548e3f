//! The SigninPolicy kind: whose users these are, the tokens they get and how risk is met. Each doc
//! comment is what `kubectl explain` prints.

mod factors;
mod mfa;
mod oauth;
mod risk;
mod signals;
mod token;

pub use factors::{Email, EmailTls, Sms, Webauthn};
pub use mfa::{
    Attempts, LowRiskEnrollment, Mfa, MfaMethod, MfaMode, NoEnrollment, NoEnrollmentAction,
    Password,
};
pub use oauth::{Client, ClientPermission, Oauth, PrivateKeyJwt, ServiceAccount};
pub use risk::{Actions, IpLists, OnError, Risk, RiskAction, RiskMode, Thresholds};
pub use signals::{
    Dormant, FirstSignin, ImpossibleTravel, IpFailures, NewAsn, NewCountry, NewDevice, NewIp,
    Signals, StaleAuthTime, Statistical, UnusualHour, UserFailures,
};
pub use token::{LocalToken, Managed, RESERVED_CLAIMS, Signing};

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::status::Status;
use crate::structural::structural;

/// A set of users, the local tokens that they get and how risky sign-ins are met.
#[expect(
    clippy::duplicated_attributes,
    reason = "each column has a type of its own"
)]
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vestibule.dev",
    version = "v1alpha1",
    kind = "SigninPolicy",
    plural = "signinpolicies",
    namespaced,
    status = "Status",
    shortname = "sip",
    category = "vestibule",
    derive = "PartialEq",
    doc = "Whose users sign in, the tokens that they get and how risky sign-ins are met.",
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.token.issuer"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.risk.mode"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = structural)]
pub struct SigninPolicySpec {
    /// The local tokens.
    pub token: LocalToken,
    /// Additional claims of the local access token, by name: CEL over `user`, `claims` and
    /// `provider`. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "token::extra_claims")]
    pub extra_claims: BTreeMap<String, String>,
    /// The keys that sign local tokens: exactly one source.
    pub signing: Signing,
    /// How sign-ins are scored and what follows.
    #[serde(default)]
    pub risk: Risk,
    /// Second factors.
    #[serde(default)]
    pub mfa: Mfa,
    /// What users may change of their own accounts.
    #[serde(default)]
    pub account: Account,
    /// Local passwords and their life. Left out: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// How many attempts are answered.
    #[serde(default)]
    pub limits: Limits,
    /// The OAuth endpoints.
    #[serde(default)]
    pub oauth: Oauth,
}

/// What users may change of their own accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "duration(self.maxAuthAge) > duration('0s')",
    "message": "maxAuthAge must be longer than 0s",
    "fieldPath": ".maxAuthAge"
}]))]
pub struct Account {
    /// How long ago a user may have authenticated, at the provider (`auth_time`) or here with a
    /// second factor, to change factors, the password or other sessions. Default: 15m.
    pub max_auth_age: Duration,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            max_auth_age: Duration::from_secs(900),
        }
    }
}

/// How many attempts are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Limits {
    /// Failures of one address at one provider in a minute. Above it only successes are answered;
    /// these are not limited, since one service signs in for many users. Each replica of the data
    /// plane counts for itself. Default: 300.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub failures_per_ip_per_minute: u32,
    /// Attempts for one user in a minute. Default: 60.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_user_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failures_per_ip_per_minute: 300,
            per_user_per_minute: 60,
        }
    }
}
