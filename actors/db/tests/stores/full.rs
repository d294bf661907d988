//! RocksStores on a full file system.

use std::io::{self, Write};
use std::process::Command;

use bytes::Bytes;
use tempfile::TempDir;
use vioduct_db::log::{LogEngine, LogOp};
use vioduct_db::rocks::RocksStores;
use vioduct_db::space::{Reserve, free_bytes};
use vioduct_db::{ShardId, StoreError};

use crate::CACHE_BYTES;

const SHARD: ShardId = ShardId(1);
const ROOM: u64 = 64 << 20;
const RECORD_BYTES: usize = 1 << 20;

/// A small file system of its own.
struct Small(TempDir);

impl Small {
    /// `None` without the privilege to mount one, and says so.
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let size = format!("size={ROOM}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "small"]).arg(dir.path());
        let refused = match mount.output() {
            Ok(mounted) if mounted.status.success() => return Some(Self(dir)),
            Ok(refused) => String::from_utf8_lossy(&refused.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        // Not `eprintln`, which nobody sees of a test that passes.
        let why = refused.lines().next().unwrap_or_default();
        let said = format!("SKIPPED: full stores, which need root: {why}\n");
        io::stderr().write_all(said.as_bytes()).unwrap();
        None
    }

    fn grow(&self) {
        let size = format!("remount,size={}", 4 * ROOM);
        let grown = Command::new("mount").args(["-o", &size]).arg(self.0.path()).status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What a test that failed has left open keeps it busy.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn append(index: u64) -> [LogOp; 1] {
    let record = Bytes::from(vec![u8::try_from(index % 251).unwrap(); RECORD_BYTES]);
    [LogOp::Append { shard: SHARD, first: index, records: vec![record] }]
}

#[test]
fn a_log_that_meets_a_full_disk_stops_and_has_all_that_was_synced_once_there_is_room() {
    let Some(small) = Small::mount() else { return };
    let dir = small.0.path().join("db");
    let stores = RocksStores::open(&dir, CACHE_BYTES).unwrap();
    let mut reserve = Reserve::new(ROOM / 2);
    let mut warned = false;
    let (written, error) = (0..ROOM)
        .find_map(|index| {
            warned |= !reserve.admits(free_bytes(&dir).unwrap());
            stores.log.write(&append(index), true).err().map(|error| (index, error))
        })
        .unwrap();
    assert!(warned, "the reserve said nothing");
    assert!(written > 8, "only {written}");
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    assert_eq!(stores.log.write(&append(written), true), Err(StoreError::Stopped));
    let read = |stores: &RocksStores| stores.log.read(SHARD, 0..written, usize::MAX).unwrap().len();
    assert_eq!(read(&stores) as u64, written);
    drop(stores);
    small.grow();
    let stores = RocksStores::open(&dir, CACHE_BYTES).unwrap();
    assert_eq!(read(&stores) as u64, written);
    stores.log.write(&append(written), true).unwrap();
}
