//! The parts of the load harness that no driver owns: pacing, latency statistics, and the machine
//! that a result was measured on.

pub mod machine;
pub mod pace;
pub mod stats;
