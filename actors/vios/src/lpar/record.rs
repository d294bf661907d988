//! Who owned an LU on a storage that keeps no record of it: a row of the cluster's database, or a
//! file beside the client's hypervisor.
//!
//! An LU on an outside storage is carried by one node, since the storage refuses no old owner. The
//! file's lock is held for as long as an owner lives: who gets it knows that the one before is dead
//! (redirect protocol, rule 12). The row names the node; another one gets it once that has let it
//! go.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use vioduct_certs::identity::NodeName;
use vioduct_db::client::Db;

use crate::cluster::admin::{AdminError, OwnedLu, let_go, take_lu};
use crate::cluster::explain;
use crate::cluster::row::VtdKey;
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
    /// The cluster's database does not give it.
    #[error("{}", explain(.0))]
    Database(#[source] AdminError),
    /// The node is ending.
    #[error("the node is ending")]
    Ending,
    /// The record is no record, or is not stored.
    #[error("{}: {reason}", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where it is kept who owns LUs on an outside storage.
#[derive(Debug, Clone)]
pub enum Records {
    /// In this directory, which is made if it is new: for hypervisors of one host.
    Dir(PathBuf),
    /// In the cluster's database, for the VTD that shows the LU.
    Database {
        /// Its client.
        db: Db,
        /// The VTD.
        vtd: VtdKey,
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
pub(super) enum OwnerRecord {
    File(FileRecord),
    Row { db: Db, lu: LuId, owner: u64 },
}

/// One that is a file.
#[derive(Debug)]
pub(super) struct FileRecord {
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
    /// Takes the record of an LU for a hypervisor on this node, and a number above all before. When
    /// this returns, it is stored that the LU has this owner.
    pub(super) async fn take(
        records: &Records,
        lu: LuId,
        node: &NodeName,
    ) -> Result<Taken, RecordError> {
        match records {
            Records::Dir(dir) => {
                let dir = dir.clone();
                let taken = spawn_blocking(move || FileRecord::take(&dir, lu)).await;
                // The runtime is shutting down.
                taken.map_err(|_cancelled| RecordError::Ending)?
            }
            Records::Database { db, vtd } => {
                let taken = take_lu(db, lu, *vtd, node).await.map_err(RecordError::Database)?;
                let OwnedLu { owner, is_clear } = taken;
                let record = Self::Row { db: db.clone(), lu, owner };
                Ok(Taken { record, owner: OwnerId(owner), is_clear })
            }
        }
    }

    /// The owner has closed in order.
    pub(super) async fn clean(&self) -> Result<(), RecordError> {
        match self {
            Self::File(file) => file.store(true),
            Self::Row { db, lu, owner } => {
                let_go(db, *lu, *owner).await.map_err(RecordError::Database)
            }
        }
    }
}

impl FileRecord {
    /// Takes the record of an LU in `dir`, which is made if it is new, and a number above all
    /// before. When this returns, it is stored that the LU has this owner.
    fn take(dir: &Path, lu: LuId) -> Result<Taken, RecordError> {
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
        let record = OwnerRecord::File(record);
        Ok(Taken { record, owner: OwnerId(owner), is_clear: before.is_clean })
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

    #[tokio::test]
    async fn numbers_rise_and_only_an_owner_that_closed_in_order_leaves_a_clear_storage() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::Dir(dir.path().join("outside"));
        let node = "p1".parse().unwrap();
        let take = || OwnerRecord::take(&records, LuId(7), &node);
        let first = take().await.unwrap();
        assert_eq!((first.owner, first.is_clear), (OwnerId(1), true));
        assert!(matches!(take().await, Err(RecordError::InUse { .. })));
        drop(first.record);
        let second = take().await.unwrap();
        assert_eq!((second.owner, second.is_clear), (OwnerId(2), false));
        second.record.clean().await.unwrap();
        drop(second.record);
        let third = take().await.unwrap();
        assert_eq!((third.owner, third.is_clear), (OwnerId(3), true));
    }
}
