//! `vestibule serve`: the data plane, from its flags to its exit code.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::admin::{self, Admin};
use crate::app::App;
use crate::audit::AuditStream;
use crate::background::{population, prefetch, refusals, sweep};
use crate::cli::{ServeArgs, SnapshotArgs};
use crate::clock::Clock;
use crate::config::Manifests;
use crate::config::snapshot::{Cluster, Sources};
use crate::geography::Geography;
use crate::http;
use crate::metrics::Metrics;
use crate::runtime_config::RuntimeConfig;
use crate::server::bounds::{Bounds, Ended};
use crate::server::files;
use crate::server::threads::Threads;
use crate::server::{Gauge, Server};
use crate::telemetry::Tracing;
use crate::tls::{Tls, TlsFiles};
use vestibule_process::log::{self, LogFormat};
use vestibule_process::panic::end_on_panic;
use vestibule_process::signal::stop_on_signal;
use vestibule_store::database::Opened;

/// What is logged by default: of libraries, only what went wrong.
const LOG: &str = "warn,vestibule_dataplane=info,vestibule_idtoken=info,vestibule_process=info,vestibule_store=info";
/// Health checks, metrics and the operator.
const ADMIN_CONNECTIONS_MAX: usize = 256;
const RUNTIME_THREADS: usize = 2;
/// How long audit events that are still queued may take at the end.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    end_on_panic();
    // It accepts, and does what is done in the background; connections have threads of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let collector = args.otlp_endpoint.as_ref();
    let tracing = collector
        .map(|url| Tracing::start(url, args.otlp_share, runtime.handle().clone()))
        .transpose()
        .context("--otlp-endpoint")?;
    start_log(args.log_format, tracing.as_ref());
    let served = runtime.block_on(async {
        let stop = CancellationToken::new();
        let running = start(args, Clock::System, stop.clone()).await?;
        tracing::info!(address = %running.address, admin = %running.admin_address, "serving");
        stop_on_signal(stop)?;
        running.finished().await
    });
    // While the runtime is there, which sends.
    if let Some(tracing) = tracing {
        tracing.finish();
    }
    served?;
    Ok(ExitCode::SUCCESS)
}

/// A data plane that serves.
pub struct Running {
    pub address: std::net::SocketAddr,
    pub admin_address: std::net::SocketAddr,
    pub app: Arc<App>,
    admin: Arc<Admin>,
    audit: Option<AuditStream>,
    stop: CancellationToken,
    public: tokio::task::JoinHandle<()>,
    counting: tokio::task::JoinHandle<()>,
    store_died: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.address)
    }
}

pub async fn start(
    args: ServeArgs,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<Running> {
    let sources = match &args.manifests {
        Some(_) => None,
        None => Some(sources(&args.snapshot).await?),
    };
    let tls = tls(&args)?;
    let database = args.database.database(&args.data_dir)?;
    check_admin_token(args.admin_token_file.as_deref())?;
    let geography = Arc::new(Geography::open(&args.geoip_db)?);
    // First, so that a port that is taken is reported without any other wait.
    let listener = listen(args.listen).await?;
    let admin_listener = listen(args.admin_listen).await?;
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);

    make_private_directory(&args.data_dir)?;
    let Opened {
        store,
        died: store_died,
    } = database.open_with(args.audit.refusals()).await?;
    let http = args.issuers.http_issuers();
    let runtime_config = RuntimeConfig::empty(http, clock.clone());
    let metrics = Metrics::default();
    let audit = args
        .audit_log
        .as_ref()
        .map(|target| AuditStream::start(target, metrics.audit_lines_dropped.clone()))
        .transpose()
        .context("--audit-log")?;
    let store = match &audit {
        Some(stream) => store.audited(Arc::new(stream.clone())),
        None => store,
    };
    let mut app = App::new(runtime_config, store, clock, metrics);
    app.geography = Arc::clone(&geography);
    let app = Arc::new(app);
    tokio::spawn(geography.watch());
    let admin = Arc::new(
        Admin::with_token_file(args.admin_token_file.clone())
            .of_pod(args.snapshot.pod_name.clone()),
    );

    follow_configuration(&args, sources, &app, &admin)?;
    tokio::spawn(sweep::run(Arc::clone(&app), stop.clone()));
    tokio::spawn(refusals::run(Arc::clone(&app), stop.clone()));
    let counting = tokio::spawn(population::run(Arc::clone(&app), stop.clone()));
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).watch());
    }

    serve_admin(admin_listener, &app, &admin);
    let server = Server {
        listener,
        tls,
        connections_max: files::connections_max(args.max_connections, ADMIN_CONNECTIONS_MAX),
        bounds: Bounds::default(),
        gauge: Arc::new(Counted(Arc::clone(&app))),
        threads: Arc::new(Threads::of_cores().context("the threads could not be started")?),
    };
    let handling = Arc::clone(&app);
    let public = tokio::spawn(server.run(
        move |peer, request| http::handle(Arc::clone(&handling), peer, request),
        stop.clone(),
    ));
    Ok(Running {
        address,
        admin_address,
        app,
        admin,
        audit,
        stop,
        public,
        counting,
        store_died,
    })
}

