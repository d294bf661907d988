//! Rows in memory, which forget at a crash what was not flushed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::Rng;

use super::{Change, Replacement, Row, ShardState, StateEngine, View};
use crate::{ShardId, StoreError};

type Rows = BTreeMap<Bytes, Bytes>;

/// Rows of shards that live in memory, beside a second copy that stands for the disk. A clone is
/// the same store.
///
/// What was written and not flushed is kept twice until the next flush.
#[derive(Clone, Default)]
pub struct MemoryState {
    shards: Arc<Mutex<BTreeMap<ShardId, MemoryShard>>>,
}

/// The rows of one shard. A clone is the same shard.
#[derive(Clone, Default)]
pub struct MemoryShard {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    /// What is read. A write copies it if a view still holds it.
    now: Arc<Rows>,
    /// What a crash leaves for certain.
    flushed: Rows,
    /// The writes since, one entry for each.
    unflushed: Vec<Vec<Change>>,
}

/// The rows of a shard at one moment.
pub struct MemoryView {
    rows: Arc<Rows>,
    /// The last key that `next` gave.
    last: Option<Bytes>,
}

/// Rows on their way to replace a shard's.
pub struct MemoryReplacement {
    shard: MemoryShard,
    rows: Rows,
}

impl MemoryState {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store that the next run finds after a crash: what was flushed, and nothing else.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crashed(|_| 0)
    }

    /// The same, where the disk happened to have taken some of the writes that were not flushed:
    /// the first few of each shard, how many is drawn from `rng`.
    #[must_use]
    pub fn crash_keeping(&self, rng: &mut impl Rng) -> Self {
        self.crashed(|unflushed| rng.random_range(0..=unflushed))
    }

    fn crashed(&self, mut kept: impl FnMut(usize) -> usize) -> Self {
        let shards = self.lock();
        let left = shards.iter().map(|(id, shard)| {
            let disk = shard.lock();
            let mut rows = disk.flushed.clone();
            for changes in disk.unflushed.iter().take(kept(disk.unflushed.len())) {
                carry_out(&mut rows, changes);
            }
            (*id, MemoryShard::holding(rows))
        });
        Self { shards: Arc::new(Mutex::new(left.collect())) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, MemoryShard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateEngine for MemoryState {
    type Shard = MemoryShard;

    fn open(&self, shard: ShardId) -> Result<MemoryShard, StoreError> {
        Ok(self.lock().entry(shard).or_default().clone())
    }

    fn forget(&self, shard: ShardId) -> Result<(), StoreError> {
        self.lock().remove(&shard);
        Ok(())
    }
}

impl MemoryShard {
    fn holding(rows: Rows) -> Self {
        let disk = Disk { now: Arc::new(rows.clone()), flushed: rows, unflushed: Vec::new() };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardState for MemoryShard {
    type Replacement = MemoryReplacement;
    type View = MemoryView;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().now.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let disk = self.lock();
        let range = (Bound::Included(from), Bound::Excluded(to));
        let mut left = bytes.max(1);
        let mut found = Vec::new();
        for (key, value) in disk.now.range::<[u8], _>(range).take(rows) {
            left = left.saturating_sub(key.len().saturating_add(value.len()));
            found.push((key.clone(), value.clone()));
            if left == 0 {
                break;
            }
        }
        Ok(found)
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut disk = self.lock();
        carry_out(Arc::make_mut(&mut disk.now), &changes);
        disk.unflushed.push(changes);
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut guard = self.lock();
        let disk = &mut *guard;
        for changes in disk.unflushed.drain(..) {
            carry_out(&mut disk.flushed, &changes);
        }
        Ok(())
    }

    fn view(&self) -> Result<MemoryView, StoreError> {
        Ok(MemoryView { rows: Arc::clone(&self.lock().now), last: None })
    }

    fn replacement(&self) -> Result<MemoryReplacement, StoreError> {
        Ok(MemoryReplacement { shard: self.clone(), rows: Rows::new() })
    }
}

impl View for MemoryView {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.rows.get(key).cloned())
    }

    fn next(&mut self, bytes: usize) -> Result<Vec<Row>, StoreError> {
        let from = self.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = Vec::new();
        let mut size = 0_usize;
        for (key, value) in self.rows.range((from, Bound::Unbounded)) {
            found.push((key.clone(), value.clone()));
            size = size.saturating_add(key.len()).saturating_add(value.len());
            if size >= bytes {
                break;
            }
        }
        let end = self.rows.last_key_value().map(|(key, _)| key);
        self.last = found.last().map(|(key, _)| key).or(end).cloned();
        Ok(found)
    }
}

impl Replacement for MemoryReplacement {
    fn put(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        for (key, value) in rows {
            if self.rows.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(StoreError::Failed {
                    what: "replacing rows".into(),
                    why: "a key came that is not past the one before it".into(),
                });
            }
            self.rows.insert(key, value);
        }
        Ok(())
    }

    fn commit(self) -> Result<(), StoreError> {
        let mut disk = self.shard.lock();
        disk.now = Arc::new(self.rows.clone());
        disk.flushed = self.rows;
        disk.unflushed.clear();
        Ok(())
    }
}

fn carry_out(rows: &mut Rows, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(key, value) => {
                rows.insert(key.clone(), value.clone());
            }
            Change::Delete(key) => {
                rows.remove(key);
            }
        }
    }
}

impl fmt::Debug for MemoryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryState").field("shards", &self.lock().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.lock();
        f.debug_struct("MemoryShard")
            .field("rows", &disk.now.len())
            .field("unflushed", &disk.unflushed.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryView").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryReplacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReplacement").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}
