//! What the processes of a benchmark share: rows, samples, the load that a client puts on a peer,
//! credentials, and the command line by which the parent starts them.
//!
//! Peers live in several programs, so that what one of them depends on is built into no other.
//! Nothing here knows a peer's code, and nothing depends on ours but for the certificates.

pub mod child;
pub mod correlation;
pub mod cpu;
pub mod identity;
pub mod measure;
pub mod peer;
pub mod rows;
pub mod sample;
pub mod store;
