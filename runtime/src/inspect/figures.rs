//! What an inspection lists. Plain values: they travel, and are written as JSON.
//!
//! Counts rise over the life of what they belong to; all else is as of now.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;

use crate::Wire;
use crate::cluster::Standing;
use crate::id::{ActorName, GroupName};
use crate::membership::{Dropped, Member, MemberState};

/// What a node has under way, or a page of it.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Inspection {
    /// The node.
    pub node: NodeName,
    /// Its run.
    pub incarnation: u64,
    /// Figures of the whole node.
    pub totals: Totals,
    /// Actors that live on each worker.
    pub workers: Vec<u32>,
    /// Actors by their type, those that have ended too; on the first page only. At most 64: what
    /// is left is put together as `(other)`.
    pub types: Vec<TypeFigures>,
    /// Actors, by rising serial.
    pub actors: Vec<ActorFigures>,
    /// Nodes and tools that it has links to, in the order in which they became known. They follow
    /// the last actor.
    pub peers: Vec<PeerFigures>,
    /// Its cluster; none for a node that is no member of one.
    pub cluster: Option<ClusterFigures>,
    /// The other nodes of its cluster, those that are down too, in order of names. They follow the
    /// last peer.
    pub members: Vec<MemberFigures>,
    /// Where the next page begins; none when this was the last.
    pub next: Option<Page>,
}

/// Where a page begins, and how long it is at most.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Page {
    /// The last entry before it; none for the first page.
    pub after: Option<Mark>,
    /// Actors, peers and members, 1..=1024: more and fewer are taken as these. A page is shorter
    /// when it would not fit an answer's head.
    pub entries_max: u32,
}

/// An entry of an inspection. They are ordered as they are listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Wire, Serialize, Deserialize)]
pub enum Mark {
    /// The actor of this serial.
    Actor(u64),
    /// The peer of this number.
    Peer(u64),
    /// The member of this name.
    Member(NodeName),
}

impl Default for Page {
    /// The first one.
    fn default() -> Self {
        Self { after: None, entries_max: 1024 }
    }
}

/// Figures of a whole node, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Totals {
    /// Actors that live now.
    pub actors: u64,
    /// Lives of actors begun.
    pub lives: u64,
    /// Lives ended by a panic or a reported failure.
    pub failures: u64,
    /// Failures answered by another life.
    pub restarts: u64,
    /// Actors that failed too often.
    pub given_up: u64,
    /// Actors that other nodes can find, by name or group.
    pub listed: u64,
    /// Peers now.
    pub peers: u64,
    /// Messages of peers dropped because they could not be read as anything.
    pub malformed: u64,
}

/// All lives of one type of actors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct TypeFigures {
    /// The Rust type, cut to 128 bytes.
    pub type_name: String,
    /// Actors that live now.
    pub actors: u64,
    /// Lives begun.
    pub lives: u64,
    /// Messages that wait to be handled.
    pub waiting: u64,
    /// As [`ActorFigures::handled`].
    pub handled: u64,
    /// As [`ActorFigures::passed_over`].
    pub passed_over: u64,
    /// As [`ActorFigures::answered`].
    pub answered: u64,
    /// As [`ActorFigures::refused_full`].
    pub refused_full: u64,
    /// As [`ActorFigures::refused_access`].
    pub refused_access: u64,
}

/// One life of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct ActorFigures {
    /// Number of this life on its node.
    pub serial: u64,
    /// Its name, if it has one.
    pub name: Option<ActorName>,
    /// Its Rust type, cut to 128 bytes.
    pub type_name: String,
    /// The worker it lives on, from 0.
    pub worker: u32,
    /// Messages that wait to be handled.
    pub waiting: u64,
    /// Messages of its own node that may wait.
    pub capacity: u64,
    /// Of that, what messages and senders about to put one in take up.
    pub capacity_used: u64,
    /// Bytes that each other node may have under way to it.
    pub window_bytes: u32,
    /// Messages that a handler saw.
    pub handled: u64,
    /// Messages that none saw: their deadline had passed, their asker was gone, or they could not
    /// be read.
    pub passed_over: u64,
    /// Asks answered with a result, of its own node and of others.
    pub answered: u64,
    /// Messages of its own node refused because there was no room, by the `try_` forms.
    pub refused_full: u64,
    /// Times that a peer was denied leave to send a message, or sent one without.
    pub refused_access: u64,
    /// Lives before this one, each ended by a failure.
    pub restarts: u64,
    /// The serial of its parent's life, if it is a child.
    pub parent: Option<u64>,
    /// Its children now.
    pub children: u64,
    /// The groups that it is in, at most 16.
    pub groups: Vec<GroupName>,
    /// What it takes from other nodes, at most 64.
    pub exports: Vec<ExportFigures>,
}

