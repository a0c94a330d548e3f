//! The OpenAPI 3.1 document, made from the handlers and the types that they use.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi};

use super::endpoints::Documented;
use super::{DOCUMENT_CACHE, json as json_answer};
use crate::server::Answer;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vestibule",
        description = "Sign-in for the services of a Kubernetes cluster, with an ID token from an OpenID provider.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "sign-in", description = "From an external ID token to local tokens"),
        (name = "second factors", description = "Challenges and what answers them"),
        (name = "session", description = "What goes on after a sign-in"),
        (name = "oauth", description = "The same for software that speaks OAuth"),
    ),
)]
struct Document;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
        let basic = SecurityScheme::Http(Http::new(HttpAuthScheme::Basic));
        components.add_security_scheme("client_secret_basic", basic);
    }
}

/// The member is optional in the schema, as the contract has it, and a request without it is
/// answered with 400 `id_token_required`: the schema says so next to the members.
struct NeedsIdToken;

impl Modify for NeedsIdToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let request = components.schemas.get_mut("SigninRequest");
        if let Some(RefOr::T(Schema::Object(request))) = request {
            let id_token = json!({"type": "string", "minLength": 1});
            let named = json!([{"required": ["id_token"], "properties": {"id_token": id_token}}]);
            request.extensions = Some(Extensions::from_iter([("anyOf", named)]));
        }
    }
}

fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(Documented::openapi());
    BearerToken.modify(&mut document);
    NeedsIdToken.modify(&mut document);
    document
}

/// Indented, with a last line break: as it stands in the repository.
pub fn pretty() -> String {
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

pub(super) fn answer() -> Answer {
    json_answer(rendered(), DOCUMENT_CACHE)
}

fn rendered() -> Bytes {
    static RENDERED: LazyLock<Bytes> =
        LazyLock::new(|| Bytes::from(document().to_json().unwrap_or_default()));
    RENDERED.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dto;

    #[test]
    fn a_sign_in_needs_an_id_token_though_no_member_is_required() {
        let document: serde_json::Value = serde_json::from_slice(&rendered()).expect("JSON");
        let request = &document["components"]["schemas"]["SigninRequest"];
        assert_eq!(request.get("required"), None);
        assert_eq!(request["anyOf"][0]["required"], json!(["id_token"]));
    }

    #[test]
    fn the_document_names_the_lengths_that_are_enforced() {
        let document: serde_json::Value = serde_json::from_slice(&rendered()).expect("JSON");
        for (schema, member, length) in [
            ("SigninRequest", "provider", dto::PROVIDER_CHARS_MAX),
            ("SigninRequest", "nonce", dto::NONCE_CHARS_MAX),
            ("SigninRequest", "device_token", dto::OPAQUE_TOKEN_CHARS_MAX),
            (
                "RefreshRequest",
                "refresh_token",
                dto::OPAQUE_TOKEN_CHARS_MAX,
            ),
            (
                "VerifyRequest",
                "challenge_token",
                dto::OPAQUE_TOKEN_CHARS_MAX,
            ),
            ("VerifyRequest", "method", dto::METHOD_CHARS_MAX),
            ("VerifyRequest", "code", dto::CODE_CHARS_MAX),
            ("EnrollRequest", "name", dto::FACTOR_NAME_CHARS_MAX),
            ("ConfirmRequest", "id", dto::ID_CHARS_MAX),
        ] {
            let place = format!("/components/schemas/{schema}/properties/{member}/maxLength");
            assert_eq!(document.pointer(&place), Some(&json!(length)), "{place}");
        }
    }
}
