//! An API server of a few lines, for faults that a real one does not give on demand: objects by
//! path, versions that grow, conflicts, and one status code for all requests when a test asks for
//! it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

#[derive(Clone, Default)]
pub(crate) struct Shelf {
    state: Arc<Mutex<State>>,
    /// Answers everything that writes with this status, unless 0.
    pub(crate) fail: Arc<AtomicU16>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    requests: Vec<(String, String)>,
}

impl Shelf {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.clone(), "auth")
    }

    pub(crate) fn put(&self, path: &str, mut object: Value) -> Value {
        let mut state = self.state.lock().expect("no test panics in it");
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.objects.insert(path.to_owned(), object.clone());
        object
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let state = self.state.lock().expect("no test panics in it");
        state.objects.get(path).cloned()
    }

    pub(crate) fn remove(&self, path: &str) {
        let mut state = self.state.lock().expect("no test panics in it");
        state.objects.remove(path);
    }

    /// The paths of the requests with this method, in their order.
    pub(crate) fn requests(&self, method: &str) -> Vec<String> {
        let state = self.state.lock().expect("no test panics in it");
        let requests = state.requests.iter();
        requests
            .filter(|(of, _)| of == method)
            .map(|(_, path)| path.clone())
            .collect()
    }

    fn answer(&self, method: &str, path: &str, body: &[u8]) -> Result<Value, u16> {
        let read = || serde_json::from_slice::<Value>(body).map_err(|_| 400_u16);
        {
            let mut state = self.state.lock().expect("no test panics in it");
            state.requests.push((method.to_owned(), path.to_owned()));
        }
        match (method, self.fail.load(Ordering::SeqCst)) {
            ("GET", _) | (_, 0) => {}
            (_, fail) => return Err(fail),
        }
        match method {
            "GET" => match self.get(path) {
                Some(object) => Ok(object),
                None if path.ends_with("s") => Ok(self.list(path)),
                None => Err(404),
            },
            "POST" => {
                let object = read()?;
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let path = format!("{path}/{name}");
                if self.get(&path).is_some() {
                    return Err(409);
                }
                Ok(self.put(&path, object))
            }
            "PUT" => {
                let object = read()?;
                let there = self.get(path).ok_or(404_u16)?;
                let wanted = &object["metadata"]["resourceVersion"];
                if !wanted.is_null() && *wanted != there["metadata"]["resourceVersion"] {
                    return Err(409);
                }
                Ok(self.put(path, object))
            }
            "PATCH" => {
                let path = path.trim_end_matches("/status");
                let mut there = self.get(path).ok_or(404_u16)?;
                there["status"] = read()?["status"].take();
                Ok(self.put(path, there))
            }
            "DELETE" => {
                let there = self.get(path).ok_or(404_u16)?;
                self.remove(path);
                Ok(there)
            }
            _ => Err(405),
        }
    }

    fn list(&self, path: &str) -> Value {
        let state = self.state.lock().expect("no test panics in it");
        let within = format!("{path}/");
        let objects = state.objects.iter();
        let items: Vec<&Value> = objects
            .filter(|(at, _)| at.starts_with(&within))
            .map(|(_, object)| object)
            .collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
    }
}

impl tower_service::Service<Request<Body>> for Shelf {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (head, body) = request.into_parts();
        let body = body.collect().now_or_never().expect("it is whole");
        let body = body.expect("it is whole").to_bytes();
        let answer = self.answer(head.method.as_str(), head.uri.path(), &body);
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(status) => {
                let reason = match status {
                    404 => "NotFound",
                    409 => "Conflict",
                    _ => "InternalError",
                };
                let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status, "message": "as the test wants it", "reason": reason});
                (status, body)
            }
        };
        let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
        *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        ready(Ok(answer))
    }
}
