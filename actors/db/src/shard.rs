//! Which shard of the database.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a shard: one consensus group with tables of its own. Shard 0 is the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.0)
    }
}
