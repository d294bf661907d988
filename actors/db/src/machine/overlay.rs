//! Changes that are not written yet, over the rows that are there.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::StoreError;
use crate::state::{Change, Row, ShardState};

/// Rows as they will be once the gathered changes are written.
#[derive(Debug)]
pub struct Overlay<S> {
    rows: S,
    changes: BTreeMap<Bytes, Option<Bytes>>,
    /// What was read of the rows and is needed by many commands.
    kept: BTreeMap<Bytes, Option<Bytes>>,
}

impl<S: ShardState> Overlay<S> {
    /// Over a shard's rows, with no change yet.
    pub fn new(rows: S) -> Self {
        Self { rows, changes: BTreeMap::new(), kept: BTreeMap::new() }
    }

    /// A row's value.
    ///
    /// # Errors
    ///
    /// As the store says.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.rows.get(key),
        }
    }

    /// A row's value, which stays in memory for those who ask for it again. For small ones.
    ///
    /// # Errors
    ///
    /// As the store says.
    pub fn get_and_keep(&mut self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        if let Some(value) = self.changes.get(&key).or_else(|| self.kept.get(&key)) {
            return Ok(value.clone());
        }
        let value = self.rows.get(&key)?;
        self.kept.insert(key, value.clone());
        Ok(value)
    }

    /// Writes a row.
    pub fn put(&mut self, key: Bytes, value: Bytes) {
        self.changes.insert(key, Some(value));
    }

    /// Takes a row away, whether it is there or not.
    pub fn delete(&mut self, key: Bytes) {
        self.changes.insert(key, None);
    }

    /// The first `most` rows with `from <= key < to`.
    ///
    /// # Errors
    ///
    /// As the store says.
    pub fn scan(&self, from: &Bytes, to: &Bytes, most: usize) -> Result<Vec<Row>, StoreError> {
        let mut found = BTreeMap::new();
        let mut next = from.clone();
        while found.len() < most {
            let rows = self.rows.scan(&next, to, most, usize::MAX)?;
            let Some((last, _value)) = rows.last() else { break };
            next = after(last);
            let is_all = rows.len() < most;
            found.extend(rows.into_iter().filter(|(key, _value)| !self.changes.contains_key(key)));
            if is_all {
                break;
            }
        }
        let changed = self.changes.range(from.clone()..to.clone());
        let written = changed.filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        found.extend(written);
        Ok(found.into_iter().take(most).collect())
    }

    /// The gathered changes, in order of keys.
    #[must_use]
    pub fn into_changes(self) -> Vec<Change> {
        let change = |(key, value)| match value {
            Some(value) => Change::Put(key, value),
            None => Change::Delete(key),
        };
        self.changes.into_iter().map(change).collect()
    }
}

/// The least key past this one.
fn after(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
