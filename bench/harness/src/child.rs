//! The processes that the parent starts: one server and one client for each measurement.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::measure::{Job, Server};
use crate::peer::{Peer, PeerKind};
use crate::rows::Row;
use crate::sample::{Plan, Sample};

/// What the parent tells a process to be.
#[derive(Debug, Subcommand)]
pub enum Child {
    /// The server process of a measurement.
    #[command(hide = true)]
    PeerServer(ServerOptions),
    /// The client process of a measurement.
    #[command(hide = true)]
    PeerClient(ClientOptions),
}

/// Options of a server process.
#[derive(Args, Debug)]
pub struct ServerOptions {
    /// What serves.
    #[arg(long)]
    pub peer: PeerKind,
    /// Where the credentials are.
    #[arg(long)]
    pub credentials: PathBuf,
}

/// Options of a client process.
#[derive(Args, Debug)]
pub struct ClientOptions {
    /// What is measured.
    #[arg(long)]
    pub peer: PeerKind,
    /// Where the credentials are.
    #[arg(long)]
    pub credentials: PathBuf,
    /// Which row of it.
    #[arg(long)]
    row: Row,
    /// Where its server listens; none when it is measured in one process.
    #[arg(long, requires = "server_pid")]
    server: Option<SocketAddr>,
    #[arg(long)]
    server_pid: Option<u32>,
    #[arg(long, value_parser = seconds)]
    seconds: Duration,
    #[arg(long, value_parser = seconds)]
    warmup: Duration,
    #[arg(long)]
    bulk_bytes: u64,
}

impl ClientOptions {
    /// The measurement that they ask for.
    #[must_use]
    pub fn job(&self) -> Job {
        let server = self.server.zip(self.server_pid);
        Job {
            row: self.row,
            peer: self.peer,
            server: server.map(|(addr, pid)| Server { addr, pid }),
            plan: Plan { warmup: self.warmup, window: self.seconds, bulk_bytes: self.bulk_bytes },
        }
    }
}

/// Runs a program on one thread, with a local set for peers whose actors need one.
///
/// # Errors
/// What the program returns, or that no runtime could be built.
pub fn run(program: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, program)
}

/// Serves until the parent closes our input, which it does by ending, too.
///
/// # Errors
/// The server could not be started, or has failed.
pub async fn serve<P: Peer>(options: ServerOptions) -> Result<()> {
    let setup = P::prepare(&options.credentials)?;
    let (bound, address) = oneshot::channel();
    let (orphaned, parent_gone) = oneshot::channel();
    std::thread::spawn(move || {
        let end = std::io::stdin().read(&mut [0]);
        // The receiver is gone only when the server has ended by itself.
        drop(orphaned.send(end));
    });
    let announce = async {
        let address: SocketAddr = address.await.context("the server did not bind")?;
        say(&address.to_string())?;
        parent_gone.await.context("watch the parent")??;
        Ok(())
    };
    tokio::select! {
        ended = P::serve(setup, bound) => ended,
        ended = announce => ended,
    }
}

/// Gives the parent what a client measured.
///
/// # Errors
/// The parent does not listen.
pub fn report(sample: &Sample) -> Result<()> {
    say(&serde_json::to_string(sample)?)
}

/// A line to the parent, at once: output to a pipe is buffered.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("tell the parent")
}

/// Parses a length of time in seconds, such as `1.5`.
///
/// # Errors
/// Says what is wrong with the text.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}
