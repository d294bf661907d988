//! Paired benchmarks: our transport against bare quinn of the same shape, tuned the same.
//!
//! The parent (`transport`) starts a server and a client process for each measurement, one core
//! each, and takes the peers in turn within a round, so that a ratio compares neighbours in time.

#![expect(clippy::print_stdout, reason = "the results of a benchmark go to stdout")]

mod cpu;
mod identity;
mod measure;
mod peers;
mod process;
mod report;
mod rows;
mod sample;
mod transport;
mod tuning;

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use tokio::sync::oneshot;

use measure::Job;
use peers::{Peer, PeerKind, QuinnBatched, QuinnTasks, Runtime, Vioduct};
use rows::Row;
use sample::{Plan, Sample};

/// Paired benchmarks against bare peers of the same shape.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Messages and bulk data between two processes of one core each, over loopback.
    Transport(transport::Options),
    /// The server process of a measurement.
    #[command(hide = true)]
    PeerServer(ServerOptions),
    /// The client process of a measurement.
    #[command(hide = true)]
    PeerClient(ClientOptions),
}

#[derive(Args, Debug)]
struct ServerOptions {
    #[arg(long)]
    peer: PeerKind,
    #[arg(long)]
    credentials: PathBuf,
}

#[derive(Args, Debug)]
struct ClientOptions {
    #[arg(long)]
    peer: PeerKind,
    #[arg(long)]
    credentials: PathBuf,
    #[arg(long)]
    row: Row,
    #[arg(long)]
    server: SocketAddr,
    #[arg(long)]
    server_pid: u32,
    #[arg(long, value_parser = seconds)]
    seconds: Duration,
    #[arg(long, value_parser = seconds)]
    warmup: Duration,
    #[arg(long)]
    bulk_bytes: u64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The actor runtime runs on a local set; the other peers do not touch it.
    tokio::task::LocalSet::new().block_on(&runtime, async {
        match cli.command {
            Command::Transport(options) => transport::run(options).await,
            Command::PeerServer(options) => match options.peer {
                PeerKind::Vioduct => serve::<Vioduct>(options).await,
                PeerKind::Runtime => serve::<Runtime>(options).await,
                PeerKind::Quinn => serve::<QuinnTasks>(options).await,
                PeerKind::QuinnBatched => serve::<QuinnBatched>(options).await,
            },
            Command::PeerClient(options) => {
                println!("{}", serde_json::to_string(&measure(options).await?)?);
                Ok(())
            }
        }
    })
}

/// Serves until the parent closes our input, which it does by ending, too.
async fn serve<P: Peer>(options: ServerOptions) -> Result<()> {
    let setup = P::prepare(&options.credentials)?;
    let (bound, address) = oneshot::channel();
    let (orphaned, parent_gone) = oneshot::channel();
    std::thread::spawn(move || {
        let end = std::io::stdin().read(&mut [0]);
        // The receiver is gone only when the server has ended by itself.
        drop(orphaned.send(end));
    });
    let announce = async {
        println!("{}", address.await.context("the server did not bind")?);
        parent_gone.await.context("watch the parent")??;
        Ok(())
    };
    tokio::select! {
        ended = P::serve(setup, bound) => ended,
        ended = announce => ended,
    }
}

async fn measure(options: ClientOptions) -> Result<Sample> {
    let job = Job {
        row: options.row,
        peer: options.peer,
        server: options.server,
        server_pid: options.server_pid,
        plan: Plan {
            warmup: options.warmup,
            window: options.seconds,
            bulk_bytes: options.bulk_bytes,
        },
    };
    let credentials = &options.credentials;
    match options.peer {
        PeerKind::Vioduct => {
            measure::any_row::<Vioduct>(job, &Vioduct::prepare(credentials)?).await
        }
        PeerKind::Runtime => {
            measure::any_row::<Runtime>(job, &Runtime::prepare(credentials)?).await
        }
        PeerKind::Quinn => {
            measure::any_row::<QuinnTasks>(job, &QuinnTasks::prepare(credentials)?).await
        }
        PeerKind::QuinnBatched => {
            measure::one_way_row::<QuinnBatched>(job, &QuinnBatched::prepare(credentials)?).await
        }
    }
}

/// Parses a length of time in seconds, such as `1.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}
