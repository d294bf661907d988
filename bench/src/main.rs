//! Paired benchmarks: our transport, runtime, disks and database against peers, tuned the same.
//!
//! The parent (`transport`, `runtime`) starts a server and a client process for each measurement,
//! one core each, and takes the peers in turn within a round, so that a ratio compares neighbours
//! in time.

#![expect(clippy::print_stdout, reason = "the results of a benchmark go to stdout")]

mod db;
mod disk;
mod local;
mod peers;
mod process;
mod report;
mod run;
mod runtime;
mod scheme;
mod table;
mod transport;
mod tuning;

use anyhow::Result;
use clap::{Parser, Subcommand};
use vioduct_bench_harness::child::{self, Child, ClientOptions, ServerOptions};
use vioduct_bench_harness::measure::{any_row, one_way_row};
use vioduct_bench_harness::peer::{Peer, PeerKind};
use vioduct_bench_harness::sample::Sample;
use vioduct_bench_harness::store;

use peers::{Actix, LocalRuntime, QuinnBatched, QuinnTasks, Runtime, Vioduct};

/// Paired benchmarks against peers of the same shape.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Messages and bulk data over links, beside bare quinn.
    Transport(transport::Options),
    /// Asks and tells to actors, beside other runtimes, bare quinn and bare actix.
    Runtime(runtime::Options),
    /// Served disks beside qemu-nbd and nbdkit: a local file, and the chain to a repository.
    Disk(disk::Options),
    /// Our database beside etcd, three nodes each.
    Db(db::Options),
    /// A client of our database.
    #[command(hide = true)]
    StoreClient(store::Options),
    /// A server of the disk benchmark.
    #[command(subcommand, hide = true)]
    DiskServer(disk::ServerOptions),
    #[command(flatten)]
    Child(Child),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    child::run(async {
        match cli.command {
            Command::Transport(options) => transport::run(options).await,
            Command::Runtime(options) => runtime::run(options).await,
            Command::Db(options) => db::run(options).await,
            Command::StoreClient(options) => {
                store::report(db::run_client(&options).await?.as_ref())
            }
            Command::Disk(options) => disk::run(options).await,
            Command::DiskServer(options) => disk::serve(options).await,
            Command::Child(Child::PeerServer(options)) => serve(options).await,
            Command::Child(Child::PeerClient(options)) => child::report(&measure(options).await?),
        }
    })
}

async fn serve(options: ServerOptions) -> Result<()> {
    match options.peer {
        PeerKind::Vioduct => child::serve::<Vioduct>(options).await,
        PeerKind::Runtime => child::serve::<Runtime>(options).await,
        PeerKind::Quinn => child::serve::<QuinnTasks>(options).await,
        PeerKind::QuinnBatched => child::serve::<QuinnBatched>(options).await,
        PeerKind::Actix => anyhow::bail!("actix has no server"),
        PeerKind::Ractor | PeerKind::Kameo | PeerKind::Tonic => another(options.peer),
    }
}

async fn measure(options: ClientOptions) -> Result<Sample> {
    let (job, dir) = (options.job(), &options.credentials);
    match options.peer {
        PeerKind::Vioduct => any_row::<Vioduct>(job, &Vioduct::prepare(dir)?).await,
        PeerKind::Runtime if job.row.is_local() => local::local_row::<LocalRuntime>(job, dir).await,
        PeerKind::Runtime => any_row::<Runtime>(job, &Runtime::prepare(dir)?).await,
        PeerKind::Quinn => any_row::<QuinnTasks>(job, &QuinnTasks::prepare(dir)?).await,
        PeerKind::QuinnBatched => {
            one_way_row::<QuinnBatched>(job, &QuinnBatched::prepare(dir)?).await
        }
        PeerKind::Actix => local::local_row::<Actix>(job, dir).await,
        PeerKind::Ractor | PeerKind::Kameo | PeerKind::Tonic => another(options.peer),
    }
}

fn another<T>(peer: PeerKind) -> Result<T> {
    anyhow::bail!("{peer} is run by vioduct-bench-peers")
}
