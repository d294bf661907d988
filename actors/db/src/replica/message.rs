//! What replicas of a shard say to one another.

use actix::Message;
use bytes::{Buf, BufMut, Bytes};
use openraft::impls::leader_id_adv::LeaderId;
use serde::{Deserialize, Serialize};
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use crate::consensus::{LogId, ReplicaId, Vote};
use crate::encoding::DecodeError;

/// What a replica takes of another one.
#[derive(Debug)]
pub struct ReplicaPeer;

impl Accepts<Append> for ReplicaPeer {}

impl Accepts<AskVote> for ReplicaPeer {}

impl Accepts<TakeLead> for ReplicaPeer {}

impl Accepts<SnapshotPart> for ReplicaPeer {}

/// Whom somebody follows, or wants to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct VoteHead {
    term: u64,
    replica: u64,
    is_committed: bool,
}

/// An entry's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct LogHead {
    term: u64,
    replica: u64,
    index: u64,
}

impl From<Vote> for VoteHead {
    fn from(vote: Vote) -> Self {
        let LeaderId { term, node_id } = vote.leader_id;
        Self { term, replica: node_id, is_committed: vote.committed }
    }
}

impl From<VoteHead> for Vote {
    fn from(vote: VoteHead) -> Self {
        let leader_id = LeaderId { term: vote.term, node_id: vote.replica };
        Self { leader_id, committed: vote.is_committed }
    }
}

impl From<LogId> for LogHead {
    fn from(log_id: LogId) -> Self {
        let LeaderId { term, node_id } = log_id.leader_id;
        Self { term, replica: node_id, index: log_id.index }
    }
}

impl From<LogHead> for LogId {
    fn from(log_id: LogHead) -> Self {
        let leader_id = LeaderId { term: log_id.term, node_id: log_id.replica };
        Self { leader_id, index: log_id.index }
    }
}

/// Entries of the leader's log, or none: then it says that it leads.
#[derive(Clone, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.Append")]
pub struct Append {
    /// For whom it is. Whoever is here now may be another replica.
    pub to: ReplicaId,
    /// The leader.
    pub vote: VoteHead,
    /// The entry before the first.
    pub previous: Option<LogHead>,
    /// Up to where the leader's log is committed.
    pub committed: Option<LogHead>,
    /// The entries' encodings, each behind its length.
    #[serde(skip)]
    #[remote(body)]
    pub entries: Bytes,
}

impl Message for Append {
    type Result = AppendAnswer;
}

/// What an [`Append`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum AppendAnswer {
    /// The log has them, synced.
    Done,
    /// The log has them up to here, synced.
    Partly {
        /// The last one that it has.
        last: Option<LogHead>,
    },
    /// The log has another entry where the one before the first should be.
    Conflict,
    /// Another leader has been seen.
    Higher {
        /// That one.
        vote: VoteHead,
    },
    /// Nothing was done.
    Not {
        /// Why.
        refusal: PeerRefusal,
    },
}

/// Why a replica does nothing for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum PeerRefusal {
    /// The message was for a replica that is not here, or no longer.
    #[error("it was for another replica")]
    Another,
    /// The message is none.
    #[error("it can't be read")]
    Unreadable,
    /// The replica has stopped, or is about to.
    #[error("the replica has stopped")]
    Stopped,
    /// Parts of a snapshot came out of order.
    #[error("parts of the snapshot are missing")]
    Gap,
    /// The replica's own store refused.
    #[error("the replica's store refused")]
    Store,
}

/// Asks for a vote.
#[derive(Clone, Copy, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.AskVote")]
pub struct AskVote {
    /// For whom it is.
    pub to: ReplicaId,
    /// The vote that is asked for.
    pub vote: VoteHead,
    /// The candidate's last entry.
    pub last: Option<LogHead>,
    /// Only whether it would be given.
    pub is_trial: bool,
    /// The leader itself asked the candidate to lead.
    pub is_transfer: bool,
}

impl Message for AskVote {
    type Result = Result<VoteAnswer, PeerRefusal>;
}

/// Whether a vote is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct VoteAnswer {
    /// What the replica's vote is now.
    pub vote: VoteHead,
    /// Whether it is the candidate's.
    pub is_granted: bool,
    /// The replica's last entry.
    pub last: Option<LogHead>,
}

/// The leader asks another replica to lead.
#[derive(Clone, Copy, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.TakeLead")]
pub struct TakeLead {
    /// Who is to lead.
    pub to: ReplicaId,
    /// Who leads now.
    pub vote: VoteHead,
    /// The leader's last entry.
    pub last: Option<LogHead>,
}

impl Message for TakeLead {
    type Result = Result<(), PeerRefusal>;
}

/// A part of all rows of a shard.
#[derive(Clone, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.SnapshotPart")]
pub struct SnapshotPart {
    /// For whom it is.
    pub to: ReplicaId,
    /// Who leads.
    pub vote: VoteHead,
    /// Which snapshot, so that two are never mixed.
    pub snapshot: u64,
    /// Which part of it, from 0.
    pub number: u32,
    /// With the last part, how far the rows are and who the members are.
    pub is_last: bool,
    /// [Rows](crate::state::Row), or in the last part the identity of the last entry and then the
    /// members.
    #[serde(skip)]
    #[remote(body)]
    pub body: Bytes,
}

impl Message for SnapshotPart {
    type Result = Result<VoteHead, PeerRefusal>;
}

/// Byte strings as one, each behind its length.
pub(crate) fn join(parts: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut out = Vec::new();
    for part in parts {
        out.put_u32_le(u32::try_from(part.len()).expect("parts are far below 4 GiB"));
        out.put_slice(&part);
    }
    out.into()
}

/// The parts of what [`join`] made; they share its memory.
pub(crate) fn split(mut joined: Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let mut parts = Vec::new();
    while !joined.is_empty() {
        let length = joined.try_get_u32_le().map_err(|_short| DecodeError::Short)? as usize;
        if length > joined.len() {
            return Err(DecodeError::Short);
        }
        parts.push(joined.split_to(length));
    }
    Ok(parts)
}
