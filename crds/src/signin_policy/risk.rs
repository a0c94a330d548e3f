//! How sign-ins are scored and what follows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::signals::Signals;
use crate::reference::NETWORK_PATTERN;

/// How sign-ins are scored and what follows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Risk {
    /// Enforce: score and act. Observe: score and record, and never act. Off: no scoring. Default:
    /// Off.
    pub mode: RiskMode,
    /// The scores at which a level begins.
    pub thresholds: Thresholds,
    /// What a level leads to.
    pub actions: Actions,
    /// The level that is taken when a sign-in cannot be scored. Default: Medium.
    pub on_error: OnError,
    /// Networks whose X-Forwarded-For and Forwarded headers are believed, such as 10.0.0.0/8.
    /// Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 2, max = 49), regex(pattern = NETWORK_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub trusted_proxies: Vec<String>,
    /// The points of each signal.
    pub signals: Signals,
    /// Networks that are always refused or trusted.
    pub ip_lists: IpLists,
}

/// Whether sign-ins are scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RiskMode {
    Enforce,
    Observe,
    #[default]
    Off,
}

/// The scores at which a level begins; below medium is low.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.medium < self.high",
    "message": "medium must be less than high",
    "fieldPath": ".medium"
}]))]
pub struct Thresholds {
    /// 1 to 100. Default: 30.
    #[schemars(range(min = 1, max = 100))]
    pub medium: u8,
    /// 1 to 100. Default: 70.
    #[schemars(range(min = 1, max = 100))]
    pub high: u8,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            medium: 30,
            high: 70,
        }
    }
}

/// What a level leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Actions {
    /// Default: Allow.
    pub low: RiskAction,
    /// Default: RequireMfa.
    pub medium: RiskAction,
    /// Default: RequireMfa.
    pub high: RiskAction,
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            low: RiskAction::Allow,
            medium: RiskAction::RequireMfa,
            high: RiskAction::RequireMfa,
        }
    }
}

/// What follows from a risk level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RiskAction {
    Allow,
    RequireMfa,
    Deny,
}

/// A risk level that stands in for a score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnError {
    Low,
    #[default]
    Medium,
    High,
}

/// Networks that are always refused or trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct IpLists {
    /// Networks whose sign-ins are refused. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 2, max = 49), regex(pattern = NETWORK_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub deny: Vec<String>,
    /// Networks that add no risk of their own. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 2, max = 49), regex(pattern = NETWORK_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub allow: Vec<String>,
}
