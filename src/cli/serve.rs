//! `semel serve`: puts the parts together, says where it listens, and stops them in order.

mod backups;
mod banner;
mod log_queue;
mod logging;
mod opening;

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

use self::log_queue::LogQueue;
use self::opening::Opened;
use super::config_command::ConfigArgs;
use super::exit::Exit;
use crate::audit::Audit;
use crate::clock::SystemClock;
use crate::config::{
    EncryptionKeys, EncryptionKeysWatch, Loaded, PolicyWatch, ServerConfig, StoreSettings, kept_too_long,
};
use crate::coordinator::{self, Coordinator};
use crate::policies::Policies;
use crate::quotas::Quotas;
use crate::server::{Listeners, Security, Server, say_it_starts};
use crate::storage::Store;
use crate::storage::metered::Metered;
use crate::storage::sealed::{Keyrings, Sealing};
use crate::sweep::Sweep;
use crate::telemetry::{KeyHash, Names, Telemetry};

/// Run the server
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Why the server did not start, or did not run to its end. It is already in the log.
struct Stopped;

impl Serve {
    pub(crate) fn run(self) -> Exit {
        let loaded = match self.config.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let log = match logging::start(&loaded.config) {
            Ok(log) => log,
            Err(error) => {
                eprintln!("semel: cannot start the thread of the log: {error}");
                return Exit::FAILED;
            }
        };
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                error!(%error, "cannot start the asynchronous runtime");
                return Exit::FAILED;
            }
        };
        match runtime.block_on(serve(loaded, log.queue())) {
            Ok(End::InOrder) => Exit::DONE,
            Ok(End::BeforeItServed) => {
                // An embedded store may still be being opened, which nothing can interrupt but the end of the process.
                runtime.shutdown_background();
                Exit::DONE
            }
            Err(Stopped) => {
                runtime.shutdown_background();
                Exit::FAILED
            }
        }
    }
}

/// How a server ended that was told to.
enum End {
    /// Everything under way has ended.
    InOrder,
    /// Nothing was under way yet.
    BeforeItServed,
}

