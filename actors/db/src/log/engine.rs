//! What a store of logs does.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use bytes::Bytes;

use crate::{ShardId, StoreError};

/// A small value that a shard keeps beside its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MetaTag {
    /// For whom this replica voted last.
    Vote = 1,
    /// The last record known to be committed.
    Committed = 2,
    /// The last record that was purged.
    Purged = 3,
    /// Which replica this is.
    Replica = 4,
}

/// One change of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOp {
    /// Adds records with the indexes `first`, `first + 1` and so on.
    Append {
        /// Whose log.
        shard: ShardId,
        /// The index of the first record.
        first: u64,
        /// The records, opaque here.
        records: Vec<Bytes>,
    },
    /// Takes away the records from `index` on.
    TruncateFrom {
        /// Whose log.
        shard: ShardId,
        /// The first that goes.
        index: u64,
    },
    /// Takes away the records up to `index`, itself included.
    PurgeThrough {
        /// Whose log.
        shard: ShardId,
        /// The last that goes.
        index: u64,
    },
    /// Replaces a small value.
    SetMeta {
        /// Whose.
        shard: ShardId,
        /// Which.
        tag: MetaTag,
        /// Its new value.
        value: Bytes,
    },
    /// Takes away all that the shard has here.
    Forget {
        /// Whose.
        shard: ShardId,
    },
}

/// A store of logs. Calls block, for as long as the disk takes.
///
/// Only one thread writes at a time; any number reads.
pub trait LogEngine: Clone + fmt::Debug + Unpin + Send + Sync + 'static {
    /// Carries out `ops` in order and as one: after a crash all of them are there, or none. With
    /// `sync` they survive the loss of power once this returns.
    ///
    /// # Errors
    ///
    /// After an error the store takes no more writes: whether this one is there is not known.
    fn write(&self, ops: &[LogOp], sync: bool) -> Result<(), StoreError>;

    /// The records with the indexes `range`, from its start on, without a gap: fewer if the log has
    /// fewer, or once they come to `max_bytes` (but one at least).
    ///
    /// # Errors
    ///
    /// `Damaged` for a record that is not as it was written.
    fn read(
        &self,
        shard: ShardId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError>;

    /// The indexes of the first and the last record that are there.
    ///
    /// # Errors
    ///
    /// As the store says.
    fn bounds(&self, shard: ShardId) -> Result<Option<RangeInclusive<u64>>, StoreError>;

    /// A small value of a shard.
    ///
    /// # Errors
    ///
    /// `Damaged` if it is not as it was written.
    fn meta(&self, shard: ShardId, tag: MetaTag) -> Result<Option<Bytes>, StoreError>;
}
