//! Traces: what of a request took how long, sent to a collector (OpenTelemetry, OTLP over HTTP)
//! where one is named.
//!
//! Spans are those of `tracing`, with a target of their own: the log leaves them out, and where
//! none are collected they cost one check of a flag. They say which route, which step and which
//! outcome, and nothing of a person.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use vestibule_idtoken::keys::fetch::public_roots;

pub use vestibule_store::trace::TARGET;
const SEND_TIME_MAX: Duration = Duration::from_secs(5);
/// What a collector has to say fits.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Where a collector takes spans (OTLP 1.x, "OTLP/HTTP Request").
const TRACES_PATH: &str = "v1/traces";

/// Of one request, from its head to its answer; below the caller's own, which a `traceparent` names
/// (W3C Trace Context).
pub fn request(method: &Method, route: &'static str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = route,
        otel.kind = "server",
        http.request.method = method.as_str(),
        http.route = route,
        http.response.status_code = Empty,
        vestibule.outcome = Empty,
        request.id = Empty,
    );
    if !span.is_disabled() {
        let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Without a layer that collects there is nothing to set it on.
        let _set = span.set_parent(caller);
    }
    span
}

/// Sends spans to a collector, in batches, from a thread of its own.
#[derive(Debug)]
pub struct Tracing(SdkTracerProvider);

impl Tracing {
    /// `collector`: the base of its OTLP endpoint. `share`: of the requests whose callers do not
    /// say whether they are traced.
    pub fn start(collector: &Url, share: f64, runtime: Handle) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new(runtime))
            .with_endpoint(endpoint(collector))
            .with_timeout(SEND_TIME_MAX)
            .build()?;
        let resource = Resource::builder()
            .with_service_name("vestibule")
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .with_sampler(sampler)
            .build();
        Ok(Self(provider))
    }

    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.0.tracer("vestibule");
        OpenTelemetryLayer::new(tracer)
            .with_location(false)
            .with_threads(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }

    /// Sends what is left. It blocks, for as long as one answer of the collector may take.
    pub fn finish(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(SEND_TIME_MAX) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

fn endpoint(collector: &Url) -> String {
    let base = collector.as_str().trim_end_matches('/');
    if base.ends_with(TRACES_PATH) {
        base.to_owned()
    } else {
        format!("{base}/{TRACES_PATH}")
    }
}

/// Requests of the thread that batches, made on the runtime, which that thread has none of.
#[derive(Debug)]
struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

impl Sender {
    fn new(runtime: Handle) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(public_roots())
            .https_or_http()
            .enable_http1()
            .build();
        Self {
            client: Client::builder(TokioExecutor::new()).build(https),
            runtime,
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let answering = async {
                let answer = client.request(request.map(Full::new)).await?;
                let (head, body) = answer.into_parts();
                let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
                Ok(Response::from_parts(head, body.to_bytes()))
            };
            tokio::time::timeout(SEND_TIME_MAX, answering).await?
        });
        sending.await?
    }
}

#[cfg(test)]
mod tests;
