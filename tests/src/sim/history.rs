//! What happened in a simulation, in order, and the hash of it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vioduct_transport::{Fate, Ticket};

use super::clock::SimClock;
use super::message::{MessageId, NodeId};
use super::schedule::Fault;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The simulated world.
    World,
    /// One run of a node.
    Node {
        /// Which node.
        node: NodeId,
        /// Its incarnation.
        run: u64,
    },
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A run of a node began.
    Started,
    /// The CA issued a node's next certificate.
    Issued {
        /// Whose.
        node: NodeId,
        /// Its number among the node's certificates, from 1.
        leaf: u8,
        /// From when it is over, virtual milliseconds; `None` for long after the simulation.
        over_ms: Option<u64>,
    },
    /// The CA revoked a node's last certificate.
    Revoked {
        /// Whose.
        node: NodeId,
        /// Its number.
        leaf: u8,
        /// Number of the revocation list that says so.
        crl: u64,
    },
    /// The node uses these credentials from now on.
    Loaded {
        /// Number of its certificate.
        leaf: u8,
        /// Number of its revocation list.
        crl: u64,
    },
    /// The node begins to close its endpoint.
    Closing,
    /// The endpoint is closed.
    Closed,
    /// Some time after the close.
    Ended {
        /// Tasks of the transport that still run.
        tasks: usize,
    },
    /// The world did this to the network or to a node.
    Fault(Fault),
    /// No more faults from here on.
    Healed,
    /// The link took a message.
    Taken {
        /// Which.
        message: MessageId,
        /// What the link gave for it.
        ticket: Ticket,
    },
    /// The link did not take a message.
    Refused {
        /// Which.
        message: MessageId,
    },
    /// A message was handed over.
    Delivered {
        /// Which.
        message: MessageId,
        /// Its body is the one that was sent.
        is_intact: bool,
    },
    /// Something was handed over that no node of the simulation sends.
    Unreadable,
    /// A connection carries the link to this peer.
    Up {
        /// The peer.
        peer: NodeId,
        /// The connection's number.
        generation: u64,
        /// This side dialled.
        dialled: bool,
        /// It took over from another connection.
        replaced: bool,
        /// Number of the certificate that the peer showed.
        leaf: u8,
    },
    /// No connection carries the link to this peer.
    Down {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: &'static str,
    },
    /// Messages have this fate.
    Undelivered {
        /// For whom they were.
        peer: NodeId,
        /// Their lane.
        lane: u8,
        /// Their numbers on the lane.
        numbers: Range<u64>,
        /// What is known.
        fate: Fate,
    },
    /// Messages to this peer are refused.
    Unreachable {
        /// The peer.
        peer: NodeId,
    },
    /// A dial failed.
    DialFailed {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: &'static str,
    },
    /// The peer runs anew.
    PeerRestarted {
        /// The peer.
        peer: NodeId,
    },
    /// A connection from outside was turned down.
    TurnedDown {
        /// Why.
        reason: &'static str,
    },
    /// A task of the transport panicked.
    Panicked,
    /// The node has sent everything, and all of it is settled.
    Finished,
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Virtual time, milliseconds since the start.
    pub at_ms: u64,
    /// Where.
    pub source: Source,
    /// What.
    pub kind: Kind,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_ms, source, kind } = self;
        match source {
            Source::World => write!(f, "{at_ms:>6} world {kind:?}"),
            Source::Node { node, run } => write!(f, "{at_ms:>6} {node}#{run}  {kind:?}"),
        }
    }
}

/// Everything that happened so far.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) events: Vec<Event>,
    /// Nodes that have nothing more to do.
    pub(super) finished: BTreeSet<NodeId>,
}

/// FNV-1a, 64 bits, of the events as they are printed.
pub(super) fn hash(events: &[Event]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for event in events {
        for byte in event.to_string().bytes().chain([b'\n']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// Writes events of one source down.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    history: Arc<Mutex<History>>,
    clock: SimClock,
    source: Source,
}

impl Recorder {
    /// For the world; see [`of_node`](Self::of_node) for nodes.
    pub(super) fn new(clock: SimClock) -> Self {
        Self { history: Arc::default(), clock, source: Source::World }
    }

    pub(super) fn of_node(&self, node: NodeId, run: u64) -> Self {
        Self { source: Source::Node { node, run }, ..self.clone() }
    }

    pub(super) fn record(&self, kind: Kind) {
        let mut history = self.history();
        if let (Source::Node { node, .. }, Kind::Finished) = (self.source, &kind) {
            history.finished.insert(node);
        }
        history.events.push(Event { at_ms: self.clock.now_ms(), source: self.source, kind });
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        // Pushing an event cannot panic half-way.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_time_and_place_and_order() {
        let source = Source::Node { node: NodeId(1), run: 1 };
        let one = Event { at_ms: 1, source, kind: Kind::Started };
        let two = Event { at_ms: 2, ..one.clone() };
        let other = Event { source: Source::World, ..one.clone() };
        let hashes = [
            hash(&[]),
            hash(std::slice::from_ref(&one)),
            hash(std::slice::from_ref(&two)),
            hash(&[other]),
            hash(&[one.clone(), two.clone()]),
            hash(&[two, one]),
        ];
        let different: BTreeSet<u64> = hashes.into_iter().collect();
        assert_eq!(different.len(), hashes.len());
    }
}
