//! Which tables there are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::{Identity, Kind, NodeName, Role, Roles};
use vioduct_runtime::Wire;

use crate::ShardId;
use crate::command::{Place, TableId};

/// What a table's changes mean to those who watch.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Wire, Serialize, Deserialize,
)]
pub enum Class {
    /// Things come, change and go: who is behind needs only how they are now.
    Lifecycle,
    /// Each one counts.
    Alert,
}

/// Which nodes may change rows of a table. Tools may change all; who may read is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writers {
    /// Every node.
    #[default]
    Nodes,
    /// Those with one of these roles; with none named, no node.
    Roles(Roles),
    /// Those with one of these roles, and each only the rows whose keys are its own name, or begin
    /// with that and a zero byte.
    Own(Roles),
}

impl Writers {
    /// Those with one of these roles; with none named, no node.
    pub fn roles(roles: impl IntoIterator<Item = Role>) -> Self {
        Self::Roles(roles.into_iter().collect())
    }

    /// Those with one of these roles, and each only the rows whose keys are its own name, or begin
    /// with that and a zero byte.
    pub fn own(roles: impl IntoIterator<Item = Role>) -> Self {
        Self::Own(roles.into_iter().collect())
    }

    fn allow(self, identity: &Identity, key: &[u8]) -> bool {
        let has = |roles: Roles| identity.roles.iter().any(|role| roles.contains(role));
        match (identity.kind, self) {
            (Kind::Tool, _) | (Kind::Node, Self::Nodes) => true,
            (Kind::Node, Self::Roles(roles)) => has(roles),
            (Kind::Node, Self::Own(roles)) => has(roles) && is_of(&identity.name, key),
        }
    }
}

fn is_of(name: &NodeName, key: &[u8]) -> bool {
    let rest = key.strip_prefix(name.as_str().as_bytes());
    rest.is_some_and(|rest| matches!(rest, [] | [0, ..]))
}

/// The tables of a database, the same on all its nodes and clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    tables: BTreeMap<TableId, Table>,
    data_shards: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    name: String,
    class: Class,
    is_spread: bool,
    writers: Writers,
}

impl Schema {
    /// One with no tables, whose spread tables lie on the shards 1 to `data_shards`; with 0 all
    /// tables lie on shard 0.
    #[must_use]
    pub fn new(data_shards: u32) -> Self {
        Self { tables: BTreeMap::new(), data_shards }
    }

    /// And with this table, whose rows are spread over the shards by their keys. One that has the
    /// same number is replaced.
    #[must_use]
    pub fn spread_table(self, number: u16, name: &str, class: Class) -> Self {
        let (name, writers) = (name.to_owned(), Writers::Nodes);
        self.add(number, Table { name, class, is_spread: true, writers })
    }

    /// And with this table, all of whose rows lie on shard 0, so that a transaction can be over any
    /// of them. One that has the same number is replaced.
    #[must_use]
    pub fn system_table(self, number: u16, name: &str, class: Class) -> Self {
        let (name, writers) = (name.to_owned(), Writers::Nodes);
        self.add(number, Table { name, class, is_spread: false, writers })
    }

    /// And with the table of this number, if it has one, changed by these alone.
    #[must_use]
    pub fn written_by(mut self, number: u16, writers: Writers) -> Self {
        if let Some(table) = self.tables.get_mut(&TableId(number)) {
            table.writers = writers;
        }
        self
    }

    fn add(mut self, number: u16, table: Table) -> Self {
        self.tables.insert(TableId(number), table);
        self
    }

    /// Shards beside the system's.
    #[must_use]
    pub fn data_shards(&self) -> u32 {
        self.data_shards
    }

    /// On which shard a row lies.
    #[must_use]
    pub fn shard_of(&self, place: &Place) -> ShardId {
        match self.tables.get(&place.table) {
            Some(table) if table.is_spread && self.data_shards > 0 => {
                ShardId(1 + crc32c::crc32c(&place.key) % self.data_shards)
            }
            _system => ShardId(0),
        }
    }

    /// Whether there is such a table.
    #[must_use]
    pub fn has(&self, table: TableId) -> bool {
        self.tables.contains_key(&table)
    }

    /// A table's class.
    #[must_use]
    pub fn class(&self, table: TableId) -> Option<Class> {
        self.tables.get(&table).map(|table| table.class)
    }

    /// Whether every node may change every row of the table.
    pub(crate) fn is_open(&self, table: TableId) -> bool {
        self.tables.get(&table).is_none_or(|table| table.writers == Writers::Nodes)
    }

    /// Whether the holder of this certificate may change this row.
    #[must_use]
    pub fn may_write(&self, identity: &Identity, place: &Place) -> bool {
        let table = self.tables.get(&place.table);
        table.is_some_and(|table| table.writers.allow(identity, &place.key))
    }

    /// The table of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<TableId> {
        let found = self.tables.iter().find(|(_number, table)| table.name == name);
        found.map(|(number, _)| *number)
    }

    /// A table's name.
    #[must_use]
    pub fn name(&self, table: TableId) -> Option<&str> {
        self.tables.get(&table).map(|table| table.name.as_str())
    }

    /// The names of all tables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.values().map(|table| table.name.as_str())
    }
}
