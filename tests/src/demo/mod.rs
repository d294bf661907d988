//! What the demonstration is made of: a narrator, and messages that flow while it talks.

mod narrator;
mod traffic;

pub use narrator::Narrator;
pub use traffic::{Traffic, TrafficTotals};
