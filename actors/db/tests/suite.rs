//! The consensus library's own suite for stores, on ours.

use std::sync::atomic::{AtomicU32, Ordering};

use openraft::StorageError;
use openraft::errors::ErrorSource;
use openraft::impls::BoxedErrorSource;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use vioduct_db::consensus::Types;
use vioduct_db::consensus::logs::ShardLog;
use vioduct_db::consensus::rows::ShardRows;
use vioduct_db::log::{LogEngine, LogWriter, MemoryLog, RocksLog};
use vioduct_db::offload::Offload;
use vioduct_db::rocks::RocksStores;
use vioduct_db::state::{MemoryState, RocksState, StateEngine};
use vioduct_db::{ShardId, StoreError};

type Rows<T> = ShardRows<<T as StateEngine>::Shard>;

fn build<E: LogEngine, T: StateEngine>(
    shard: ShardId,
    log: E,
    state: &T,
) -> Result<(ShardLog<E>, Rows<T>), StoreError> {
    let writer = LogWriter::on_thread(log.clone())?;
    let rows = ShardRows::open(state.open(shard)?, Offload::Threads)?;
    Ok((ShardLog::open(shard, log, writer)?, rows))
}

fn wrong(error: StoreError) -> StorageError<Types> {
    StorageError::read(BoxedErrorSource::from_error(&error))
}

struct InMemory;

impl StoreBuilder<Types, ShardLog<MemoryLog>, Rows<MemoryState>> for InMemory {
    async fn build(
        &self,
    ) -> Result<((), ShardLog<MemoryLog>, Rows<MemoryState>), StorageError<Types>> {
        let (log, rows) =
            build(ShardId(3), MemoryLog::new(), &MemoryState::new()).map_err(wrong)?;
        Ok(((), log, rows))
    }
}

/// Every store is a shard of its own in one directory.
struct OnDisk {
    stores: RocksStores,
    next: AtomicU32,
    _dir: TempDir,
}

impl StoreBuilder<Types, ShardLog<RocksLog>, Rows<RocksState>> for OnDisk {
    async fn build(
        &self,
    ) -> Result<((), ShardLog<RocksLog>, Rows<RocksState>), StorageError<Types>> {
        let shard = ShardId(self.next.fetch_add(1, Ordering::Relaxed));
        let (log, rows) =
            build(shard, self.stores.log.clone(), &self.stores.state).map_err(wrong)?;
        Ok(((), log, rows))
    }
}

#[tokio::test]
async fn stores_in_memory_are_what_the_library_wants() {
    Suite::test_all(InMemory).await.unwrap();
}

#[tokio::test]
async fn stores_on_disk_are_what_the_library_wants() {
    let dir = TempDir::new().unwrap();
    let stores = RocksStores::open(dir.path(), 8 << 20).unwrap();
    Suite::test_all(OnDisk { stores, next: AtomicU32::new(0), _dir: dir }).await.unwrap();
}
