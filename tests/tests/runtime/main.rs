//! The actor runtime over real sockets, real faults and real processes.
#![expect(clippy::unwrap_used, reason = "its actors and nodes belong to the tests")]

mod delivery;
mod killed;
mod mesh;
mod overload;
mod pairs;
mod process;
mod support;
