//! The demo's own OpenID provider: discovery, keys, and ID tokens for any caller.

use std::convert::Infallible;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::signing_key::SigningKey;

pub(super) struct DemoProvider {
    pub(super) issuer: String,
    key: SigningKey,
}

impl DemoProvider {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let pem = SigningKey::generate(SigningAlgorithm::RS256)?;
        let key = SigningKey::parse(&pem, Some(SigningAlgorithm::RS256))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let jwks = Bytes::from(json!({"keys": [key.jwk]}).to_string());
        let discovery = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks")});
        let discovery = Bytes::from(discovery.to_string());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (jwks, discovery) = (jwks.clone(), discovery.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(request.uri().path(), &jwks, &discovery);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Ok(Self { issuer, key })
    }

    pub(super) fn id_token(
        &self,
        subject: &str,
        now: i64,
        lifetime: i64,
    ) -> anyhow::Result<String> {
        let header = json!({"alg": "RS256", "kid": self.key.kid, "typ": "JWT"});
        let claims = json!({
            "iss": self.issuer,
            "sub": subject,
            "aud": "web",
            "iat": now,
            "exp": now + lifetime,
            "auth_time": now,
            "preferred_username": subject,
            "email": format!("{subject}@demo.example"),
            "email_verified": true,
            "roles": ["staff"],
        });
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self
            .key
            .sign(input.as_bytes())
            .context("the provider's key")?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn answer(path: &str, jwks: &Bytes, discovery: &Bytes) -> Response<Full<Bytes>> {
    let body = match path {
        "/.well-known/openid-configuration" => discovery.clone(),
        "/jwks" => jwks.clone(),
        _ => {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return answer;
        }
    };
    let mut answer = Response::new(Full::new(body));
    let json = http::HeaderValue::from_static("application/json");
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    answer
}