async fn serve(loaded: Loaded, log: LogQueue) -> Result<End, Stopped> {
    let configuration: Arc<str> = banner::debug_page(&loaded).into();
    let config = loaded.config;
    let file = loaded.file.as_ref().map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    info!(file, "settings are read, from the file, the environment and flags");
    let mut signals = Signals::new()?;
    // Both are tried, so that both errors are told.
    let (grpc, operations) = (bind("listen", config.listen), bind("ops_listen", config.ops_listen));
    let (grpc, operations) = tokio::join!(grpc, operations);
    let listeners = Listeners { grpc: grpc?, operations: operations? };
    let addresses = addresses(&listeners)?;
    let key_hash = key_hash(&config);
    let clock = Arc::new(SystemClock);
    let names = Names { key_hash: key_hash.clone(), store: config.store.name() };
    let telemetry = Telemetry::start(&config.telemetry, names, clock.clone());
    let telemetry = Arc::new(telemetry.map_err(|error| cannot("start telemetry", &error))?);
    let mut reload = Reload::default();
    let opened = tokio::select! {
        opened = opening::open(&config.store) => opened?,
        () = say_it_starts(&listeners.operations, &config.limits, &telemetry, &configuration) => return Err(Stopped),
        signal = signals.next_stopping(&reload) => {
            info!(signal, "told to stop before the store was open; nothing was served");
            return Ok(End::BeforeItServed);
        }
    };
    let Opened { store, embedded, longest_kept } = opened;
    for warning in longest_kept.map(|longest| kept_too_long(&loaded.policies, longest)).into_iter().flatten()
    {
        warn!("{warning}");
    }
    let store: Arc<dyn Store> = Arc::new(Metered::telling(store, telemetry.clone()));
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let audit = Arc::new(audit_log(&config, clock.clone(), key_hash.clone())?);
    let store = match loaded.encryption {
        None => store,
        Some(keys) => {
            let (sealing, watch) = encrypted(store, keys);
            tasks.spawn(watch.audited(audit.clone()).run(reload.one_more(), stop.clone()));
            Arc::new(sealing)
        }
    };
    let policies = Arc::new(Policies::new(loaded.policies));
    let quotas = Arc::new(Quotas::new(policies.clone()));
    let settings = coordinator::Settings { observer: Some(quotas.clone()), ..config.coordinator.clone() };
    let coordinator = Arc::new(Coordinator::new(store.clone(), clock.clone(), rand::random(), settings));

    let sweep = Sweep::new(store, policies.clone(), clock, key_hash).counting_for(quotas.clone());
    if let Some(metrics) = telemetry.metrics() {
        metrics.show_counts(&sweep.counts());
        metrics.show_quotas(quotas.clone());
        metrics.show_tasks(tokio::runtime::Handle::current());
        log.show_losses(metrics);
    }
    let _losses = AbortOnDropHandle::new(tokio::spawn(log.report_losses()));
    tasks.spawn(sweep.run(stop.clone()));
    if let (Some(path), Some(text)) = (&config.policy, loaded.policy_text) {
        let watch = PolicyWatch::new(
            path.clone(),
            text,
            (config.clock_skew_allowance, config.limits.request_timeout),
            policies.clone(),
        );
        let watch = watch.on_a_store_that_keeps(longest_kept).audited(audit.clone());
        tasks.spawn(watch.run(reload.one_more(), stop.clone()));
    }
    for watch in loaded.secured.watches {
        tasks.spawn(watch.audited(audit.clone()).run(reload.one_more(), stop.clone()));
    }

    if let Some(store) = embedded
        && let StoreSettings::Embedded(settings) = &config.store
    {
        backups::say_restored(&*store, &policies.current());
        backups::give(&tasks, &settings.directory, store, policies.clone(), stop.clone());
    }
    let security = loaded.secured.security;
    say_what_is_open(&config, &security, addresses);
    banner::print(&config, &security, addresses, coordinator.now());
    let server = Server {
        coordinator,
        policies,
        quotas,
        limits: config.limits.clone(),
        audit,
        telemetry: telemetry.clone(),
        configuration,
        security,
    };
    let drain = CancellationToken::new();
    let served = server.run(listeners, drain.clone().cancelled_owned());
    tokio::select! {
        result = served => result.map_err(|error| cannot("serve", &error))?,
        () = signals.obey(&drain, &reload) => return Err(stopped_at_once()),
    }
    stop.cancel();
    tokio::select! {
        () = end(&tasks, telemetry) => {}
        _ = signals.next_stopping(&reload) => return Err(stopped_at_once()),
    }
    info!("stopped");
    Ok(End::InOrder)
}

/// Waits for what runs beside the server, and sends what telemetry still holds.
async fn end(tasks: &TaskTracker, telemetry: Arc<Telemetry>) {
    tasks.close();
    tasks.wait().await;
    // It ends by itself within seconds, whatever the collector does. A panic in it would have been logged.
    _ = tokio::task::spawn_blocking(move || telemetry.shut_down()).await;
}

fn addresses(listeners: &Listeners) -> Result<banner::Addresses, Stopped> {
    let of = |listener: &TcpListener, what| listener.local_addr().map_err(|error| cannot(what, &error));
    Ok(banner::Addresses {
        grpc: of(&listeners.grpc, "tell the gRPC port")?,
        operations: of(&listeners.operations, "tell the operations port")?,
    })
}

/// Names keys by the secret that is configured, or by one of this start alone.
fn key_hash(config: &ServerConfig) -> KeyHash {
    match &config.key_hash_secret {
        Some(secret) => KeyHash::new(secret.as_bytes()),
        None => KeyHash::new(&rand::random::<[u8; 32]>()),
    }
}

