//! Logs in RocksDB.

mod mark;
mod scan;
mod wal;

use std::fmt;
use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBRecoveryMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use self::mark::Mark;
use super::{LogEngine, LogOp, MetaTag};
use crate::rocks::{Db, Health, Lock, database_options, failed, io_failed};
use crate::{ShardId, StoreError};

const RECORDS: &str = "log";
const META: &str = "meta";

/// Records live shortly: a large buffer sees most of them purged before they reach a table.
const RECORDS_BUFFER_BYTES: usize = 32 << 20;
const META_BUFFER_BYTES: usize = 4 << 20;
/// Past this, what holds back the oldest write-ahead log is flushed: it bounds what a start reads.
const WAL_BYTES_MAX: u64 = 128 << 20;
const CHECKSUM_BYTES: usize = 4;

/// The logs of all shards of a node. A clone is the same store.
///
/// A record's key is its shard and its index, both big endian; a value is a CRC-32C of key and
/// value, then the value. What a crash leaves is a prefix of the writes that holds all synced ones,
/// or `open` says `Damaged`: see `wal` and `mark`.
#[derive(Clone)]
pub struct RocksLog {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    mark: Mark,
    // Behind the database: it has the lock of the directory.
    health: Health,
}

impl RocksLog {
    pub(crate) fn open(dir: &Path, cache: &Cache, lock: Arc<Lock>) -> Result<Self, StoreError> {
        fs::create_dir_all(dir)
            .map_err(|error| io_failed("making the directory of the log", &error))?;
        let mark = Mark::open(&dir.join("SYNCED"), dir.join("CURRENT").exists())?;
        wal::cut_torn_end(dir)?;
        let mut options = database_options();
        options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
        options.set_recycle_log_file_num(0);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_max_total_wal_size(WAL_BYTES_MAX);
        let families = [
            ColumnFamilyDescriptor::new("default", Options::default()),
            ColumnFamilyDescriptor::new(RECORDS, family_options(cache, RECORDS_BUFFER_BYTES)),
            ColumnFamilyDescriptor::new(META, family_options(cache, META_BUFFER_BYTES)),
        ];
        let db = Db::open_cf_descriptors(&options, dir, families)
            .map_err(|error| failed("opening the log", &error))?;
        if db.latest_sequence_number() < mark.found() {
            return Err(StoreError::Damaged {
                what: "the log, which lacks what was synced,".into(),
            });
        }
        let inner = Inner { db, mark, health: Health::new(lock) };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn family(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        let damaged = || StoreError::Damaged { what: format!("family {name} of the log") };
        self.inner.db.cf_handle(name).ok_or_else(damaged)
    }

    fn batch(&self, ops: &[LogOp]) -> Result<WriteBatch, StoreError> {
        let records = self.family(RECORDS)?;
        let meta = self.family(META)?;
        let mut batch = WriteBatch::default();
        for op in ops {
            match op {
                LogOp::Append { shard, first, records: added } => {
                    for (record, index) in added.iter().zip(*first..) {
                        let key = record_key(*shard, index);
                        batch.put_cf(&records, key, sealed(&key, record));
                    }
                }
                LogOp::TruncateFrom { shard, index } => {
                    let from = record_key(*shard, *index).to_vec();
                    batch.delete_range_cf(&records, from, end_key(*shard));
                }
                LogOp::PurgeThrough { shard, index } => {
                    let end = index.checked_add(1).map(|next| record_key(*shard, next).to_vec());
                    let end = end.unwrap_or_else(|| end_key(*shard));
                    batch.delete_range_cf(&records, record_key(*shard, 0).to_vec(), end);
                }
                LogOp::SetMeta { shard, tag, value } => {
                    let key = meta_key(*shard, *tag);
                    batch.put_cf(&meta, key, sealed(&key, value));
                }
                LogOp::Forget { shard } => {
                    batch.delete_range_cf(
                        &records,
                        record_key(*shard, 0).to_vec(),
                        end_key(*shard),
                    );
                    let [first, end] = meta_bounds(*shard);
                    batch.delete_range_cf(&meta, first, end);
                }
            }
        }
        Ok(batch)
    }

    fn records(
        &self,
        shard: ShardId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(record_key(shard, range.end));
        let mut rows = self.inner.db.raw_iterator_cf_opt(&self.family(RECORDS)?, options);
        rows.seek(record_key(shard, range.start));
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        for index in range {
            let Some((key, value)) = rows.item() else { break };
            if key != record_key(shard, index).as_slice() {
                break;
            }
            let record = unsealed(key, value, "a record of the log")?;
            if !found.is_empty() && bytes.saturating_add(record.len()) > max_bytes {
                return Ok(found);
            }
            bytes = bytes.saturating_add(record.len());
            found.push(record);
            rows.next();
        }
        rows.status().map_err(|error| failed("reading the log", &error))?;
        Ok(found)
    }

    fn first_and_last(&self, shard: ShardId) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(record_key(shard, 0).to_vec()..end_key(shard));
        let mut rows = self.inner.db.raw_iterator_cf_opt(&self.family(RECORDS)?, options);
        rows.seek_to_first();
        let first = rows.key().and_then(index_of);
        rows.seek_to_last();
        let last = rows.key().and_then(index_of);
        rows.status().map_err(|error| failed("reading the log", &error))?;
        Ok(first.zip(last).map(|(first, last)| first..=last))
    }

