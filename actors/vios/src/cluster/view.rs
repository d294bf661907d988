//! What a node knows of its cluster: the rows of the database that it follows.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_db::client::{Db, Freshness};
use vioduct_db::command::{Place, TableId};

use super::admin::{AdminError, scan};
use super::row::{ClusterRow, Key, Row, RowError, TheCluster, check, followed};

/// The rows of the cluster's tables. A row that this program can't read is kept as it is, and
/// looks as if it were not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct View {
    /// Every change up to this revision is in it; some of it may be newer.
    pub revision: u64,
    rows: BTreeMap<(u16, Bytes), Bytes>,
}

impl View {
    /// The row of this key.
    #[must_use]
    pub fn get<R: Row>(&self, key: &R::Key) -> Option<R> {
        let value = self.rows.get(&(R::TABLE.0, key.bytes()))?;
        R::decode(value).ok()
    }

    /// Whether there is a row of this key that this program can't read.
    pub(crate) fn is_unreadable<R: Row>(&self, key: &R::Key) -> bool {
        let value = self.rows.get(&(R::TABLE.0, key.bytes()));
        value.is_some_and(|value| R::decode(value).is_err())
    }

    /// All rows of a table, in order.
    pub fn all<R: Row>(&self) -> impl Iterator<Item = (R::Key, R)> {
        let table = R::TABLE.0;
        let rows = self.rows.range((table, Bytes::new())..);
        let rows = rows.take_while(move |((other, _key), _value)| *other == table);
        rows.filter_map(|((_table, key), value)| Some((R::Key::read(key)?, R::decode(value).ok()?)))
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

    /// Takes note of a row, or that there is none.
    pub(crate) fn set(&mut self, place: Place, value: Option<Bytes>) {
        let Place { table, key } = place;
        let key = (table.0, key);
        match value {
            Some(value) => {
                if let Err(error) = check(table, &value) {
                    tracing::warn!(table = table.0, %error, "a row is passed over");
                }
                self.rows.insert(key, value);
            }
            None => drop(self.rows.remove(&key)),
        }
    }

    /// Those behind this table and key, in order.
    pub(super) fn behind(
        &self,
        place: Option<(u16, Vec<u8>)>,
    ) -> impl Iterator<Item = (u16, &Bytes, &Bytes)> {
        let from = place
            .map_or(Bound::Unbounded, |(table, key)| Bound::Excluded((table, Bytes::from(key))));
        let rows = self.rows.range((from, Bound::Unbounded));
        rows.map(|((table, key), value)| (*table, key, value))
    }

    /// Why rows are passed over.
    pub fn unreadable(&self) -> impl Iterator<Item = RowError> {
        let rows = self.rows.iter();
        rows.filter_map(|((table, _key), value)| check(TableId(*table), value).err())
    }

    /// All rows as the database has them, no older than that.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn read(db: &Db, freshness: Freshness) -> Result<Self, AdminError> {
        let found = scan(db, &followed(), freshness).await?;
        let mut view = Self { revision: found.revision, rows: BTreeMap::new() };
        for row in found.rows {
            view.set(row.place, Some(row.value));
        }
        Ok(view)
    }
}

/// A view as it is stored: table, key and value of each row, the latter two in hexadecimal digits.
#[derive(Serialize, Deserialize)]
struct Stored {
    revision: u64,
    rows: Vec<(u16, Hex, Hex)>,
}

impl From<View> for Stored {
    fn from(View { revision, rows }: View) -> Self {
        let rows = rows.into_iter().map(|((table, key), value)| (table, Hex(key), Hex(value)));
        Self { revision, rows: rows.collect() }
    }
}

impl From<Stored> for View {
    fn from(Stored { revision, rows }: Stored) -> Self {
        let rows = rows.into_iter().map(|(table, Hex(key), Hex(value))| ((table, key), value));
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

    fn vioses(view: &View) -> Vec<(String, u32)> {
        view.all::<ViosRow>().map(|(node, row)| (node.to_string(), row.number)).collect()
    }

    #[test]
    fn rows_come_change_and_go() {
        let mut view = View::default();
        for (node, number) in [("v2", 4), ("v0", 5), ("v1", 6), ("v2", 7)] {
            view.set(place(node), Some(row(number).encode()));
        }
        let named = |all: [(&str, u32); 3]| all.map(|(node, number)| (node.to_owned(), number));
        assert_eq!(vioses(&view), named([("v0", 5), ("v1", 6), ("v2", 7)]));
        assert_eq!(view.get(&"v1".parse().unwrap()), Some(row(6)));
        view.set(place("v1"), None);
        view.set(place("v1"), None);
        assert_eq!(view.get::<ViosRow>(&"v1".parse().unwrap()), None);
        // Rows of other tables are not its neighbours.
        assert_eq!(view.all::<LuRow>().count() + view.all::<ClusterRow>().count(), 0);
    }

    #[test]
    fn a_row_that_is_not_read_hides_no_other() {
        let mut view = View::default();
        view.set(place("v1"), Some(row(1).encode()));
        view.set(place("v2"), Some(Bytes::from_static(&[9, 9])));
        view.set(place("v3"), Some(row(3).encode()));
        assert_eq!(vioses(&view), [("v1".to_owned(), 1), ("v3".to_owned(), 3)]);
        assert_eq!(view.get::<ViosRow>(&"v2".parse().unwrap()), None);
        let unreadable =
            ["v1", "v2", "v4"].map(|node| view.is_unreadable::<ViosRow>(&node.parse().unwrap()));
        assert_eq!(unreadable, [false, true, false]);
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let mut view = View { revision: 7, ..View::default() };
        view.set(place("v1"), Some(row(300).encode()));
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(text, r#"{"revision":7,"rows":[[11,"7631","01fb2c0100"]]}"#);
        assert_eq!(serde_json::from_str::<View>(&text).unwrap(), view);
        for digits in ["7", "7x", "+1", "\u{e4}"] {
            let spoilt = text.replace("7631", digits);
            assert!(serde_json::from_str::<View>(&spoilt).is_err(), "{digits}");
        }
    }
}
