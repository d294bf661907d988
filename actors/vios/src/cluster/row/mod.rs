//! Rows of the cluster's tables, and how they become bytes.
//!
//! A row is one byte, the version of its table's form, and a value in the cluster's encoding. A
//! table's form changes with its version: who meets a newer one says so, and guesses nothing.

mod member;
mod name;
mod storage;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vioduct_certs::identity::NodeName;
use vioduct_db::command::{Place, TableId};
use vioduct_db::schema::{Class, Schema};
use vioduct_runtime::Codec;

pub(super) use self::member::UniqueRow;
pub use self::member::{ClusterRow, PrimaryRow, Registered, TheCluster, ThePrimary, ViosRow};
pub use self::name::{NameError, ObjectName, UniqueId};
pub use self::storage::{ClientKey, ClientRow, LuPhase, LuRow, NoClient, PoolRow, VtdKey, VtdRow};

const CODEC: Codec = Codec::Bincode;

/// A table of the cluster.
struct Table {
    id: TableId,
    name: &'static str,
    /// Nodes keep its rows in their views.
    is_followed: bool,
    check: fn(&[u8]) -> Result<(), RowError>,
}

impl Table {
    const fn of<R: Row>(name: &'static str, is_followed: bool) -> Self {
        let check = |value: &[u8]| R::decode(value).map(drop);
        Self { id: R::TABLE, name, is_followed, check }
    }
}

const TABLES: [Table; 8] = [
    Table::of::<ClusterRow>("cluster", true),
    Table::of::<ViosRow>("vios", true),
    Table::of::<UniqueRow>("unique", false),
    Table::of::<PrimaryRow>("primary", false),
    Table::of::<PoolRow>("pool", true),
    Table::of::<LuRow>("lu", true),
    Table::of::<ClientRow>("client", true),
    Table::of::<VtdRow>("vtd", true),
];

/// That database, with the cluster's tables: they lie on the system's shard, so that a transaction
/// can be over any of them.
#[must_use]
pub fn with_tables(schema: Schema) -> Schema {
    TABLES
        .iter()
        .fold(schema, |schema, table| schema.system_table(table.id.0, table.name, Class::Lifecycle))
}

/// The tables whose rows nodes keep in their views.
pub(super) fn followed() -> Vec<TableId> {
    TABLES.iter().filter(|table| table.is_followed).map(|table| table.id).collect()
}

/// Whether this program can read a row of a table.
pub(super) fn check(table: TableId, value: &[u8]) -> Result<(), RowError> {
    match TABLES.iter().find(|known| known.id == table) {
        Some(known) => (known.check)(value),
        None => Err(RowError::Unreadable { what: "a row of a table that this program lacks" }),
    }
}

/// A row of a table of the cluster.
pub trait Row: Serialize + DeserializeOwned {
    /// What it is, for people.
    const WHAT: &'static str;
    /// The version of its form.
    const VERSION: u8;
    /// Its table.
    const TABLE: TableId;
    /// What tells it from the other rows of its table.
    type Key: Key;

    /// Where the row of this key is.
    fn place(key: &Self::Key) -> Place {
        Place { table: Self::TABLE, key: key.bytes() }
    }

    /// Its bytes.
    fn encode(&self) -> Bytes {
        let mut bytes = vec![Self::VERSION];
        CODEC.encode(self, &mut bytes).expect("rows are plain values");
        bytes.into()
    }

    /// Reads what [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// [`RowError`]
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

/// What tells a row from the others of its table. Keys sort as their bytes do.
pub trait Key: Sized {
    /// Its bytes.
    fn bytes(&self) -> Bytes;

    /// Reads what [`bytes`](Self::bytes) made.
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl Key for NodeName {
    fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_str().as_bytes())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
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

#[cfg(test)]
mod tests;