fn audit_log(config: &ServerConfig, clock: Arc<SystemClock>, key_hash: KeyHash) -> Result<Audit, Stopped> {
    match config.audit_log.clone() {
        None => Ok(Audit::to_log(clock, key_hash)),
        Some(path) => {
            Audit::to_file(path, clock, key_hash).map_err(|error| cannot("keep the audit log", &error))
        }
    }
}

/// The same store, whose records are encrypted under `keys`, and what follows their file.
fn encrypted(store: Arc<dyn Store>, keys: EncryptionKeys) -> (Sealing, EncryptionKeysWatch) {
    let EncryptionKeys { path, text, keyring } = keys;
    let keyrings = Arc::new(Keyrings::new(keyring));
    let watch = EncryptionKeysWatch::new(path, &text, keyrings.clone());
    (Sealing::new(store, keyrings), watch)
}

fn stopped_at_once() -> Stopped {
    error!("told to stop once more: stopped at once");
    Stopped
}

async fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, Stopped> {
    TcpListener::bind(address).await.map_err(|error| {
        error!(%error, %address, setting, "cannot listen there; another process may, or the address is not this machine's");
        Stopped
    })
}

fn cannot(what: &str, error: &dyn std::error::Error) -> Stopped {
    error!(%error, "cannot {what}");
    Stopped
}

fn say_what_is_open(config: &ServerConfig, security: &Security, addresses: banner::Addresses) {
    let (encrypted, authenticated) = (security.tls.is_some(), security.auth.is_some());
    info!(encrypted, authenticated, "how callers are listened to");
    let everything = "whoever reaches this address may read, write and resolve every record of every tenant";
    let open = match (encrypted, authenticated) {
        (true, true) => None,
        (true, false) => Some(format!("without credentials; {everything}")),
        (false, true) => {
            Some("without encryption; whoever sees the traffic sees credentials and results".to_owned())
        }
        (false, false) => Some(format!("without encryption and without credentials; {everything}")),
    };
    let operations =
        "without encryption and without credentials; whoever reaches this address learns how the server is";
    for (address, open) in [(addresses.grpc, open), (addresses.operations, Some(operations.to_owned()))] {
        if let Some(open) = open
            && !address.ip().is_loopback()
        {
            warn!(%address, "INSECURE: listening beyond loopback {open}");
        }
    }
    if config.insecure && addresses.grpc.ip().is_loopback() && addresses.operations.ip().is_loopback() {
        warn!("insecure is set, but nothing listens beyond loopback: it has no effect");
    }
}

/// Has the watches of files look at once.
#[derive(Default)]
struct Reload(Vec<Arc<Notify>>);

impl Reload {
    /// For one more watch.
    fn one_more(&mut self) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        self.0.push(notify.clone());
        notify
    }
}

/// What this process is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Stopped> {
        let handle = |kind| signal(kind).map_err(|error| cannot("handle signals", &error));
        Ok(Self {
            terminate: handle(SignalKind::terminate())?,
            interrupt: handle(SignalKind::interrupt())?,
            hang_up: handle(SignalKind::hangup())?,
        })
    }

    /// Starts to drain at the first signal that asks to stop, and ends at the second.
    async fn obey(&mut self, drain: &CancellationToken, reload: &Reload) {
        let signal = self.next_stopping(reload).await;
        info!(signal, "told to stop; a second signal stops at once");
        drain.cancel();
        self.next_stopping(reload).await;
    }

    /// The next SIGTERM or SIGINT. Until then, SIGHUP has every watched file looked at.
    async fn next_stopping(&mut self, reload: &Reload) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => if reload.0.is_empty() {
                    info!("SIGHUP: no policy file is set, nor another that is watched, so there is nothing to reload");
                } else {
                    reload.0.iter().for_each(|watch| watch.notify_one());
                },
            }
        }
    }
}
