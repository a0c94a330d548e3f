//! The fixed paths, as one table: path, methods, handler. Routing, the `Allow` header, the route of
//! metrics and traces, and the OpenAPI document are made from it.

use std::sync::Arc;

use http::Method;
use hyper::body::Incoming;
use utoipa::OpenApi;
use uuid::Uuid;
use vestibule_crds::signin_policy::MfaMethod;

use super::{handlers, page};
use crate::app::{App, Caller};
use crate::failure::Failure;
use crate::flows::backchannel_logout;
use crate::flows::mfa_requirement::can_be_enrolled;
use crate::protocol::{INTROSPECTION_PATH, REVOCATION_PATH, TOKEN_PATH};
use crate::server::Answer;

/// The rest of what an endpoint may need, apart from its caller.
pub(super) struct Call<'c> {
    pub(super) query: Option<&'c str>,
    pub(super) body: Incoming,
}

/// The value of a path's one parameter.
trait PathValue: Sized {
    fn parse(text: &str) -> Option<Self>;
}

impl PathValue for Uuid {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A method that can be enrolled.
impl PathValue for MfaMethod {
    fn parse(text: &str) -> Option<Self> {
        Self::named(text).filter(|method| can_be_enrolled(*method))
    }
}

/// The text at the place of the template's `{…}`.
fn parameter<'p>(template: &str, path: &'p str) -> Option<&'p str> {
    let (before, rest) = template.split_once('{')?;
    let (_, after) = rest.split_once('}')?;
    let value = path.strip_prefix(before)?.strip_suffix(after)?;
    (!value.contains('/')).then_some(value)
}

macro_rules! matched {
    ($path:ident, $template:expr, $variant:ident) => {
        if $path == $template {
            return Some(Self::$variant);
        }
    };
    ($path:ident, $template:expr, $variant:ident, $type:ty) => {
        if let Some(value) = parameter($template, $path).and_then(<$type as PathValue>::parse) {
            return Some(Self::$variant(value));
        }
    };
}

/// The first that matches is meant. `$app`, `$caller` and `$call` name what handlers are given.
macro_rules! endpoints {
    (
        |$app:ident, $caller:ident, $call:ident|
        documented { $($variant:ident $(($value:ident: $type:ty))?: $methods:literal $template:expr => {$($handler:tt)+}($($argument:expr),*);)* }
        undocumented { $($other:ident $(($held:ident: $held_type:ty))?: $other_methods:literal $other_template:expr, $find:expr => $answer:expr;)* }
    ) => {
        /// A fixed path, with the value of its parameter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Route {
            $($variant $(($type))?,)*
            $($other $(($held_type))?,)*
        }

        impl Route {
            pub(super) fn find(path: &str) -> Option<Self> {
                $(matched!(path, $template, $variant $(, $type)?);)*
                $(if let Some(found) = $find(path) {
                    return Some(found);
                })*
                None
            }

            /// Of metrics and traces: one of a few, whatever a caller sends.
            pub(super) fn template(self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $template,)*
                    $(Self::$other { .. } => $other_template,)*
                }
            }

            /// For the `Allow` header (RFC 9110, section 10.2.1).
            pub(super) fn allow(self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $methods,)*
                    $(Self::$other { .. } => $other_methods,)*
                }
            }

            pub(super) async fn answer(
                self,
                $app: &Arc<App>,
                $caller: Caller<'_>,
                $call: Call<'_>,
            ) -> Result<Answer, Failure> {
                match self {
                    $(Self::$variant $(($value))? => $($handler)+($($argument),*).await,)*
                    $(Self::$other $(($held))? => Ok($answer),)*
                }
            }
        }

        /// What the handlers say of themselves.
        #[derive(OpenApi)]
        #[openapi(paths($($($handler)+),*))]
        pub(super) struct Documented;
    };
}