/// A message that an actor takes from other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct ExportFigures {
    /// Name of the message.
    pub message: String,
    /// Its version.
    pub version: u16,
    /// From whom, in words, cut to 128 bytes.
    pub access: String,
}

/// A node or tool at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct PeerFigures {
    /// Its number on the node that lists it.
    pub number: u64,
    /// Its name.
    pub name: NodeName,
    /// What it is.
    pub kind: PeerKind,
    /// Its run, as of the last connection; none before the first.
    pub incarnation: Option<u64>,
    /// Its link.
    pub link: LinkFigures,
    /// Its actors that this node can find, by name or group.
    pub listed: u64,
    /// Asks of this node to its actors.
    pub asks: AskFigures,
    /// Its actors that this node has references to.
    pub outlets: u64,
    /// Of those, the ones to which there is credit.
    pub outlets_with_credit: u64,
    /// Credit for all of them, bytes.
    pub credit_bytes: u64,
    /// Senders of this node that wait for credit, or for leave to send.
    pub senders_waiting: u64,
    /// Actors here that it sends to.
    pub inlets: u64,
    /// Bytes of its messages under way to them.
    pub inlet_bytes: u64,
    /// Answers to it that were dropped because too many waited for room.
    pub answers_dropped: u64,
    /// Answers to it that did not encode, or were past a limit.
    pub answers_lost: u64,
    /// Its messages that no handler saw.
    pub refused: RefusalFigures,
    /// Its messages that could not be read as anything.
    pub malformed: u64,
}

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum PeerKind {
    /// A node.
    Node,
    /// A tool.
    Tool,
}

/// Whether a link carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum LinkPhase {
    /// Messages are queued until there is a connection.
    Connecting,
    /// Messages flow.
    Up,
    /// Messages are refused until there is a connection.
    Unreachable,
    /// It is shut down for good.
    Closed,
}

/// A link. Counts rise over its life, but for those of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct LinkFigures {
    /// Whether it carries messages.
    pub phase: LinkPhase,
    /// The peer's address on the present connection.
    pub addr: Option<SocketAddr>,
    /// Messages taken from senders.
    pub messages_sent: u64,
    /// Messages acknowledged by the peer, or reported undelivered.
    pub messages_settled: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages queued now.
    pub queued_messages: u64,
    /// Bytes queued now.
    pub queued_bytes: u64,
    /// Connections that have carried it.
    pub connections: u64,
    /// UDP datagrams lost on the present connection.
    pub packets_lost: u64,
    /// Bytes sent on the present connection.
    pub udp_bytes_sent: u64,
    /// Bytes received on the present connection.
    pub udp_bytes_received: u64,
    /// Smoothed round-trip time of the present connection; zero without one.
    pub rtt: Duration,
    /// Largest UDP payload that the path of the present connection is known to carry, bytes; zero
    /// without one.
    pub mtu: u16,
}

/// Asks to one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct AskFigures {
    /// Under way now.
    pub in_flight: u64,
    /// Ended with a result.
    pub answered: u64,
    /// Ended because the peer said why there is none.
    pub refused: u64,
    /// Ended at their deadline.
    pub late: u64,
    /// Ended with a link, or with this node.
    pub lost: u64,
    /// Dropped by the asker after they had left.
    pub cancelled: u64,
    /// Dropped by the asker, or refused on this node, before they left.
    pub not_sent: u64,
}

/// Messages of a peer that no handler saw, and leave that it was not given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct RefusalFigures {
    /// Messages to an actor that was gone.
    pub gone: u64,
    /// Asks past their deadline, or given up, before they were handled.
    pub late: u64,
    /// Messages that could not be read.
    pub unreadable: u64,
    /// Messages that it had no leave to send.
    pub denied: u64,
    /// Messages past its credit.
    pub overrun: u64,
    /// Leave refused: the reference was to an earlier run.
    pub bind_restarted: u64,
    /// Leave refused: the actor was gone.
    pub bind_gone: u64,
    /// Leave refused: the message is not exported.
    pub bind_not_exported: u64,
    /// Leave refused: its certificate does not allow it.
    pub bind_denied: u64,
    /// Leave refused: the builds differ.
    pub bind_skew: u64,
}

/// A cluster, as one of its nodes sees it.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct ClusterFigures {
    /// How the node itself stands.
    pub standing: Standing,
    /// Members that answer, the node itself apart.
    pub alive: u64,
    /// Members that did not answer lately.
    pub suspect: u64,
    /// Nodes that are down.
    pub down: u64,
    /// What the membership threw away.
    pub dropped: Dropped,
    /// Datagrams thrown away before that, because too many waited.
    pub overflowed: u64,
}

/// Another node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct MemberFigures {
    /// As it presented itself.
    pub member: Member,
    /// How it fares.
    pub state: MemberState,
}
