//! Why the database did not do, or may not have done, what was asked.

use crate::command::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::replica::client::Refusal;

/// Why a call to the database failed.
///
/// Performed: no, with every one of these but [`Unknown`](Self::Unknown),
/// [`SessionOver`](Self::SessionOver) and [`Unexpected`](Self::Unexpected), where it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// There is no such table. Fault: the caller.
    #[error("there is no table {table}")]
    NoTable {
        /// Its number.
        table: u16,
    },
    /// There is no such shard. Fault: the caller.
    #[error("there is no shard {shard}")]
    NoShard {
        /// Its number.
        shard: u32,
    },
    /// The table's rows, or this one, are others' to change. Fault: the caller, or its certificate,
    /// which lacks a role.
    #[error(
        "{who} may not change this row of table {table}; \
         that takes a tool's certificate, or a node's with another role"
    )]
    NotItsTable {
        /// Its number.
        table: u16,
        /// Whose certificate the command came under.
        who: String,
    },
    /// A transaction over several shards. Fault: the caller.
    #[error("a transaction's rows are all of one shard; these are not")]
    AcrossShards,
    /// A transaction that looks at no row and changes none. Fault: the caller.
    #[error("a transaction of nothing")]
    Empty,
    /// A key that is too long. Fault: the caller.
    #[error("a key of {bytes} bytes is past the bound of {KEY_BYTES_MAX}")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A value that is too long. Fault: the caller.
    #[error("a value of {bytes} bytes is past the bound of {VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The lease has ended.
    #[error("there is no lease {lease}, or no longer")]
    NoLease {
        /// Its number.
        lease: u64,
    },
    /// A counter that has no more numbers.
    #[error("the counter has no more numbers")]
    Exhausted,
    /// The shard has as many sessions as it can have.
    #[error("the shard has as many sessions as it can have")]
    TooManySessions,
    /// The shard has as many leases as it can have.
    #[error("the shard has as many leases as it can have")]
    TooManyLeases,
    /// As many wait for changes of the shard as may wait.
    #[error("as many wait for changes of the shard as may wait")]
    TooManyWatches,
    /// The leader refuses what the command says.
    #[error("refused: {why}")]
    Invalid {
        /// Why.
        why: String,
    },
    /// No replica did it before the deadline, and none can have done it.
    #[error("no replica of {shard} did it in time: {why}")]
    Unavailable {
        /// Which shard.
        shard: crate::ShardId,
        /// What the last one said.
        why: String,
    },
    /// Performed: unknown. No answer came before the deadline. It is done at most once.
    #[error("no answer from {shard} in time: it may have been done")]
    Unknown {
        /// Which shard.
        shard: crate::ShardId,
    },
    /// The session had been forgotten, because it was not used for long or thousands of commands
    /// had failed in it: what was under way in it may have been done.
    #[error("the session of {shard} is over: it may have been done")]
    SessionOver {
        /// Which shard.
        shard: crate::ShardId,
    },
    /// An answer that fits no such command. Fault: a replica of another build.
    #[error("an answer that does not fit")]
    Unexpected,
}

impl DbError {
    /// What a refusal that another attempt can't mend means.
    pub(super) fn of(refusal: &Refusal) -> Option<Self> {
        match refusal {
            Refusal::Invalid { why } => Some(Self::Invalid { why: why.clone() }),
            Refusal::NoTable { table } => Some(Self::NoTable { table: *table }),
            Refusal::NotItsTable { table, who } => {
                Some(Self::NotItsTable { table: *table, who: who.clone() })
            }
            Refusal::TooManyWatches => Some(Self::TooManyWatches),
            Refusal::NotLeader { .. }
            | Refusal::DiskFull
            | Refusal::NoQuorum
            | Refusal::Busy
            | Refusal::Stopped
            | Refusal::LeadLost => None,
        }
    }
}