impl Running {
    /// Waits until the signal to stop has come and the requests under way are answered.
    pub async fn finished(self) -> anyhow::Result<()> {
        let Self {
            app,
            admin,
            audit,
            stop,
            public,
            counting,
            store_died,
            ..
        } = self;
        tokio::select! {
            () = stop.cancelled() => {}
            () = store_died => bail!("the store's writer ended: nothing can be written any more"),
        }
        admin.draining.store(true, Ordering::SeqCst);
        tracing::info!("stopping: no new connections, requests under way are answered");
        public.await.context("the listener ended")?;
        counting.await.context("the population task ended")?;
        population::add(&app).await;
        app.record_counted(i64::MAX);
        // A store that is gone does not keep the process from stopping.
        let _late = tokio::time::timeout(FLUSH_WAIT, app.store.flush()).await;
        if let Some(audit) = audit {
            tokio::task::spawn_blocking(move || audit.flush(FLUSH_WAIT))
                .await
                .context("the audit stream ended")?;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

fn check_admin_token(path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if admin::users::read(path).is_none() {
        bail!(
            "{}: a token has at least {} characters",
            path.display(),
            admin::users::TOKEN_CHARS_MIN
        );
    }
    Ok(())
}

/// Serves what is configured, in manifests or by the operator, and each change of it.
fn follow_configuration(
    args: &ServeArgs,
    sources: Option<Sources>,
    app: &Arc<App>,
    admin: &Arc<Admin>,
) -> anyhow::Result<()> {
    if let Some(manifests) = &args.manifests {
        let configuration = Manifests::open(
            manifests,
            &args.data_dir,
            args.installer.allowed(args.issuers),
            Arc::clone(app),
            Arc::clone(admin),
        )?;
        std::thread::Builder::new()
            .name("configuration".to_owned())
            .spawn(move || configuration.follow())
            .context("a thread could not be started")?;
    }
    if let Some(sources) = sources {
        tokio::spawn(sources.follow(Arc::clone(app), Arc::clone(admin)));
        tokio::spawn(prefetch::run(Arc::clone(app)));
    }
    Ok(())
}

/// The admin listener answers until the process ends, so that readiness can be seen to be false
/// while requests drain.
fn serve_admin(listener: TcpListener, app: &Arc<App>, admin: &Arc<Admin>) {
    let server = Server {
        listener,
        tls: None,
        connections_max: ADMIN_CONNECTIONS_MAX,
        bounds: Bounds::default(),
        gauge: Arc::new(Uncounted),
        threads: Arc::new(Threads::here()),
    };
    let (app, admin) = (Arc::clone(app), Arc::clone(admin));
    tokio::spawn(server.run(
        move |peer, request| admin::handle(Arc::clone(&app), Arc::clone(&admin), peer, request),
        CancellationToken::new(),
    ));
}

/// What the operator publishes, wherever it can be had.
async fn sources(args: &SnapshotArgs) -> anyhow::Result<Sources> {
    let cluster = Cluster::find(args.kubeconfig.as_deref(), args.namespace.as_deref()).await?;
    if cluster.is_none() && args.snapshot_dir.is_none() {
        bail!(
            "say what to serve: --manifests DIR, or run this in a pod, where it follows the operator (--kubeconfig FILE from outside)"
        );
    }
    Ok(Sources {
        cluster,
        mounted: args.snapshot_dir.clone(),
        last_good: args.last_good_dir.clone(),
    })
}

fn tls(args: &ServeArgs) -> anyhow::Result<Option<Arc<Tls>>> {
    match (&args.tls_cert, &args.tls_key, args.plain_http) {
        (Some(certificate), Some(key), false) => {
            let files = TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: args.tls_client_ca.clone(),
            };
            Ok(Some(Tls::load(files)?))
        }
        (None, None, true) => Ok(None),
        _ => bail!("say how to serve: --tls-cert FILE and --tls-key FILE, or --plain-http"),
    }
}

async fn listen(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}"))
}

/// It holds private keys and personal data: only its owner may read it.
pub fn make_private_directory(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

pub fn start_log(format: Option<LogFormat>, tracing: Option<&Tracing>) {
    tracing_subscriber::registry()
        .with(log::layer(format, LOG))
        .with(tracing.map(Tracing::layer))
        .init();
}

struct Counted(Arc<App>);

impl Gauge for Counted {
    fn opened(&self) {
        self.0.metrics.connections.inc();
    }

    fn closed(&self) {
        self.0.metrics.connections.dec();
    }

    fn refused(&self) {
        self.0.metrics.connection_refused();
    }

    fn ended(&self, why: Ended) {
        self.0.metrics.bounded.connection_ended(why.as_str());
    }
}

struct Uncounted;

impl Gauge for Uncounted {
    fn opened(&self) {}
    fn closed(&self) {}
    fn refused(&self) {}
}
