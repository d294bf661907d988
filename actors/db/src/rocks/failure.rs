//! What went wrong below, in this crate's words.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::ErrorKind;

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

/// Whether a database still takes writes: not after one that failed. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<AtomicBool>);

impl Health {
    /// Carries out a write, unless an earlier one failed.
    pub(crate) fn write<T>(
        &self,
        write: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.0.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        write().inspect_err(|_| self.0.store(true, Ordering::Release))
    }
}
