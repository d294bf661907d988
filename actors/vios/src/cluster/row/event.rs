//! What happened, as the database keeps it: of each node the newest, in slots used in turn.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_db::command::TableId;
use vioduct_db::schema::Class;
use vioduct_runtime::Wire;

use super::{Key, Row};
use crate::dsa::operator::State;

/// How many events of a node are kept.
pub const EVENTS_KEPT: u8 = 128;

/// An event that a node told of.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct EventRow {
    /// Counts the node's events: one that is missing was overwritten, or never got here.
    pub number: u64,
    /// What happened, and when.
    pub happened: Happened,
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Happened {
    /// When, by the node's clock: milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub event: Event,
}

/// Something that happened to a node, or that it saw.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum Event {
    /// The VIOS registered.
    Registered {
        /// Its number.
        number: u32,
    },
    /// The VIOS is no member of the cluster.
    NotRegistered {
        /// Why.
        why: String,
    },
    /// The VIOS does what is done once in the cluster, from now on or no more.
    Primary {
        /// Whether it is.
        is_primary: bool,
    },
    /// A path to the storage does otherwise than before.
    Path {
        /// The adapter's name.
        adapter: String,
        /// What it leads to.
        storage: String,
        /// How it does.
        state: State,
        /// Why.
        reason: String,
    },
    /// The primary counts another node as up, or no more.
    Node {
        /// Which.
        node: String,
        /// Whether it is up.
        is_up: bool,
    },
    /// An LU can't be made as the database wants it.
    LuFailed {
        /// Its number.
        lu: u64,
        /// Why.
        why: String,
    },
}

impl Event {
    /// Its class: things come, change and go, or somebody should look.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::NotRegistered { .. }
            | Self::LuFailed { .. }
            | Self::Node { is_up: false, .. }
            | Self::Path { state: State::Lost | State::Degraded, .. } => Class::Alert,
            Self::Registered { .. }
            | Self::Primary { .. }
            | Self::Node { is_up: true, .. }
            | Self::Path { state: State::Good, .. } => Class::Lifecycle,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered { number } => write!(f, "registered as VIOS {number}"),
            Self::NotRegistered { why } => write!(f, "is no member of the cluster: {why}"),
            Self::Primary { is_primary: true } => f.write_str("is the primary"),
            Self::Primary { is_primary: false } => f.write_str("is the primary no more"),
            Self::Path { adapter, storage, state, reason } => {
                let state = match state {
                    State::Good => "good",
                    State::Degraded => "degraded",
                    State::Lost => "lost",
                };
                write!(f, "path by {adapter} to {storage} is {state}: {reason}")
            }
            Self::Node { node, is_up: true } => write!(f, "node {node} is up"),
            Self::Node { node, is_up: false } => write!(f, "node {node} is down"),
            Self::LuFailed { lu, why } => write!(f, "LU {lu} can't be made: {why}"),
        }
    }
}

impl Row for EventRow {
    const WHAT: &'static str = "an event's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(18);
    type Key = EventKey;
}

/// Where an event is: its node, and which of that node's slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey {
    /// The node that told of it.
    pub node: NodeName,
    /// 0 up to but without [`EVENTS_KEPT`].
    pub slot: u8,
}

impl EventKey {
    /// Where a node's event of this number is.
    #[must_use]
    pub fn of(node: NodeName, number: u64) -> Self {
        let slot = u8::try_from(number % u64::from(EVENTS_KEPT)).expect("less than 128");
        Self { node, slot }
    }

    /// What the keys of a node's events begin with.
    #[must_use]
    pub fn prefix(node: &NodeName) -> Bytes {
        [node_bytes(node), &[0]].concat().into()
    }

    /// The first key behind those of a node's events.
    #[must_use]
    pub fn behind(node: &NodeName) -> Bytes {
        [node_bytes(node), &[1]].concat().into()
    }
}

impl Key for EventKey {
    fn bytes(&self) -> Bytes {
        [node_bytes(&self.node), &[0, self.slot]].concat().into()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (node, [0, slot]) = bytes.split_last_chunk()? else { return None };
        Some(Self { node: NodeName::read(node)?, slot: *slot })
    }
}

fn node_bytes(node: &NodeName) -> &[u8] {
    node.as_str().as_bytes()
}
