//! Takes a run's rows away again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use vioduct_db::client::{Db, DbError};
use vioduct_db::command::{Change, PARTS_MAX, Place};
use vioduct_db::schema::Schema;

use crate::schedule::REFUSED_PAUSE;

/// How long one transaction is tried. The deadline of a run may be shorter than an election.
const WITHIN: Duration = Duration::from_secs(30);

/// Changes that take these rows away, in transactions as the database takes them: each of one
/// shard, and of so many parts. Keys are too short to meet its bound in bytes.
fn batches(schema: &Schema, places: impl IntoIterator<Item = Place>) -> Vec<Vec<Change>> {
    let mut shards = BTreeMap::<_, Vec<Change>>::new();
    for place in places {
        shards.entry(schema.shard_of(&place)).or_default().push(Change::Delete { place });
    }
    shards.values().flat_map(|changes| changes.chunks(PARTS_MAX)).map(<[Change]>::to_vec).collect()
}

/// Takes these rows away. A write whose end is not known is done before it or never, if it was of
/// the same session: one that is over may still have some on their way.
///
/// # Errors
/// Some are left.
pub(crate) async fn delete(
    db: &Db,
    schema: &Schema,
    places: impl IntoIterator<Item = Place>,
) -> Result<(), DbError> {
    for batch in batches(schema, places) {
        let until = Instant::now() + WITHIN;
        loop {
            let Err(error) = db.transact(Vec::new(), batch.clone()).await else { break };
            let may_mend = matches!(
                error,
                DbError::Unavailable { .. } | DbError::Unknown { .. } | DbError::SessionOver { .. }
            );
            if !may_mend || Instant::now() >= until {
                return Err(error);
            }
            sleep_until(Instant::now() + REFUSED_PAUSE).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vioduct_db::command::TableId;
    use vioduct_db::schema::Class;

    use super::*;

    #[test]
    fn a_transaction_is_within_its_bounds_and_all_rows_are_in_one() {
        for shards in [0, 3] {
            let schema = Schema::new(shards).spread_table(1, "kv", Class::Lifecycle);
            let place = |key: u32| Place { table: TableId(1), key: key.to_string().into() };
            let batches = batches(&schema, (0..1000).map(place));
            let mut seen = BTreeSet::new();
            for batch in &batches {
                assert!(!batch.is_empty() && batch.len() <= PARTS_MAX);
                let shards: BTreeSet<_> =
                    batch.iter().map(|change| schema.shard_of(change.place())).collect();
                assert_eq!(shards.len(), 1);
                seen.extend(batch.iter().map(|change| change.place().clone()));
            }
            assert_eq!(seen.len(), 1000);
        }
    }
}
