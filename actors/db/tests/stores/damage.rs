//! What cuts and flipped bytes in RocksDB's files do.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use vioduct_db::log::{LogEngine, LogOp, MetaTag, RocksLog};
use vioduct_db::rocks::RocksStores;
use vioduct_db::state::{Change, ShardState, StateEngine, View};
use vioduct_db::{ShardId, StoreError};

use crate::{CACHE_BYTES, OnDisk, copy_all};

const SHARD: ShardId = ShardId(2);

fn record(index: u64) -> Bytes {
    let size = usize::try_from(index * 7919 % 900).unwrap();
    index.to_be_bytes().into_iter().cycle().take(8 + size).collect()
}

fn write(log: &RocksLog, index: u64, sync: bool) {
    let append = LogOp::Append { shard: SHARD, first: index, records: vec![record(index)] };
    let committed = index.to_be_bytes().to_vec().into();
    let set = LogOp::SetMeta { shard: SHARD, tag: MetaTag::Committed, value: committed };
    log.write(&[append, set], sync).unwrap();
}

/// How many writes the log holds; all of them, from the first on, or `Damaged`.
fn held(log: &RocksLog) -> Result<u64, StoreError> {
    let records = log.read(SHARD, 0..u64::MAX, usize::MAX)?;
    for (index, found) in (0..).zip(&records) {
        assert_eq!(*found, record(index), "wrong bytes");
    }
    let count = records.len() as u64;
    let bounds = log.bounds(SHARD)?;
    assert_eq!(bounds, count.checked_sub(1).map(|last| 0..=last), "a gap");
    let committed = log.meta(SHARD, MetaTag::Committed)?;
    let last = committed.map(|value| u64::from_be_bytes(value[..].try_into().unwrap()));
    assert_eq!(last, count.checked_sub(1), "half a write");
    Ok(count)
}

