//! What went wrong below, in this crate's words.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::ErrorKind;

use super::Lock;
use crate::StoreError;

/// What RocksDB's error means, met while doing `what`.
pub(crate) fn failed(what: &str, error: &rocksdb::Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => StoreError::Damaged { what: format!("{what}: {error}") },
        ErrorKind::NotFound
        | ErrorKind::NotSupported
        | ErrorKind::InvalidArgument
        | ErrorKind::IOError
        | ErrorKind::MergeInProgress
        | ErrorKind::Incomplete
        | ErrorKind::ShutdownInProgress
        | ErrorKind::TimedOut
        | ErrorKind::Aborted
        | ErrorKind::Busy
        | ErrorKind::Expired
        | ErrorKind::TryAgain
        | ErrorKind::CompactionTooLarge
        | ErrorKind::ColumnFamilyDropped
        | ErrorKind::Unknown => {
            StoreError::Failed { what: what.to_owned(), why: error.to_string() }
        }
    }
}

/// The same for the operating system's.
pub(crate) fn io_failed(what: &str, error: &io::Error) -> StoreError {
    StoreError::Failed { what: what.to_owned(), why: error.to_string() }
}

/// Whether a database still takes writes: not after one that failed.
#[derive(Debug)]
pub(crate) struct Health {
    has_failed: AtomicBool,
    /// Of the directory; let go once the database is closed.
    lock: Arc<Lock>,
}

impl Health {
    pub(crate) fn new(lock: Arc<Lock>) -> Self {
        Self { has_failed: AtomicBool::new(false), lock }
    }

    /// Notes damage that concerns all shards.
    pub(crate) fn noting<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|error| self.lock.note(error))
    }

    /// Carries out a write, unless an earlier one failed.
    pub(crate) fn write<T>(
        &self,
        write: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.has_failed.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        let written = write().inspect_err(|_| self.has_failed.store(true, Ordering::Release));
        self.noting(written)
    }
}
