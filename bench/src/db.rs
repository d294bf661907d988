//! `vioduct-bench db`: our database beside etcd, three nodes each.
//!
//! Both run for the whole of the run, in the same directory, each with its defaults, and each row
//! is measured on one after the other, so that a ratio compares neighbours in time. The client is
//! a process of its own for each measurement.

mod bound;
mod client;
mod cluster;
mod etcd;
mod lines;
mod nodes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use vioduct_bench_harness::child::seconds;
use vioduct_bench_harness::identity::PrivateDir;
use vioduct_bench_harness::store::{StoreKind, StoreRow, StoreSample};
use vioduct_loadtest::machine::{Build, Machine};

use crate::run::Output;
use cluster::{Cluster, Plan, Programs};

pub(crate) use client::measure as run_client;

/// Version of the JSON document; raised when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;
/// Share of the machine in other programs' hands above which the report says so, in per cent.
const FOREIGN_CPU_PERCENT_MAX: f64 = 5.0;

/// Options of the run.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Seconds measured per row and store.
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// Seconds of load before that.
    #[arg(long, default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Rounds; in each, every row is measured once on every store.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only these rows.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<StoreRow>,
    /// Measure only these stores.
    #[arg(long, value_name = "STORE", value_delimiter = ',')]
    stores: Vec<StoreKind>,
    /// Where the stores' files are. Default: the system's temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How the result is written to standard output; nothing else is.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Write machine, plan, lines and samples to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
}

#[derive(Debug, serde::Serialize)]
struct Document<'a> {
    schema: u32,
    machine: &'a Machine,
    build: &'a Build,
    etcd: Option<&'a str>,
    warmup_s: f64,
    window_s: f64,
    rounds: u32,
    lines: &'a [lines::Line],
    samples: &'a [StoreSample],
}

/// Runs every round, and prints the result.
pub(crate) async fn run(options: Options) -> Result<()> {
    let (machine, build) = (Machine::inspect(), Build::inspect());
    let is_chosen = |kind: &StoreKind| options.stores.is_empty() || options.stores.contains(kind);
    let stores: Vec<StoreKind> = StoreKind::ALL.into_iter().filter(is_chosen).collect();
    let etcd = match stores.contains(&StoreKind::Etcd) {
        true => Some(etcd::version().await?),
        false => None,
    };
    let scratch = PrivateDir::create_in(options.dir.as_deref())?;
    // Returning drops, and so ends, all processes, and removes the directory.
    let samples = tokio::select! {
        samples = measure(&options, &stores, &scratch) => samples?,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt.context("watch for an interrupt")?;
            anyhow::bail!("interrupted");
        }
    };
    let document = Document {
        schema: SCHEMA,
        machine: &machine,
        build: &build,
        etcd: etcd.as_deref(),
        warmup_s: options.warmup.as_secs_f64(),
        window_s: options.seconds.as_secs_f64(),
        rounds: options.rounds,
        lines: &lines::lines(&samples),
        samples: &samples,
    };
    match options.output {
        Output::Text => print(&document),
        Output::Json => println!("{}", serde_json::to_string_pretty(&document)?),
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&document)?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

fn print(document: &Document<'_>) {
    print!("{}", lines::render(document.lines));
    println!(
        "\na / b: of vioduct and of etcd, medians of {} rounds; ratio: vioduct's figure to etcd's \
         of the same round, the median of them; of watch-… it is of p50, else of ops/s\nof watch-… \
         p50 and p99 are from the beginning of a put to the notice at the last that watches, those \
         of each to a notice at any of them\nCPU: user and system time for one operation, of \
         all three servers and of the client",
        document.rounds
    );
    let samples = document.samples.iter();
    let foreign = samples.map(|sample| sample.foreign_cpu_percent).fold(0.0, f64::max);
    if foreign > FOREIGN_CPU_PERCENT_MAX {
        println!("noise: other programs took up to {foreign:.0} % of the machine");
    }
    println!("machine: {}\nbuild: {}", document.machine, document.build);
    if let Some(etcd) = document.etcd {
        println!("{etcd}");
    }
}

async fn measure(
    options: &Options,
    stores: &[StoreKind],
    scratch: &PrivateDir,
) -> Result<Vec<StoreSample>> {
    let is_wanted = |row: &StoreRow| options.only.is_empty() || options.only.contains(row);
    let rows: Vec<StoreRow> = StoreRow::ALL.into_iter().filter(is_wanted).collect();
    ensure!(!rows.is_empty(), "nothing is measured");
    let plan = Plan { warmup: options.warmup, window: options.seconds };
    let mut clusters = Vec::new();
    for kind in stores {
        eprintln!("start {kind}");
        let mut cluster = Cluster::start(*kind, scratch.path(), &options.programs, plan).await?;
        cluster.fill().await.with_context(|| format!("write the rows of {kind}"))?;
        clusters.push(cluster);
    }
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        for row in &rows {
            for cluster in &mut clusters {
                let kind = cluster.kind();
                eprintln!("round {} of {}: {row}, {kind}", round + 1, options.rounds);
                let sample = cluster.measure(*row, round).await;
                samples.push(sample.with_context(|| format!("{row} of {kind}"))?);
            }
        }
    }
    for cluster in clusters {
        cluster.stop().await?;
    }
    Ok(samples)
}
