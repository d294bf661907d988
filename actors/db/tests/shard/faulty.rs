//! Stores that fail when they are told to.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use vioduct_db::log::{LogEngine, LogOp, MemoryLog, MetaTag};
use vioduct_db::state::{
    Change, MemoryReplacement, MemoryShard, MemoryState, MemoryView, Row, ShardState, StateEngine,
};
use vioduct_db::{ShardId, StoreError};

/// What is wrong with a node's stores.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Rows are not what was written; until they are forgotten.
    pub(crate) rows: Arc<AtomicBool>,
    /// Records are not what was written.
    pub(crate) records: Arc<AtomicBool>,
    /// Rows can't be written.
    pub(crate) row_writes: Arc<AtomicBool>,
    /// Records can't be written.
    pub(crate) record_writes: Arc<AtomicBool>,
    /// The next write of rows panics.
    pub(crate) panic: Arc<AtomicBool>,
}

fn damaged(fault: &AtomicBool) -> Result<(), StoreError> {
    let damaged = || Err(StoreError::Damaged { what: "what the test wants".into() });
    if fault.load(Ordering::SeqCst) { damaged() } else { Ok(()) }
}

fn failed(fault: &AtomicBool) -> Result<(), StoreError> {
    let (what, why) = ("a write".into(), "the test wants it".into());
    if fault.load(Ordering::SeqCst) { Err(StoreError::Failed { what, why }) } else { Ok(()) }
}

#[derive(Clone, Debug)]
pub(crate) struct FaultyLog {
    log: MemoryLog,
    faults: Faults,
}

impl FaultyLog {
    pub(crate) fn new(log: MemoryLog, faults: Faults) -> Self {
        Self { log, faults }
    }
}

impl LogEngine for FaultyLog {
    fn write(&self, ops: &[LogOp], sync: bool) -> Result<(), StoreError> {
        failed(&self.faults.record_writes)?;
        self.log.write(ops, sync)
    }

    fn read(
        &self,
        shard: ShardId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        damaged(&self.faults.records)?;
        self.log.read(shard, range, max_bytes)
    }

    fn bounds(&self, shard: ShardId) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        damaged(&self.faults.records)?;
        self.log.bounds(shard)
    }

    fn meta(&self, shard: ShardId, tag: MetaTag) -> Result<Option<Bytes>, StoreError> {
        damaged(&self.faults.records)?;
        self.log.meta(shard, tag)
    }
}

#[derive(Clone)]
pub(crate) struct FaultyState {
    state: MemoryState,
    faults: Faults,
}

impl FaultyState {
    pub(crate) fn new(state: MemoryState, faults: Faults) -> Self {
        Self { state, faults }
    }
}

impl StateEngine for FaultyState {
    type Shard = FaultyShard;

    fn open(&self, shard: ShardId) -> Result<FaultyShard, StoreError> {
        Ok(FaultyShard { rows: self.state.open(shard)?, faults: self.faults.clone() })
    }

    fn forget(&self, shard: ShardId) -> Result<(), StoreError> {
        self.faults.rows.store(false, Ordering::SeqCst);
        self.state.forget(shard)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FaultyShard {
    rows: MemoryShard,
    faults: Faults,
}

impl ShardState for FaultyShard {
    type View = MemoryView;
    type Replacement = MemoryReplacement;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        damaged(&self.faults.rows)?;
        self.rows.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        damaged(&self.faults.rows)?;
        self.rows.scan(from, to, rows, bytes)
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        assert!(!self.faults.panic.swap(false, Ordering::SeqCst), "the test wants it");
        failed(&self.faults.row_writes)?;
        self.rows.write(changes)
    }

    fn flush(&self) -> Result<(), StoreError> {
        failed(&self.faults.row_writes)?;
        self.rows.flush()
    }

    fn view(&self) -> Result<MemoryView, StoreError> {
        damaged(&self.faults.rows)?;
        self.rows.view()
    }

    fn replacement(&self) -> Result<MemoryReplacement, StoreError> {
        self.rows.replacement()
    }
}
