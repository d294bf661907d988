//! What this node knows of another's ledger.

use std::collections::BTreeMap;

use super::ledger::LISTED_MAX;
use super::listing::{CHANGES_MAX, Change, GROUPS_MAX, Listing, Page, Read};

/// A copy of the ledger of one run of a node, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    read: Read,
    listed: BTreeMap<u64, Listing>,
}

/// Why a page was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    /// Pages before it are missing; to be read again from where this node is. Fault: nobody's.
    #[error("the page follows version {after}, this node is at {at}")]
    Gap { after: u64, at: u64 },
    /// Its numbers make no sense. Fault: the peer.
    #[error("the page leads from version {after} to {upto}")]
    Backwards { after: u64, upto: u64 },
    /// More actors, changes or groups of an actor than there can be. Fault: the peer.
    #[error("the page has more than there is room for")]
    TooMuch,
}

/// What a page changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) ended: Vec<Listing>,
    pub(crate) listed: Vec<Listing>,
}

impl Replica {
    pub(crate) fn read(&self) -> Read {
        self.read
    }

    /// How many actors are listed.
    pub(crate) fn listed(&self) -> usize {
        self.listed.len()
    }

    /// Everything that is listed.
    pub(crate) fn into_listed(self) -> Vec<Listing> {
        self.listed.into_values().collect()
    }

    /// Takes a page, all of it or, with an error, nothing.
    pub(crate) fn take(&mut self, page: Page) -> Result<Difference, PageError> {
        let Page { after, upto, since, changes } = page;
        if after != 0 && after != self.read.upto {
            return Err(PageError::Gap { after, at: self.read.upto });
        }
        if upto <= after {
            return Err(PageError::Backwards { after, upto });
        }
        let begun = if after == 0 { 0 } else { self.listed.len() };
        if !fits(begun, &changes) {
            return Err(PageError::TooMuch);
        }
        let old = if after == 0 { std::mem::take(&mut self.listed) } else { BTreeMap::new() };
        // Of an actor that comes more than once, what was before the page and what is after it.
        let mut before: BTreeMap<u64, Option<Listing>> = BTreeMap::new();
        for change in changes {
            let serial = change.serial();
            let was = match change {
                Change::Listed(listing) => self.listed.insert(serial, listing),
                Change::Ended { .. } => self.listed.remove(&serial),
            };
            before.entry(serial).or_insert(was);
        }
        self.read = Read { upto, since };
        let listed = before.keys().filter_map(|serial| self.listed.get(serial).cloned()).collect();
        let ended = old.into_values().chain(before.into_values().flatten()).collect();
        Ok(Difference { ended, listed })
    }
}

