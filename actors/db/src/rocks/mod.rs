//! A node's stores on its disk: one RocksDB for the logs, one for the rows.

mod aside;
mod failure;
mod format;

use std::path::Path;
use std::sync::Arc;

use rocksdb::{Cache, DBWithThreadMode, LogLevel, MultiThreaded, Options};

pub(crate) use failure::{Health, failed, io_failed};
pub(crate) use format::Lock;

use crate::StoreError;
use crate::log::RocksLog;
use crate::state::RocksState;

/// RocksDB with families that can be made and dropped while others are in use.
pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

/// Files that each of the two databases keeps open at most.
const OPEN_FILES_MAX: i32 = 256;

/// Tables are given to the disk this much at a time: one that is written out all at once, when it
/// is synced, holds up the log's syncs on the same disk.
pub(crate) const BYTES_PER_SYNC: u64 = 1 << 20;

/// What a node stores, in one directory that it has to itself.
#[derive(Clone, Debug)]
pub struct RocksStores {
    /// The logs of all shards.
    pub log: RocksLog,
    /// The rows of all shards.
    pub state: RocksState,
}

impl RocksStores {
    /// Opens the stores in `dir`; makes them if it is empty or not there. Blocks until the logs are
    /// replayed. What is read back from the disk is kept in `cache_bytes` of memory.
    ///
    /// # Errors
    ///
    /// `Newer` if a newer version wrote the directory. `Damaged` if what is there is not what was
    /// written, or lacks what was synced. `Failed` if another process has it open, or the system
    /// says no.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let lock = Arc::new(format::check(dir)?);
        let cache = Cache::new_lru_cache(cache_bytes);
        let log = RocksLog::open(&dir.join("log"), &cache, Arc::clone(&lock))?;
        let state = RocksState::open(&dir.join("state"), &cache, lock)?;
        Ok(Self { log, state })
    }
}

/// What both databases have in common.
pub(crate) fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options
}
