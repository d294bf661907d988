//! Logs in memory, which forget at a crash what was not synced.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::Rng;

use super::{LogEngine, LogOp, MetaTag};
use crate::{ShardId, StoreError};

/// Logs that live in memory, beside a second copy that stands for the disk. A clone is the same
/// store.
///
/// What was written without a sync is kept twice until the next sync.
#[derive(Clone, Default)]
pub struct MemoryLog {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    /// What is read.
    now: Logs,
    /// What a loss of power leaves for certain.
    synced: Logs,
    /// The writes since, one entry for each.
    unsynced: Vec<Vec<LogOp>>,
}

#[derive(Clone, Default)]
struct Logs {
    records: BTreeMap<(ShardId, u64), Bytes>,
    meta: BTreeMap<(ShardId, MetaTag), Bytes>,
}

impl MemoryLog {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store that the next run finds after a loss of power: what was synced, and nothing else.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crashed_with(0)
    }

    /// The same, where the disk happened to have taken some of the writes that were not synced:
    /// the first few of them, how many is drawn from `rng`.
    #[must_use]
    pub fn crash_keeping(&self, rng: &mut impl Rng) -> Self {
        let unsynced = self.lock().unsynced.len();
        self.crashed_with(rng.random_range(0..=unsynced))
    }

    fn crashed_with(&self, kept: usize) -> Self {
        let disk = self.lock();
        let mut left = disk.synced.clone();
        for ops in disk.unsynced.iter().take(kept) {
            left.carry_out(ops);
        }
        let disk = Disk { now: left.clone(), synced: left, unsynced: Vec::new() };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.lock();
        f.debug_struct("MemoryLog")
            .field("records", &disk.now.records.len())
            .field("unsynced", &disk.unsynced.len())
            .finish_non_exhaustive()
    }
}

impl LogEngine for MemoryLog {
    fn write(&self, ops: &[LogOp], sync: bool) -> Result<(), StoreError> {
        let mut guard = self.lock();
        let disk = &mut *guard;
        disk.now.carry_out(ops);
        if sync {
            for earlier in disk.unsynced.drain(..) {
                disk.synced.carry_out(&earlier);
            }
            disk.synced.carry_out(ops);
        } else {
            disk.unsynced.push(ops.to_vec());
        }
        Ok(())
    }

    fn read(
        &self,
        shard: ShardId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let disk = self.lock();
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        for index in range {
            let Some(record) = disk.now.records.get(&(shard, index)) else { break };
            if !found.is_empty() && bytes.saturating_add(record.len()) > max_bytes {
                break;
            }
            bytes = bytes.saturating_add(record.len());
            found.push(record.clone());
        }
        Ok(found)
    }

    fn bounds(&self, shard: ShardId) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        let disk = self.lock();
        let mut indexes =
            disk.now.records.range((shard, 0)..=(shard, u64::MAX)).map(|((_, index), _)| *index);
        let Some(first) = indexes.next() else { return Ok(None) };
        let last = indexes.next_back().unwrap_or(first);
        Ok(Some(first..=last))
    }

    fn meta(&self, shard: ShardId, tag: MetaTag) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().now.meta.get(&(shard, tag)).cloned())
    }
}

impl Logs {
    fn carry_out(&mut self, ops: &[LogOp]) {
        for op in ops {
            match op {
                LogOp::Append { shard, first, records } => {
                    for (record, index) in records.iter().zip(*first..) {
                        self.records.insert((*shard, index), record.clone());
                    }
                }
                LogOp::TruncateFrom { shard, index } => {
                    self.remove(*shard, *index..=u64::MAX);
                }
                LogOp::PurgeThrough { shard, index } => {
                    self.remove(*shard, 0..=*index);
                }
                LogOp::SetMeta { shard, tag, value } => {
                    self.meta.insert((*shard, *tag), value.clone());
                }
                LogOp::Forget { shard } => {
                    self.remove(*shard, 0..=u64::MAX);
                    self.meta.retain(|(of, _), _| of != shard);
                }
            }
        }
    }

    fn remove(&mut self, shard: ShardId, indexes: RangeInclusive<u64>) {
        let (first, last) = indexes.into_inner();
        let gone: Vec<_> =
            self.records.range((shard, first)..=(shard, last)).map(|(key, _)| *key).collect();
        for key in gone {
            self.records.remove(&key);
        }
    }
}
