//! The cluster's database on this node.

use std::sync::Arc;

use vioduct_db::StoreError;
use vioduct_db::role::{DbRoleConfig, DbRoleError, DiskConfig, DiskRole, Timing, start_on_disk};
use vioduct_db::schema::{Class, Schema};
use vioduct_runtime::Node;
use vioduct_vios::cluster::row::with_tables;

/// Shards beside the system's that a database may have.
pub const DATA_SHARDS_MAX: u32 = 64;

/// What a node does for the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbConfig {
    /// Where its stores are, and how much room they may take.
    pub disk: DiskConfig,
    /// Shards beside the system's, the same on all nodes, 64 at most.
    pub shards: u32,
    /// When replicas doubt their leader.
    pub timing: Timing,
}

/// The tables of a cluster's database.
#[must_use]
pub fn schema(data_shards: u32) -> Schema {
    with_tables(Schema::new(data_shards).spread_table(1, "kv", Class::Lifecycle))
}

/// Starts the replicas that the node's disk holds.
pub(crate) async fn start(node: &Node, config: DbConfig) -> Result<DiskRole, DbRoleError> {
    let DbConfig { disk, shards, timing } = config;
    let role = DbRoleConfig { timing, ..DbRoleConfig::new(Arc::new(schema(shards))) };
    start_on_disk(node.clone(), disk, role).await
}

/// Whether files have to be mended before the node can start.
pub(crate) const fn is_configuration(error: &DbRoleError) -> bool {
    match error {
        DbRoleError::Config(_) | DbRoleError::Store(StoreError::Newer { .. }) => true,
        DbRoleError::Store(_) | DbRoleError::Actor(_) => false,
    }
}
