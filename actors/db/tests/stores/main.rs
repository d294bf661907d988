//! What every store of logs and of rows must do, held against the one in memory and the one on
//! RocksDB alike; and what damage to the files of the latter does.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here fails the test"
)]

mod damage;
mod full;
mod logs;
mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use vioduct_db::StoreError;
use vioduct_db::log::{LogEngine, MemoryLog, RocksLog};
use vioduct_db::rocks::RocksStores;
use vioduct_db::state::{MemoryState, RocksState, StateEngine};

const CACHE_BYTES: usize = 1 << 20;

/// A store that a test can crash.
trait Crash {
    type Log: LogEngine;
    type State: StateEngine;

    fn log(&self) -> Self::Log;
    fn state(&self) -> Self::State;
    /// What the next run finds if this one ends without a word.
    fn crash(&self) -> Self;
}

struct InMemory {
    log: MemoryLog,
    state: MemoryState,
    /// Draws what a crash leaves of what was not synced.
    seed: u64,
}

impl InMemory {
    fn new() -> Self {
        Self { log: MemoryLog::new(), state: MemoryState::new(), seed: 7 }
    }
}

impl Crash for InMemory {
    type Log = MemoryLog;
    type State = MemoryState;

    fn log(&self) -> MemoryLog {
        self.log.clone()
    }

    fn state(&self) -> MemoryState {
        self.state.clone()
    }

    fn crash(&self) -> Self {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let (log, state) = (self.log.crash_keeping(&mut rng), self.state.crash_keeping(&mut rng));
        Self { log, state, seed: self.seed + 1 }
    }
}

struct OnDisk {
    // Closed before its directory goes.
    stores: RocksStores,
    dir: TempDir,
}

impl OnDisk {
    fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap()).unwrap()
    }

    fn open(dir: TempDir) -> Result<Self, StoreError> {
        Ok(Self { stores: RocksStores::open(dir.path(), CACHE_BYTES)?, dir })
    }

    /// A copy of the files as they are at one moment, though the stores are open: what RocksDB
    /// changes in the background during a copy makes it worthless.
    fn copy(&self) -> TempDir {
        for _ in 0..1000 {
            let before = listed(self.dir.path());
            let copy = tempfile::tempdir().unwrap();
            if copy_all(self.dir.path(), copy.path()).is_ok() && listed(self.dir.path()) == before {
                return copy;
            }
        }
        panic!("RocksDB is never idle");
    }
}

impl Crash for OnDisk {
    type Log = RocksLog;
    type State = RocksState;

    fn log(&self) -> RocksLog {
        self.stores.log.clone()
    }

    fn state(&self) -> RocksState {
        self.stores.state.clone()
    }

    fn crash(&self) -> Self {
        Self::open(self.copy()).unwrap()
    }
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// All files under a directory with their sizes; one that goes meanwhile has none.
fn listed(dir: &Path) -> BTreeMap<PathBuf, Option<u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut listed(&path));
        }
        let size = fs::metadata(&path).ok().map(|file| file.len());
        found.insert(path, size);
    }
    found
}
