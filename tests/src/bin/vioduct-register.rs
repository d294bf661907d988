//! How long it takes until many VIOSes that start at once are registered: a table of how that
//! grows with their number.
#![expect(clippy::print_stdout, reason = "the results of a benchmark go to standard output")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::runtime::Builder;
use vioduct_tests::built;
use vioduct_tests::registering::{Figures, play, run};

/// Within this all have to be registered, milliseconds.
const AIM_MS: u64 = 60_000;

/// Measures how long VIOSes that start at once take to register.
#[derive(Debug, Parser)]
#[command(name = "vioduct-register", about)]
struct Cli {
    /// How many VIOSes; given more than once, one after the other.
    #[arg(long, default_values_t = [10, 100, 1000])]
    vioses: Vec<usize>,
    /// Writes the results as JSON into this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Plays a part of the VIOSes: for this program itself.
    #[arg(long, hide = true)]
    part: Option<String>,
}

fn main() -> Result<ExitCode> {
    let Cli { vioses, json, part } = Cli::parse();
    if let Some(part) = part {
        play(&part)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    let head = ["linked, s", "half, s", "all, s", "each knows all, s"];
    let [linked, half, whole, told] = head;
    println!("{:>8}{linked:>14}{half:>14}{whole:>14}{told:>24}", "vioses");
    for count in vioses {
        let figures = runtime.block_on(run(built::vioduct()?, &std::env::current_exe()?, count))?;
        let Figures { vioses, linked_ms, half_ms, all_ms, told_ms } = figures;
        let [linked, half, whole, told] = [linked_ms, half_ms, all_ms, told_ms].map(seconds);
        println!("{vioses:>8}{linked:>14}{half:>14}{whole:>14}{told:>24}");
        all.push(figures);
    }
    if let Some(json) = json {
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(&json, text).with_context(|| json.display().to_string())?;
    }
    let is_well = all.iter().all(|figures| figures.all_ms <= AIM_MS);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn seconds(ms: u64) -> String {
    format!("{}.{:02}", ms / 1000, ms % 1000 / 10)
}
