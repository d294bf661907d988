//! `vioduct-loadtest`: drives load against a running cluster, and says what came of it.
//!
//! Exit codes: 0 all went well; 1 something was not answered, or answered wrongly, or the run did
//! not start; 2 wrong usage; 98 the generator did not keep its schedule, so the latencies are its
//! own. `docs/loadtest.md` says what each number means.

mod block;
mod cli;
mod clock;
mod cluster;
mod control;
mod db;
mod msg;
mod noise;
mod open;
mod output;
mod report;
mod schedule;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
