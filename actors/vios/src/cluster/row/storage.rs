//! What is stored where, and who sees it: pools, LUs, client partitions and their VTDs.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_db::command::TableId;

use super::{Key, NameError, ObjectName, Row};
use crate::redirect::name::LuId;

/// A pool of storage, by its name: LUs are carved from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRow {
    /// The node that serves it.
    pub storage: NodeName,
    /// How many LUs it has.
    pub lus: u32,
}

impl Row for PoolRow {
    const WHAT: &'static str = "a pool's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(14);
    type Key = ObjectName;
}

/// A logical unit, by its number, which is never that of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LuRow {
    /// Its pool.
    pub pool: ObjectName,
    /// Bytes.
    pub size: u64,
    /// Drawn when it was created, not 0: tells it from one that an earlier database called so.
    pub birth: u64,
    /// How far it is.
    pub phase: LuPhase,
    /// The VTDs that show it.
    pub vtds: Vec<VtdKey>,
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

impl Row for LuRow {
    const WHAT: &'static str = "an LU's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(15);
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
