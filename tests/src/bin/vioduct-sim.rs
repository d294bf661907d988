//! Runs the transport over a simulated network, from a seed, and says what became of it.
//!
//! Each seed runs twice. Exit code 1 when an invariant broke, or when the two runs differ.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use vioduct_tests::sim::{Report, Setup, run};

/// Runs the transport over a simulated network.
#[derive(Debug, Parser)]
#[command(name = "vioduct-sim", about)]
struct Cli {
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
