//! Waiting for what the operator says of an object.

use std::time::Duration;

use serde_json::Value;

use super::Namespace;
use crate::e2e::{is, within};

const DEADLINE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(150);

impl Namespace {
    /// Waits until a condition has this status and reason, for the object as it stands; returns its message.
    pub async fn condition(&self, object: &str, type_: &str, status: &str, reason: &str) -> String {
        let what = format!("{object} in {} has {type_} {status} {reason}", self.name);
        within(DEADLINE, LOOK_EVERY, &what, || async {
            let found = self.get(object);
            let generation = &found["metadata"]["generation"];
            let condition = condition(&found, type_);
            let now = condition["observedGeneration"] == *generation
                && condition["status"] == status
                && condition["reason"] == reason;
            if now {
                let message = condition["message"].as_str().unwrap_or_default();
                Ok(message.to_owned())
            } else {
                Err(found["status"].clone())
            }
        })
        .await
    }

    /// Waits until every ready pod serves each of these objects as it stands.
    pub async fn programmed(&self, objects: &[&str]) {
        for object in objects {
            self.condition(object, "Programmed", "True", "Serving")
                .await;
        }
    }

    /// Waits until there is an Event of this reason about an object; returns its note.
    pub async fn event(&self, object: &str, reason: &str) -> String {
        let name = object.rsplit('/').next().unwrap_or(object);
        let what = format!("an Event {reason} about {object} in {}", self.name);
        within(DEADLINE, LOOK_EVERY, &what, || async {
            let events = self.get("events.events.k8s.io");
            let items = events["items"].as_array().cloned().unwrap_or_default();
            let said =
                |event: &&Value| event["regarding"]["name"] == name && event["reason"] == reason;
            match items.iter().find(said) {
                Some(event) => Ok(event["note"].as_str().unwrap_or_default().to_owned()),
                None => Err(items.len()),
            }
        })
        .await
    }

    /// Waits until a Deployment has this many ready pods.
    pub async fn ready(&self, deployment: &str, replicas: u64) {
        let what = format!("{deployment} in {} has {replicas} ready pods", self.name);
        within(DEADLINE, LOOK_EVERY, &what, || async {
            let found = self.get(&format!("deployment {deployment}"));
            let status = &found["status"];
            let settled = status["observedGeneration"] == found["metadata"]["generation"];
            let ready = status["readyReplicas"].as_u64().unwrap_or(0);
            let all = status["replicas"].as_u64().unwrap_or(0);
            is((settled, ready, all), (true, replicas, replicas))
        })
        .await;
    }

    /// The pods of a component, `dataplane` or `operator`, which are not on their way out.
    pub fn pods(&self, component: &str) -> Vec<Value> {
        let pods = self.get(&format!(
            "pods --selector app.kubernetes.io/component={component}"
        ));
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        pods.into_iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect()
    }
}

/// A condition of an object; null when there is none.
pub fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == type_);
    found.cloned().unwrap_or_default()
}

/// The name of a pod or another object.
#[track_caller]
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"]
        .as_str()
        .expect("an object has a name")
}

/// The address of a pod.
#[track_caller]
pub fn address(pod: &Value) -> &str {
    pod["status"]["podIP"].as_str().expect("the pod runs")
}
