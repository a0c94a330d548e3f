//! One task for each ready pod asks it what it serves: quickly while it should serve something
//! else, seldom after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::pod_api::{Pod, PodApi};
use super::{PodIdentity, Pods};

/// Questions under way at once, over all pods.
const QUESTIONS_MAX: usize = 16;
/// The first pause while a pod should serve something else than it does; each is longer than the
/// one before.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_BUSY_MAX: Duration = Duration::from_secs(1);
/// The pause while nothing is expected.
const PAUSE_IDLE: Duration = Duration::from_secs(5);
/// Providers' keys are fetched after a snapshot is served.
const DISCOVERY_PAUSE_FIRST: Duration = Duration::from_millis(150);
const DISCOVERY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Follows every ready pod, for as long as this runs.
pub(crate) async fn follow_pods(pods: Arc<Pods>) -> anyhow::Result<()> {
    let api = PodApi::new(pods.admin_port);
    let questions = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut tasks = JoinSet::new();
    let mut followed: BTreeMap<String, (PodIdentity, AbortHandle)> = BTreeMap::new();
    loop {
        let ready = pods.identities();
        followed.retain(|name, (identity, task)| {
            let still = ready.get(name) == Some(identity);
            if !still {
                task.abort();
            }
            still
        });
        for (name, identity) in ready {
            if followed.contains_key(&name) {
                continue;
            }
            let follower = Follower {
                pods: Arc::clone(&pods),
                api: api.clone(),
                questions: Arc::clone(&questions),
                name: name.clone(),
                identity: identity.clone(),
            };
            let task = tasks.spawn(follower.run());
            followed.insert(name, (identity, task));
        }
        // What has ended was aborted: a panic ends the process.
        while tasks.try_join_next().is_some() {}
        pods.pods_changed.notified().await;
    }
}

struct Follower {
    pods: Arc<Pods>,
    api: PodApi,
    questions: Arc<Semaphore>,
    name: String,
    identity: PodIdentity,
}

impl Follower {
    async fn run(self) {
        tokio::join!(self.revisions(), self.discoveries());
    }

    fn pod(&self) -> Pod<'_> {
        Pod {
            name: &self.name,
            address: self.identity.address,
        }
    }

    async fn revisions(&self) {
        let mut expected = self.pods.expected.subscribe();
        let mut pause = PAUSE_FIRST;
        loop {
            let wanted = expected.borrow_and_update().clone();
            if let Some(wanted) = wanted {
                let answer = {
                    let _place = self.questions.acquire().await;
                    self.api.revision(self.pod(), &wanted.proof_key).await
                };
                let settled = answer
                    .as_ref()
                    .is_ok_and(|answer| answer.revision.as_ref() == Some(&wanted.revision));
                self.pods
                    .revision_answered(&self.name, &self.identity, answer);
                pause = if settled {
                    PAUSE_IDLE
                } else {
                    (pause + pause / 2).min(PAUSE_BUSY_MAX)
                };
            }
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = expected.changed() => pause = PAUSE_FIRST,
            }
        }
    }

    async fn discoveries(&self) {
        let mut expected = self.pods.expected.subscribe();
        let mut pause = DISCOVERY_PAUSE_FIRST;
        loop {
            if let Ok(Ok(())) = timeout(pause, expected.changed()).await {
                pause = DISCOVERY_PAUSE_FIRST;
                sleep(pause).await;
            }
            pause = (pause * 2).min(DISCOVERY_PAUSE_MAX);
            let Some(wanted) = expected.borrow_and_update().clone() else {
                continue;
            };
            let _place = self.questions.acquire().await;
            let mut again = true;
            while again {
                let since = self.pods.discovery_cursor(&self.name);
                let key = &wanted.proof_key;
                again = match self.api.discovery(self.pod(), key, since).await {
                    Ok(report) => {
                        let (name, identity) = (&self.name, &self.identity);
                        self.pods.discovery_answered(name, identity, since, report)
                    }
                    // What it serves is asked for too, and tells what is wrong.
                    Err(error) => {
                        tracing::debug!(pod = self.name, %error, "it does not say what it has seen of providers");
                        false
                    }
                };
            }
        }
    }
}
