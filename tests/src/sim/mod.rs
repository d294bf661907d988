//! The real transport over a simulated network: nodes on one thread, in virtual time, from a seed.
//!
//! [`run`] starts nodes of [`vioduct_transport`] over turmoil, lets them send while a schedule
//! drawn from the seed cuts, heals, shakes and crashes, then ends all faults and asks for progress.
//! What happened is a list of [`Event`]s; [`invariants`] are checked on it afterwards, and its hash
//! is the same whenever the same seed runs. `docs/simulation.md` says what is simulated and what
//! not.

pub mod actors;
mod clock;
pub mod db;
mod executor;
mod history;
mod identity;
pub mod invariants;
mod message;
mod node;
mod report;
mod runtime;
mod schedule;
mod socket;
mod stray;
mod weather;
mod world;

pub use history::{Event, Kind, Source};
pub use identity::IdentityError;
pub use message::{MessageId, NodeId};
pub use report::{Counts, Report};
pub use schedule::{FAULTS_END_MS, Fault, RECOVERY_MS, Setup, SetupError};
pub use weather::Conditions;
pub use world::{SimError, run};
