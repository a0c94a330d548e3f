//! Three data-plane pods over PostgreSQL, for stories in which parts go away.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use vestibule_tests::cluster::fleet::install;
use vestibule_tests::cluster::objects::{address, condition, name};
use vestibule_tests::cluster::{Namespace, Release, node};
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{Client, Load, LocalIssuer, eventually, is, within};

const CONNECTIONS: usize = 4;
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Three data-plane pods over PostgreSQL.
pub(crate) struct Fleet {
    pub(crate) release: Release,
    pub(crate) issuer: LocalIssuer,
}

static FLEET: OnceLock<Fleet> = OnceLock::new();
static TURN: Mutex<()> = Mutex::const_new(());

/// One outage at a time, whatever the number of threads; none where the cluster is not the tests' own.
pub(crate) async fn fleet() -> Option<(&'static Fleet, MutexGuard<'static, ()>)> {
    if !node::is_ours() {
        return None;
    }
    let turn = TURN.lock().await;
    Some((FLEET.get_or_init(Fleet::start), turn))
}

impl Fleet {
    fn start() -> Self {
        let release = install("e2e-outages", 3);
        let issuer = LocalIssuer::new();
        let policy = with(policy(), "/spec/limits/perUserPerMinute", 100_000);
        release.namespace.apply(&[issuer.provider(), policy]).ok();
        release
            .namespace
            .kubectl("wait --for=condition=Programmed oidcp/corp sip/default --timeout=60s")
            .ok();
        Self { release, issuer }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.release.namespace
    }

    /// Sign-ins without a pause, each of somebody, until it is finished.
    pub(crate) async fn load(&self) -> Load<Result<(), String>> {
        // Of pods that are ready the Service learns a moment later.
        self.signs_in().await;
        let began = Instant::now();
        let url = self.release.url("/auth/id-token/signin");
        let bodies: Vec<Value> = (0..50)
            .map(|number| json!({"id_token": self.issuer.id_token(&format!("user-{number}"))}))
            .collect();
        let bodies = std::sync::Arc::new(bodies);
        Load::start(CONNECTIONS, move |client: Client, number| {
            let (url, bodies) = (url.clone(), std::sync::Arc::clone(&bodies));
            async move {
                let body = &bodies[number % bodies.len()];
                match client.post(&url, body).await {
                    Ok(reply) if reply.status == 200 => Ok(()),
                    Ok(reply) => Err(format!("{} {}", reply.status, reply.body)),
                    Err(error) => Err(format!("after {:?}: {error:#}", began.elapsed())),
                }
            }
        })
    }

    pub(crate) async fn signs_in(&self) {
        let url = self.release.url("/auth/id-token/signin");
        let body = json!({"id_token": self.issuer.id_token("alice")});
        eventually("a sign-in succeeds", || async {
            let reply = Client::new().post(&url, &body).await;
            is(
                reply
                    .map(|reply| reply.code())
                    .map_err(|error| error.to_string()),
                Ok("ok".to_owned()),
            )
        })
        .await
        .expect("it is as wanted");
    }

    /// The name of the operator that leads.
    pub(crate) fn leader(&self) -> String {
        let lease = self.namespace().get("lease/vestibule-operator");
        let holder = lease["spec"]["holderIdentity"].as_str();
        holder.unwrap_or_default().to_owned()
    }

    pub(crate) async fn another_leads_than(&self, leader: &str) {
        within(DEADLINE, LOOK_EVERY, "another one leads", || async {
            let now = self.leader();
            if now.is_empty() || now == leader {
                Err(now)
            } else {
                Ok(())
            }
        })
        .await;
    }

    pub(crate) fn uid(&self, pod: &str) -> String {
        let pod = self.namespace().get(&format!("pod/{pod}"));
        let uid = pod["metadata"]["uid"].as_str();
        uid.expect("a pod has one").to_owned()
    }

    /// A change reaches every pod.
    pub(crate) async fn a_change_is_served(&self, display_name: &str) {
        let change = with(self.issuer.provider(), "/spec/displayName", display_name);
        self.namespace().apply(&[change]).ok();
        self.namespace()
            .programmed(&["oidcp/corp", "sip/default"])
            .await;
    }

    /// When conditions last changed their status, and what they say.
    pub(crate) fn conditions(&self) -> Value {
        let object = self.namespace().get("oidcp/corp");
        ["Accepted", "ResolvedRefs", "Programmed"]
            .into_iter()
            .map(|type_| {
                let condition = condition(&object, type_);
                json!([
                    type_,
                    condition["status"],
                    condition["reason"],
                    condition["lastTransitionTime"]
                ])
            })
            .collect()
    }
}

/// Every result of the load, which has none that failed.
pub(crate) async fn all_succeeded(load: Load<Result<(), String>>) {
    let results = load.finish().await;
    let failed: Vec<&String> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    eprintln!("{} sign-ins, {} failed", results.len(), failed.len());
    assert!(
        failed.is_empty(),
        "of {} sign-ins {} failed: {:?}",
        results.len(),
        failed.len(),
        &failed[..failed.len().min(5)]
    );
}

/// A sign-in at this pod alone.
pub(crate) async fn serves_itself(pod: &Value, issuer: &LocalIssuer) {
    let url = format!("http://{}:8080/auth/id-token/signin", address(pod));
    let reply = Client::new()
        .post(&url, &json!({"id_token": issuer.id_token("alice")}))
        .await;
    let reply = reply.expect("the pod answers");
    assert_eq!(reply.code(), "ok", "{}: {}", name(pod), reply.body);
}
