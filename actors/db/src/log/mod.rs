//! The logs of all shards of a node, in one store with one writer.

mod engine;
mod memory;
mod rocks;
mod writer;

pub use engine::{LogEngine, LogOp, MetaTag};
pub use memory::MemoryLog;
pub use rocks::RocksLog;
pub use writer::LogWriter;
