//! The log on standard error: JSON, or text on a terminal.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// Replaces the default filter of both processes.
const FILTER_VARIABLE: &str = "VESTIBULE_LOG";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// Logs for the rest of the process, with `default_filter` unless VESTIBULE_LOG holds another one.
pub fn start(format: Option<LogFormat>, default_filter: &str) {
    let log = layer(format, default_filter);
    tracing_subscriber::registry().with(log).init();
}

/// The log as one layer, for a process that also exports traces.
pub fn layer<S>(
    format: Option<LogFormat>,
    default_filter: &str,
) -> Box<dyn Layer<S> + Send + Sync + 'static>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let filter =
        EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default_filter));
    let filter = filter.and(filter_fn(|event| !quotes_an_answer(event)));
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => log.with_filter(filter).boxed(),
    }
}

/// Warnings of the cluster's client quote the whole answer that it could not read, which may be a
/// list of Secrets. The failure itself is logged by the caller.
fn quotes_an_answer(event: &Metadata<'_>) -> bool {
    event.target().starts_with("kube_client::client") && *event.level() == Level::WARN
}
