//! What goes into a relay, and what it wants done.

use std::time::Duration;

use super::super::message::{Call, Word};
use super::super::name::{AdapterId, ConnId, LinkId, LuId, ViosId};

/// Where a relay's messages come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// An owner that uses this VIOS as its entry.
    Owner(LinkId),
    /// The redirect actor of another VIOS.
    Peer(ViosId),
    /// The storage, by one of this VIOS's own adapters.
    Storage(ConnId),
}

impl Port {
    /// The first in order.
    pub(super) const MIN: Self = Self::Owner(LinkId(0));
    /// The last in order.
    pub(super) const MAX: Self = Self::Storage(ConnId(u64::MAX));
}

/// How a fabric does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathState {
    /// As it should.
    Good,
    /// Slow or shaky; used only if nothing better is there.
    Degraded,
    /// Not at all.
    Lost,
}

/// What a VIOS publishes of its way to the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerPath {
    /// Its fabric.
    pub state: PathState,
    /// It runs on this VIOS's own CEC.
    pub is_same_cec: bool,
    /// What its heartbeats to the storage take.
    pub round_trip: Duration,
    /// Requests that it has under way.
    pub load: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// A call came, from an owner or another VIOS.
    Called {
        /// Who.
        from: Port,
        /// For which LU.
        lu: LuId,
        /// What.
        call: Call,
    },
    /// A word came, from the storage or another VIOS.
    Heard {
        /// Who.
        from: Port,
        /// Of which LU.
        lu: LuId,
        /// What.
        word: Word,
    },
    /// A link or connection is gone, or a message could not be given to it.
    PortLost {
        /// Which.
        port: Port,
    },
    /// An adapter has a new connection to the storage; the one before is not used any more.
    Connected {
        /// Whose.
        adapter: AdapterId,
        /// Which; no other adapter has one of this number.
        conn: ConnId,
    },
    /// The DSA reports on the fabric behind one of this VIOS's adapters.
    FabricChanged {
        /// Which.
        adapter: AdapterId,
        /// How it does.
        state: PathState,
    },
    /// Another VIOS has published its path.
    PeerChanged {
        /// Who.
        vios: ViosId,
        /// Its path.
        path: PeerPath,
    },
    /// The deadline has come.
    TimePassed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Pass a call on. If that cannot be done, [`Input::PortLost`] follows.
    Call {
        /// To whom.
        to: Port,
        /// For which LU.
        lu: LuId,
        /// What.
        call: Call,
    },
    /// Pass a word on. If that cannot be done, [`Input::PortLost`] follows.
    Word {
        /// To whom.
        to: Port,
        /// Of which LU.
        lu: LuId,
        /// What.
        word: Word,
    },
}
