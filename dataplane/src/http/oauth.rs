//! Failures of the OAuth endpoints on the wire (RFC 6749, section 5.2): OAuth's own names, together
//! with our codes, which are the same as everywhere.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::problem::{status_of, status_of_try_again};
use super::{JSON, NO_STORE, Outcome};
use crate::dto::OauthError;
use crate::failure::{Code, Failure, Refused};
use crate::oauth::{Interaction, OauthFailure};
use crate::server::Answer;

/// Codes that are OAuth's own names.
const NAMES: [Code; 6] = [
    Code::ClientInvalid,
    Code::ClientNotAllowed,
    Code::GrantTypeUnsupported,
    Code::ScopeInvalid,
    Code::TargetInvalid,
    Code::TokenTypeUnsupported,
];

pub fn answer(failure: &OauthFailure, headers: &HeaderMap) -> Answer {
    let (failure, refusal) = match failure {
        // RFC 8693, section 2.2.2: whatever is wrong with a subject token is an invalid request.
        OauthFailure::Request(failure) => (failure, "invalid_request"),
        OauthFailure::Grant(failure) => (failure, "invalid_grant"),
        OauthFailure::Interaction(interaction) => return interaction_answer(interaction),
    };
    match failure {
        Failure::Refused(refused) => refused_answer(refused, refusal, headers),
        Failure::TryAgain(again) => {
            let reason = again.reason;
            let error =
                OauthError::new("temporarily_unavailable", reason.detail(), reason.as_str());
            let mut answer = document(status_of_try_again(reason), &error);
            let seconds = again.retry_after_seconds.into();
            answer.headers_mut().insert(RETRY_AFTER, seconds);
            answer
        }
    }
}

fn refused_answer(refused: &Refused, refusal: &'static str, headers: &HeaderMap) -> Answer {
    let code = refused.code;
    let status = match status_of(code) {
        // OAuth knows no other status for what is wrong with a grant.
        StatusCode::FORBIDDEN => StatusCode::BAD_REQUEST,
        StatusCode::UNAUTHORIZED if code != Code::ClientInvalid => StatusCode::BAD_REQUEST,
        status => status,
    };
    let error = match status {
        _ if NAMES.contains(&code) => code.as_str(),
        StatusCode::BAD_REQUEST if code != Code::InvalidRequest => refusal,
        StatusCode::INTERNAL_SERVER_ERROR => "server_error",
        _ => "invalid_request",
    };
    let error = OauthError::new(error, description(code), code.as_str());
    let mut answer = document(status, &error);
    if code == Code::ClientInvalid
        && let Some(challenge) = challenge(headers)
    {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// With the scheme that the client used, if it used one (RFC 6749, section 5.2).
fn challenge(headers: &HeaderMap) -> Option<HeaderValue> {
    let used = headers.get(AUTHORIZATION)?.as_bytes();
    let is = |scheme: &[u8]| {
        used.get(..scheme.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
    };
    Some(HeaderValue::from_static(if is(b"bearer") {
        "Bearer error=\"invalid_token\""
    } else {
        "Basic realm=\"vestibule\", charset=\"UTF-8\""
    }))
}

/// The sentences of the API speak of JSON in three places.
fn description(code: Code) -> &'static str {
    match code {
        Code::InvalidRequest => {
            "A parameter is missing, stands there twice, or has a value that is not taken here."
        }
        Code::UnsupportedMediaType => {
            "Send the body as application/x-www-form-urlencoded, without content encoding."
        }
        Code::ProviderRequired => {
            "The token's issuer and audience match no provider, or several: name one in the parameter provider."
        }
        Code::TokenNonceRequired => {
            "Send the nonce that the token was requested with in the parameter nonce."
        }
        code => code.detail(),
    }
}

/// `interaction_required` (OpenID Connect Core 3.1.2.6) with what the person needs to go on.
fn interaction_answer(interaction: &Interaction) -> Answer {
    let error = match interaction {
        Interaction::SecondFactor { response, page } => OauthError {
            challenge_token: response.challenge_token.clone(),
            required_mfa_methods: response.required_mfa_methods.clone(),
            expires_in: response.expires_in,
            mfa_uri: Some(page.clone()),
            ..OauthError::new(
                "interaction_required",
                "The sign-in needs a second factor: complete it with the challenge token.",
                Code::MfaRequired.as_str(),
            )
        },
        Interaction::PasswordChange => OauthError::new(
            "interaction_required",
            Code::PasswordChangeRequired.detail(),
            Code::PasswordChangeRequired.as_str(),
        ),
    };
    document(StatusCode::BAD_REQUEST, &error)
}

fn document(status: StatusCode, error: &OauthError) -> Answer {
    let body = serde_json::to_vec(error).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.extensions_mut().insert(Outcome(error.code));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, NO_STORE);
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::failure::TryAgainReason;

    #[test]
    fn every_description_has_only_what_oauth_lets_it_have() {
        // RFC 6749, appendix A.8.
        let allowed = |byte: u8| (0x20..=0x7E).contains(&byte) && byte != b'"' && byte != b'\\';
        let codes = Code::ALL.iter().map(|code| description(*code));
        let reasons = TryAgainReason::ALL.iter().map(|reason| reason.detail());
        for sentence in codes.chain(reasons) {
            assert!(sentence.bytes().all(allowed), "{sentence}");
        }
    }

    #[tokio::test]
    async fn every_code_has_an_error_of_the_rfcs() {
        for code in Code::ALL {
            for (failure, refusal) in [
                (
                    OauthFailure::Request as fn(Failure) -> OauthFailure,
                    "invalid_request",
                ),
                (OauthFailure::Grant, "invalid_grant"),
            ] {
                let answer = answer(&failure((*code).into()), &HeaderMap::new());
                let expected = match (answer.status().as_u16(), *code) {
                    (401, Code::ClientInvalid) => "invalid_client",
                    (400, Code::ClientNotAllowed) => "unauthorized_client",
                    (400, Code::GrantTypeUnsupported) => "unsupported_grant_type",
                    (400, Code::ScopeInvalid) => "invalid_scope",
                    (400, Code::TargetInvalid) => "invalid_target",
                    (400, Code::TokenTypeUnsupported) => "unsupported_token_type",
                    (500, Code::Internal) => "server_error",
                    (400, Code::InvalidRequest) | (404 | 405 | 408 | 413 | 415, _) => {
                        "invalid_request"
                    }
                    (400, _) => refusal,
                    (status, _) => panic!("{code:?}: {status}"),
                };
                let body = answer.into_body().collect().await.expect("a body");
                let body: serde_json::Value =
                    serde_json::from_slice(&body.to_bytes()).expect("it is JSON");
                assert_eq!(body["error"], expected, "{code:?}");
                assert_eq!(body["code"], code.as_str());
            }
        }
    }
}
