//! The tables of the shards of a node.

mod engine;
mod memory;
mod rocks;

pub use engine::{Change, Replacement, Row, ShardState, StateEngine, View};
pub use memory::{MemoryReplacement, MemoryShard, MemoryState, MemoryView};
pub use rocks::{RocksReplacement, RocksShard, RocksState, RocksView};
