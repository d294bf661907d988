//! What the demonstration is made of: a narrator, stories, and load that flows while they are told.

pub mod certificates;
mod copy;
mod disk;
mod narrator;
mod traffic;

pub use disk::DiskStory;
pub use narrator::Narrator;
pub use traffic::{Traffic, TrafficTotals};
