//! What the tokens of a session carry on from its sign-in.

use crate::dto::UserInfo;
use crate::failure::{Code, Failure};
use crate::flows::issue::SessionClaims;
use crate::flows::signin::VerifiedIdentity;
use crate::flows::signin::scoring::{auth_time, upstream};
use crate::protocol::FULL_SCOPE;
use crate::runtime_config::{ActivePolicy, ActiveProvider};

pub(super) fn carry(
    provider: &ActiveProvider,
    policy: &ActivePolicy,
    identity: &VerifiedIdentity,
    user: &UserInfo,
    client: Option<&str>,
) -> Result<SessionClaims, Failure> {
    let claims = &identity.claims;
    let extra = if policy.extra_claims.is_empty() {
        serde_json::Map::new()
    } else {
        let user = serde_json::json!({
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "phone": user.phone,
            "groups": identity.mapped.groups,
        });
        let about_provider = serde_json::json!({
            "name": provider.spec.name,
            "namespace": provider.spec.namespace,
            "issuer": provider.spec.issuer.as_str(),
            "displayName": provider.spec.display_name,
        });
        policy
            .extra_claims
            .evaluate(&user, claims, &about_provider)
            .map_err(|error| Code::ClaimsRejected.because(format!("extraClaims: {error}")))?
    };
    Ok(SessionClaims {
        scope: FULL_SCOPE.to_owned(),
        auth_time: auth_time(claims),
        amr: Vec::new(),
        upstream: upstream(&provider.spec, claims),
        client_id: client.map(str::to_owned),
        idp: provider.spec.name.clone(),
        groups: identity.mapped.groups.clone(),
        extra,
    })
}
