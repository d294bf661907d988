//! What a node knows of its cluster: the rows of the database that it follows.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_db::client::{Db, Freshness};
use vioduct_db::command::{Place, TableId};
use vioduct_db::query::{FoundRow, Rows};

use super::admin::{AdminError, scan};
use super::row::{ClusterRow, Key, Row, RowError, TheCluster, check, followed};

/// The rows of the cluster's tables. A row that this program can't read is kept as it is, and
/// looks as if it were not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct View {
    /// Every change up to this revision is in it; some of it may be newer.
    pub revision: u64,
    rows: BTreeMap<(u16, Bytes), Written>,
}

/// A row's value, and the revision at which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) revision: u64,
    pub(super) value: Bytes,
}

impl View {
    /// The row of this key.
    #[must_use]
    pub fn get<R: Row>(&self, key: &R::Key) -> Option<R> {
        let row = self.rows.get(&(R::TABLE.0, key.bytes()))?;
        R::decode(&row.value).ok()
    }

    /// Whether there is a row of this key that this program can't read.
    pub(crate) fn is_unreadable<R: Row>(&self, key: &R::Key) -> bool {
        let row = self.rows.get(&(R::TABLE.0, key.bytes()));
        row.is_some_and(|row| R::decode(&row.value).is_err())
    }

    /// All rows of a table, in order.
    pub fn all<R: Row>(&self) -> impl Iterator<Item = (R::Key, R)> {
        self.written().map(|(key, _revision, row)| (key, row))
    }

    /// The same with the revisions at which they were written last.
    pub(crate) fn written<R: Row>(&self) -> impl Iterator<Item = (R::Key, u64, R)> {
        let table = R::TABLE.0;
        let rows = self.rows.range((table, Bytes::new())..);
        let rows = rows.take_while(move |((other, _key), _row)| *other == table);
        rows.filter_map(|((_table, key), row)| {
            Some((R::Key::read(key)?, row.revision, R::decode(&row.value).ok()?))
        })
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The cluster, if there is one.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterRow> {
        self.get(&TheCluster)
    }

    /// Whether both have the same rows; they may be of different revisions.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.rows == other.rows
    }

    /// Takes note of a row.
    pub(crate) fn set(&mut self, FoundRow { place, revision, value }: FoundRow) {
        if let Err(error) = check(place.table, &value) {
            tracing::warn!(table = place.table.0, %error, "a row is passed over");
        }
        self.rows.insert((place.table.0, place.key), Written { revision, value });
    }

    /// Takes note that there is no such row.
    pub(super) fn remove(&mut self, Place { table, key }: Place) {
        self.rows.remove(&(table.0, key));
    }

    /// Those behind this table and key, in order.
    pub(super) fn behind(
        &self,
        place: Option<(u16, Vec<u8>)>,
    ) -> impl Iterator<Item = (u16, &Bytes, &Written)> {
        let from = place
            .map_or(Bound::Unbounded, |(table, key)| Bound::Excluded((table, Bytes::from(key))));
        let rows = self.rows.range((from, Bound::Unbounded));
        rows.map(|((table, key), row)| (*table, key, row))
    }

    /// Why rows are passed over.
    pub fn unreadable(&self) -> impl Iterator<Item = RowError> {
        let rows = self.rows.iter();
        rows.filter_map(|((table, _key), row)| check(TableId(*table), &row.value).err())
    }

    /// All rows as the database has them, no older than that.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn read(db: &Db, freshness: Freshness) -> Result<Self, AdminError> {
        Ok(scan(db, &followed(), freshness).await?.into())
    }
}

impl From<Rows> for View {
    fn from(Rows { revision, rows, .. }: Rows) -> Self {
        let mut view = Self { revision, rows: BTreeMap::new() };
        rows.into_iter().for_each(|row| view.set(row));
        view
    }
}

/// A view as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    revision: u64,
    rows: Vec<StoredRow>,
}

/// Table, key, revision and value of a row, key and value in hexadecimal digits. Form 2 had no
/// revisions.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredRow {
    Written(u16, Hex, u64, Hex),
    Form2(u16, Hex, Hex),
}

