//! `vioduct`: the daemon of a cluster node, and the commands of those who run it.
//!
//! Exit codes: 0 done; 1 not done, or something is down; 2 wrong usage; 78 a node's file or its
//! certificates must be mended first.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
