//! The parts of the load harness that no driver owns: pacing and latency statistics.

pub mod pace;
pub mod stats;
