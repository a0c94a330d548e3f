//! The OAuth endpoints: exchange, refresh, introspection and revocation, and every error by its own name with a twin that is
//! accepted.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::Serializer;
use vestibule_crds::secret::Secret;
use vestibule_crds::signin_policy::ClientPermission;
use vestibule_crds::snapshot::{Client, ClientProof};

use super::*;
use crate::testing::{header, sign, without};

mod clients;
mod introspection;
mod metadata;
mod revocation;
mod token;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ISSUER: &str = "https://auth.example.com";
const SECRET: &str = "a secret of forty bytes, + and : and % ä";

/// With parameters by name; an empty value is left out.
fn with_parameters<'a>(
    base: &[(&'a str, &'a str)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let kept = base
        .iter()
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    let all = kept.chain(more).copied();
    all.filter(|(_, value)| !value.is_empty()).collect()
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    let mut body = Serializer::new(String::new());
    body.extend_pairs(parameters);
    body.finish()
}

fn basic(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| {
        Serializer::new(String::new())
            .append_key_only(text)
            .finish()
    };
    let both = format!("{}:{}", encode(client_id), encode(secret));
    format!("Basic {}", STANDARD.encode(both))
}

fn client(id: &str, allow: &[ClientPermission], proof: ClientProof) -> Client {
    Client {
        id: id.to_owned(),
        allow: allow.to_vec(),
        proof,
    }
}

const ALL: [ClientPermission; 4] = [
    ClientPermission::TokenExchange,
    ClientPermission::RefreshToken,
    ClientPermission::Introspection,
    ClientPermission::Revocation,
];

fn by_secret(secret: &str) -> ClientProof {
    let digest = STANDARD.encode(digest(&SHA256, secret.as_bytes()));
    ClientProof::Secret {
        digests: vec![Secret::new(digest)],
    }
}

/// With these clients in the fixture's policy.
async fn with_clients(clients: Vec<Client>) -> Service {
    Service::start_with(
        |provider| provider,
        |policy| Policy {
            clients: Some(clients),
            ..policy
        },
    )
    .await
}

/// With the client `gateway`, which may do everything.
async fn with_gateway() -> Service {
    with_clients(vec![
        client("gateway", &ALL, by_secret(SECRET)),
        client("other", &ALL, by_secret(&SECRET.to_uppercase())),
    ])
    .await
}

impl Service {
    async fn oauth(
        &self,
        path: &str,
        authorization: Option<&str>,
        parameters: &[(&str, &str)],
    ) -> Reply {
        self.oauth_body(path, authorization, &encoded(parameters))
            .await
    }

    async fn oauth_body(&self, path: &str, authorization: Option<&str>, body: &str) -> Reply {
        let mut request = self
            .request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let body = Full::from(body.to_owned());
        let reply = self.send(request.body(body).expect("a request")).await;
        assert_eq!(reply.headers["cache-control"], "no-store");
        reply
    }

    /// By the client `gateway`, which is told apart by its secret.
    async fn gateway(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        let authorization = basic("gateway", SECRET);
        self.oauth(path, Some(&authorization), parameters).await
    }

    async fn exchange_by_gateway(&self, id_token: &str) -> Reply {
        let reply = self.gateway("/oauth2/token", &exchange(id_token)).await;
        assert_eq!(reply.error(), "ok", "{}", reply.body);
        reply
    }

    async fn refresh_by_gateway(&self, refresh_token: &str) -> Reply {
        self.gateway("/oauth2/token", &refreshing(refresh_token))
            .await
    }

    async fn introspect(&self, token: &str) -> Value {
        let reply = self
            .gateway("/oauth2/introspect", &[("token", token)])
            .await;
        assert_eq!(reply.error(), "ok", "{}", reply.body);
        reply.body
    }
}

impl Reply {
    /// OAuth's error, or `ok`; the document is whole either way.
    #[track_caller]
    fn error(&self) -> &str {
        if self.status == 200 {
            return "ok";
        }
        assert_eq!(self.headers["content-type"], "application/json");
        assert!(!self.text("error_description").is_empty());
        assert!(!self.text("code").is_empty());
        self.text("error")
    }

    /// Status, error and our own code.
    #[track_caller]
    fn refusal(&self) -> (u16, &str, &str) {
        (self.status, self.error(), self.text("code"))
    }
}

fn exchange(id_token: &str) -> [(&str, &str); 3] {
    [
        ("grant_type", EXCHANGE),
        ("subject_token", id_token),
        ("subject_token_type", ID_TOKEN),
    ]
}

fn refreshing(refresh_token: &str) -> [(&str, &str); 2] {
    [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
    ]
}
