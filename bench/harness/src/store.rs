//! Replicated stores of keys: what a client of one must do, and what is measured of it.

mod client;
mod measure;
mod rows;
mod sample;

use anyhow::Result;
use bytes::Bytes;

pub use self::client::{Options, report};
pub use self::measure::run;
pub use self::rows::{StoreKind, StoreLoad, StoreRow};
pub use self::sample::{Latency, StoreSample};

/// Bytes of each value.
pub const VALUE_BYTES: usize = 256;

/// A client of a store, with as many calls at once as it is asked for.
pub trait Store: Send + Sync + 'static {
    /// What watches it.
    type Watcher: Watcher;

    /// Writes a row; returns once the store has promised to keep it.
    fn put(&self, key: Bytes, value: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// A row as it is now, by a linearizable read.
    fn get(&self, key: Bytes) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// Begins to watch the rows whose keys begin so. What is put after this has returned is told.
    fn watch(&self, prefix: Bytes) -> impl Future<Output = Result<Self::Watcher>> + Send;
}

/// One that watches.
pub trait Watcher: Send + 'static {
    /// The key of the next row that changed.
    fn next(&mut self) -> impl Future<Output = Result<Bytes>> + Send;
}
