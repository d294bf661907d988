//! Rows in RocksDB.

mod generation;
mod replacement;
mod view;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use self::generation::Generation;
pub use self::replacement::RocksReplacement;
pub use self::view::RocksView;
use super::{Change, Row, ShardState, StateEngine};
use crate::rocks::{BYTES_PER_SYNC, Db, Health, Lock, database_options, failed, io_failed};
use crate::{ShardId, StoreError};

/// Of each shard, before it is flushed by itself.
const BUFFER_BYTES: usize = 8 << 20;
/// Of all shards together.
const BUFFERS_BYTES_MAX: usize = 64 << 20;
const BLOOM_BITS: f64 = 10.0;

/// The rows of all shards of a node. A clone is the same store.
///
/// Each shard has a column family for itself, and another when its rows are replaced: see
/// `generation`. There is no write-ahead log: a crash leaves of each shard what was flushed last,
/// which is all writes up to one, and the shard's log has the others.
#[derive(Clone)]
pub struct RocksState {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    family_options: Options,
    /// Where rows that replace others are gathered, each replacement in a directory of its own.
    incoming: PathBuf,
    replacements: AtomicU64,
    // Behind the database: it has the lock of the directory.
    health: Health,
}

/// The rows of one shard. A clone is the same shard.
#[derive(Clone)]
pub struct RocksShard {
    store: Arc<Inner>,
    /// Whose rows are the shard's. Held while they are used, so that they are not taken away.
    current: Arc<RwLock<Generation>>,
}

impl RocksState {
    pub(crate) fn open(dir: &Path, cache: &Cache, lock: Arc<Lock>) -> Result<Self, StoreError> {
        let incoming = dir.join("incoming");
        clear(&incoming).map_err(|error| io_failed("clearing incoming rows", &error))?;
        let mut options = database_options();
        options.set_db_write_buffer_size(BUFFERS_BYTES_MAX);
        let families = if dir.join("CURRENT").exists() {
            Db::list_cf(&options, dir).map_err(|error| failed("opening the rows", &error))?
        } else {
            vec!["default".to_owned()]
        };
        let family_options = family_options(cache);
        let described =
            families.iter().map(|name| ColumnFamilyDescriptor::new(name, family_options.clone()));
        let db = Db::open_cf_descriptors(&options, dir, described)
            .map_err(|error| failed("opening the rows", &error))?;
        let left_over = generation::left_over(&db, &families)?;
        for family in left_over {
            db.drop_cf(&family).map_err(|error| failed("dropping rows", &error))?;
        }
        let health = Health::new(lock);
        let replacements = AtomicU64::new(0);
        let inner = Inner { db, family_options, incoming, replacements, health };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl StateEngine for RocksState {
    type Shard = RocksShard;

    fn open(&self, shard: ShardId) -> Result<RocksShard, StoreError> {
        let store = Arc::clone(&self.inner);
        let current = match store.health.noting(generation::current(&store.db, shard))? {
            Some(current) => current,
            None => store.health.write(|| {
                let first = Generation::first(shard);
                store.create(first)?;
                generation::switch(&store.db, first)?;
                Ok(first)
            })?,
        };
        Ok(RocksShard { store, current: Arc::new(RwLock::new(current)) })
    }

    fn forget(&self, shard: ShardId) -> Result<(), StoreError> {
        let store = &self.inner;
        let current = store.health.noting(generation::current(&store.db, shard))?;
        let Some(current) = current else { return Ok(()) };
        store.health.write(|| {
            generation::remove(&store.db, shard)?;
            store.drop_family(current)
        })
    }
}

impl Inner {
    fn family(&self, generation: Generation) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        let damaged = || StoreError::Damaged { what: format!("family {generation}") };
        self.db.cf_handle(&generation.to_string()).ok_or_else(damaged)
    }

    fn create(&self, generation: Generation) -> Result<(), StoreError> {
        self.db
            .create_cf(generation.to_string(), &self.family_options)
            .map_err(|error| failed("making room for rows", &error))
    }

    fn drop_family(&self, generation: Generation) -> Result<(), StoreError> {
        self.db.drop_cf(&generation.to_string()).map_err(|error| failed("dropping rows", &error))
    }
}

impl RocksShard {
    fn current(&self) -> RwLockReadGuard<'_, Generation> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardState for RocksShard {
    type Replacement = RocksReplacement;
    type View = RocksView;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let current = self.current();
        let value = self
            .store
            .db
            .get_pinned_cf(&self.store.family(*current)?, key)
            .map_err(|error| failed("reading a row", &error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
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
        let current = self.current();
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        let mut cursor = self.store.db.raw_iterator_cf_opt(&self.store.family(*current)?, options);
        cursor.seek(from);
        let mut found = Vec::new();
        let mut left = bytes.max(1);
        while found.len() < rows
            && left > 0
            && let Some((key, value)) = cursor.item()
        {
            left = left.saturating_sub(key.len().saturating_add(value.len()));
            found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            cursor.next();
        }
        cursor.status().map_err(|error| failed("reading rows", &error))?;
        Ok(found)
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.store.health.write(|| {
            let current = self.current();
            let family = self.store.family(*current)?;
            let mut batch = WriteBatch::default();
            for change in changes {
                match change {
                    Change::Put(key, value) => batch.put_cf(&family, key, value),
                    Change::Delete(key) => batch.delete_cf(&family, key),
                }
            }
            let written = self.store.db.write_opt(batch, &without_wal());
            written.map_err(|error| failed("writing rows", &error))
        })
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.store.health.write(|| {
            let current = self.current();
            let flushed = self.store.db.flush_cf(&self.store.family(*current)?);
            flushed.map_err(|error| failed("flushing rows", &error))
        })
    }

    fn view(&self) -> Result<RocksView, StoreError> {
        // Held until the view has its snapshot.
        let current = self.current();
        RocksView::start(Arc::clone(&self.store), *current)
    }

    fn replacement(&self) -> Result<RocksReplacement, StoreError> {
        RocksReplacement::begin(self.clone())
    }
}

/// Of rows and of what says which are current: their loss in a crash is made up for by the log, or
/// prevented by a flush.
fn without_wal() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn family_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_bloom_filter(BLOOM_BITS, false);
    let mut options = Options::default();
    options.set_write_buffer_size(BUFFER_BYTES);
    // Of tables that are written beside the database; its own follow the database's options.
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_block_based_table_factory(&table);
    options
}

fn clear(dir: &Path) -> std::io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)
}

impl fmt::Debug for RocksState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksState").field("dir", &self.inner.db.path()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RocksShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksShard").field("current", &*self.current()).finish_non_exhaustive()
    }
}
