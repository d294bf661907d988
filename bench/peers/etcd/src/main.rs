//! The client of etcd: what `vioduct-bench db` starts for each measurement of it.

mod client;
mod message;

use anyhow::Result;
use clap::Parser;
use vioduct_bench_harness::child;
use vioduct_bench_harness::store::{self, StoreKind};

use crate::client::Etcd;

/// A client of etcd that measures; started by `vioduct-bench db`.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    options: store::Options,
}

fn main() -> Result<()> {
    let Cli { options } = Cli::parse();
    child::run(async {
        let etcd = Etcd::connect(&options.servers).await?;
        store::report(store::run(StoreKind::Etcd, etcd, &options).await?.as_ref())
    })
}
