//! When leases end, by the leader's own clock.
//!
//! A lease lasts for its whole time from when the leader first sees it, or is last asked to keep it
//! alive. So a new leader, which was told of no such wish, ends none early. Time is since whenever
//! the owner likes, and never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::machine::Lease;

/// Leases whose ends are on their way at once.
const ENDING_MAX: usize = 64;

/// The leases of a shard while one replica leads it.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// Each with its end; none, if that is on its way.
    leases: BTreeMap<u64, Option<Duration>>,
    ends: BTreeSet<(Duration, u64)>,
    newest: u64,
    swept: u64,
}

impl Keeper {
    /// The last one that was seen: their numbers grow.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// There is this lease.
    pub(super) fn found(&mut self, now: Duration, lease: Lease) {
        self.newest = self.newest.max(lease.number);
        if !self.leases.contains_key(&lease.number) {
            self.begin(now, lease);
        }
    }

    /// Lets this lease, which there is, last for its whole time from now on. False if its end is on
    /// its way.
    #[must_use]
    pub(super) fn keep(&mut self, now: Duration, lease: Lease) -> bool {
        match self.leases.get(&lease.number) {
            Some(None) => return false,
            Some(Some(end)) => {
                self.ends.remove(&(*end, lease.number));
            }
            None => {}
        }
        self.begin(now, lease);
        true
    }

    fn begin(&mut self, now: Duration, lease: Lease) {
        let end = now + Duration::from_millis(lease.ttl_ms.into());
        self.leases.insert(lease.number, Some(end));
        self.ends.insert((end, lease.number));
    }

    /// Those whose ends are on their way from now on.
    pub(super) fn due(&mut self, now: Duration) -> Vec<u64> {
        let room = ENDING_MAX.saturating_sub(self.leases.len() - self.ends.len());
        let past = self.ends.iter().take_while(|(end, _lease)| *end <= now);
        let past: Vec<(Duration, u64)> = past.take(room).copied().collect();
        for end in &past {
            self.ends.remove(end);
            self.leases.insert(end.1, None);
        }
        past.into_iter().map(|(_end, lease)| lease).collect()
    }

    /// There is no such lease any more.
    pub(super) fn gone(&mut self, lease: u64) {
        if let Some(Some(end)) = self.leases.remove(&lease) {
            self.ends.remove(&(end, lease));
        }
    }

    /// Its end did not get anywhere: it is due again.
    pub(super) fn not_ended(&mut self, now: Duration, lease: u64) {
        if self.leases.get(&lease) == Some(&None) {
            self.leases.insert(lease, Some(now));
            self.ends.insert((now, lease));
        }
    }

    /// The next few, of which it is to be seen whether they are there yet: some were revoked. All
    /// have their turn.
    pub(super) fn sweep(&mut self, most: usize) -> Vec<u64> {
        let behind = (Bound::Excluded(self.swept), Bound::Unbounded);
        let next = self.leases.range(behind).map(|(lease, _end)| *lease).take(most);
        let next: Vec<u64> = next.collect();
        self.swept = if next.len() < most { 0 } else { next.last().copied().unwrap_or(0) };
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(number: u64, ttl_ms: u32) -> Lease {
        Lease { number, ttl_ms }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lease_ends_when_its_time_has_passed_since_it_was_seen_or_kept_alive() {
        let mut keeper = Keeper::default();
        keeper.found(at(10), lease(1, 100));
        keeper.found(at(10), lease(2, 100));
        assert!(keeper.keep(at(60), lease(2, 100)));
        assert_eq!(keeper.due(at(109)), []);
        assert_eq!(keeper.due(at(110)), [1]);
        assert_eq!(keeper.due(at(159)), []);
        assert_eq!(keeper.due(at(160)), [2]);
        assert_eq!(keeper.newest(), 2);
    }

    #[test]
    fn one_that_is_kept_alive_before_it_is_seen_is_not_begun_again() {
        let mut keeper = Keeper::default();
        assert!(keeper.keep(at(10), lease(7, 100)));
        keeper.found(at(50), lease(7, 100));
        assert_eq!(keeper.due(at(110)), [7]);
    }

    #[test]
    fn an_end_on_its_way_is_not_called_back_and_is_tried_again_if_it_fails() {
        let mut keeper = Keeper::default();
        keeper.found(at(0), lease(1, 100));
        assert_eq!(keeper.due(at(100)), [1]);
        assert!(!keeper.keep(at(101), lease(1, 100)));
        assert_eq!(keeper.due(at(500)), []);
        keeper.not_ended(at(500), 1);
        assert_eq!(keeper.due(at(500)), [1]);
        keeper.gone(1);
        assert!(keeper.is_empty());
        keeper.not_ended(at(600), 1);
        assert_eq!(keeper.due(at(600)), []);
    }

    #[test]
    fn so_many_ends_are_on_their_way_at_once() {
        let mut keeper = Keeper::default();
        for number in 1..=ENDING_MAX as u64 + 1 {
            keeper.found(at(0), lease(number, 100));
        }
        assert_eq!(keeper.due(at(100)).len(), ENDING_MAX);
        assert_eq!(keeper.due(at(100)), []);
        keeper.gone(1);
        assert_eq!(keeper.due(at(100)), [ENDING_MAX as u64 + 1]);
    }

    #[test]
    fn all_are_swept_in_turn_and_those_that_are_gone_end_no_more() {
        let mut keeper = Keeper::default();
        for number in 1..=5 {
            keeper.found(at(0), lease(number, 100));
        }
        assert_eq!(keeper.sweep(2), [1, 2]);
        assert_eq!(keeper.sweep(2), [3, 4]);
        assert_eq!(keeper.sweep(2), [5]);
        assert_eq!(keeper.sweep(2), [1, 2]);
        (1..=4).for_each(|number| keeper.gone(number));
        assert_eq!(keeper.due(at(100)), [5]);
    }
}
