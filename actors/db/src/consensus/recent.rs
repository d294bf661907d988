//! What the last revisions changed, in memory, so that those who watch a shard do not each read the
//! rows' own record for every change.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::command::Place;
use crate::machine::Event;

/// Changes that are kept.
const CHANGES_MAX: usize = 4096;
/// Bytes of keys that are kept.
const BYTES_MAX: usize = 1 << 20;

/// A revision, and the rows that it changed.
pub type Revised = (u64, Arc<[Event]>);

/// What the last revisions changed. A clone is the same.
#[derive(Clone, Debug)]
pub struct Recent {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// All changes behind this revision are here.
    floor: u64,
    /// Up to which revision the rows are.
    applied: u64,
    revised: VecDeque<Revised>,
    changes: usize,
    bytes: usize,
}

impl Recent {
    /// Of rows that are so far, and of which nothing is known.
    pub(super) fn new(applied: u64) -> Self {
        let (revised, changes, bytes) = (VecDeque::new(), 0, 0);
        let inner = Inner { floor: applied, applied, revised, changes, bytes };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds this")
    }

    /// These revisions are written, in order, and the rows are so far now.
    pub(super) fn publish(&self, revised: Vec<(u64, Vec<Event>)>, applied: u64) {
        // A key is part of its command, whose values must not be kept with it.
        let own = |Event { place: Place { table, key }, kind }: Event| {
            let place = Place { table, key: Bytes::copy_from_slice(&key) };
            Event { place, kind }
        };
        let revised: Vec<Revised> = revised
            .into_iter()
            .map(|(revision, events)| (revision, events.into_iter().map(own).collect()))
            .collect();
        let mut inner = self.inner();
        for (revision, events) in revised {
            inner.changes += events.len();
            inner.bytes += bytes_of(&events);
            inner.revised.push_back((revision, events));
        }
        inner.applied = applied;
        while inner.changes > CHANGES_MAX || inner.bytes > BYTES_MAX {
            let Some((revision, events)) = inner.revised.pop_front() else { break };
            inner.floor = revision;
            inner.changes -= events.len();
            inner.bytes -= bytes_of(&events);
        }
    }

    /// Other rows took the place of those that were here.
    pub(super) fn restart(&self, applied: u64) {
        let (revised, changes, bytes) = (VecDeque::new(), 0, 0);
        *self.inner() = Inner { floor: applied, applied, revised, changes, bytes };
    }

    /// What was changed behind this revision, and up to which one that is all. Nothing, if it was
    /// too much, or is too long ago.
    #[must_use]
    pub fn since(&self, revision: u64) -> Option<(Vec<Revised>, u64)> {
        let inner = self.inner();
        if revision < inner.floor {
            return None;
        }
        let from = inner.revised.partition_point(|(at, _events)| *at <= revision);
        Some((inner.revised.range(from..).cloned().collect(), inner.applied))
    }
}

fn bytes_of(events: &[Event]) -> usize {
    events.iter().map(|event| event.place.key.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::TableId;
    use crate::machine::EventKind;

    fn events(keys: &[usize]) -> Vec<Event> {
        let place = |bytes: &usize| Place { table: TableId(1), key: vec![b'k'; *bytes].into() };
        keys.iter().map(|bytes| Event { place: place(bytes), kind: EventKind::Put }).collect()
    }

    fn revisions(recent: &Recent, since: u64) -> Option<(Vec<u64>, u64)> {
        let (revised, applied) = recent.since(since)?;
        Some((revised.into_iter().map(|(revision, _events)| revision).collect(), applied))
    }

    #[test]
    fn what_came_behind_a_revision_is_given_and_before_the_first_nothing_is_known() {
        let recent = Recent::new(10);
        recent.publish(vec![(11, events(&[1])), (13, events(&[1, 2]))], 14);
        assert_eq!(revisions(&recent, 9), None);
        assert_eq!(revisions(&recent, 10), Some((vec![11, 13], 14)));
        assert_eq!(revisions(&recent, 11), Some((vec![13], 14)));
        assert_eq!(revisions(&recent, 99), Some((vec![], 14)));
    }

    #[test]
    fn it_holds_no_more_than_its_bounds_whole_revisions_only() {
        let recent = Recent::new(0);
        for revision in 1..=CHANGES_MAX as u64 {
            recent.publish(vec![(revision, events(&[1]))], revision);
        }
        let next = CHANGES_MAX as u64 + 1;
        recent.publish(vec![(next, events(&[1, 1]))], next);
        assert_eq!(revisions(&recent, 1), None);
        assert_eq!(revisions(&recent, 2).unwrap().0.first(), Some(&3));
        recent.publish(vec![(next + 1, events(&[BYTES_MAX + 1]))], next + 1);
        assert_eq!(revisions(&recent, next), None);
        assert_eq!(revisions(&recent, next + 1), Some((vec![], next + 1)));
    }

    #[test]
    fn other_rows_are_known_from_where_they_are() {
        let recent = Recent::new(0);
        recent.publish(vec![(1, events(&[1]))], 1);
        recent.restart(7);
        assert_eq!(revisions(&recent, 6), None);
        assert_eq!(revisions(&recent, 7), Some((vec![], 7)));
    }
}
