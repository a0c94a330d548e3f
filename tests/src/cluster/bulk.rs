//! The API server without `kubectl` between: many objects at once, which `kubectl` lets through slowly, and answers as they are.

use futures_util::{StreamExt as _, TryStreamExt as _};
use http::Request;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;
use vestibule_crds::object::Kind;

/// Requests under way at once.
const REQUESTS_MAX: usize = 16;

/// A client of the cluster that `KUBECONFIG` names.
pub async fn client() -> Client {
    // Of two that are linked in, rustls wants one named. A test before this one may have done it.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::try_default()
        .await
        .expect("KUBECONFIG names a cluster")
}

/// Objects of one of our kinds.
pub fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("vestibule.dev", "v1alpha1", kind.name());
    let plural = match kind {
        Kind::OidcProvider => "oidcproviders",
        Kind::SigninPolicy => "signinpolicies",
    };
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Server-side apply of each, as `kubectl apply --server-side` does.
pub async fn apply(api: &Api<DynamicObject>, objects: impl IntoIterator<Item = Value>) {
    let params = PatchParams::apply("kubectl").force();
    futures_util::stream::iter(objects.into_iter().map(Ok))
        .try_for_each_concurrent(REQUESTS_MAX, |object: Value| {
            let params = &params;
            async move {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                api.patch(name, params, &Patch::Apply(&object)).await?;
                Ok::<(), kube::Error>(())
            }
        })
        .await
        .expect("the API server takes them");
}

/// What the API server would answer to `kubectl create`, which changes nothing.
pub async fn dry_run(
    client: &Client,
    api: &Api<DynamicObject>,
    object: &Value,
) -> Result<(), String> {
    let url = format!("{}?dryRun=All&fieldValidation=Strict", api.resource_url());
    let request = Request::post(url)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes());
    match client.request::<Value>(request.expect("a request")).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("the API server does not answer: {error}"),
    }
}

/// Runs `ask` for each, several at once.
pub async fn each<T, R, F: Future<Output = R>>(
    all: impl IntoIterator<Item = T>,
    ask: impl Fn(T) -> F,
) -> Vec<R> {
    futures_util::stream::iter(all)
        .map(ask)
        .buffered(REQUESTS_MAX)
        .collect()
        .await
}
