//! The cluster's database on this node.

use std::path::PathBuf;
use std::sync::Arc;

use vioduct_db::StoreError;
use vioduct_db::log::RocksLog;
use vioduct_db::role::{DbRole, DbRoleConfig, DbRoleError, Stores, Timing};
use vioduct_db::schema::{Class, Schema};
use vioduct_db::state::RocksState;
use vioduct_runtime::Node;

/// Shards beside the system's that a database may have.
pub const DATA_SHARDS_MAX: u32 = 64;

/// What a node does for the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbConfig {
    /// Where its stores are.
    pub dir: PathBuf,
    /// Shards beside the system's, the same on all nodes, 64 at most.
    pub shards: u32,
    /// When replicas doubt their leader.
    pub timing: Timing,
    /// Bytes of the file system that are kept free: with less, writes are refused.
    pub reserve_bytes: u64,
    /// Bytes of memory for what is read from the disk.
    pub cache_bytes: usize,
}

/// The tables of a cluster's database.
#[must_use]
pub fn schema(data_shards: u32) -> Schema {
    Schema::new(data_shards).spread_table(1, "kv", Class::Lifecycle)
}

/// The database's replicas on this node.
pub(crate) type Replicas = DbRole<RocksLog, RocksState>;

/// Starts the replicas that the node's disk holds.
pub(crate) async fn start(node: &Node, config: DbConfig) -> Result<Replicas, DbRoleError> {
    let DbConfig { dir, shards, timing, reserve_bytes, cache_bytes } = config;
    let opened = Stores::open(dir, cache_bytes, reserve_bytes);
    let stores = opened.await.map_err(DbRoleError::Store)?;
    let role = DbRoleConfig { timing, ..DbRoleConfig::new(Arc::new(schema(shards))) };
    DbRole::start(node, stores, role).await
}

/// Whether files have to be mended before the node can start.
pub(crate) const fn is_configuration(error: &DbRoleError) -> bool {
    match error {
        DbRoleError::Config(_) | DbRoleError::Store(StoreError::Newer { .. }) => true,
        DbRoleError::Store(_) | DbRoleError::Actor(_) => false,
    }
}
