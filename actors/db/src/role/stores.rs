//! The stores of a node.

use tokio::sync::watch;

use crate::log::{LogEngine, LogWriter};
use crate::state::StateEngine;

/// The stores of a node, for all its replicas.
#[derive(Clone, Debug)]
pub struct Stores<E, T> {
    /// The logs.
    pub log: E,
    /// Their one writer.
    pub writer: LogWriter,
    /// The rows.
    pub state: T,
    /// Whether the disk has room for more. Clients' writes are refused while it has not.
    pub has_room: watch::Receiver<bool>,
}

impl<E: LogEngine, T: StateEngine> Stores<E, T> {
    /// Of a disk that is never full.
    #[must_use]
    pub fn roomy(log: E, writer: LogWriter, state: T) -> Self {
        let (_always, has_room) = watch::channel(true);
        Self { log, writer, state, has_room }
    }
}
