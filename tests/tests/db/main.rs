//! The database on real processes: what it promises while nodes are killed and stopped.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]
#![expect(clippy::print_stdout, reason = "figures, for whoever runs it with --nocapture")]

mod damage;
mod format;
mod full;
mod ids;
mod join;
mod kills;
mod linear;
mod members;
mod moves;
mod watch;
