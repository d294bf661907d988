//! A walking skeleton: one disk, served over NBD by one process, performed by a second, kept by a
//! third, and not lost when the path between the last two is cut.
//!
//! Without arguments it plays the whole story and ends with PASS or FAIL. Thin on purpose: it shows
//! how actors, links and threads fit together, and goes when the real crates stand.
#![expect(clippy::print_stdout, reason = "a program that says what it does")]
#![expect(clippy::print_stderr, reason = "what a node could not do, for the person who looks")]

mod client;
mod cluster;
mod lpar;
mod names;
mod nbd;
mod node;
mod storage;
mod story;
mod trace;
mod vios;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::node::{Layout, NodeArgs};

/// One disk over three processes; their one path to the storage is cut on the way.
#[derive(Debug, Parser)]
#[command(name = "vioduct-skeleton")]
struct Cli {
    #[command(flatten)]
    layout: Layout,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// One of the three processes.
    Node(NodeArgs),
    /// Times 4 KiB reads one by one, in every layout.
    Measure {
        /// Reads in each.
        #[arg(long, default_value_t = 4000)]
        reads: u32,
    },
    /// Serves the disk until standard input ends, for clients from outside.
    Serve,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.part {
        Some(Part::Node(args)) => node::run(args),
        Some(Part::Measure { reads }) => story::measure(*reads),
        Some(Part::Serve) => story::serve(cli.layout),
        None => {
            let told = story::tell(cli.layout);
            println!("{}", if told.is_ok() { "PASS" } else { "FAIL" });
            told
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
