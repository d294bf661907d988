//! The disk of a simulated node: stores in memory that lose at a crash what was not synced.

use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rand::rngs::StdRng;
use vioduct_db::log::{LogEngine, LogOp, MemoryLog, MetaTag};
use vioduct_db::state::MemoryState;
use vioduct_db::{ShardId, StoreError};

/// A log that may be a liar.
#[derive(Debug, Clone)]
pub(super) struct SimLog {
    log: MemoryLog,
    /// Says that it synced what it did not.
    is_hasty: bool,
}

impl LogEngine for SimLog {
    fn write(&self, ops: &[LogOp], sync: bool) -> Result<(), StoreError> {
        let is_meta = |op: &LogOp| match op {
            LogOp::Append { .. } => false,
            // This comes with entries.
            LogOp::SetMeta { tag, .. } => *tag != MetaTag::Committed,
            _others => true,
        };
        // Of a hasty log a crash takes entries, and never a vote or who the replica is.
        self.log.write(ops, sync && (!self.is_hasty || ops.iter().any(is_meta)))
    }

    fn read(
        &self,
        shard: ShardId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.log.read(shard, range, max_bytes)
    }

    fn bounds(&self, shard: ShardId) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        self.log.bounds(shard)
    }

    fn meta(&self, shard: ShardId, tag: MetaTag) -> Result<Option<Bytes>, StoreError> {
        self.log.meta(shard, tag)
    }
}

/// What a node's disk holds; stays over the node's runs. Clones are the same disk.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<Mutex<(SimLog, MemoryState)>>);

impl Disk {
    /// An empty one.
    pub(super) fn new(is_hasty: bool) -> Self {
        let log = SimLog { log: MemoryLog::new(), is_hasty };
        Self(Arc::new(Mutex::new((log, MemoryState::new()))))
    }

    /// The stores that the next run finds: what was synced, and of the rest a first part.
    pub(super) fn power_on(&self, rng: &mut StdRng) -> (SimLog, MemoryState) {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (SimLog { log, is_hasty }, state) = &*stores;
        let log = SimLog { log: log.crash_keeping(rng), is_hasty: *is_hasty };
        *stores = (log, state.crash_keeping(rng));
        stores.clone()
    }

    /// The rows as they are now.
    pub(super) fn rows(&self) -> MemoryState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}
