//! Three nodes with a database, over real links, on stores in memory.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by them")]

mod basics;
mod cluster;
mod faulty;
mod heal;
mod lease;
mod members;
mod power;
mod watch;
mod ways;
mod writers;
