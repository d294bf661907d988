//! Looks rows up.

use bytes::Bytes;

use crate::StoreError;
use crate::command::Place;
use crate::encoding::DecodeError;
use crate::machine::{Stored, damaged, row_key, row_range};
use crate::query::{ANSWER_BYTES, FoundRow, Query, Rows};
use crate::state::ShardState;

/// How many bytes of a row's key stand before what its client calls its key.
const KEY_SKIPPED: usize = 3;

/// Answers a query from the rows as they are now; `revision` is how far they are at least.
pub(super) fn look_up<S: ShardState>(
    rows: &S,
    query: &Query,
    revision: u64,
) -> Result<Rows, StoreError> {
    match query {
        Query::Get(places) => {
            let found =
                places.iter().map(|place| get(rows, place)).collect::<Result<Vec<_>, _>>()?;
            let rows = found.into_iter().flatten().collect();
            Ok(Rows { revision, rows, is_cut: false })
        }
        Query::Scan { table, from, to, limit } => {
            let (start, end) = row_range(*table, from, to.as_deref());
            let limit = *limit as usize;
            if start >= end {
                return Ok(Rows { revision, rows: Vec::new(), is_cut: false });
            }
            let found = rows.scan(&start, &end, limit, ANSWER_BYTES)?;
            let bytes: usize = found.iter().map(|(key, value)| key.len() + value.len()).sum();
            let is_cut = found.len() >= limit || bytes >= ANSWER_BYTES;
            let rows = found.into_iter().map(|(key, value)| row(key.slice(KEY_SKIPPED..), value));
            Ok(Rows { revision, rows: rows.collect::<Result<_, _>>()?, is_cut })
        }
    }
}

fn get<S: ShardState>(rows: &S, place: &Place) -> Result<Option<FoundRow>, StoreError> {
    rows.get(&row_key(place))?.map(|value| row(place.key.clone(), value)).transpose()
}

fn row(key: Bytes, value: Bytes) -> Result<FoundRow, StoreError> {
    let stored = Stored::decode(value).map_err(|why: DecodeError| damaged("a row", why))?;
    Ok(FoundRow { key, revision: stored.revision, value: stored.value })
}
