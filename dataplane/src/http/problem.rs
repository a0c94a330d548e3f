//! Failures on the wire: `application/problem+json` (RFC 9457). The one place that knows which
//! status a code has.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::Outcome;
use crate::dto::Problem;
use crate::failure::{Code, Failure, Refused, TryAgain, TryAgainReason};
use crate::server::Answer;

pub fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest
        | Code::IdTokenRequired
        | Code::ProviderUnknown
        | Code::ProviderRequired
        | Code::CurrentPasswordRequired
        | Code::PasswordNotAcceptable
        | Code::MfaMethodUnavailable
        | Code::ClientNotAllowed
        | Code::GrantTypeUnsupported
        | Code::ScopeInvalid
        | Code::TargetInvalid
        | Code::TokenTypeUnsupported => StatusCode::BAD_REQUEST,
        Code::TokenMalformed
        | Code::TokenAlgorithmNotAllowed
        | Code::TokenKeyUnknown
        | Code::TokenSignatureInvalid
        | Code::TokenIssuerMismatch
        | Code::TokenAudienceMismatch
        | Code::TokenExpired
        | Code::TokenNotYetValid
        | Code::TokenTooOld
        | Code::TokenNonceMismatch
        | Code::TokenNonceRequired
        | Code::TokenReplayed
        | Code::TokenTypeNotAllowed
        | Code::TokenSessionEnded
        | Code::InsufficientUserAuthentication
        | Code::MfaChallengeInvalid
        | Code::MfaCodeInvalid
        | Code::RefreshTokenInvalid
        | Code::RefreshTokenReused
        | Code::PasswordInvalid
        | Code::ClientInvalid
        | Code::AccessTokenInvalid => StatusCode::UNAUTHORIZED,
        Code::ClaimsRejected
        | Code::ProviderSuspended
        | Code::UserNotProvisioned
        | Code::UserDisabled
        | Code::UserLocked
        | Code::LinkRequired
        | Code::RiskDenied
        | Code::PasswordChangeRequired
        | Code::MfaRequired
        | Code::MfaUnavailable
        | Code::PasswordUnavailable => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub fn status_of_try_again(reason: TryAgainReason) -> StatusCode {
    match reason {
        TryAgainReason::RateLimited
        | TryAgainReason::PasswordLocked
        | TryAgainReason::MfaLocked => StatusCode::TOO_MANY_REQUESTS,
        TryAgainReason::ProviderUnavailable
        | TryAgainReason::KeyNotSeen
        | TryAgainReason::StoreUnavailable
        | TryAgainReason::NotReady
        | TryAgainReason::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub fn answer(failure: &Failure, request_id: &str) -> Answer {
    match failure {
        Failure::Refused(refused) => refused_answer(refused, request_id),
        Failure::TryAgain(again) => try_again_answer(again, request_id),
    }
}

fn refused_answer(refused: &Refused, request_id: &str) -> Answer {
    let code = refused.code;
    let detail = refused
        .message
        .clone()
        .unwrap_or_else(|| code.detail().to_owned());
    let mut answer = document(status_of(code), code.as_str(), detail, request_id);
    if code == Code::InsufficientUserAuthentication
        && let Some(challenge) = step_up(refused.max_age)
    {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if code == Code::AccessTokenInvalid {
        // RFC 6750, section 3.
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// What the client must ask its provider and this service for (RFC 9470, section 3).
fn step_up(max_age: Option<i64>) -> Option<HeaderValue> {
    let mut challenge = format!(
        "Bearer error=\"insufficient_user_authentication\", \
         error_description=\"{}\", scope=\"account\"",
        Code::InsufficientUserAuthentication.detail()
    );
    if let Some(seconds) = max_age {
        challenge.push_str(&format!(", max_age=\"{seconds}\""));
    }
    HeaderValue::try_from(challenge).ok()
}

fn try_again_answer(again: &TryAgain, request_id: &str) -> Answer {
    let reason = again.reason;
    let status = status_of_try_again(reason);
    let detail = reason.detail().to_owned();
    let mut answer = document(status, reason.as_str(), detail, request_id);
    answer
        .headers_mut()
        .insert(RETRY_AFTER, again.retry_after_seconds.into());
    answer
}

fn document(status: StatusCode, code: &'static str, detail: String, request_id: &str) -> Answer {
    let problem = Problem {
        kind: format!("urn:vestibule:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail,
        code,
        request_id: request_id.to_owned(),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.extensions_mut().insert(Outcome(code));
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Once, here, for every failure. What a caller did wrong is the caller's business and is in the
/// audit event.
pub fn log(failure: &Failure, path: &str, request_id: &str) {
    match failure {
        Failure::Refused(refused) if refused.code == Code::Internal => {
            tracing::error!(request.id = request_id, error = %refused.audit, "a request failed");
        }
        Failure::Refused(refused) => {
            tracing::debug!(
                request.id = request_id,
                path,
                code = refused.code.as_str(),
                "a request was refused"
            );
        }
        Failure::TryAgain(again) => {
            tracing::debug!(request.id = request_id, code = again.reason.as_str(), error = %again.audit, "a request could not be served");
        }
    }
}
