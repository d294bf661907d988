//! `vioduct-bench transport`: our links beside bare quinn.

use anyhow::Result;
use clap::Args;
use vioduct_bench_harness::peer::PeerKind;
use vioduct_bench_harness::rows::{Metric, Row};

use crate::run::{self, Run};
use crate::scheme::{Aim, Bound, Figure, Scheme};

/// What our transport should reach.
pub(crate) const SCHEME: Scheme = Scheme {
    judged: PeerKind::Vioduct,
    figures: &[
        of_quinn("rt-1", Row::RoundTrip1, Metric::P50Us, &[to_quinn(Bound::AtMost(1.1))]),
        of_quinn("rt-64", Row::RoundTrip64, Metric::RatePerS, &[to_quinn(Bound::AtLeast(0.9))]),
        of_quinn("rt-1024", Row::RoundTrip1024, Metric::RatePerS, &[to_quinn(Bound::AtLeast(0.9))]),
        Figure {
            name: "oneway",
            row: Row::OneWay,
            metric: Metric::RatePerS,
            baseline: PeerKind::QuinnBatched,
            aims: &[Aim::ratio(PeerKind::QuinnBatched, Bound::AtLeast(0.5))],
        },
        of_quinn("rt-4k", Row::RoundTrip4K, Metric::RatePerS, &[to_quinn(Bound::AtLeast(0.9))]),
        of_quinn("rt-64k", Row::RoundTrip64K, Metric::RatePerS, &[to_quinn(Bound::AtLeast(0.9))]),
        of_quinn("bulk", Row::Bulk, Metric::MbPerS, &[to_quinn(Bound::AtLeast(0.9))]),
        of_quinn("connect", Row::Connect, Metric::P50Us, &[]),
        of_quinn("mixed", Row::Mixed, Metric::P99Us, &[Aim::itself(Bound::Below(10_000.0))]),
    ],
};

const fn of_quinn(name: &'static str, row: Row, metric: Metric, aims: &'static [Aim]) -> Figure {
    Figure { name, row, metric, baseline: PeerKind::Quinn, aims }
}

const fn to_quinn(bound: Bound) -> Aim {
    Aim::ratio(PeerKind::Quinn, bound)
}

/// Options of the run.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    run: run::Options,
    /// Measure only these peers, in this order.
    #[arg(
        long,
        value_name = "PEER",
        value_delimiter = ',',
        default_value = "vioduct,quinn,quinn-batched"
    )]
    peers: Vec<PeerKind>,
    /// Data moved by the bulk and mixed rows, in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    bulk_mib: u64,
}

/// Runs every round, and prints the result.
pub(crate) async fn run(options: Options) -> Result<()> {
    let run = Run {
        scheme: &SCHEME,
        peers: options.peers,
        peers_program: None,
        bulk_bytes: options.bulk_mib * 1024 * 1024,
    };
    run.run(options.run).await
}
