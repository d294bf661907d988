//! The tables of the shards of a node.

mod engine;
mod fenced;
mod memory;
mod rocks;

pub use engine::{Change, Replacement, Row, ShardState, StateEngine, View};
pub(crate) use fenced::{Fence, Troubles};
pub use fenced::{Fenced, FencedReplacement, FencedView, Trouble};
pub use memory::{MemoryReplacement, MemoryShard, MemoryState, MemoryView};
pub use rocks::{RocksReplacement, RocksShard, RocksState, RocksView};
