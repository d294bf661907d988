//! Logs whose damage is heard of.

use std::ops::{Range, RangeInclusive};

use bytes::Bytes;
use tokio::sync::watch;

use super::{LogEngine, LogOp, MetaTag};
use crate::{ShardId, StoreError};

/// Logs of which it is told, once, that they are damaged. A clone is the same.
///
/// All shards of a node have one store of logs. Once a record of it is not what was written, none
/// of them can be relied on.
#[derive(Clone, Debug)]
pub struct WatchedLog<E> {
    logs: E,
    damage: LogDamage,
}

/// The first damage of a node's logs. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct LogDamage(watch::Sender<Option<StoreError>>);

impl LogDamage {
    pub(crate) fn is_found(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for it. Cancel-safe.
    pub(crate) async fn found(&self) -> StoreError {
        let mut seen = self.0.subscribe();
        let found = seen.wait_for(Option::is_some).await;
        // Never gone: the sender is here.
        found.ok().and_then(|found| found.clone()).unwrap_or(StoreError::Stopped)
    }
}

impl<E> WatchedLog<E> {
    pub(crate) fn new(logs: E) -> Self {
        Self { logs, damage: LogDamage(watch::Sender::new(None)) }
    }

    pub(crate) fn damage(&self) -> &LogDamage {
        &self.damage
    }

    fn noting<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        read.inspect_err(|error| {
            if matches!(error, StoreError::Damaged { .. }) {
                self.damage.0.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert_with(|| error.clone());
                    is_first
                });
            }
        })
    }
}

impl<E: LogEngine> LogEngine for WatchedLog<E> {
    fn write(&self, ops: &[LogOp], sync: bool) -> Result<(), StoreError> {
        self.noting(self.logs.write(ops, sync))
    }

    fn read(
        &self,
        shard: ShardId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.noting(self.logs.read(shard, range, max_bytes))
    }

    fn bounds(&self, shard: ShardId) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        self.noting(self.logs.bounds(shard))
    }

    fn meta(&self, shard: ShardId, tag: MetaTag) -> Result<Option<Bytes>, StoreError> {
        self.noting(self.logs.meta(shard, tag))
    }
}
