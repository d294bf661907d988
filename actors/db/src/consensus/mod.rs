//! Consensus of a shard's replicas, by openraft: what it needs of us.
//!
//! The library decides who leads and which entries are committed. Ours is what it stands on: the
//! log ([`logs`]), the rows ([`rows`]) and what changed of them lately ([`recent`]), the way to
//! other replicas ([`network`]), and how entries look on disk and on the wire ([`entry`]), which is
//! no concern of the library's version.

pub mod entry;
pub mod logs;
pub mod network;
mod news;
pub mod recent;
pub mod rows;
pub mod runtime;
pub mod watched;

use openraft::declare_raft_types;
use openraft::impls::leader_id_adv::LeaderId;

use crate::command::Answer;

/// A replica of a shard: given once, when it is made on a node whose disk has none. A node that
/// lost its disk has another one afterwards, so that nobody votes twice.
pub type ReplicaId = u64;

declare_raft_types!(
    /// What the consensus library is told of our types.
    pub Types:
        D = entry::Proposal,
        R = Answer,
        NodeId = ReplicaId,
        Node = entry::Host,
        AsyncRuntime = runtime::Runtime,
);

/// The identity of a log entry: the leader that made it, and its index.
pub type LogId = openraft::impls::LogId<LeaderId<u64, ReplicaId>>;
/// Whom a replica follows, or voted for.
pub type Vote = openraft::impls::Vote<LeaderId<u64, ReplicaId>>;
/// An entry of the log.
pub type Entry = openraft::type_config::alias::EntryOf<Types>;
/// Who the replicas are.
pub type Membership = openraft::Membership<ReplicaId, entry::Host>;
/// Who the replicas are, and since which entry.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
