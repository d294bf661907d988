//! What changed longer ago than is in memory, from the rows' own record.

use crate::StoreError;
use crate::consensus::rows::read_applied;
use crate::machine::{EVENTS_KEPT, Event, damaged, decode_events, event_revision, events_after};
use crate::schema::Schema;
use crate::state::ShardState;
use crate::watch::{ANSWER_BYTES, CHANGES_MAX, Filter, Told};

/// What the record says of what changed behind a revision: all, or the first part, in which there
/// may be nothing that the filter means.
pub(super) fn read<S: ShardState>(
    rows: &S,
    schema: &Schema,
    filter: &Filter,
    after: u64,
) -> Result<Told, StoreError> {
    // Rows are written meanwhile. Before the record is read: all up to here is in it. Afterwards:
    // what is gone from the record is not younger than this says.
    let before = read_applied(rows)?;
    if let Some(compacted) = compacted(after, before) {
        return Ok(compacted);
    }
    let (from, to) = events_after(after);
    let found = rows.scan(&from, &to, CHANGES_MAX, ANSWER_BYTES)?;
    if let Some(compacted) = compacted(after, read_applied(rows)?) {
        return Ok(compacted);
    }
    let bytes: usize = found.iter().map(|(key, value)| key.len() + value.len()).sum();
    let is_cut = found.len() >= CHANGES_MAX || bytes >= ANSWER_BYTES;
    let revised = found.into_iter().map(|(key, value)| {
        let revision = event_revision(&key).ok_or_else(|| damaged("a record of changes", "key"))?;
        let events = decode_events(value).map_err(|why| damaged("a record of changes", why))?;
        Ok((revision, events))
    });
    let revised: Vec<(u64, Vec<Event>)> = revised.collect::<Result<_, StoreError>>()?;
    let through = match revised.last() {
        Some((last, _events)) if is_cut => *last,
        Some((last, _events)) => before.max(*last),
        None => before,
    };
    let revised = revised.iter().map(|(revision, events)| (*revision, events.as_slice()));
    let (notices, through) = Told::pick(filter, schema, revised, through);
    Ok(Told::Changes { notices, through, is_current: false })
}

/// Whether the record begins too late for this.
fn compacted(after: u64, applied: u64) -> Option<Told> {
    let oldest = applied.saturating_sub(EVENTS_KEPT);
    (after < oldest).then_some(Told::Compacted { oldest, revision: applied })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::impls::leader_id_adv::LeaderId;

    use super::*;
    use crate::ShardId;
    use crate::command::{Change, Command, KEY_BYTES_MAX, Operation, Place, TableId};
    use crate::consensus::LogId;
    use crate::consensus::entry::encode_log_id;
    use crate::machine::{Overlay, apply, system_key};
    use crate::schema::Class;
    use crate::state::{MemoryState, StateEngine};

    type Rows = <MemoryState as StateEngine>::Shard;

    fn schema() -> Schema {
        Schema::new(0).system_table(1, "one", Class::Alert)
    }

    /// Rows of which each of these revisions wrote one, under its own number.
    fn rows(revisions: impl IntoIterator<Item = u64>, applied: u64) -> Rows {
        let keys = |revision: u64| vec![Bytes::from(revision.to_string())];
        rows_of(revisions.into_iter().map(|revision| (revision, keys(revision))), applied)
    }

    /// Rows of which each of these revisions wrote those.
    fn rows_of(revised: impl IntoIterator<Item = (u64, Vec<Bytes>)>, applied: u64) -> Rows {
        let rows = MemoryState::new().open(ShardId(0)).unwrap();
        let mut changes = Overlay::new(rows.clone());
        for (revision, keys) in revised {
            let place = |key| Place { table: TableId(1), key };
            let put = |key| Change::Put { place: place(key), value: Bytes::new(), lease: None };
            let put = keys.into_iter().map(put).collect();
            let operation = Operation::Transact { conditions: Vec::new(), changes: put };
            let command = Command { attempt: None, operation };
            apply(&mut changes, revision, 0, command).unwrap();
        }
        let applied = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index: applied };
        changes.put(system_key("applied"), encode_log_id(Some(&applied)));
        rows.write(changes.into_changes()).unwrap();
        rows
    }

    fn told(rows: &Rows, filter: &Filter, after: u64) -> (Vec<u64>, u64) {
        match read(rows, &schema(), filter, after).unwrap() {
            Told::Changes { notices, through, is_current: false } => {
                (notices.iter().map(|notice| notice.revision).collect(), through)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_that_is_recorded_behind_a_revision_is_told() {
        let rows = rows([3, 4, 9], 12);
        assert_eq!(told(&rows, &Filter::default(), 0), (vec![3, 4, 9], 12));
        assert_eq!(told(&rows, &Filter::default(), 3), (vec![4, 9], 12));
        assert_eq!(told(&rows, &Filter::default(), 9), (vec![], 12));
        let one = Filter { prefix: Bytes::from_static(b"4"), ..Filter::default() };
        assert_eq!(told(&rows, &one, 0), (vec![4], 12));
    }

    #[test]
    fn more_than_an_answer_takes_comes_in_parts_whether_it_is_meant_or_not() {
        let last = CHANGES_MAX as u64 + 5;
        let rows = rows(1..=last, last);
        let first: Vec<u64> = (1..=CHANGES_MAX as u64).collect();
        assert_eq!(told(&rows, &Filter::default(), 0), (first, CHANGES_MAX as u64));
        let none = Filter { prefix: Bytes::from_static(b"x"), ..Filter::default() };
        assert_eq!(told(&rows, &none, 0), (vec![], CHANGES_MAX as u64));
        assert_eq!(told(&rows, &none, CHANGES_MAX as u64), (vec![], last));
    }

    #[test]
    fn more_bytes_than_an_answer_takes_come_in_parts_and_no_change_is_left_out() {
        let long = |at: u64| Bytes::from(vec![u8::try_from(at).unwrap(); KEY_BYTES_MAX]);
        // Two come to less than an answer takes, three to more.
        let revised = (1..=4).map(|revision| (revision, (0..100).map(long).collect()));
        let rows = rows_of(revised, 9);
        assert_eq!(told(&rows, &Filter::default(), 0), (vec![1, 2], 2));
        assert_eq!(told(&rows, &Filter::default(), 2), (vec![3, 4], 9));
    }

    #[test]
    fn who_is_behind_the_record_is_told_so_and_nothing_is_left_out_in_silence() {
        let rows = rows([1, 2], 1 + EVENTS_KEPT);
        let filter = Filter::default();
        let compacted = Told::Compacted { oldest: 1, revision: 1 + EVENTS_KEPT };
        assert_eq!(read(&rows, &schema(), &filter, 0).unwrap(), compacted);
        assert_eq!(told(&rows, &filter, 1), (vec![2], 1 + EVENTS_KEPT));
    }
}
