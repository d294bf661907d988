//! `vioduct-bench transport`: the run as a whole.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use vioduct_loadtest::machine::{Build, Machine};

use crate::identity::{self, PrivateDir};
use crate::peers::PeerKind;
use crate::process::Launcher;
use crate::report::{self, Line};
use crate::rows::Row;
use crate::sample::{Plan, Sample};
use crate::tuning;

/// Version of the JSON document; raised when a field changes its meaning or goes away.
const SCHEMA: u32 = 2;

/// Share of the machine in other programs' hands above which the report says so, in per cent.
const FOREIGN_CPU_PERCENT_MAX: f64 = 5.0;

/// Options of the run.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Seconds measured per row and peer.
    #[arg(long, default_value = "1.5", value_parser = crate::seconds)]
    seconds: Duration,
    /// Seconds of load before that.
    #[arg(long, default_value = "0.5", value_parser = crate::seconds)]
    warmup: Duration,
    /// Rounds; in each, every row is measured once for every peer.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only these rows.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<Row>,
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
    /// Write machine, plan, samples and lines to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What `--json` writes.
#[derive(Debug, serde::Serialize)]
struct Document<'a> {
    schema: u32,
    machine: &'a Machine,
    build: &'a Build,
    pinning: &'a str,
    warmup_s: f64,
    window_s: f64,
    bulk_bytes: u64,
    rounds: u32,
    window_bytes: u32,
    socket_buffer_bytes: usize,
    lines: &'a [Line],
    samples: &'a [Sample],
}

/// Runs every round, prints the table, and writes the document.
pub(crate) async fn run(options: Options) -> Result<()> {
    let (machine, build) = (Machine::inspect(), Build::inspect());
    let plan = Plan {
        warmup: options.warmup,
        window: options.seconds,
        bulk_bytes: options.bulk_mib * 1024 * 1024,
    };
    let credentials = PrivateDir::create()?;
    identity::issue(credentials.path())?;
    let launcher = Launcher::new(credentials.path(), machine.cores, plan)?;
    // Returning drops, and so ends, the children, and removes the directory with the keys.
    let samples = tokio::select! {
        samples = measure(&options, &launcher) => samples?,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt.context("watch for an interrupt")?;
            anyhow::bail!("interrupted");
        }
    };
    let lines = report::lines(&samples, &options.peers);

    print!("{}", report::table(&lines));
    println!(
        "\nratio: figure / baseline's of the same round, median of {} rounds; baseline is {}, of \
         oneway {}; of rt-1 and connect the ratio is of p50, of mixed of p99",
        options.rounds,
        PeerKind::Quinn,
        PeerKind::QuinnBatched
    );
    let foreign_percent = lines.iter().map(|line| line.foreign_cpu_percent_max).fold(0.0, f64::max);
    if foreign_percent > FOREIGN_CPU_PERCENT_MAX {
        println!("noise: other programs took up to {foreign_percent:.0} % of the machine");
    }
    println!("machine: {machine}; {}", launcher.pinning());
    println!("build: {build}");
    if let Some(file) = &options.json {
        let document = Document {
            schema: SCHEMA,
            machine: &machine,
            build: &build,
            pinning: launcher.pinning(),
            warmup_s: plan.warmup.as_secs_f64(),
            window_s: plan.window.as_secs_f64(),
            bulk_bytes: plan.bulk_bytes,
            rounds: options.rounds,
            window_bytes: tuning::WINDOW_BYTES,
            socket_buffer_bytes: tuning::SOCKET_BUFFER_BYTES,
            lines: &lines,
            samples: &samples,
        };
        std::fs::write(file, serde_json::to_vec_pretty(&document)?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

async fn measure(options: &Options, launcher: &Launcher) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        for row in Row::ALL {
            if !options.only.is_empty() && !options.only.contains(&row) {
                continue;
            }
            for peer in &options.peers {
                if !row.includes(*peer) {
                    continue;
                }
                eprintln!("round {} of {}: {row}, {peer}", round + 1, options.rounds);
                let mut sample = launcher
                    .measure(row, *peer)
                    .await
                    .with_context(|| format!("{row} of {peer}"))?;
                sample.round = round;
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}
