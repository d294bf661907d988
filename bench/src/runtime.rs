//! `vioduct-bench runtime`: our actors beside other runtimes, bare quinn, and bare actix.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use vioduct_bench_harness::peer::PeerKind;
use vioduct_bench_harness::rows::{Metric, Row};

use crate::run::{self, Run};
use crate::scheme::{Aim, Bound, Figure, Scheme};

/// What our runtime should reach.
pub(crate) const SCHEME: Scheme = Scheme {
    judged: PeerKind::Runtime,
    figures: &[
        of_quinn("rt-1", Row::RoundTrip1, Metric::P50Us, &[to_quinn(Bound::AtMost(1.15))]),
        of_quinn("rt-64", Row::RoundTrip64, Metric::RatePerS, &[to_quinn(Bound::AtLeast(0.85))]),
        of_quinn(
            "rt-1024",
            Row::RoundTrip1024,
            Metric::RatePerS,
            &[to_quinn(Bound::AtLeast(0.85)), Aim::ratio(PeerKind::Ractor, Bound::AtLeast(8.0))],
        ),
        of_quinn(
            "cpu-1024",
            Row::RoundTrip1024,
            Metric::CpuSPerMillion,
            &[Aim::itself(Bound::AtMost(1.6))],
        ),
        Figure {
            name: "tell",
            row: Row::OneWay,
            metric: Metric::RatePerS,
            baseline: PeerKind::QuinnBatched,
            aims: &[
                Aim::ratio(PeerKind::QuinnBatched, Bound::AtLeast(0.45)),
                Aim::ratio(PeerKind::Ractor, Bound::AtLeast(10.0)),
                Aim::ratio(PeerKind::Tonic, Bound::AtLeast(1.0)),
            ],
        },
        of_quinn("rt-4k", Row::RoundTrip4K, Metric::RatePerS, &[to_quinn(Bound::AtLeast(0.85))]),
        of_quinn("rt-64k", Row::RoundTrip64K, Metric::RatePerS, &[to_quinn(Bound::AtLeast(0.85))]),
        of_actix("local-1", Row::Local1),
        of_actix("local-64", Row::Local64),
        of_actix("local-tell", Row::LocalTell),
    ],
};

const fn of_quinn(name: &'static str, row: Row, metric: Metric, aims: &'static [Aim]) -> Figure {
    Figure { name, row, metric, baseline: PeerKind::Quinn, aims }
}

const fn to_quinn(bound: Bound) -> Aim {
    Aim::ratio(PeerKind::Quinn, bound)
}

const OF_ACTIX: Aim = Aim::ratio(PeerKind::Actix, Bound::AtLeast(0.9));

const fn of_actix(name: &'static str, row: Row) -> Figure {
    Figure { name, row, metric: Metric::RatePerS, baseline: PeerKind::Actix, aims: &[OF_ACTIX] }
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
        default_value = "runtime,quinn,quinn-batched,actix,ractor,kameo,tonic"
    )]
    peers: Vec<PeerKind>,
    /// The program that runs the other runtimes. `cargo xtask bench runtime` builds and names it;
    /// without it, their lines say that they were not run.
    #[arg(long, value_name = "FILE")]
    peers_program: Option<PathBuf>,
}

/// Runs every round, and prints the result.
pub(crate) async fn run(options: Options) -> Result<()> {
    let run = Run {
        scheme: &SCHEME,
        peers: options.peers,
        peers_program: options.peers_program,
        // No row of these moves bulk data.
        bulk_bytes: 0,
    };
    run.run(options.run).await
}