fn open_and_read(dir: &TempDir) -> Result<u64, StoreError> {
    held(&RocksStores::open(dir.path(), CACHE_BYTES)?.log)
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

/// The write-ahead log that is being written.
fn wal(dir: &Path) -> PathBuf {
    files(&dir.join("log"), "log").pop().unwrap()
}

fn copy(dir: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(dir.path(), copy.path()).unwrap();
    copy
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

/// A log of synced writes and others after them: its files, and where the synced ones end.
fn synced_and_not(synced: u64, all: u64) -> (TempDir, usize) {
    let store = OnDisk::new();
    for index in 0..synced {
        write(&store.stores.log, index, index + 1 == synced);
    }
    let end = fs::read(wal(store.dir.path())).unwrap().len();
    for index in synced..all {
        write(&store.stores.log, index, false);
    }
    (store.copy(), end)
}

#[test]
fn a_log_cut_anywhere_past_its_last_sync_starts_with_a_prefix() {
    let (dir, synced) = synced_and_not(40, 240);
    let end = fs::read(wal(dir.path())).unwrap().len();
    let mut rng = StdRng::seed_from_u64(1);
    for number in 0..200 {
        let cut = rng.random_range(synced..=end);
        let dir = copy(&dir);
        let file = fs::OpenOptions::new().write(true).open(wal(dir.path())).unwrap();
        file.set_len(cut as u64).unwrap();
        let count = open_and_read(&dir).unwrap();
        assert!((40..=240).contains(&count), "{count} writes after a cut at {cut}");
        assert!(cut < end || count == 240);
        if number % 20 == 0 {
            // What is there stays there.
            assert_eq!(open_and_read(&dir), Ok(count));
        }
    }
}

#[test]
fn a_log_cut_before_its_last_sync_is_damaged() {
    let (dir, synced) = synced_and_not(40, 60);
    for cut in [0, 1, synced / 2, synced - 1] {
        let dir = copy(&dir);
        let file = fs::OpenOptions::new().write(true).open(wal(dir.path())).unwrap();
        file.set_len(cut as u64).unwrap();
        for _ in 0..2 {
            let answer = open_and_read(&dir);
            assert!(matches!(answer, Err(StoreError::Damaged { .. })), "{cut}: {answer:?}");
        }
    }
}

#[test]
fn a_flipped_byte_in_a_synced_log_is_damage() {
    let (dir, synced) = synced_and_not(120, 120);
    let mut rng = StdRng::seed_from_u64(2);
    // The last write is found out by the mark, the others by what follows them.
    for at in (0..40).map(|_| rng.random_range(0..synced)).chain([synced - 1, synced - 300]) {
        let dir = copy(&dir);
        flip(&wal(dir.path()), at);
        let answer = open_and_read(&dir);
        assert!(matches!(answer, Err(StoreError::Damaged { .. })), "flipped at {at}: {answer:?}");
    }
}

#[test]
fn a_record_whose_length_is_wrong_hides_none_behind_it() {
    let store = OnDisk::new();
    for index in 0..30 {
        write(&store.stores.log, index, true);
    }
    let path = wal(store.dir.path());
    let begin = fs::read(&path).unwrap().len();
    for index in 30..40 {
        write(&store.stores.log, index, true);
    }
    let dir = store.copy();
    let path = wal(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    // All in one block, where RocksDB takes a length past its end for a torn end.
    assert!(bytes.len() < 32 << 10);
    bytes[begin + 5] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open_and_read(&dir), Err(StoreError::Damaged { .. })));
}

#[test]
fn zeros_between_whole_records_are_damage() {
    let store = OnDisk::new();
    let length = || fs::read(wal(store.dir.path())).unwrap().len();
    let set = |size| {
        let value = Bytes::from(vec![7; size]);
        let set = LogOp::SetMeta { shard: SHARD, tag: MetaTag::Vote, value };
        store.stores.log.write(&[set], true).unwrap();
    };
    set(1000);
    let first = length();
    set(1000);
    let begin = length();
    let around = begin - first - 1000;
    // RocksDB passes over zeros up to the end of their block, and goes on with the next.
    set(12_000);
    let left = (32 << 10) - length();
    set(left / 2 - around);
    set((32 << 10) - length() - around);
    assert_eq!(length(), 32 << 10);
    write(&store.stores.log, 0, true);
    let dir = store.copy();
    let path = wal(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[begin..32 << 10].fill(0);
    fs::write(&path, bytes).unwrap();
    let answer = open_and_read(&dir);
    assert!(matches!(answer, Err(StoreError::Damaged { .. })), "{answer:?}");
}

#[test]
fn a_log_whose_end_was_written_in_part_starts_without_it() {
    let (dir, _) = synced_and_not(40, 60);
    let path = wal(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 20..].fill(0);
    fs::write(&path, bytes).unwrap();
    assert_eq!(open_and_read(&dir), Ok(59));
}

#[test]
fn a_flipped_byte_in_a_table_of_the_log_is_damage_or_does_no_harm() {
    let (dir, _) = synced_and_not(120, 120);
    // A start writes what was replayed into tables.
    assert_eq!(open_and_read(&dir), Ok(120));
    let tables = files(&dir.path().join("log"), "sst");
    let mut rng = StdRng::seed_from_u64(3);
    let mut damaged = 0;
    for _ in 0..40 {
        let dir = copy(&dir);
        let table = &tables[rng.random_range(0..tables.len())];
        let table = dir.path().join("log").join(table.file_name().unwrap());
        let size = fs::read(&table).unwrap().len();
        flip(&table, rng.random_range(0..size));
        match open_and_read(&dir) {
            Ok(count) => assert_eq!(count, 120),
            Err(StoreError::Damaged { .. }) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(damaged > 20, "only {damaged} of 40 were found");
}

#[test]
fn a_flipped_byte_in_a_table_of_rows_is_damage_or_does_no_harm() {
    let store = OnDisk::new();
    let shard = store.stores.state.open(SHARD).unwrap();
    let rows: Vec<_> =
        (0..400_u64).map(|key| (Bytes::from(key.to_be_bytes().to_vec()), record(key))).collect();
    let put = rows.iter().cloned().map(|(key, value)| Change::Put(key, value)).collect();
    shard.write(put).unwrap();
    shard.flush().unwrap();
    let dir = store.copy();
    let read = |dir: &TempDir| {
        let shard = RocksStores::open(dir.path(), CACHE_BYTES)?.state.open(SHARD)?;
        let found = shard.scan(b"", &[u8::MAX; 9], usize::MAX, usize::MAX)?;
        assert_eq!(found, rows, "wrong rows");
        assert_eq!(shard.view()?.next(usize::MAX)?, rows, "wrong rows");
        for (key, value) in &rows {
            assert_eq!(shard.get(key)?.as_ref(), Some(value), "a wrong row");
        }
        Ok(())
    };
    let mut damaged = 0;
    let mut rng = StdRng::seed_from_u64(4);
    let tables = files(&dir.path().join("state"), "sst");
    let largest = tables.iter().max_by_key(|path| fs::read(path).unwrap().len()).unwrap();
    let size = fs::read(largest).unwrap().len();
    for _ in 0..40 {
        let dir = copy(&dir);
        let table = dir.path().join("state").join(largest.file_name().unwrap());
        flip(&table, rng.random_range(0..size));
        match read(&dir) {
            Ok(()) => {}
            Err(StoreError::Damaged { .. }) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(damaged > 30, "only {damaged} of 40 were found");
}

#[test]
fn stores_are_open_once_at_a_time() {
    let store = OnDisk::new();
    let again = RocksStores::open(store.dir.path(), CACHE_BYTES);
    assert!(matches!(again, Err(StoreError::Failed { .. })), "{again:?}");
}

fn marker(dir: &Path) -> PathBuf {
    dir.join("marker")
}

#[test]
fn damaged_directories_are_set_aside_and_new_ones_begun() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("db");
    let aside = |turn| match turn {
        1 => home.path().join("db.damaged"),
        later => home.path().join(format!("db.damaged{later}")),
    };
    for turn in 1..=10_u8 {
        let stores = RocksStores::open(&dir, CACHE_BYTES).unwrap();
        for index in 0..100 {
            write(&stores.log, index, true);
        }
        drop(stores);
        fs::write(marker(&dir), [turn]).unwrap();
        let path = wal(&dir);
        flip(&path, fs::read(&path).unwrap().len() / 2);
        let anew = RocksStores::open_or_begin_anew(&dir, CACHE_BYTES).unwrap();
        assert_eq!(held(&anew.log), Ok(0));
        drop(anew);
        for before in 1..=turn {
            assert_eq!(fs::read(marker(&aside(before))).unwrap(), [before]);
        }
    }
    fs::write(dir.join("FORMAT"), "").unwrap();
    let refused = RocksStores::open_or_begin_anew(&dir, CACHE_BYTES);
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    fs::remove_dir_all(aside(3)).unwrap();
    let stores = RocksStores::open_or_begin_anew(&dir, CACHE_BYTES).unwrap();
    write(&stores.log, 0, true);
    drop(stores);
    let same = RocksStores::open_or_begin_anew(&dir, CACHE_BYTES).unwrap();
    assert_eq!(held(&same.log), Ok(1));
}

#[test]
fn a_directory_that_is_in_use_or_newer_or_of_something_else_is_not_set_aside() {
    let home = tempfile::tempdir().unwrap();
    let (dir, aside) = (home.path().join("db"), home.path().join("db.damaged"));
    let stores = RocksStores::open(&dir, CACHE_BYTES).unwrap();
    let busy = RocksStores::open_or_begin_anew(&dir, CACHE_BYTES);
    assert!(matches!(busy, Err(StoreError::Failed { .. })), "{busy:?}");
    drop(stores);
    fs::write(dir.join("FORMAT"), "3\n").unwrap();
    let newer = RocksStores::open_or_begin_anew(&dir, CACHE_BYTES);
    assert!(matches!(newer, Err(StoreError::Newer { .. })), "{newer:?}");
    let other = home.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "dear reader").unwrap();
    let refused = RocksStores::open_or_begin_anew(&other, CACHE_BYTES);
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    assert!(!aside.exists() && other.join("letter").exists());
}

#[test]
fn damage_that_is_met_in_the_log_while_it_is_in_use_is_found_by_the_next_start() {
    let (dir, _) = synced_and_not(120, 120);
    // A start writes what was replayed into tables.
    assert_eq!(open_and_read(&dir), Ok(120));
    let tables = files(&dir.path().join("log"), "sst");
    let largest = tables.iter().max_by_key(|path| fs::read(path).unwrap().len()).unwrap();
    let table = fs::read(largest).unwrap();
    // Among the records, which are read last.
    flip(largest, table.len() / 3);
    let stores = RocksStores::open(dir.path(), CACHE_BYTES).unwrap();
    assert!(matches!(held(&stores.log), Err(StoreError::Damaged { .. })));
    drop(stores);
    let next = RocksStores::open(dir.path(), CACHE_BYTES);
    assert!(matches!(next, Err(StoreError::Damaged { .. })), "{next:?}");
}
