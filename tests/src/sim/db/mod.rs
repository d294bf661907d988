//! The database on a simulated network: its consensus, its actors and the transport as they are, on
//! disks in memory that lose what was not synced; from a seed.
//!
//! Three nodes have a database, three more a client each. While the clients read and write a few
//! keys, nodes crash, links fail and the lead is handed about; then all of that ends, and the
//! database has to serve again. [`run`] gives what came of it, judged.

mod board;
mod disk;
mod host;
mod node;
mod panics;
mod report;
mod schedule;
mod world;

pub use board::{Entry, What};
pub use report::Report;
pub use schedule::{Fault, Target};
pub use world::run;

use super::schedule::Setup as Seeds;

/// Nodes of the database; their numbers are 1 to this.
const NODES: u8 = 3;
/// Nodes of clients; their numbers follow.
const CLIENTS: u8 = 3;

/// Which simulation to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// From what everything follows.
    pub seed: u64,
    /// What is wrong on purpose.
    pub plant: Option<Plant>,
}

/// A fault of the database or its clients on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// The logs say that entries are synced that are not.
    HastyLog,
    /// Every tenth write is acknowledged and not done.
    LostWrite,
    /// Reads are answered by any replica, whatever it has.
    StaleRead,
}

impl Setup {
    /// The command that runs this seed again.
    #[must_use]
    pub fn command(self) -> String {
        format!("cargo xtask sim db --seed {} --trace", self.seed)
    }

    /// A seed for one purpose, apart from those of all others.
    fn seed_for(self, purpose: [u64; 4]) -> u64 {
        Seeds::pair(self.seed).seed_for(purpose)
    }
}
