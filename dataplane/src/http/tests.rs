//! The whole request path in one process: a real listener, a real SQLite store, and a clock that the test sets.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::signing_key::SigningKey;
use vestibule_crds::snapshot::{Policy, Provider, Snapshot};

use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::runtime_config::RuntimeConfig;
use crate::server::bounds::Bounds;
use crate::server::threads::Threads;
use crate::server::{Gauge, Server};
use crate::testing::{self, NOW, claims, snapshot, token, with};
use vestibule_store::sqlite::{SqliteOptions, SqliteStore};

mod accounts;
mod adversary;
mod floods;
mod hosts;
mod logout;
mod mfa;
mod oauth;
mod own_sessions;
mod page;
mod passwords;
mod requests;
mod risk;
mod sessions;
mod tokens;

pub(super) struct Service {
    pub(super) app: Arc<App>,
    pub(super) clock: Clock,
    /// The provider's key.
    pub(super) key: SigningKey,
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: CancellationToken,
    data: tempfile::TempDir,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Value,
}

struct NoGauge;

impl Gauge for NoGauge {
    fn opened(&self) {}
    fn closed(&self) {}
    fn refused(&self) {}
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The fixture provider, with the public half of `key`.
pub(super) fn provider_of(key: &SigningKey) -> Provider {
    testing::provider(json!({"keys": [key.jwk]}))
}

impl Service {
    pub(super) async fn start() -> Self {
        Self::start_with(|provider| provider, |policy| policy).await
    }

    pub(super) async fn start_with(
        provider: impl FnOnce(Provider) -> Provider,
        policy: impl FnOnce(Policy) -> Policy,
    ) -> Self {
        let key = testing::key(SigningAlgorithm::ES256);
        let provider = provider(provider_of(&key));
        let policy = policy(testing::policy());
        Self::serve(key, &snapshot([policy], [provider])).await
    }

    pub(super) async fn serve(key: SigningKey, snapshot: &Snapshot) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&data.path().join("store.db"), SqliteOptions::default());
        let clock = Clock::set_to(NOW);
        let runtime_config = RuntimeConfig::empty(HttpIssuers::LoopbackAndCluster, clock.clone());
        runtime_config.serve(snapshot).expect("it builds");
        let store = store.expect("it opens").into();
        let app = Arc::new(App::new(
            runtime_config,
            store,
            clock.clone(),
            Metrics::default(),
        ));

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Server {
            listener,
            tls: None,
            connections_max: 1000,
            bounds: Bounds::default(),
            gauge: Arc::new(NoGauge),
            threads: Arc::new(Threads::of_cores().expect("threads")),
        };
        let stop = CancellationToken::new();
        let handling = Arc::clone(&app);
        let handle = move |peer: IpAddr, request| handle(Arc::clone(&handling), peer, request);
        tokio::spawn(server.run(handle, stop.clone()));
        Self {
            app,
            clock,
            key,
            base,
            client: Client::builder(TokioExecutor::new()).build_http(),
            stop,
            data,
        }
    }

    /// The outcome and the detail of each audit event, oldest first.
    pub(super) async fn events(&self) -> Vec<(String, String)> {
        self.app.store.flush().await.expect("the store is there");
        let db = self.database();
        let events = db.prepare("SELECT outcome, detail FROM events ORDER BY id");
        let mut events = events.expect("a query");
        let rows = events.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let rows = rows.expect("it runs").collect::<Result<_, _>>();
        rows.expect("two texts")
    }

    /// The one column that a query of another connection finds.
    pub(super) async fn column(&self, sql: &str) -> Vec<String> {
        self.app.store.flush().await.expect("the store is there");
        let db = self.database();
        let mut query = db.prepare(sql).expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("it runs");
        rows.collect::<Result<_, _>>().expect("texts")
    }

    /// Changes the database behind the store's back.
    pub(super) async fn execute(&self, sql: &str) {
        self.app.store.flush().await.expect("the store is there");
        self.database().execute_batch(sql).expect("it runs");
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.data.path().join("store.db")).expect("it opens")
    }

    /// Replaces what is being served.
    pub(super) fn apply(&self, snapshot: &Snapshot) {
        self.app.runtime_config.serve(snapshot).expect("it builds");
    }

    /// A token of the fixture's provider with these claims.
    pub(super) fn token(&self, claims: &Value) -> String {
        token(&self.key, claims)
    }

    /// A valid token of this subject.
    pub(super) fn token_of(&self, subject: &str) -> String {
        self.token(&with(claims(), "sub", subject))
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        let response = self.client.request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).expect("every body is JSON")
        };
        Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()));
        self.send(request.expect("a request")).await
    }

    pub(super) async fn get(&self, path: &str, bearer: Option<&str>) -> Reply {
        let mut request = self.request(Method::GET, path);
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        self.send(request.body(Full::default()).expect("a request"))
            .await
    }

    pub(super) async fn signin(&self, id_token: &str) -> Reply {
        let body = json!({"id_token": id_token, "provider": "corp"});
        self.post("/auth/id-token/signin", &body).await
    }

    /// An account token of the session that this answer began or carried on.
    pub(super) async fn account(&self, reply: &Reply) -> String {
        let body = json!({"refresh_token": reply.text("refresh_token"), "scope": "account"});
        let reply = self.post("/auth/token/refresh", &body).await;
        assert_eq!(reply.code(), "ok", "{}", reply.body);
        reply.text("access_token").to_owned()
    }

    pub(super) async fn refresh(&self, refresh_token: &str) -> Reply {
        let body = json!({"refresh_token": refresh_token});
        self.post("/auth/token/refresh", &body).await
    }
}

impl Reply {
    /// The error code, or `ok`.
    #[track_caller]
    pub(super) fn code(&self) -> &str {
        if self.status < 300 {
            return "ok";
        }
        assert_eq!(
            self.headers.get("content-type").map(HeaderValue::as_bytes),
            Some(b"application/problem+json".as_slice())
        );
        self.body["code"].as_str().expect("a problem has a code")
    }

    #[track_caller]
    pub(super) fn text_of_user(&self, name: &str) -> &str {
        self.body["user"][name].as_str().expect("a text")
    }

    #[track_caller]
    pub(super) fn text(&self, name: &str) -> &str {
        self.body[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {}", self.body))
    }
}
