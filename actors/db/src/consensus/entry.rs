//! Entries of the log, votes and members: to bytes and back.
//!
//! The layout is ours and has a version, so that neither disk nor wire changes with the library.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{BufMut, Bytes};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv::LeaderId;

use super::{Entry, LogId, Membership, ReplicaId, StoredMembership, Vote};
use crate::encoding::{DecodeError, Reader, put_bytes};

/// The version of the layout, in front of every record.
const VERSION: u8 = 1;
/// Replicas that a shard can have, learners included.
pub const REPLICAS_MAX: usize = 64;

/// A command that a leader proposes, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The leader's time, milliseconds since 1970.
    pub now_ms: u64,
    /// The command's encoding.
    pub command: Bytes,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.command.len())
    }
}

/// Where a replica is: the name of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub String);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entry as it stands in the log and goes over the wire.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Bytes {
    let mut out = Vec::with_capacity(64);
    out.put_u8(VERSION);
    put_log_id(&mut out, &entry.log_id());
    match &entry.payload {
        EntryPayload::Blank => out.put_u8(1),
        EntryPayload::Normal(proposal) => {
            out.put_u8(2);
            out.put_u64_le(proposal.now_ms);
            out.put_slice(&proposal.command);
        }
        EntryPayload::Membership(membership) => {
            out.put_u8(3);
            put_membership(&mut out, membership);
        }
    }
    out.into()
}

/// Reads an entry that takes all of `bytes`; its command shares their memory.
///
/// # Errors
///
/// [`DecodeError`].
pub fn decode_entry(bytes: Bytes) -> Result<Entry, DecodeError> {
    let mut from = Reader::new(bytes);
    version(&mut from)?;
    let log_id = log_id(&mut from)?;
    let payload = match from.u8()? {
        1 => {
            from.end()?;
            EntryPayload::Blank
        }
        2 => {
            let now_ms = from.u64()?;
            EntryPayload::Normal(Proposal { now_ms, command: from.rest() })
        }
        3 => {
            let membership = membership(&mut from)?;
            from.end()?;
            EntryPayload::Membership(membership)
        }
        number => return Err(DecodeError::Unknown { what: "entry", number: number.into() }),
    };
    Ok(Entry::new(log_id, payload))
}

/// A vote as it stands on disk.
pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = vec![VERSION];
    put_vote(&mut out, vote);
    out.into()
}

pub(crate) fn decode_vote(bytes: Bytes) -> Result<Vote, DecodeError> {
    let mut from = Reader::new(bytes);
    version(&mut from)?;
    let vote = vote(&mut from)?;
    from.end()?;
    Ok(vote)
}

pub(crate) fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.node_id);
    out.put_u8(u8::from(vote.committed));
}

pub(crate) fn vote(from: &mut Reader) -> Result<Vote, DecodeError> {
    let leader_id = LeaderId { term: from.u64()?, node_id: from.u64()? };
    Ok(Vote { leader_id, committed: from.flag("a vote")? })
}

/// An entry's identity as it stands on disk.
pub(crate) fn encode_log_id(log_id: Option<&LogId>) -> Bytes {
    let mut out = vec![VERSION];
    put_log_id_option(&mut out, log_id);
    out.into()
}

pub(crate) fn decode_log_id(bytes: Bytes) -> Result<Option<LogId>, DecodeError> {
    let mut from = Reader::new(bytes);
    version(&mut from)?;
    let log_id = log_id_option(&mut from)?;
    from.end()?;
    Ok(log_id)
}

fn put_log_id(out: &mut Vec<u8>, log_id: &LogId) {
    out.put_u64_le(log_id.leader_id.term);
    out.put_u64_le(log_id.leader_id.node_id);
    out.put_u64_le(log_id.index);
}

fn log_id(from: &mut Reader) -> Result<LogId, DecodeError> {
    let leader_id = LeaderId { term: from.u64()?, node_id: from.u64()? };
    Ok(LogId { leader_id, index: from.u64()? })
}

pub(crate) fn put_log_id_option(out: &mut Vec<u8>, log_id: Option<&LogId>) {
    out.put_u8(u8::from(log_id.is_some()));
    if let Some(log_id) = log_id {
        put_log_id(out, log_id);
    }
}

pub(crate) fn log_id_option(from: &mut Reader) -> Result<Option<LogId>, DecodeError> {
    from.flag("an index")?.then(|| log_id(from)).transpose()
}

/// The members and since when, as they stand among the rows and before a snapshot.
pub(crate) fn encode_members(members: &StoredMembership) -> Bytes {
    let mut out = vec![VERSION];
    put_log_id_option(&mut out, members.log_id().as_ref());
    put_membership(&mut out, members.membership());
    out.into()
}

pub(crate) fn decode_members(bytes: Bytes) -> Result<StoredMembership, DecodeError> {
    let mut from = Reader::new(bytes);
    version(&mut from)?;
    let log_id = log_id_option(&mut from)?;
    let membership = membership(&mut from)?;
    from.end()?;
    Ok(StoredMembership::new(log_id, membership))
}

fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    let configs = membership.get_joint_config();
    put_count(out, configs.len());
    for config in configs {
        put_count(out, config.len());
        config.iter().for_each(|replica| out.put_u64_le(*replica));
    }
    let nodes: Vec<(&ReplicaId, &Host)> = membership.nodes().collect();
    put_count(out, nodes.len());
    for (replica, host) in nodes {
        out.put_u64_le(*replica);
        put_bytes(out, host.0.as_bytes());
    }
}

fn membership(from: &mut Reader) -> Result<Membership, DecodeError> {
    let mut configs = Vec::new();
    for _ in 0..from.count("configurations", 2)? {
        let mut config = BTreeSet::new();
        for _ in 0..from.count("replicas", REPLICAS_MAX)? {
            config.insert(from.u64()?);
        }
        configs.push(config);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..from.count("replicas", REPLICAS_MAX)? {
        nodes.insert(from.u64()?, Host(from.text()?));
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes)
        .map_err(|_error| DecodeError::Unknown { what: "set of members", number: 0 })
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("replicas are few"));
}

fn version(from: &mut Reader) -> Result<(), DecodeError> {
    match from.u8()? {
        VERSION => Ok(()),
        number => Err(DecodeError::Unknown { what: "format", number: number.into() }),
    }
}
