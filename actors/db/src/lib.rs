//! The cluster's database: replicated by consensus, sharded, stored in RocksDB, spoken to as
//! actors.
//!
//! A service that only uses it does without RocksDB: the feature `rocksdb`, which is on by default,
//! is for nodes that have replicas on their disk.

pub mod chance;
pub mod client;
pub mod clock;
pub mod command;
pub mod consensus;
pub mod encoding;
pub mod error;
pub mod log;
pub mod machine;
pub mod offload;
pub mod query;
pub mod replica;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod role;
pub mod schema;
pub mod shard;
pub mod space;
pub mod state;
pub mod watch;

pub use error::StoreError;
pub use shard::ShardId;
