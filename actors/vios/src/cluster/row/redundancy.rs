//! How each VIOS reaches the storage, for those who ask who can take over for whom.

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_db::command::TableId;

use super::Row;
use crate::dsa::operator::State;

/// The ways of a VIOS to the storage, by the name of its node, as they were when it told last.
///
/// Source: US 8,726,274, the I/O redundancy among the structures of the VIOS database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedundancyRow {
    /// Its number.
    pub vios: u32,
    /// One for each of its physical adapters, in order.
    pub paths: Vec<ToldPath>,
}

/// A way to the storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldPath {
    /// The adapter's name.
    pub adapter: String,
    /// What it leads to.
    pub storage: String,
    /// How it does.
    pub state: State,
    /// Why, in words for people.
    pub reason: String,
    /// Since when, by the node's clock: milliseconds since 1970.
    pub since_ms: u64,
}

impl Row for RedundancyRow {
    const WHAT: &'static str = "the row of a VIOS's paths";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(24);
    type Key = NodeName;
}

impl RedundancyRow {
    /// Whether requests of another VIOS can leave by this one, to a storage that both lead to.
    #[must_use]
    pub fn may_help(&self, other: &Self) -> bool {
        let good = self.paths.iter().filter(|path| path.state == State::Good);
        let mut good = good.map(|path| &path.storage);
        good.any(|storage| other.paths.iter().any(|path| path.storage == *storage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(vios: u32, paths: &[(&str, State)]) -> RedundancyRow {
        let path = |(storage, state): &(&str, State)| ToldPath {
            adapter: "fc0".into(),
            storage: (*storage).into(),
            state: *state,
            reason: "r".into(),
            since_ms: 9,
        };
        RedundancyRow { vios, paths: paths.iter().map(path).collect() }
    }

    #[test]
    fn a_row_has_the_bytes_that_it_always_had() {
        let row = row(3, &[("s1", State::Lost)]);
        let bytes = [&[1, 3, 1, 3][..], b"fc0", &[2], b"s1", &[2, 1], b"r", &[9]].concat();
        assert_eq!(row.encode(), bytes);
        assert_eq!(RedundancyRow::decode(&bytes), Ok(row));
    }

    #[test]
    fn who_has_a_good_way_to_the_same_storage_may_help() {
        let lost = row(1, &[("s1", State::Lost)]);
        assert!(row(2, &[("s2", State::Lost), ("s1", State::Good)]).may_help(&lost));
        assert!(!row(2, &[("s1", State::Degraded)]).may_help(&lost));
        assert!(!row(2, &[("s2", State::Good)]).may_help(&lost));
    }
}
