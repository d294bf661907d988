//! Rows of the cluster's tables, and how they become bytes.
//!
//! A row is one byte, the version of its table's form, and a value in the cluster's encoding. A
//! table's form changes with its version: who meets a newer one says so, and guesses nothing.

use std::fmt;

use bytes::Bytes;
use rand::Rng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_db::command::{Place, TableId};
use vioduct_db::schema::{Class, Schema};
use vioduct_runtime::{Codec, Wire};

use crate::redirect::name::ViosId;

const CODEC: Codec = Codec::Bincode;

const CLUSTER: TableId = TableId(10);
const VIOS: TableId = TableId(11);
const UNIQUE: TableId = TableId(12);
const PRIMARY: TableId = TableId(13);

/// The counter of VIOSes' numbers.
pub(super) const VIOS_NUMBERS: &[u8] = b"vios";

/// That database, with the cluster's tables: they lie on the system's shard, so that a transaction
/// can be over any of them.
#[must_use]
pub fn with_tables(schema: Schema) -> Schema {
    schema
        .system_table(CLUSTER.0, "cluster", Class::Lifecycle)
        .system_table(VIOS.0, "vios", Class::Lifecycle)
        .system_table(UNIQUE.0, "unique", Class::Lifecycle)
        .system_table(PRIMARY.0, "primary", Class::Lifecycle)
}

/// What makes a VIOS the one that it is: drawn by itself when it first starts, and never again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Wire, Serialize, Deserialize)]
pub struct UniqueId(pub [u8; 16]);

impl UniqueId {
    /// A new one.
    #[must_use]
    pub fn draw(chance: &mut impl Rng) -> Self {
        Self(chance.random())
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UniqueId({self})")
    }
}

/// A row of a table of the cluster.
pub(super) trait Row: Serialize + DeserializeOwned {
    /// What it is, for people.
    const WHAT: &'static str;
    /// The version of its form.
    const VERSION: u8;

    fn encode(&self) -> Bytes {
        let mut bytes = vec![Self::VERSION];
        CODEC.encode(self, &mut bytes).expect("rows are plain values");
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let what = Self::WHAT;
        match bytes.split_first() {
            Some((version, value)) if *version == Self::VERSION => {
                CODEC.decode(value).map_err(|_unreadable| RowError::Unreadable { what })
            }
            Some((version, _value)) if *version > Self::VERSION => {
                Err(RowError::Newer { what, version: *version, known: Self::VERSION })
            }
            Some(_) | None => Err(RowError::Unreadable { what }),
        }
    }
}

/// Why a row is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A newer program wrote it. Mend: update this one.
    #[error("{what} has form {version}, and this program knows {known} at most: update it")]
    Newer {
        /// What it is.
        what: &'static str,
        /// Its form.
        version: u8,
        /// The newest form that is known.
        known: u8,
    },
    /// It is no such row. Fault: who wrote it.
    #[error("{what} is not readable")]
    Unreadable {
        /// What it should be.
        what: &'static str,
    },
}

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
pub(super) struct UniqueRow(pub(super) NodeName);

impl Row for UniqueRow {
    const WHAT: &'static str = "a unique ID's row";
    const VERSION: u8 = 1;
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
}

pub(super) fn primary_place() -> Place {
    Place { table: PRIMARY, key: Bytes::from_static(b"primary") }
}

pub(super) const fn primary_table() -> TableId {
    PRIMARY
}

pub(super) fn cluster_place() -> Place {
    Place { table: CLUSTER, key: Bytes::from_static(b"cluster") }
}

pub(super) fn vios_place(node: &NodeName) -> Place {
    Place { table: VIOS, key: Bytes::copy_from_slice(node.as_str().as_bytes()) }
}

pub(super) fn unique_place(unique: UniqueId) -> Place {
    Place { table: UNIQUE, key: Bytes::copy_from_slice(&unique.0) }
}

pub(super) const fn cluster_table() -> TableId {
    CLUSTER
}

pub(super) const fn vios_table() -> TableId {
    VIOS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered() -> Registered {
        let (unique, software) = (UniqueId([7; 16]), "0.1.0".to_owned());
        Registered { unique, cec: 2, software, incarnation: 300 }
    }

    #[test]
    fn rows_have_the_bytes_that_they_always_had() {
        let cluster = ClusterRow { name: "blue".into(), id: UniqueId([9; 16]), language: 1 };
        let bytes = [&[1, 4][..], b"blue", &[9; 16], &[1]].concat();
        assert_eq!(cluster.encode(), bytes);
        assert_eq!(ClusterRow::decode(&bytes), Ok(cluster));
        let vios = ViosRow { number: 3, registered: Some(registered()) };
        let bytes = [&[1, 3, 1][..], &[7; 16], &[2, 5], b"0.1.0", &[251, 44, 1]].concat();
        assert_eq!(vios.encode(), bytes);
        assert_eq!(ViosRow::decode(&bytes), Ok(vios));
    }

    #[test]
    fn a_newer_row_and_one_that_is_none_are_told_apart() {
        let newer = RowError::Newer { what: "a VIOS's row", version: 2, known: 1 };
        assert_eq!(ViosRow::decode(&[2, 0, 0]), Err(newer));
        for bytes in [&[][..], &[0], &[1], &[1, 3], &[1, 3, 0, 0]] {
            let unreadable = RowError::Unreadable { what: "a VIOS's row" };
            assert_eq!(ViosRow::decode(bytes), Err(unreadable), "{bytes:?}");
        }
    }
}
