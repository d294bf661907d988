//! The cluster and its VIOSes.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_db::command::TableId;
use vioduct_runtime::Wire;

use super::{Key, Row, UniqueId};
use crate::redirect::name::ViosId;

/// The cluster itself.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct ClusterRow {
    /// What operators call it.
    pub name: String,
    /// Tells it from every other one, also of the same name.
    pub id: UniqueId,
    /// The language that its members speak.
    pub language: u32,
}

impl Row for ClusterRow {
    const WHAT: &'static str = "the cluster's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(10);
    type Key = TheCluster;
}

/// There is one row of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TheCluster;

impl Key for TheCluster {
    fn bytes(&self) -> Bytes {
        Bytes::from_static(b"cluster")
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        (bytes == b"cluster").then_some(Self)
    }
}

/// A VIOS that is a member, by the name of its node.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct ViosRow {
    /// Its number, never that of another one.
    pub number: u32,
    /// What it said of itself when it registered last; nothing before the first time.
    pub registered: Option<Registered>,
}

/// What a VIOS says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Registered {
    /// Which one it is.
    pub unique: UniqueId,
    /// The computing electronic complex that it runs in.
    pub cec: u32,
    /// Its software's version.
    pub software: String,
    /// The incarnation of its node.
    pub incarnation: u64,
}

impl Row for ViosRow {
    const WHAT: &'static str = "a VIOS's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(11);
    type Key = NodeName;
}

impl ViosRow {
    /// One that was admitted, and has not registered yet.
    #[must_use]
    pub const fn admitted(number: ViosId) -> Self {
        Self { number: number.0, registered: None }
    }
}

/// Whose unique ID it is: the name of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UniqueRow(pub(crate) NodeName);

impl Row for UniqueRow {
    const WHAT: &'static str = "a unique ID's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(12);
    type Key = UniqueId;
}

/// The primary, for as long as it keeps its lease alive.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct PrimaryRow {
    /// Its node.
    pub node: String,
    /// Its number.
    pub number: u32,
}

impl Row for PrimaryRow {
    const WHAT: &'static str = "the primary's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(13);
    type Key = ThePrimary;
}

/// The nodes that the primary counts as up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveRow {
    /// Their names.
    pub nodes: BTreeSet<NodeName>,
}

impl Row for ActiveRow {
    const WHAT: &'static str = "the active nodes' row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(19);
    type Key = TheActive;
}

/// There is one row of active nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TheActive;

impl Key for TheActive {
    fn bytes(&self) -> Bytes {
        Bytes::from_static(b"active")
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        (bytes == b"active").then_some(Self)
    }
}

/// There is one row of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThePrimary;

impl Key for ThePrimary {
    fn bytes(&self) -> Bytes {
        Bytes::from_static(b"primary")
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        (bytes == b"primary").then_some(Self)
    }
}
