//! Rows of the cluster's tables, and how they become bytes.
//!
//! A row is one byte, the version of its table's form, and a value in the cluster's encoding. A
//! table's form changes with its version: who meets a newer one says so, and guesses nothing.

mod adapter;
mod event;
mod member;
mod name;
mod redundancy;
mod storage;
mod transfer;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vioduct_certs::identity::{NodeName, Role};
use vioduct_db::command::{Place, TableId};
use vioduct_db::schema::{Class, Schema, Writers};
use vioduct_runtime::Codec;

pub use self::adapter::{AdapterKey, AdapterRow};
pub use self::event::{EVENTS_KEPT, Event, EventKey, EventRow, Happened};
pub(super) use self::member::UniqueRow;
pub use self::member::{
    ActiveRow, ClusterRow, PrimaryRow, Registered, TheActive, TheCluster, ThePrimary, ViosRow,
};
pub use self::name::{NameError, ObjectName, UniqueId};
pub use self::redundancy::{RedundancyRow, ToldPath};
pub use self::storage::{
    ClientKey, ClientRow, ExportRow, LuPhase, LuRow, NoClient, OwnerRow, PoolRow, Storage, VtdKey,
    VtdRow,
};
pub use self::transfer::{RunnerRow, TransferKind, TransferRow};

const CODEC: Codec = Codec::Bincode;

/// A table of the cluster.
struct Table {
    id: TableId,
    name: &'static str,
    class: Class,
    /// Nodes keep its rows in their views.
    is_followed: bool,
    writers: Nodes,
    check: fn(&[u8]) -> Result<(), RowError>,
}

/// The nodes that change a table's rows, by their roles; beside them, operators do.
#[derive(Clone, Copy)]
enum Nodes {
    /// Any row.
    All(&'static [Role]),
    /// Each those of its own name.
    Own(&'static [Role]),
}

impl Table {
    /// One whose rows operators alone change.
    const fn of<R: Row>(name: &'static str) -> Self {
        let check = |value: &[u8]| R::decode(value).map(drop);
        let (class, writers) = (Class::Lifecycle, Nodes::All(&[]));
        Self { id: R::TABLE, name, class, is_followed: false, writers, check }
    }

    const fn followed(self) -> Self {
        Self { is_followed: true, ..self }
    }

    const fn alert(self) -> Self {
        Self { class: Class::Alert, ..self }
    }

    const fn written_by(self, writers: Nodes) -> Self {
        Self { writers, ..self }
    }

    fn add_to(&self, schema: Schema) -> Schema {
        let writers = match self.writers {
            Nodes::All(roles) => Writers::roles(roles.iter().copied()),
            Nodes::Own(roles) => Writers::own(roles.iter().copied()),
        };
        schema.system_table(self.id.0, self.name, self.class).written_by(self.id.0, writers)
    }
}

const VIOSES: &[Role] = &[Role::Vios];
const PHYPS: &[Role] = &[Role::Phyp];
const STORAGES: &[Role] = &[Role::Storage];
const ALL_BUT_DB: &[Role] = &[Role::Phyp, Role::Storage, Role::Vios];

const TABLES: [Table; 15] = [
    Table::of::<ClusterRow>("cluster").followed(),
    Table::of::<ViosRow>("vios").followed().written_by(Nodes::Own(VIOSES)),
    Table::of::<UniqueRow>("unique").written_by(Nodes::All(VIOSES)),
    Table::of::<PrimaryRow>("primary").followed().written_by(Nodes::All(VIOSES)),
    Table::of::<ActiveRow>("active").written_by(Nodes::All(VIOSES)),
    Table::of::<PoolRow>("pool").followed().written_by(Nodes::All(STORAGES)),
    Table::of::<LuRow>("lu").followed().written_by(Nodes::All(STORAGES)),
    Table::of::<ClientRow>("client").followed(),
    Table::of::<VtdRow>("vtd").followed(),
    Table::of::<AdapterRow>("adapter").written_by(Nodes::All(VIOSES)),
    Table::of::<RedundancyRow>("redundancy").written_by(Nodes::Own(VIOSES)),
    Table::of::<OwnerRow>("owner").followed().written_by(Nodes::All(PHYPS)),
    Table::of::<TransferRow>("transfer"),
    Table::of::<RunnerRow>("transfer-runner"),
    Table::of::<EventRow>("event").alert().written_by(Nodes::Own(ALL_BUT_DB)),
];

/// That database, with the cluster's tables: they lie on the system's shard, so that a transaction
/// can be over any of them.
#[must_use]
pub fn with_tables(schema: Schema) -> Schema {
    TABLES.iter().fold(schema, |schema, table| table.add_to(schema))
}

/// The tables whose rows nodes keep in their views.
pub fn followed() -> Vec<TableId> {
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
        encode_form(Self::VERSION, self)
    }

    /// Reads what [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// [`RowError`]
    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        decode_row(bytes)
    }
}

fn encode_form(version: u8, value: &impl Serialize) -> Bytes {
    let mut bytes = vec![version];
    CODEC.encode(value, &mut bytes).expect("rows are plain values");
    bytes.into()
}

/// The value of a row of this form, if it has this form.
fn decode_form<R: Row, T: DeserializeOwned>(
    version: u8,
    bytes: &[u8],
) -> Result<Option<T>, RowError> {
    let value = bytes.strip_prefix(&[version]).map(|value| CODEC.decode(value));
    value.transpose().map_err(|_unreadable| RowError::Unreadable { what: R::WHAT })
}

/// A row of the form that it has now.
fn decode_row<R: Row>(bytes: &[u8]) -> Result<R, RowError> {
    let (what, known) = (R::WHAT, R::VERSION);
    match decode_form::<R, R>(known, bytes)? {
        Some(row) => Ok(row),
        None => Err(match bytes.first() {
            Some(version) if *version > known => RowError::Newer { what, version: *version, known },
            Some(_) | None => RowError::Unreadable { what },
        }),
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
