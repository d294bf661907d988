//! The cluster's database: replicated by consensus, sharded, stored in RocksDB, spoken to as
//! actors.

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
pub mod rocks;
pub mod role;
pub mod schema;
pub mod shard;
pub mod space;
pub mod state;
pub mod watch;

pub use error::StoreError;
pub use shard::ShardId;
