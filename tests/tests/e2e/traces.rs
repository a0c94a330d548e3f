//! Traces, as a collector gets them.

use http_body_util::Full;
use hyper::{Method, Request};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use vestibule_tests::e2e::manifests::{policy, provider};
use vestibule_tests::e2e::scripted::{Answer, Scripted};
use vestibule_tests::e2e::{IdProvider, Service, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Every span that has come so far.
fn spans(collector: &Scripted) -> Vec<Span> {
    let requests = collector.received().into_iter().map(|request| {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        ExportTraceServiceRequest::decode(request.bytes).expect("spans of the protocol")
    });
    requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == name)?;
    match found.value.clone()?.value? {
        Attribute::StringValue(text) => Some(text),
        Attribute::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn signin(service: &Service, token: &str, flags: &str) -> u16 {
    let request = Request::builder()
        .method(Method::POST)
        .uri(service.url("/auth/id-token/signin"))
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-{CALLER}-{flags}"))
        .body(Full::from(json!({"id_token": token}).to_string()))
        .expect("a request");
    service
        .client
        .send(request)
        .await
        .expect("an answer")
        .status
}

#[tokio::test]
async fn a_sign_in_is_traced_from_its_caller_to_the_store_and_the_provider() {
    let id_provider = IdProvider::start().await;
    let collector = Scripted::start([Answer::json(200, &json!({}))]).await;
    let service = Service::builder()
        .manifests(
            "all.yaml",
            &[provider("corp", &id_provider.issuer), policy()],
        )
        .argument("--otlp-endpoint")
        .argument(collector.url())
        // Whoever is traced already is traced on; nobody else.
        .argument("--otlp-share")
        .argument("0")
        .start()
        .await;
    let token = id_provider.id_token("alice").await;
    assert_eq!(signin(&service, &token, "01").await, 200);
    assert_eq!(signin(&service, "no token", "01").await, 401);
    // Not wanted by its caller, and without a word about it.
    assert_eq!(signin(&service, &token, "00").await, 200);
    assert_eq!(service.signin(&token).await.status, 200);

    let spans = eventually("all spans have come", || {
        let spans = spans(&collector);
        async move {
            let whole = spans
                .iter()
                .filter(|span| span.name.starts_with('/'))
                .count()
                == 2;
            if whole { Ok(spans) } else { Err(spans.len()) }
        }
    })
    .await;
    assert!(
        spans.iter().all(|span| hex(&span.trace_id) == TRACE),
        "{spans:?}"
    );
    let requests: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "/auth/id-token/signin")
        .collect();
    assert!(
        requests
            .iter()
            .all(|span| hex(&span.parent_span_id) == CALLER)
    );
    let outcomes: Vec<_> = requests
        .iter()
        .map(|span| {
            (
                attribute(span, "http.response.status_code"),
                attribute(span, "vestibule.outcome"),
            )
        })
        .collect();
    let expected = [("200", "ok"), ("401", "token_malformed")]
        .map(|(status, outcome)| (Some(status.to_owned()), Some(outcome.to_owned())));
    assert_eq!(outcomes, expected);
    for name in ["sqlite Signin", "fetch provider keys"] {
        let step = spans.iter().find(|span| span.name == name);
        let step = step.unwrap_or_else(|| panic!("no {name} in {spans:?}"));
        assert_eq!(step.parent_span_id, requests[0].span_id, "{name}");
    }
    // Nothing of a person, and no token.
    let told = format!("{spans:?}");
    for secret in ["alice", "eyJ", "127.0.0.1\""] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[tokio::test]
async fn a_collector_that_is_gone_delays_nobody_and_keeps_nobody_from_stopping() {
    let id_provider = IdProvider::start().await;
    let collector = Scripted::start([Answer::json(200, &json!({}))]).await;
    let url = collector.url();
    drop(collector);
    let mut service = Service::builder()
        .manifests(
            "all.yaml",
            &[provider("corp", &id_provider.issuer), policy()],
        )
        .argument("--otlp-endpoint")
        .argument(url)
        .start()
        .await;
    let token = id_provider.id_token("alice").await;
    for _ in 0..20 {
        assert_eq!(service.signin(&token).await.status, 200);
    }
    service.child.signal("TERM");
    assert!(service.child.ended().await.success(), "{}", service.log());
}
