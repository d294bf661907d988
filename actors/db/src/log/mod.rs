//! The logs of all shards of a node, in one store with one writer.

mod engine;
mod memory;
#[cfg(feature = "rocksdb")]
mod rocks;
mod watched;
mod writer;

pub use engine::{LogEngine, LogOp, MetaTag};
pub use memory::MemoryLog;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksLog;
pub(crate) use watched::LogDamage;
pub use watched::WatchedLog;
pub use writer::LogWriter;
