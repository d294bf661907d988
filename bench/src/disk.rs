//! `vioduct-bench disk`: served disks beside qemu-nbd and nbdkit, under fio's NBD engine.
//!
//! Every server of a group runs for the whole of the run, on a disk of the same size that was
//! written once, in the same directory and through the page cache; each row is measured on one
//! after the other, so that a ratio compares neighbours in time.

mod fio;
mod lines;
mod node;
mod rows;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use vioduct_bench_harness::child::seconds;
use vioduct_bench_harness::identity::PrivateDir;
use vioduct_loadtest::machine::{Build, Machine};

use fio::Sample;
use rows::{Contender, Row};
use server::Server;

pub(crate) use node::{ServerOptions, serve};

/// Version of the JSON document; raised when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;
/// Share of the machine in other programs' hands above which the report says so, in per cent.
const FOREIGN_CPU_PERCENT_MAX: f64 = 5.0;

/// Options of the run.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Seconds measured per row and server.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Rounds; in each, every row is measured once on every server.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only these rows.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<Row>,
    /// Measure only these servers.
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    servers: Vec<Contender>,
    /// Bytes of each disk, in MiB.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    size_mib: u64,
    /// Where the disks' files are, a few seconds long. Default: the system's temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Largest UDP payload that our nodes try, links and fabric. Default: as nodes come.
    #[arg(long, value_name = "BYTES")]
    mtu_max: Option<u16>,
    /// Write machine, plan, lines and samples to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, serde::Serialize)]
struct Document<'a> {
    schema: u32,
    machine: &'a Machine,
    build: &'a Build,
    window_s: f64,
    rounds: u32,
    size_mib: u64,
    mtu_max: Option<u16>,
    lines: &'a [lines::Line],
    samples: &'a [Sample],
}

/// Runs every round, and prints the result.
pub(crate) async fn run(options: Options) -> Result<()> {
    let (machine, build) = (Machine::inspect(), Build::inspect());
    let scratch = PrivateDir::create_in(options.dir.as_deref())?;
    let samples = tokio::select! {
        samples = measure(&options, &scratch) => samples?,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt.context("watch for an interrupt")?;
            anyhow::bail!("interrupted");
        }
    };
    let lines = lines::lines(&samples);
    print!("{}", lines::render(&lines));
    println!(
        "\nratio: to the server at 1.00x, of the same round, median of {} rounds; of rr-1 and rw-1 \
         of p50, turned over, so that more is better\nevery disk: {} MiB, written once, through \
         the page cache; CPU: user and system time of all processes of a server, per request",
        options.rounds, options.size_mib
    );
    let foreign = samples.iter().map(|sample| sample.foreign_cpu_percent).fold(0.0, f64::max);
    if foreign > FOREIGN_CPU_PERCENT_MAX {
        println!("noise: other programs took up to {foreign:.0} % of the machine");
    }
    println!("machine: {machine}\nbuild: {build}");
    if let Some(file) = &options.json {
        let document = Document {
            schema: SCHEMA,
            machine: &machine,
            build: &build,
            window_s: options.seconds.as_secs_f64(),
            rounds: options.rounds,
            size_mib: options.size_mib,
            mtu_max: options.mtu_max,
            lines: &lines,
            samples: &samples,
        };
        std::fs::write(file, serde_json::to_vec_pretty(&document)?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

async fn measure(options: &Options, scratch: &PrivateDir) -> Result<Vec<Sample>> {
    let is_chosen =
        |contender: &Contender| options.servers.is_empty() || options.servers.contains(contender);
    let contenders: Vec<Contender> = Contender::ALL.into_iter().filter(is_chosen).collect();
    let is_wanted = |row: &Row| options.only.is_empty() || options.only.contains(row);
    let rows: Vec<Row> = Row::ALL.into_iter().filter(is_wanted).collect();
    ensure!(!contenders.is_empty() && !rows.is_empty(), "nothing is measured");
    let bytes = options.size_mib << 20;
    let mut servers = Vec::new();
    for contender in contenders {
        eprintln!("start {contender}");
        let server = Server::start(contender, scratch.path(), bytes, options.mtu_max).await?;
        fio::fill(&server).await.with_context(|| format!("fill {contender}"))?;
        servers.push(server);
    }
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        for row in &rows {
            for server in &servers {
                let contender = server.contender();
                eprintln!("round {} of {}: {row}, {contender}", round + 1, options.rounds);
                let sample = fio::measure(server, *row, round, options.seconds).await;
                samples.push(sample.with_context(|| format!("{row} of {contender}"))?);
            }
        }
    }
    for server in servers {
        server.stop().await?;
    }
    Ok(samples)
}
