//! The peers that are other people's runtimes: the processes that `vioduct-bench runtime` starts
//! for ractor_cluster, kameo and tonic.

mod kameo;
mod ractor;
mod tell_window;
mod tonic;

use anyhow::Result;
use clap::Parser;
use vioduct_bench_harness::child::{self, Child};
use vioduct_bench_harness::measure::any_row;
use vioduct_bench_harness::peer::{Peer, PeerKind};

use crate::kameo::Kameo;
use crate::ractor::Ractor;
use crate::tonic::Tonic;

/// Other runtimes as peers; started by `vioduct-bench runtime`.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    child: Child,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    child::run(async {
        match cli.child {
            Child::PeerServer(options) => match options.peer {
                PeerKind::Ractor => child::serve::<Ractor>(options).await,
                PeerKind::Kameo => child::serve::<Kameo>(options).await,
                PeerKind::Tonic => child::serve::<Tonic>(options).await,
                ours => another(ours),
            },
            Child::PeerClient(options) => {
                let (job, dir) = (options.job(), &options.credentials);
                let sample = match options.peer {
                    PeerKind::Ractor => any_row::<Ractor>(job, &Ractor::prepare(dir)?).await,
                    PeerKind::Kameo => any_row::<Kameo>(job, &Kameo::prepare(dir)?).await,
                    PeerKind::Tonic => any_row::<Tonic>(job, &Tonic::prepare(dir)?).await,
                    ours => another(ours),
                };
                child::report(&sample?)
            }
        }
    })
}

fn another<T>(peer: PeerKind) -> Result<T> {
    anyhow::bail!("{peer} is run by vioduct-bench")
}