    fn small_value(&self, shard: ShardId, tag: MetaTag) -> Result<Option<Bytes>, StoreError> {
        let key = meta_key(shard, tag);
        let value = self.inner.db.get_pinned_cf(&self.family(META)?, key);
        let value = value.map_err(|error| failed("reading the log", &error))?;
        value.map(|value| unsealed(&key, &value, "a small value of the log")).transpose()
    }
}

impl LogEngine for RocksLog {
    fn write(&self, ops: &[LogOp], sync: bool) -> Result<(), StoreError> {
        let what = "writing the log";
        self.inner.health.write(|| {
            let batch = self.batch(ops)?;
            if !batch.is_empty() {
                let mut options = WriteOptions::default();
                options.set_sync(sync);
                self.inner.db.write_opt(batch, &options).map_err(|error| failed(what, &error))?;
            } else if sync {
                self.inner.db.flush_wal(true).map_err(|error| failed(what, &error))?;
            }
            if sync {
                self.inner.mark.raise(self.inner.db.latest_sequence_number())?;
            }
            Ok(())
        })
    }

    fn read(
        &self,
        shard: ShardId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.inner.health.noting(self.records(shard, range, max_bytes))
    }

    fn bounds(&self, shard: ShardId) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        self.inner.health.noting(self.first_and_last(shard))
    }

    fn meta(&self, shard: ShardId, tag: MetaTag) -> Result<Option<Bytes>, StoreError> {
        self.inner.health.noting(self.small_value(shard, tag))
    }
}

fn family_options(cache: &Cache, buffer_bytes: usize) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_write_buffer_size(buffer_bytes);
    options.set_block_based_table_factory(&table);
    options
}

fn record_key(shard: ShardId, index: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (front, back) = key.split_at_mut(4);
    front.copy_from_slice(&shard.0.to_be_bytes());
    back.copy_from_slice(&index.to_be_bytes());
    key
}

/// Past the last key that a record of the shard can have.
fn end_key(shard: ShardId) -> Vec<u8> {
    let mut key = record_key(shard, u64::MAX).to_vec();
    key.push(0);
    key
}

fn meta_key(shard: ShardId, tag: MetaTag) -> [u8; 5] {
    let [a, b, c, d] = shard.0.to_be_bytes();
    [a, b, c, d, tag as u8]
}

/// Before the first and past the last key that a small value of the shard can have.
fn meta_bounds(shard: ShardId) -> [[u8; 6]; 2] {
    let [a, b, c, d] = shard.0.to_be_bytes();
    [[a, b, c, d, 0, 0], [a, b, c, d, u8::MAX, u8::MAX]]
}

fn index_of(key: &[u8]) -> Option<u64> {
    key.get(4..)?.try_into().ok().map(u64::from_be_bytes)
}

fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CHECKSUM_BYTES.saturating_add(value.len()));
    sealed.extend_from_slice(&checksum(key, value).to_be_bytes());
    sealed.extend_from_slice(value);
    sealed
}

fn unsealed(key: &[u8], sealed: &[u8], what: &str) -> Result<Bytes, StoreError> {
    sealed
        .split_first_chunk::<CHECKSUM_BYTES>()
        .filter(|(sum, value)| u32::from_be_bytes(**sum) == checksum(key, value))
        .map(|(_, value)| Bytes::copy_from_slice(value))
        .ok_or_else(|| StoreError::Damaged { what: what.to_owned() })
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

impl fmt::Debug for RocksLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksLog").field("dir", &self.inner.db.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{end_key, meta_bounds, meta_key, record_key, sealed, unsealed};
    use crate::log::MetaTag;
    use crate::{ShardId, StoreError};

    #[test]
    fn keys_and_values_have_the_bytes_of_the_format() {
        let key = record_key(ShardId(0x0102_0304), 0x0506_0708_090a_0b0c);
        assert_eq!(key, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(meta_key(ShardId(0x0102_0304), MetaTag::Purged), [1, 2, 3, 4, 3]);
        assert_eq!(sealed(b"1234", b"56789"), b"\xe3\x06\x92\x8356789");
    }

    #[test]
    fn a_value_under_another_key_or_with_another_byte_is_damaged() {
        let good = sealed(b"key", b"value");
        assert_eq!(unsealed(b"key", &good, "it"), Ok(b"value"[..].into()));
        let damaged = Err(StoreError::Damaged { what: "it".into() });
        assert_eq!(unsealed(b"kez", &good, "it"), damaged);
        assert_eq!(unsealed(b"key", &good[1..], "it"), damaged);
        assert_eq!(unsealed(b"key", b"abc", "it"), damaged);
    }

    #[test]
    fn all_keys_of_a_shard_are_within_its_bounds_and_those_of_others_are_not() {
        let [first, end] = meta_bounds(ShardId(7));
        for tag in [MetaTag::Vote, MetaTag::Committed, MetaTag::Purged, MetaTag::Replica] {
            let key = meta_key(ShardId(7), tag);
            assert!(first[..] <= key[..] && key[..] < end[..]);
            assert!(meta_key(ShardId(6), tag)[..] < first[..]);
            assert!(end[..] <= meta_key(ShardId(8), tag)[..]);
        }
        assert!(record_key(ShardId(7), u64::MAX)[..] < end_key(ShardId(7))[..]);
        assert!(end_key(ShardId(7))[..] < record_key(ShardId(8), 0)[..]);
    }
}