endpoints! {
    |app, caller, call|
    documented {
        Signin: "POST" "/auth/id-token/signin" => {handlers::signin}(app, caller, call.body);
        Refresh: "POST" "/auth/token/refresh" => {handlers::refresh}(app, caller, call.body);
        Revoke: "POST" "/auth/token/revoke" => {handlers::revoke}(app, caller, call.body);
        Signout: "POST" "/auth/signout" => {handlers::signout}(app, caller);
        SignoutEverywhere: "POST" "/auth/signout/everywhere" => {handlers::sessions::signout_everywhere}(app, caller);
        Userinfo: "GET, HEAD" "/auth/userinfo" => {handlers::userinfo}(app, caller);
        Password: "POST" "/auth/password" => {handlers::password}(app, caller, call.body);
        MfaChallenge: "POST" "/auth/mfa/challenge" => {handlers::mfa::challenge}(app, caller, call.body);
        MfaVerify: "POST" "/auth/mfa/verify" => {handlers::mfa::verify}(app, caller, call.body);
        MfaEnrollments: "GET, HEAD" "/auth/mfa/enrollments" => {handlers::mfa::enrollments}(app, caller);
        MfaEnroll(method: MfaMethod): "POST" "/auth/mfa/enrollments/{method}" => {handlers::mfa::enroll}(app, caller, call.body, method);
        MfaConfirm(method: MfaMethod): "POST" "/auth/mfa/enrollments/{method}/confirm" => {handlers::mfa::confirm}(app, caller, call.body, method);
        MfaRemove(factor: Uuid): "DELETE" "/auth/mfa/enrollments/{id}" => {handlers::mfa::remove}(app, caller, factor);
        Sessions: "GET, HEAD" "/auth/sessions" => {handlers::sessions::list}(app, caller, call.query);
        EndSession(id: Uuid): "DELETE" "/auth/sessions/{id}" => {handlers::sessions::end}(app, caller, id);
        ProviderLogout: "POST" backchannel_logout::PATH => {handlers::logout::backchannel}(app, caller, call.body);
        OauthToken: "POST" TOKEN_PATH => {handlers::oauth::token}(app, caller, call.body);
        OauthIntrospect: "POST" INTROSPECTION_PATH => {handlers::oauth::introspect}(app, caller, call.body);
        OauthRevoke: "POST" REVOCATION_PATH => {handlers::oauth::revoke}(app, caller, call.body);
    }
    undocumented {
        OpenApi: "GET, HEAD" "/openapi.json", openapi_path => super::openapi::answer();
        Page(file: page::File): "GET, HEAD" "/auth/mfa", page_path => page::answer(file, caller.headers, call.query);
    }
}

fn openapi_path(path: &str) -> Option<Route> {
    (path == "/openapi.json").then_some(Route::OpenApi)
}

fn page_path(path: &str) -> Option<Route> {
    page::File::at(path).map(Route::Page)
}

impl Route {
    pub(super) fn allows(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_one_segment() {
        let template = "/auth/mfa/enrollments/{method}/confirm";
        assert_eq!(
            parameter(template, "/auth/mfa/enrollments/totp/confirm"),
            Some("totp")
        );
        for path in [
            "/auth/mfa/enrollments/totp",
            "/auth/mfa/enrollments/a/b/confirm",
            "/auth/mfa/enrollments/confirm",
        ] {
            assert_eq!(parameter(template, path), None, "{path}");
        }
    }

    #[test]
    fn a_method_and_a_factor_have_paths_of_one_shape() {
        let id = "018bcfe5-6800-7000-8000-000000000001";
        let of = |rest: &str| Route::find(&format!("/auth/mfa/enrollments/{rest}"));
        assert_eq!(of("totp"), Some(Route::MfaEnroll(MfaMethod::Totp)));
        assert_eq!(of(id), id.parse().ok().map(Route::MfaRemove));
        assert_eq!(of("email_otp"), None, "it is never enrolled");
        assert_eq!(of(""), None);
    }
}
