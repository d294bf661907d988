//! `vioduct node …`: runs a node until it is told to stop.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use vioduct_certs::UnixTime;
use vioduct_node::config::NodeConfig;
use vioduct_node::daemon::{Daemon, StartError, check};
use vioduct_runtime::membership::ExpelReason;

const LOG_VARIABLE: &str = "VIODUCT_LOG";
/// First and longest wait before a node that was expelled is tried to be started again.
const RESTART_WAIT_MIN: Duration = Duration::from_secs(1);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(30);

/// Run a node on this host.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Start the node, and run it until SIGTERM or SIGINT. SIGHUP reads its certificates again.
    Start(StartArgs),
}

/// Arguments of `node start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The node's file, vioduct.toml.
    #[arg(long)]
    config: PathBuf,
    /// Check the file and the certificates, and start nothing.
    #[arg(long)]
    check: bool,
    /// Form of the log, which goes to standard error. VIODUCT_LOG filters it, e.g. `debug`.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON document a line.
    Json,
}

impl NodeCommand {
    /// Does what was asked.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let Self::Start(args) = self;
        args.run()
    }
}

impl StartArgs {
    fn run(self) -> Result<ExitCode> {
        let config = NodeConfig::load(&self.config).map_err(StartError::from)?;
        if self.check {
            let identity = check(&config, UnixTime::now())?;
            writeln!(io::stdout(), "{}: good, for {identity}", self.config.display())?;
            return Ok(ExitCode::SUCCESS);
        }
        self.log_format.install()?;
        // Actors and links have threads of their own.
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("can't start the runtime")?;
        let exit = runtime.block_on(run(config))?;
        // Nothing is left but look-ups of names, which nobody waits for.
        runtime.shutdown_background();
        Ok(exit)
    }
}

impl LogFormat {
    fn install(self) -> Result<()> {
        let filter = EnvFilter::builder()
            .with_default_directive(LevelFilter::INFO.into())
            .with_env_var(LOG_VARIABLE)
            .from_env()
            .with_context(|| format!("{LOG_VARIABLE} is no log filter, such as info or debug"))?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        match self {
            Self::Text => log.with_ansi(io::stderr().is_terminal()).init(),
            Self::Json => log.json().init(),
        }
        Ok(())
    }
}

/// The signals that end a program that runs until it is told to stop.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From now on no signal is lost, and none ends the process by itself.
    pub(crate) fn listen() -> io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn start(config: &NodeConfig) -> Result<Daemon> {
    let daemon = Daemon::start(config.clone(), UnixTime::now()).await?;
    let (node, addr) = (daemon.node().name(), daemon.node().local_addr()?);
    let (incarnation, version) = (daemon.node().incarnation(), env!("CARGO_PKG_VERSION"));
    tracing::info!(%node, %addr, incarnation, version, "node started");
    Ok(daemon)
}

/// Starts the node again, as often as it takes, unless its files have to be mended first.
async fn start_anew(config: &NodeConfig) -> Result<Daemon> {
    let mut wait = RESTART_WAIT_MIN;
    loop {
        match start(config).await {
            Err(error) if !error.downcast_ref().is_some_and(StartError::is_configuration) => {
                tracing::error!(%error, ?wait, "node not started anew, it is tried again");
                timeout(wait, std::future::pending::<()>()).await.ok();
                wait = (2 * wait).min(RESTART_WAIT_MAX);
            }
            started => return started,
        }
    }
}

async fn run(config: NodeConfig) -> Result<ExitCode> {
    // Before the start: a signal meanwhile is then kept for later.
    let context = "can't listen for signals";
    let mut stop = StopSignals::listen().context(context)?;
    let mut hang_up = signal(SignalKind::hangup()).context(context)?;
    let mut daemon = start(&config).await?;
    let (node, addr) = (daemon.node().name().clone(), daemon.node().local_addr()?);
    // Whoever started it may not listen; the node runs all the same.
    writeln!(io::stdout(), "vioduct node {node} ready on {addr}").ok();
    let signal = loop {
        tokio::select! {
            signal = stop.next() => break signal,
            Some(()) = hang_up.recv() => {
                daemon.reload_credentials(UnixTime::now()).await;
            }
            reason = daemon.expelled() => {
                daemon.close().await;
                drop(daemon);
                // Another process has this node's key: the two would expel each other for ever.
                if let ExpelReason::Superseded { by } = reason {
                    bail!(
                        "node {node} runs elsewhere too, in its run {by}: \
                         stop one of the two, or give it a certificate of its own"
                    );
                }
                daemon = tokio::select! {
                    biased;
                    signal = stop.next() => {
                        tracing::info!(%node, signal, "node stopped before it was started anew");
                        return Ok(ExitCode::SUCCESS);
                    }
                    started = start_anew(&config) => started?,
                };
            }
            end = daemon.database_ended() => {
                let why = anyhow::Error::new(end).context(format!("node {node} has to stop"));
                tracing::error!("{why:#}");
                daemon.close().await;
                return Err(why);
            }
            _looked_long_ago = timeout(daemon.pause(), std::future::pending::<()>()) => {
                daemon.look_at_credentials(UnixTime::now()).await;
            }
        }
    };
    tracing::info!(%node, signal, "node stops");
    tokio::select! {
        () = daemon.close() => {
            tracing::info!(%node, "node stopped");
            Ok(ExitCode::SUCCESS)
        }
        signal = stop.next() => {
            tracing::warn!(%node, signal, "told again to stop: links are cut, not closed");
            Ok(ExitCode::FAILURE)
        }
    }
}
