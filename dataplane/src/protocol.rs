//! Names of protocols: scopes, grant types and paths that clients and documents share.

/// The scope of an access token for services.
pub const FULL_SCOPE: &str = "openid";
/// The scope of a token that manages the user's own account, and is for this service alone.
pub const ACCOUNT_SCOPE: &str = "account";
/// How long an account token lives.
pub const ACCOUNT_SECONDS: i64 = 300;
/// The scope of a token that changes the password and opens nothing else.
pub const CHANGE_SCOPE: &str = "password:change";
/// How long a token that changes the password lives.
pub const CHANGE_SECONDS: i64 = 600;

pub const TOKEN_PATH: &str = "/oauth2/token";
pub const INTROSPECTION_PATH: &str = "/oauth2/introspect";
pub const REVOCATION_PATH: &str = "/oauth2/revoke";

/// RFC 8693, section 2.1.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 6749, section 6.
pub const REFRESH_TOKEN: &str = "refresh_token";