impl From<View> for Stored {
    fn from(View { revision, rows }: View) -> Self {
        let rows = rows.into_iter().map(|((table, key), Written { revision, value })| {
            StoredRow::Written(table, Hex(key), revision, Hex(value))
        });
        Self { revision, rows: rows.collect() }
    }
}

impl From<Stored> for View {
    fn from(Stored { revision, rows }: Stored) -> Self {
        let rows = rows.into_iter().map(|row| {
            let (table, Hex(key), revision, Hex(value)) = match row {
                StoredRow::Written(table, key, revision, value) => (table, key, revision, value),
                StoredRow::Form2(table, key, value) => (table, key, 0, value),
            };
            ((table, key), Written { revision, value })
        });
        Self { revision, rows: rows.collect() }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hex(Bytes);

impl From<Hex> for String {
    fn from(Hex(bytes): Hex) -> Self {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("four bits");
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "hexadecimal digits are wrong";
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(wrong);
        }
        let byte = |pair: &[u8; 2]| {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            u8::try_from(high? * 16 + low?).ok()
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes.map(|bytes| Self(bytes.into())).ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::row::{LuRow, ViosRow};
    use crate::redirect::name::ViosId;

    fn row(number: u32) -> ViosRow {
        ViosRow::admitted(ViosId(number))
    }

    fn place(node: &str) -> Place {
        ViosRow::place(&node.parse().unwrap())
    }

    fn found(node: &str, value: Bytes) -> FoundRow {
        FoundRow { place: place(node), revision: 5, value }
    }

    fn vioses(view: &View) -> Vec<(String, u32)> {
        view.all::<ViosRow>().map(|(node, row)| (node.to_string(), row.number)).collect()
    }

    #[test]
    fn rows_come_change_and_go() {
        let mut view = View::default();
        for (node, number) in [("v2", 4), ("v0", 5), ("v1", 6), ("v2", 7)] {
            view.set(found(node, row(number).encode()));
        }
        let named = |all: [(&str, u32); 3]| all.map(|(node, number)| (node.to_owned(), number));
        assert_eq!(vioses(&view), named([("v0", 5), ("v1", 6), ("v2", 7)]));
        assert_eq!(view.get(&"v1".parse().unwrap()), Some(row(6)));
        view.remove(place("v1"));
        view.remove(place("v1"));
        assert_eq!(view.get::<ViosRow>(&"v1".parse().unwrap()), None);
        // Rows of other tables are not its neighbours.
        assert_eq!(view.all::<LuRow>().count() + view.all::<ClusterRow>().count(), 0);
    }

    #[test]
    fn a_row_that_is_not_read_hides_no_other() {
        let mut view = View::default();
        view.set(found("v1", row(1).encode()));
        view.set(found("v2", Bytes::from_static(&[9, 9])));
        view.set(found("v3", row(3).encode()));
        assert_eq!(vioses(&view), [("v1".to_owned(), 1), ("v3".to_owned(), 3)]);
        assert_eq!(view.get::<ViosRow>(&"v2".parse().unwrap()), None);
        let unreadable =
            ["v1", "v2", "v4"].map(|node| view.is_unreadable::<ViosRow>(&node.parse().unwrap()));
        assert_eq!(unreadable, [false, true, false]);
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let mut view = View { revision: 7, ..View::default() };
        view.set(found("v1", row(300).encode()));
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(text, r#"{"revision":7,"rows":[[11,"7631",5,"01fb2c0100"]]}"#);
        assert_eq!(serde_json::from_str::<View>(&text).unwrap(), view);
        for digits in ["7", "7x", "+1", "\u{e4}"] {
            let spoilt = text.replace("7631", digits);
            assert!(serde_json::from_str::<View>(&spoilt).is_err(), "{digits}");
        }
    }

    #[test]
    fn what_an_earlier_program_stored_is_read_and_differs_from_what_the_database_has() {
        let text = r#"{"revision":7,"rows":[[11,"7631","01fb2c0100"]]}"#;
        let stored: View = serde_json::from_str(text).unwrap();
        assert_eq!(stored.get(&"v1".parse().unwrap()), Some(row(300)));
        let mut read = View { revision: 7, ..View::default() };
        read.set(found("v1", row(300).encode()));
        assert!(!stored.is_as(&read), "its versions are not known");
    }
}
