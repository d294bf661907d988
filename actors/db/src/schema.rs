//! Which tables there are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
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
        self.add(number, Table { name: name.to_owned(), class, is_spread: true })
    }

    /// And with this table, all of whose rows lie on shard 0, so that a transaction can be over any
    /// of them. One that has the same number is replaced.
    #[must_use]
    pub fn system_table(self, number: u16, name: &str, class: Class) -> Self {
        self.add(number, Table { name: name.to_owned(), class, is_spread: false })
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
