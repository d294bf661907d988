//! The membership of a large cluster, simulated: the real machine around the real foca, the real
//! bytes, many nodes on one thread, in virtual time, from a seed.
//!
//! What lies below is drawn, not run: a datagram takes 0.2 to 2 ms or is lost, one in a hundred. A
//! link costs what QUIC puts around a datagram, and the acknowledgement of it, as
//! [`traffic`] counts. Links are there: what their handshakes cost is not in the figures, how many
//! were used for the first time is. Source of the demands: issue 3, "Membership".
//!
//! ```text
//!  form: all join through three seeds ─▶ settle ─▶ quiet minutes ─▶ kill one ─▶ everybody knows
//! ```

mod report;
mod scene;
pub mod traffic;
mod world;

pub use report::{Report, report};
pub use scene::{Run, Scene};

#[cfg(test)]
mod tests;
