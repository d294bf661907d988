//! Who owned an LU on a storage that keeps no record of it: a file beside the client's hypervisor.
//!
//! An LU on an outside storage is carried by one node, since the storage refuses no old owner. The
//! file's lock is held for as long as an owner lives: who gets it knows that the one before is dead
//! (redirect protocol, rule 12).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::lock::lock_file;
use crate::redirect::name::{LuId, OwnerId};
use crate::repository::sealed::{self, SealedError};

/// Why an LU on an outside storage gets no owner. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another process of this host owns it.
    #[error("{} is locked: another process of this host owns the LU", path.display())]
    InUse {
        /// What is locked.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The record is no record, or is not stored.
    #[error("{}: {reason}", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// The last number that was given.
    owner: u64,
    /// That owner has closed in order: nothing of it can land any more.
    is_clean: bool,
}

/// The record of an LU, for as long as its owner lives.
#[derive(Debug)]
pub(super) struct OwnerRecord {
    path: PathBuf,
    owner: u64,
    _lock: File,
}

/// What a new owner begins with.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) record: OwnerRecord,
    pub(super) owner: OwnerId,
    /// No attempt of an earlier owner can land.
    pub(super) is_clear: bool,
}

impl OwnerRecord {
    /// Takes the record of an LU in `dir`, which is made if it is new, and a number above all
    /// before. When this returns, it is stored that the LU has this owner.
    pub(super) fn take(dir: &Path, lu: LuId) -> Result<Taken, RecordError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| RecordError::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let path = dir.join(format!("lu{}.lock", lu.0));
        let lock = lock_file(&path).map_err(io(&path))?.ok_or(RecordError::InUse { path })?;
        let path = dir.join(format!("lu{}.owner", lu.0));
        let before = match path.try_exists().map_err(io(&path))? {
            true => sealed::read::<Held>(&path).map_err(|reason| wrong(&path, &reason))?,
            false => {
                let none = Held { owner: 0, is_clean: true };
                sealed::create(&path, &none).map_err(|reason| wrong(&path, &reason))?;
                none
            }
        };
        let owner = before.owner.saturating_add(1);
        let record = Self { path, owner, _lock: lock };
        record.store(false)?;
        Ok(Taken { record, owner: OwnerId(owner), is_clear: before.is_clean })
    }

    /// The owner has closed in order.
    pub(super) fn clean(&self) -> Result<(), RecordError> {
        self.store(true)
    }

    fn store(&self, is_clean: bool) -> Result<(), RecordError> {
        let held = Held { owner: self.owner, is_clean };
        sealed::write(&self.path, &held).map_err(|reason| wrong(&self.path, &reason))
    }
}

fn wrong(path: &Path, reason: &SealedError) -> RecordError {
    RecordError::Record { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_only_an_owner_that_closed_in_order_leaves_a_clear_storage() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("outside");
        let take = || OwnerRecord::take(&dir, LuId(7));
        let first = take().unwrap();
        assert_eq!((first.owner, first.is_clear), (OwnerId(1), true));
        assert!(matches!(take(), Err(RecordError::InUse { .. })));
        drop(first.record);
        let second = take().unwrap();
        assert_eq!((second.owner, second.is_clear), (OwnerId(2), false));
        second.record.clean().unwrap();
        drop(second.record);
        let third = take().unwrap();
        assert_eq!((third.owner, third.is_clear), (OwnerId(3), true));
    }
}