/// Whether there is room, after `begun` that are listed already.
fn fits(begun: usize, changes: &[Change]) -> bool {
    let is_grouped_too_much = |change: &Change| match change {
        Change::Listed(listing) => listing.groups.len() > GROUPS_MAX,
        Change::Ended { .. } => false,
    };
    begun <= LISTED_MAX && changes.len() <= CHANGES_MAX && !changes.iter().any(is_grouped_too_much)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ledger::Ledger;
    use super::*;
    use crate::id::ActorName;

    fn listing(serial: u64) -> Listing {
        let name = ActorName::new(format!("actor {serial}, {}", "x".repeat(90)));
        Listing { serial, name: name.ok(), groups: Vec::new() }
    }

    fn read_all(replica: &mut Replica, ledger: &Ledger) -> usize {
        let mut pages = 0;
        while let Some(page) = ledger.page(replica.read()) {
            replica.take(page).unwrap();
            pages += 1;
        }
        pages
    }

    fn serials(replica: &Replica) -> Vec<u64> {
        replica.listed.keys().copied().collect()
    }

    #[test]
    fn a_reader_gets_everything_in_pages_and_then_what_changes() {
        let (mut ledger, mut replica) = (Ledger::default(), Replica::default());
        (1..=1000).for_each(|serial| ledger.list(listing(serial)));
        ledger.unlist(500);
        assert!(read_all(&mut replica, &ledger) > 5);
        assert_eq!(
            serials(&replica),
            (1..=1000).filter(|serial| *serial != 500).collect::<Vec<_>>()
        );
        ledger.unlist(1);
        ledger.list(listing(1001));
        let page = ledger.page(replica.read()).unwrap();
        assert_eq!(page.changes, [Change::Ended { serial: 1 }, Change::Listed(listing(1001))]);
        let ended = vec![listing(1)];
        assert_eq!(replica.take(page), Ok(Difference { ended, listed: vec![listing(1001)] }));
        assert_eq!(ledger.page(replica.read()), None);
    }

    #[test]
    fn a_reader_that_is_too_far_behind_reads_everything_anew() {
        let (mut ledger, mut replica) = (Ledger::default(), Replica::default());
        (1..=5).for_each(|serial| ledger.list(listing(serial)));
        read_all(&mut replica, &ledger);
        ledger.unlist(5);
        for serial in 10..10_000 {
            ledger.list(listing(serial));
            ledger.unlist(serial);
        }
        assert_eq!(ledger.page(replica.read()).unwrap().after, 0);
        read_all(&mut replica, &ledger);
        assert_eq!(serials(&replica), [1, 2, 3, 4]);
    }

    #[test]
    fn a_page_that_follows_another_one_is_not_taken() {
        let mut ledger = Ledger::default();
        (1..=500).for_each(|serial| ledger.list(listing(serial)));
        let mut replica = Replica::default();
        let first = ledger.page(Read::default()).unwrap();
        let read = Read { upto: first.upto, since: first.since };
        let second = ledger.page(read).unwrap();
        let gap = PageError::Gap { after: first.upto, at: 0 };
        assert_eq!(replica.take(second), Err(gap));
        assert_eq!(serials(&replica), []);
    }

    #[test]
    fn an_actor_that_comes_and_goes_on_one_page_was_never_there() {
        let mut replica = Replica::default();
        let mut take = |after, changes| {
            replica.take(Page { after, upto: after + 1, since: 0, changes }).unwrap()
        };
        let named = |name: &str| Listing { name: ActorName::new(name).ok(), ..listing(5) };
        let (one, other) = (Change::Listed(named("one")), Change::Listed(named("other")));
        let (ended, end) = (Vec::new(), Change::Ended { serial: 5 });
        assert_eq!(take(0, vec![one.clone(), end.clone()]), Difference::default());
        assert_eq!(take(1, vec![one, other]), Difference { ended, listed: vec![named("other")] });
        let ended = vec![named("other")];
        assert_eq!(take(2, vec![end]), Difference { ended, listed: Vec::new() });
    }

    #[test]
    fn a_hostile_peer_fills_no_more_than_there_is_room_for() {
        let mut replica = Replica::default();
        let page = |after, changes| Page { after, upto: after + 1, since: 0, changes };
        let many = (0..=CHANGES_MAX as u64).map(|serial| Change::Listed(listing(serial))).collect();
        assert_eq!(replica.take(page(0, many)), Err(PageError::TooMuch));
        let group = crate::id::GroupName::new("g").unwrap();
        let mut grouped = listing(1);
        grouped.groups = vec![group; GROUPS_MAX + 1];
        assert_eq!(replica.take(page(0, vec![Change::Listed(grouped)])), Err(PageError::TooMuch));
        let backwards = Page { after: 0, upto: 0, since: 9, changes: Vec::new() };
        assert_eq!(replica.take(backwards), Err(PageError::Backwards { after: 0, upto: 0 }));
        let mut taken = 0;
        for at in 0.. {
            let serials = (0..CHANGES_MAX as u64).map(|serial| at * CHANGES_MAX as u64 + serial);
            let changes = serials.map(|serial| Change::Listed(listing(serial))).collect();
            if replica.take(page(at, changes)).is_err() {
                break;
            }
            taken = replica.listed.len();
        }
        assert!((LISTED_MAX..=LISTED_MAX + CHANGES_MAX).contains(&taken), "{taken}");
    }

    proptest! {
        /// Whatever changes while a reader reads, it ends where the ledger is.
        #[test]
        fn a_reader_among_changes_ends_where_the_ledger_is(
            steps in prop::collection::vec((0_u8..4, 1_u64..40), 1..400),
        ) {
            let (mut ledger, mut replica) = (Ledger::default(), Replica::default());
            let mut alive = std::collections::BTreeSet::new();
            for (step, serial) in steps {
                match step {
                    0 | 1 => {
                        ledger.list(listing(serial));
                        alive.insert(serial);
                    }
                    2 => {
                        ledger.unlist(serial);
                        alive.remove(&serial);
                    }
                    _read => {
                        if let Some(page) = ledger.page(replica.read()) {
                            replica.take(page).unwrap();
                        }
                    }
                }
            }
            read_all(&mut replica, &ledger);
            prop_assert_eq!(serials(&replica), alive.into_iter().collect::<Vec<_>>());
        }
    }
}
