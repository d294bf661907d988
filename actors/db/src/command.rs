//! What can be asked of a shard to change it, and what it answers: the content of its log.
//!
//! A command is encoded by its client, checked by the leader, and from there on the same bytes on
//! the wire, in every log, and when it is applied. Applying looks at the command, its index and its
//! time alone, so that all replicas come to the same rows.

mod answer;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::answer::{Answer, Found};

/// The number of a table, the same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u16);

/// A row's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// In which table.
    pub table: TableId,
    /// Under which key, [`KEY_BYTES_MAX`] at most.
    pub key: Bytes,
}

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 512 << 10;
/// Most conditions and most changes of one transaction.
pub const PARTS_MAX: usize = 256;
/// Longest command, bytes, encoded.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Most numbers given out at once.
pub const ALLOCATE_MAX: u32 = 1 << 16;
/// How far a session's sequence may be ahead of the lowest one that is not answered.
pub const WINDOW: u64 = 4096;

/// What has to be so for a transaction to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The row has this value; with `None`, there is no row.
    Value {
        /// Which row.
        place: Place,
        /// Its value.
        value: Option<Bytes>,
    },
    /// The row was last written at this revision; with 0, there is no row.
    Revision {
        /// Which row.
        place: Place,
        /// The revision.
        revision: u64,
    },
}

impl Condition {
    /// The row that it looks at.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Value { place, .. } | Self::Revision { place, .. } => place,
        }
    }
}

/// What a transaction does to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes it.
    Put {
        /// Which row.
        place: Place,
        /// Its value, [`VALUE_BYTES_MAX`] at most.
        value: Bytes,
        /// The lease with whose end the row goes.
        lease: Option<u64>,
    },
    /// Takes it away, if it is there.
    Delete {
        /// Which row.
        place: Place,
    },
}

impl Change {
    /// The row that it changes.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Put { place, .. } | Self::Delete { place } => place,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes all changes if all conditions hold, else none.
    Transact {
        /// What has to be so.
        conditions: Vec<Condition>,
        /// What is done then, in order.
        changes: Vec<Change>,
    },
    /// Gives out numbers that this counter has never given out.
    Allocate {
        /// Which counter, [`KEY_BYTES_MAX`] at most.
        counter: Bytes,
        /// How many, 1 to [`ALLOCATE_MAX`].
        count: u32,
    },
    /// Begins a session, within which a repeated command is done once.
    OpenSession,
    /// Ends a session; its answers are forgotten.
    CloseSession {
        /// Which.
        session: u64,
    },
    /// Begins a lease.
    Grant {
        /// How long it lasts without being kept alive, milliseconds.
        ttl_ms: u32,
    },
    /// Ends a lease, and takes its rows away.
    Revoke {
        /// Which.
        lease: u64,
    },
}

/// Which attempt of a client a command is, so that it is done once however often it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The client's session.
    pub session: u64,
    /// The number of the command in the session, the same whenever it is tried again.
    pub sequence: u64,
    /// The client has the answers to all sequences below this one.
    pub answered_below: u64,
}

/// One change of a shard's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which attempt it is. Without one, a repeated command is done again.
    pub attempt: Option<Attempt>,
    /// What is to be done.
    pub operation: Operation,
}
