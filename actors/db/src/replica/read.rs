//! Looks rows up.

use bytes::Bytes;

use crate::StoreError;
use crate::command::Place;
use crate::encoding::DecodeError;
use crate::machine::{Stored, damaged, row_key, row_range};
use crate::query::{ANSWER_BYTES, FoundRow, Query, Range, Rows};
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
        Query::Scan { ranges, limit } => {
            let (rows, is_cut) = scan(rows, ranges, *limit as usize)?;
            Ok(Rows { revision, rows, is_cut })
        }
    }
}

/// The rows of these ranges, and whether there are more.
fn scan<S: ShardState>(
    rows: &S,
    ranges: &[Range],
    limit: usize,
) -> Result<(Vec<FoundRow>, bool), StoreError> {
    let (mut found, mut bytes_left) = (Vec::new(), ANSWER_BYTES);
    for Range { table, from, to } in ranges {
        let (start, end) = row_range(*table, from, to.as_deref());
        if start >= end {
            continue;
        }
        for (key, value) in rows.scan(&start, &end, limit - found.len(), bytes_left)? {
            bytes_left = bytes_left.saturating_sub(key.len() + value.len());
            let place = Place { table: *table, key: key.slice(KEY_SKIPPED..) };
            found.push(row(place, value)?);
        }
        if found.len() >= limit || bytes_left == 0 {
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

fn get<S: ShardState>(rows: &S, place: &Place) -> Result<Option<FoundRow>, StoreError> {
    rows.get(&row_key(place))?.map(|value| row(place.clone(), value)).transpose()
}

fn row(place: Place, value: Bytes) -> Result<FoundRow, StoreError> {
    let stored = Stored::decode(value).map_err(|why: DecodeError| damaged("a row", why))?;
    Ok(FoundRow { place, revision: stored.revision, value: stored.value })
}
