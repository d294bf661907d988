//! Runs the transport, or the database, over a simulated network, from a seed, and says what became
//! of it.
//!
//! A seed of the transport runs twice, one of the database too if it is asked for. Exit code 1 when
//! an invariant broke, or when two runs differ.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use vioduct_tests::sim::{Report, Setup, db, run};

/// Runs the transport over a simulated network, or with `db` the database.
#[derive(Debug, Parser)]
#[command(name = "vioduct-sim", about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    transport: Transport,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs the database over a simulated network, on disks in memory.
    Db(Database),
}

#[derive(Debug, Args)]
struct Database {
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Threads that run them, each one seed at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    threads: u64,
    /// Run each seed twice, and compare.
    #[arg(long)]
    twice: bool,
    /// Print all that happened.
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, Args)]
struct Transport {
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Nodes, each linked to each other one.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=8))]
    nodes: u8,
    /// Print every event.
    #[arg(long)]
    trace: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.what {
        Some(What::Db(args)) => databases(&args),
        None => transports(&cli.transport),
    }
}

fn transports(cli: &Transport) -> anyhow::Result<ExitCode> {
    let end = cli.seed.checked_add(cli.seeds).context("seeds end at 2^64 - 1")?;
    let mut is_well = true;
    for seed in cli.seed..end {
        let setup = Setup::new(seed, cli.nodes)?;
        let (first, second) = (run(setup)?, run(setup)?);
        if cli.trace {
            for event in &first.events {
                println!("{event}");
            }
        }
        print(&first);
        if let Some((one, other)) = difference(&first, &second) {
            is_well = false;
            println!("  the second run differs:\n  - {one}\n  + {other}");
        }
        is_well &= first.violations.is_empty();
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the seeds on some threads; each takes the next that nobody has taken.
fn databases(args: &Database) -> anyhow::Result<ExitCode> {
    let end = args.seed.checked_add(args.seeds).context("seeds end at 2^64 - 1")?;
    let next = AtomicU64::new(args.seed);
    let run = || {
        let mut is_well = true;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return anyhow::Ok(is_well);
            }
            is_well &= database(args, seed)?;
        }
    };
    let ended = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut is_well = true;
    for ended in ended {
        is_well &= ended.map_err(|_panic| anyhow::anyhow!("a simulation panicked"))??;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one seed; whether all is well.
fn database(args: &Database, seed: u64) -> anyhow::Result<bool> {
    let setup = db::Setup { seed, plant: None };
    let report = db::run(setup)?;
    let again = if args.twice { Some(db::run(setup)?) } else { None };
    let mut lines = Vec::new();
    if args.trace {
        lines.extend(report.lines());
    }
    lines.push(report.to_string());
    let mut is_well = report.violations.is_empty();
    if again.is_some_and(|again| again.trace_hash != report.trace_hash) {
        is_well = false;
        lines.push("  the second run differs".to_owned());
    }
    if !is_well {
        lines.push(format!("  again with: {}", setup.command()));
    }
    println!("{}", lines.join("\n"));
    Ok(is_well)
}

fn print(report: &Report) {
    let counts = &report.counts;
    println!(
        "seed {} {:016x} {} events in {} ms: {} taken, {} delivered, {} maybe, {} not, \
         {} refused, {} ups, {} replaced, {} evicted, {} closed, {} restarts, last link up {} ms \
         after the faults",
        report.seed,
        report.trace_hash,
        report.events.len(),
        report.simulated_ms,
        counts.taken,
        counts.delivered,
        counts.maybe,
        counts.not,
        counts.refused,
        counts.ups,
        counts.replaced,
        counts.evicted,
        counts.closed,
        counts.restarts,
        report.recovery_ms,
    );
    for violation in &report.violations {
        println!("  {violation}");
    }
}

/// The first events that two runs do not share.
fn difference(one: &Report, other: &Report) -> Option<(String, String)> {
    if one.trace_hash == other.trace_hash {
        return None;
    }
    let (mut left, mut right) = (one.events.iter(), other.events.iter());
    loop {
        let (mine, theirs) = (left.next(), right.next());
        if mine != theirs || mine.is_none() {
            let text = |event: Option<_>| event.map_or("the end".to_owned(), ToString::to_string);
            return Some((text(mine), text(theirs)));
        }
    }
}
