//! npm `oidc-provider` as a process: `tests/provider` says what it can be told to do.

use std::path::Path;
use std::process::Command;

use hyper::Method;
use serde_json::{Value, json};

use super::child::ChildProcess;
use super::{Client, eventually};

#[derive(Debug)]
pub struct IdProvider {
    pub issuer: String,
    control: String,
    client: Client,
    _child: ChildProcess,
}

impl IdProvider {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments of `provider.mjs`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("provider");
        assert!(
            folder.join("node_modules").is_dir(),
            "the provider's packages are missing: `make tools` installs them"
        );
        let mut command = Command::new("node");
        command
            .current_dir(folder)
            .args(["provider.mjs", "--end-with-stdin"])
            .args(arguments);
        let mut child = ChildProcess::start(&mut command);
        let line = eventually("the provider says where it is", || {
            let (ended, text) = (child.has_ended(), child.stdout.text());
            async move {
                assert!(!ended, "the provider ended at its start");
                text.lines().next().map(str::to_owned).ok_or("it does not")
            }
        })
        .await;
        let at: Value = serde_json::from_str(&line).expect("the first line is JSON");
        let text = |name: &str| at[name].as_str().expect("it names both").to_owned();
        Self {
            issuer: text("issuer"),
            control: text("control"),
            client: Client::new(),
            _child: child,
        }
    }

    /// Where it listens, which an issuer of another address does not say.
    pub async fn port(&self) -> u16 {
        let state = self.client.get(&format!("{}/state", self.control)).await;
        let state = state.expect("it answers").json();
        let port = state["port"].as_u64().expect("a number");
        port.try_into().expect("a port")
    }

    /// An ID token by authorization code and PKCE.
    pub async fn id_token(&self, subject: &str) -> String {
        self.id_token_with(json!({"subject": subject})).await
    }

    /// With `client`, `subject`, `nonce` or `scope` of its own.
    pub async fn id_token_with(&self, request: Value) -> String {
        self.id_tokens(request).await.remove(0)
    }

    /// `count` tokens; `{n}` in the subject is the number of each.
    pub async fn id_tokens(&self, request: Value) -> Vec<String> {
        let answer = self.tell(Method::POST, "/tokens", request).await;
        let tokens = answer["id_tokens"].as_array().expect("a list").iter();
        tokens
            .map(|token| token.as_str().expect("a token").to_owned())
            .collect()
    }

    pub async fn sign_with(&self, algorithm: &str) {
        let body = json!({"algorithm": algorithm});
        self.tell(Method::PUT, "/clients/web", body).await;
    }

    /// Tells this URI of sign-outs from here on, and names the session in ID tokens.
    pub async fn tell_logouts_to(&self, uri: &str) {
        let body = json!({"logoutUri": uri});
        self.tell(Method::PUT, "/clients/web", body).await;
    }

    /// Tells of a sign-out; false when it was not taken.
    pub async fn log_out(&self, subject: &str, sid: &str) -> bool {
        let url = format!("{}/logout", self.control);
        let body = json!({"client": "web", "subject": subject, "sid": sid});
        let reply = self.client.post(&url, &body).await;
        reply.expect("the control endpoint answers").status == 200
    }

    /// New keys sign from here on; the old ones stay published.
    pub async fn rotate(&self) {
        self.tell(Method::POST, "/keys/rotate", json!({})).await;
    }

    pub async fn drop_old_keys(&self) {
        self.tell(Method::POST, "/keys/drop-old", json!({})).await;
    }

    pub async fn faults(&self, faults: Value) {
        self.tell(Method::PUT, "/faults", faults).await;
    }

    pub async fn take_down(&self) {
        self.tell(Method::PUT, "/listening", json!({"listening": false}))
            .await;
    }

    pub async fn bring_back(&self) {
        self.tell(Method::PUT, "/listening", json!({"listening": true}))
            .await;
    }

    /// How often its keys have been fetched: its own count.
    pub async fn jwks_fetches(&self) -> u64 {
        let state = self.client.get(&format!("{}/state", self.control)).await;
        let state = state.expect("it answers").json();
        state["fetches"]["jwks"].as_u64().expect("a count")
    }

    async fn tell(&self, method: Method, command: &str, body: Value) -> Value {
        let url = format!("{}{command}", self.control);
        let reply = self.client.send_json(method, &url, &body).await;
        let reply = reply.expect("the control endpoint answers");
        assert_eq!(reply.status, 200, "{command} {body}: {}", reply.body);
        reply.json()
    }
}
