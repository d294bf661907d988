//! What a node has to stop for.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::consensus::ReplicaId;
use crate::{ShardId, StoreError};

/// Why a node can do nothing more for the database until it is started again.
///
/// Nothing that it has acknowledged is lost by that. It is to be started again once the cause is
/// mended; after damage at once: the start sets what is damaged aside, and others send the rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DbEnd {
    /// The log can't be written. Fault: the disk, or too little room.
    #[error("the database's log can't be written: see to the disk and its room")]
    Log {
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// The log is not what was written. Fault: the disk, or who changed the file.
    #[error("the database's log is damaged: the next start sets it aside")]
    LogDamaged {
        /// What was found.
        #[source]
        source: StoreError,
    },
    /// The rows can't be written. Fault: the disk, or too little room.
    #[error("the database's rows can't be written: see to the disk and its room")]
    Rows {
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// A replica failed as often as it was started. Fault: ours.
    #[error("the node's replica of {shard} is given up: {why}")]
    GivenUp {
        /// Of which shard.
        shard: ShardId,
        /// How it failed last.
        why: String,
    },
    /// The replicas that are on the disk don't start.
    #[error("the database's replicas do not start: {why}")]
    NotStarted {
        /// Why.
        why: String,
    },
}

/// What the desk tells of its replicas. A clone tells the same.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Which replicas run here; `None` until those on the disk have been started.
    pub(super) here: watch::Sender<Option<BTreeMap<ShardId, ReplicaId>>>,
    end: watch::Sender<Option<DbEnd>>,
}

impl Default for Told {
    fn default() -> Self {
        Self { here: watch::Sender::new(None), end: watch::Sender::new(None) }
    }
}

impl Told {
    /// The first end counts.
    pub(super) fn end(&self, end: DbEnd) {
        self.end.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(end);
            is_first
        });
    }

    pub(super) fn is_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Waits for it. Cancel-safe.
    pub(super) async fn ended(&self) -> DbEnd {
        let mut seen = self.end.subscribe();
        loop {
            if let Some(end) = seen.borrow_and_update().clone() {
                return end;
            }
            // Never fails: the sender is here.
            drop(seen.changed().await);
        }
    }
}
