//! One release for all stories that disturb nobody: each has objects of its own names, and an audience of its own.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use vestibule_tests::cluster::{Namespace, Release};
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{Client, LocalIssuer, Reply, is, within};

pub(crate) struct Shared {
    pub(crate) release: Release,
    issuer: LocalIssuer,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// Installed by whoever asks first, and removed with the cluster, or by the next run.
pub(crate) fn shared() -> &'static Shared {
    SHARED.get_or_init(|| {
        let release = Release::install(
            Namespace::create("e2e-shared"),
            &[
                "dataplane.plainHttp=true",
                "dataplane.allowHttpIssuers=true",
                "persistence.enabled=false",
            ],
        );
        release.namespace.apply(&[policy()]).ok();
        Shared {
            release,
            issuer: LocalIssuer::new(),
        }
    })
}

impl Shared {
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.release.namespace
    }

    /// A provider whose tokens [`Shared::token`] makes.
    pub(crate) fn provider(&self, name: &str) -> Value {
        let provider = with(self.issuer.provider(), "/metadata/name", name);
        with(provider, "/spec/audiences", json!([name]))
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.issuer.key.jwk]})
    }

    /// Of the key that [`Shared::provider`] has.
    pub(crate) fn token(&self, audience: &str, subject: &str) -> String {
        let claims = with(self.issuer.claims(subject), "/aud", audience);
        self.issuer.sign(&claims)
    }

    pub(crate) async fn sign_in(&self, id_token: &str) -> Reply {
        let url = self.release.url("/auth/id-token/signin");
        let reply = Client::new()
            .post(&url, &json!({"id_token": id_token}))
            .await;
        reply.expect("the service answers")
    }

    /// Waits until a sign-in at this provider answers with this code, or `ok`.
    pub(crate) async fn signs_in(&self, provider: &str, code: &str) {
        let what = format!("a sign-in at {provider} answers {code}");
        let (deadline, look_every) = (Duration::from_secs(60), Duration::from_millis(50));
        within(deadline, look_every, &what, || async {
            let token = self.token(provider, "alice");
            is(self.sign_in(&token).await.code(), code.to_owned())
        })
        .await;
    }
}
