//! What is stored where, and who sees it: pools, LUs, client partitions and their VTDs.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_db::command::TableId;

use super::{Key, NameError, ObjectName, Row, RowError, decode_form, decode_row, encode_form};
use crate::redirect::name::LuId;

/// A pool of storage, by its name: LUs are carved from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRow {
    /// What its LUs lie on.
    pub storage: Storage,
    /// How many LUs it has.
    pub lus: u32,
}

/// What the LUs of a pool lie on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Storage {
    /// What this node serves: LUs are made, enlarged and deleted there.
    Node(NodeName),
    /// A server outside of the cluster: LUs are its exports, which are there as they are.
    Outside {
        /// Within what time it carries a request out, or never, milliseconds; none if nobody knows.
        request_life_ms: Option<u32>,
    },
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{node}"),
            Self::Outside { .. } => f.write_str("a storage outside of the cluster"),
        }
    }
}

/// Form 1 has a node alone for its storage. It is still written wherever it says all.
impl Row for PoolRow {
    const WHAT: &'static str = "a pool's row";
    const VERSION: u8 = 2;
    const TABLE: TableId = TableId(14);
    type Key = ObjectName;

    fn encode(&self) -> Bytes {
        match &self.storage {
            Storage::Node(node) => encode_form(1, &(node, self.lus)),
            Storage::Outside { .. } => encode_form(Self::VERSION, self),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        match decode_form::<Self, (NodeName, u32)>(1, bytes)? {
            Some((node, lus)) => Ok(Self { storage: Storage::Node(node), lus }),
            None => decode_row(bytes),
        }
    }
}

/// A logical unit, by its number, which is never that of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LuRow {
    /// Its pool.
    pub pool: ObjectName,
    /// Bytes; 0 on a storage outside of the cluster, which alone knows.
    pub size: u64,
    /// Drawn when it was created, not 0: tells it from one that an earlier database called so.
    pub birth: u64,
    /// How far it is.
    pub phase: LuPhase,
    /// The VTDs that show it.
    pub vtds: Vec<VtdKey>,
    /// What it is on a storage outside of the cluster, if it lies there.
    pub export: Option<ExportRow>,
}

/// An LU on a storage outside of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRow {
    /// The name of the export; the empty one is the server's default.
    pub name: String,
    /// The VIOS of this node alone uses it, so that its connections need not see the same data.
    pub only: Option<NodeName>,
}

/// How far an LU is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LuPhase {
    /// Its storage has to make it.
    Making,
    /// It is there.
    Ready,
    /// Its storage can't make it.
    Failed(String),
    /// Its storage has to delete it.
    Deleting,
}

/// Form 1 has no exports. It is still written wherever it says all.
impl Row for LuRow {
    const WHAT: &'static str = "an LU's row";
    const VERSION: u8 = 2;
    const TABLE: TableId = TableId(15);
    type Key = LuId;

    fn encode(&self) -> Bytes {
        let Self { pool, size, birth, phase, vtds, export } = self;
        match export {
            None => encode_form(1, &(pool, size, birth, phase, vtds)),
            Some(_) => encode_form(Self::VERSION, self),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        type Form1 = (ObjectName, u64, u64, LuPhase, Vec<VtdKey>);
        match decode_form::<Self, Form1>(1, bytes)? {
            Some((pool, size, birth, phase, vtds)) => {
                Ok(Self { pool, size, birth, phase, vtds, export: None })
            }
            None => decode_row(bytes),
        }
    }
}

/// Who owns an LU on a storage outside of the cluster, by the LU's number: that keeps no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRow {
    /// The node of the hypervisor whose owner has the number.
    pub node: NodeName,
    /// The last number that was given.
    pub owner: u64,
    /// That owner has closed in order: nothing of it can land any more.
    pub is_clean: bool,
}

impl Row for OwnerRow {
    const WHAT: &'static str = "the row of an LU's owner";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(23);
    type Key = LuId;
}

impl Key for LuId {
    fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(u64::from_be_bytes).map(Self)
    }
}

/// A client partition, by its CEC and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRow {
    /// Its ClientID, never that of another one.
    pub number: u32,
    /// Its VTDs.
    pub vtds: Vec<VtdKey>,
}

impl Row for ClientRow {
    const WHAT: &'static str = "a client's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(16);
    type Key = ClientKey;
}

/// Which client partition: written `CEC/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientKey {
    /// The computing electronic complex that it runs in.
    pub cec: u32,
    /// Its name there.
    pub name: ObjectName,
}

impl Key for ClientKey {
    fn bytes(&self) -> Bytes {
        [&self.cec.to_be_bytes(), self.name.as_str().as_bytes()].concat().into()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (cec, name) = bytes.split_first_chunk()?;
        Some(Self { cec: u32::from_be_bytes(*cec), name: ObjectName::read(name)? })
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cec, self.name)
    }
}

/// The text names no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoClient {
    /// It has no CEC.
    #[error("{0:?} is no client; needed is CEC/NAME, as 1/lpar1")]
    Form(String),
    /// Its name is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for ClientKey {
    type Err = NoClient;

    fn from_str(text: &str) -> Result<Self, NoClient> {
        let form = || NoClient::Form(text.chars().take(64).collect());
        let (cec, name) = text.split_once('/').ok_or_else(form)?;
        let cec = cec.parse().map_err(|_no_number| form())?;
        Ok(Self { cec, name: name.parse()? })
    }
}

/// A virtual target device, by its number: it shows an LU to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VtdRow {
    /// The LU.
    pub lu: u64,
    /// The client.
    pub client: ClientKey,
    /// Where the client finds it, `unix:/PATH` or `tcp:ADDR:PORT`; where its hypervisor says if
    /// there is none.
    pub front: Option<String>,
}

impl Row for VtdRow {
    const WHAT: &'static str = "a VTD's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(17);
    type Key = VtdKey;
}

/// A VTD's number, never that of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VtdKey(pub u32);

impl Key for VtdKey {
    fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(u32::from_be_bytes).map(Self)
    }
}
