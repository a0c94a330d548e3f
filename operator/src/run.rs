//! `vestibule-operator run`: the process, from its flags to its exit code.
//!
//! Every replica watches, so that its caches are warm; the one that holds the Lease compiles,
//! publishes and writes statuses. A replica that loses the Lease exits, and starts again with only
//! what the API server holds.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vestibule_process::{log, panic, signal};

use crate::admin::{self, Admin};
use crate::arguments::RunArguments;
use crate::cache::Cache;
use crate::controller::{Context, Controller};
use crate::lease::hold::{Election, Fence};
use crate::metrics::Metrics;
use crate::nesting;
use crate::pods::Pods;
use crate::pods::follow::follow_pods;
use crate::status_writer::{Queue, StatusWriter};
use crate::watch::{Unsynced, Watches};

/// Without VESTIBULE_LOG: of libraries, only what went wrong.
const LOG_FILTER: &str = "warn,vestibule_operator=info,kube_runtime=error,kube_client=error";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Where a pod finds the namespace that it runs in.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

pub(crate) fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    log::start(arguments.log_format, LOG_FILTER);
    panic::end_on_panic();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    runtime.block_on(operate(arguments))?;
    // A watch may hang in the middle of a connection: do not wait for it.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn operate(arguments: RunArguments) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    signal::stop_on_signal(stop.clone())?;
    let namespace = own_namespace(&arguments)?;
    let identity = identity(&arguments)?;
    // A port that is taken is reported at once, before anything that takes time.
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let mut config = Config::infer()
        .await
        .context("neither a kubeconfig nor a pod's service account leads to a cluster")?;
    config.connect_timeout = Some(CONNECT_TIME_MAX);
    let client = Client::try_from(config).context("no client could be made for the cluster")?;
    let client = nesting::bounded(client);

    let metrics = Arc::new(Metrics::default());
    let unsynced = Arc::new(Unsynced::default());
    let cache = Arc::new(Cache::default());
    let pods = Arc::new(Pods::new(arguments.dataplane_admin_port));
    let fence = Arc::new(Fence::default());
    let queue = Arc::new(Queue::default());
    let admin = Arc::new(Admin {
        metrics: Arc::clone(&metrics),
        unsynced: Arc::clone(&unsynced),
        stopping: AtomicBool::new(false),
    });
    let scope = arguments.scope(&namespace);
    let installer = Arc::new(arguments.installer(&namespace));
    let watches = Watches {
        client: client.clone(),
        own_namespace: namespace.clone(),
        scope: scope.clone(),
        dataplane_selector: arguments.dataplane_selector.clone(),
        cache: Arc::clone(&cache),
        tracker: Arc::default(),
        pods: Arc::clone(&pods),
        unsynced: Arc::clone(&unsynced),
    };
    tracing::info!(namespace, identity, scope = ?scope, admin = %listener.local_addr()?, "watching");

    let mut tasks = JoinSet::new();
    tasks.spawn(admin::serve(listener, Arc::clone(&admin)));
    watches.start(&mut tasks);

    let mut election = Election::new(
        client.clone(),
        &namespace,
        &arguments.lease,
        identity.clone(),
        &fence,
    );
    let context = Context {
        client: client.clone(),
        namespace,
        scope,
        http_issuers: arguments.http_issuers(),
        installer,
        cache: Arc::clone(&cache),
        tracker: Arc::clone(&watches.tracker),
        pods: Arc::clone(&pods),
        fence: Arc::clone(&fence),
        queue: Arc::clone(&queue),
        metrics: Arc::clone(&metrics),
    };
    let leading = async {
        until_synced(&unsynced, &cache).await;
        election.win().await;
        metrics.leader.set(1);
        tracing::info!(lease = arguments.lease, "leading");
        let status_writer =
            StatusWriter::new(client, identity, queue, cache, Arc::clone(&fence), metrics);
        tokio::select! {
            () = election.keep() => bail!("the Lease {} is lost: another replica may lead now", arguments.lease),
            ended = status_writer.run() => ended,
            ended = follow_pods(pods) => ended,
            ended = async { Controller::recover(context).await?.run().await } => ended,
        }
    };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = leading => ended,
        Some(ended) = tasks.join_next() => ended.context("a task ended").flatten(),
    };
    admin.stopping.store(true, Ordering::SeqCst);
    // Another replica then leads at once, and this one writes nothing more, however it ended.
    election.release().await;
    match &ended {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!(error = format!("{error:#}"), "stopping"),
    }
    ended
}

async fn until_synced(unsynced: &Unsynced, cache: &Cache) {
    while !unsynced.is_synced() {
        cache.changed.notified().await;
    }
}

fn own_namespace(arguments: &RunArguments) -> anyhow::Result<String> {
    if let Some(namespace) = &arguments.namespace {
        return Ok(namespace.clone());
    }
    let namespace = std::env::var("POD_NAMESPACE").ok();
    let namespace = namespace.or_else(|| std::fs::read_to_string(Path::new(NAMESPACE_FILE)).ok());
    let namespace = namespace.map(|namespace| namespace.trim().to_owned());
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => Ok(namespace),
        None => bail!("say which namespace is the operator's own: --namespace NAME"),
    }
}

/// Different for each replica, or two would believe to be one.
fn identity(arguments: &RunArguments) -> anyhow::Result<String> {
    let named = arguments.identity.clone();
    let named = named.or_else(|| std::env::var("POD_NAME").ok());
    if let Some(identity) = named.filter(|identity| !identity.is_empty()) {
        return Ok(identity);
    }
    let mut bytes = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no random bytes"))?;
    Ok(format!(
        "vestibule-operator-{:016x}",
        u64::from_be_bytes(bytes)
    ))
}
