//! What goes into the machine, and what it wants done.

use core::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;

use super::member::Member;
use crate::Wire;

/// Seeds asked at most; those beyond are not looked at.
pub const SEEDS_MAX: usize = 16;

/// A node through which the cluster is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Its name, which its certificate has to show.
    pub node: NodeName,
    /// Where it is dialled.
    pub addr: SocketAddr,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This node is to be a member, and asks these nodes to be let in; the first [`SEEDS_MAX`]
    /// count, itself not among them. Without any, it waits for others. Once only; a second one
    /// replaces the seeds.
    JoinAsked {
        /// Whom to ask.
        seeds: Vec<Seed>,
    },
    /// This node takes its leave. Nothing but [`Renewed`](Self::Renewed) is answered after it.
    LeaveAsked,
    /// A datagram came on a link.
    DatagramReceived {
        /// Who sent it, by its certificate.
        from: NodeName,
        /// What it sent.
        datagram: Bytes,
    },
    /// A link to this node began, and its handshake told the incarnation.
    IncarnationSeen {
        /// Who it is, by its certificate.
        node: NodeName,
        /// Its run.
        incarnation: u64,
    },
    /// This node runs on under a higher incarnation, after [`MemberEvent::Expelled`] or a leave. It
    /// forgets all members and joins anew, through its seeds and some that it knew; each is told as
    /// [`MemberEvent::Up`] again. A lower or equal incarnation changes nothing.
    Renewed {
        /// The new run's.
        incarnation: u64,
    },
    /// The deadline has come.
    TimePassed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a datagram, over the link if there is one, else by dialling. It may be lost.
    Send {
        /// To whom.
        to: NodeName,
        /// Where it is dialled.
        addr: SocketAddr,
        /// What to send; at most `datagram_bytes_max` bytes.
        datagram: Bytes,
    },
    /// Tell whoever listens.
    Tell(MemberEvent),
    /// Close the link to this run of a node, and say why, after what was sent to it. A datagram
    /// that tells it the same is on its way.
    Refuse {
        /// Who it is.
        node: NodeName,
        /// Its run.
        incarnation: u64,
        /// Why it is refused.
        reason: RefuseReason,
    },
}

/// What became of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberEvent {
    /// A node that was not known is a member.
    Up(Member),
    /// It did not answer; unless it speaks up, it will be declared down.
    Suspect {
        /// Which one.
        node: NodeName,
        /// Its run.
        incarnation: u64,
    },
    /// It spoke up.
    Refuted {
        /// Which one.
        node: NodeName,
        /// Its run.
        incarnation: u64,
    },
    /// This and every earlier incarnation of it is over.
    Down {
        /// Which one.
        node: NodeName,
        /// Its run.
        incarnation: u64,
        /// How it ended.
        reason: DownReason,
    },
    /// It is a member again, in a later run. If it was not down before, its earlier run is over
    /// with this.
    Returned {
        /// The node as it is now.
        member: Member,
        /// Its run before.
        old: u64,
    },
    /// This run of this very node counts as down. It takes no part until it is
    /// [renewed](Input::Renewed).
    Expelled(ExpelReason),
}

/// How a member's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DownReason {
    /// It was suspected and did not speak up in time.
    Failed,
    /// It took its leave.
    Left,
}

/// Why a run of a node is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefuseReason {
    /// It was declared down, or left. It may return with a higher incarnation.
    #[error("incarnation {down} and all before are down; only a higher one may return")]
    Quarantined {
        /// The highest incarnation that is down.
        down: u64,
    },
    /// A later run of the node is a member.
    #[error("incarnation {current} is a member already")]
    Superseded {
        /// The later run.
        current: u64,
    },
}

/// Why this node is no member any more.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Wire, Serialize, Deserialize,
)]
pub enum ExpelReason {
    /// The others declared it down.
    #[error("declared down by the cluster")]
    DeclaredDown,
    /// A later run of this node has been seen.
    #[error("incarnation {by} of this node runs")]
    Superseded {
        /// The later run.
        by: u64,
    },
}

/// What the machine threw away, and how often. The counts only rise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Dropped {
    /// Datagrams that named another sender than the link's peer. Fault: the peer.
    pub forged: u64,
    /// Datagrams that could not be read. Fault: the peer.
    pub malformed: u64,
    /// Datagrams for another node, or another run of this one.
    pub misaddressed: u64,
    /// Datagrams that came while this node took no part.
    pub untimely: u64,
    /// Datagrams of a run that is refused.
    pub refused: u64,
    /// News of nodes for which there was no room.
    pub crowded: u64,
    /// Datagrams not sent, since nobody told where the target is.
    pub unknown_target: u64,
    /// Datagrams that foca turned down. Fault: the peer.
    pub rejected: u64,
}
