//! What a store of tables does.

use std::fmt;

use bytes::Bytes;

use crate::{ShardId, StoreError};

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// One change of a shard's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes a row, whether it was there or not.
    Put(Bytes, Bytes),
    /// Takes a row away, if it is there.
    Delete(Bytes),
}

/// A store of the rows of all shards. Calls block.
pub trait StateEngine: Clone + Unpin + Send + Sync + 'static {
    /// The rows of one shard.
    type Shard: ShardState;

    /// Opens a shard, empty if it was not there. A shard is opened once at a time.
    ///
    /// # Errors
    ///
    /// As the store says.
    fn open(&self, shard: ShardId) -> Result<Self::Shard, StoreError>;

    /// Takes away all rows of a shard that is not open.
    ///
    /// # Errors
    ///
    /// As the store says.
    fn forget(&self, shard: ShardId) -> Result<(), StoreError>;
}

/// The rows of one shard, ordered by key. Calls block; a clone is the same shard.
pub trait ShardState: Clone + fmt::Debug + Unpin + Send + Sync + 'static {
    /// Rows as they were at one moment.
    type View: View;
    /// Rows that are to take the place of all that are here.
    type Replacement: Replacement;

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// `Damaged` if what is read is not what was written.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Rows with `from <= key < to` in order of keys, until there are `rows` of them or they come
    /// to `bytes`, which the last one may pass; one at least if `rows` is. Fewer are all.
    ///
    /// # Errors
    ///
    /// `Damaged` if what is read is not what was written.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError>;

    /// Makes all changes as one, in order. They can be read on return; they survive the process
    /// only after a `flush`, and after a crash those of a prefix of the calls are there.
    ///
    /// # Errors
    ///
    /// After an error the store takes no more writes.
    fn write(&self, changes: Vec<Change>) -> Result<(), StoreError>;

    /// Makes what was written before the call survive the loss of power.
    ///
    /// # Errors
    ///
    /// After an error the store takes no more writes.
    fn flush(&self) -> Result<(), StoreError>;

    /// All rows as they are now. Costs no copy of them.
    ///
    /// # Errors
    ///
    /// As the store says.
    fn view(&self) -> Result<Self::View, StoreError>;

    /// Begins to replace all rows; what is here stays until the replacement commits. One that an
    /// earlier run or call left unfinished is taken away.
    ///
    /// # Errors
    ///
    /// As the store says.
    fn replacement(&self) -> Result<Self::Replacement, StoreError>;
}

/// The rows of a shard as they were at one moment, read front to back. Memory does not grow with
/// the number of rows.
pub trait View: fmt::Debug + Send + 'static {
    /// The value of a key at that moment.
    ///
    /// # Errors
    ///
    /// `Damaged` if what is read is not what was written.
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The next rows in order of keys, `bytes` of them or a little more; none at the end.
    ///
    /// # Errors
    ///
    /// `Damaged` if what is read is not what was written.
    fn next(&mut self, bytes: usize) -> Result<Vec<Row>, StoreError>;
}

/// Rows that arrive to take the place of a shard's. Dropped before its commit, nothing changed.
pub trait Replacement: fmt::Debug + Unpin + Send + 'static {
    /// Adds rows; keys only grow from call to call.
    ///
    /// # Errors
    ///
    /// `Failed` for a key that does not grow; otherwise as the store says.
    fn put(&mut self, rows: Vec<Row>) -> Result<(), StoreError>;

    /// From here on the shard has these rows and no others, and they survive the loss of power.
    ///
    /// # Errors
    ///
    /// After an error the store takes no more writes.
    fn commit(self) -> Result<(), StoreError>;
}
