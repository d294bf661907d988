//! The tables of the shards of a node.

mod engine;
mod fenced;
mod memory;
#[cfg(feature = "rocksdb")]
mod rocks;

pub use engine::{Change, Replacement, Row, ShardState, StateEngine, View};
pub(crate) use fenced::{Fence, Troubles};
pub use fenced::{Fenced, FencedReplacement, FencedView, Trouble};
pub use memory::{MemoryReplacement, MemoryShard, MemoryState, MemoryView};
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksReplacement, RocksShard, RocksState, RocksView};
