//! Rows that take the place of others.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::RocksShard;
use super::generation::{self, Generation};
use crate::StoreError;
use crate::rocks::{failed, io_failed};
use crate::state::{Replacement, Row};

/// Rows are gathered up to this size, then written into a table of their own.
const TABLE_BYTES: usize = 16 << 20;

/// Rows on their way to replace a shard's.
///
/// They arrive in order, so they are written into tables beside the database, which takes the
/// tables over as they are when all are there: no write of another shard waits for them.
pub struct RocksReplacement {
    shard: RocksShard,
    dir: PathBuf,
    tables: Vec<PathBuf>,
    gathered: Vec<Row>,
    gathered_bytes: usize,
    last: Option<Bytes>,
}

impl RocksReplacement {
    pub(super) fn begin(shard: RocksShard) -> Result<Self, StoreError> {
        let number = shard.store.replacements.fetch_add(1, Ordering::Relaxed);
        let dir = shard.store.incoming.join(number.to_string());
        fs::create_dir(&dir).map_err(|error| io_failed("making room for incoming rows", &error))?;
        let (tables, gathered) = (Vec::new(), Vec::new());
        Ok(Self { shard, dir, tables, gathered, gathered_bytes: 0, last: None })
    }

    fn write_table(&mut self) -> Result<(), StoreError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let failed = |error: rocksdb::Error| failed("writing incoming rows", &error);
        let path = self.dir.join(format!("{}.sst", self.tables.len()));
        let mut table = SstFileWriter::create(&self.shard.store.family_options);
        table.open(&path).map_err(failed)?;
        for (key, value) in self.gathered.drain(..) {
            table.put(key, value).map_err(failed)?;
        }
        table.finish().map_err(failed)?;
        self.gathered_bytes = 0;
        self.tables.push(path);
        Ok(())
    }

    /// Takes the rows into the database, where they are nobody's yet.
    fn take_in(&self, generation: Generation) -> Result<(), StoreError> {
        let store = &self.shard.store;
        if store.db.cf_handle(&generation.to_string()).is_some() {
            store.drop_family(generation)?;
        }
        store.create(generation)?;
        if self.tables.is_empty() {
            return Ok(());
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let family = store.family(generation)?;
        store
            .db
            .ingest_external_file_cf_opts(&family, &options, self.tables.clone())
            .map_err(|error| failed("taking in rows", &error))
    }
}

impl Replacement for RocksReplacement {
    fn put(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        for (key, value) in rows {
            if self.last.as_ref().is_some_and(|last| *last >= key) {
                return Err(StoreError::Failed {
                    what: "replacing rows".into(),
                    why: "a key came that is not past the one before it".into(),
                });
            }
            let size = key.len().saturating_add(value.len());
            self.gathered_bytes = self.gathered_bytes.saturating_add(size);
            self.last = Some(key.clone());
            self.gathered.push((key, value));
            if self.gathered_bytes >= TABLE_BYTES {
                self.write_table()?;
            }
        }
        Ok(())
    }

    fn commit(mut self) -> Result<(), StoreError> {
        let store = self.shard.store.clone();
        store.health.write(|| {
            self.write_table()?;
            // Writers and readers of the shard wait from here on.
            let shard = self.shard.clone();
            let mut current = shard.current.write().unwrap_or_else(PoisonError::into_inner);
            let (old, new) = (*current, current.next());
            self.take_in(new)?;
            generation::switch(&store.db, new)?;
            *current = new;
            store.drop_family(old)
        })
    }
}

impl Drop for RocksReplacement {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            // The next start clears them.
            tracing::warn!(%error, dir = %self.dir.display(), "incoming rows were left behind");
        }
    }
}

impl fmt::Debug for RocksReplacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksReplacement")
            .field("tables", &self.tables.len())
            .finish_non_exhaustive()
    }
}
