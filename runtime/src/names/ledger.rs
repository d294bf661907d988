//! What this node tells the others of its own actors.
//!
//! Each change has a number, its version, from 1. A reader names the last version that it has and
//! is given what came after it, a page at a time. Ends of actors are remembered for readers that
//! are behind, [`ENDS_MAX`] of them; a reader that is further behind reads all of it anew.

use std::collections::{BTreeMap, VecDeque};

use super::listing::{CHANGES_MAX, Change, Listing, Page, Read};

/// Most actors of one node that are listed.
pub(crate) const LISTED_MAX: usize = 16_384;
/// Ends of actors that are remembered.
const ENDS_MAX: usize = 4096;
/// What a page holds at most, about, bytes; a single listing fits in any case.
const PAGE_BYTES: usize = 16 << 10;

/// Invariants: (1) each listed actor has one change, its latest; (2) who reads page after page gets
/// to the state of the ledger; (3) at most [`LISTED_MAX`] actors and [`ENDS_MAX`] ends are kept.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The latest change; 0 before the first.
    version: u64,
    changes: BTreeMap<u64, Change>,
    /// The change of each listed actor.
    listed: BTreeMap<u64, u64>,
    /// The changes that are ends, oldest first.
    ends: VecDeque<u64>,
    /// The latest end that is not remembered any more; 0 for none.
    forgotten: u64,
}

impl Ledger {
    /// Whoever calls this has seen to it that there is room.
    pub(crate) fn list(&mut self, listing: Listing) {
        let serial = listing.serial;
        let version = self.change(Change::Listed(listing));
        if let Some(earlier) = self.listed.insert(serial, version) {
            self.changes.remove(&earlier);
        }
        debug_assert!(self.listed.len() <= LISTED_MAX, "more actors listed than were reserved for");
    }

    pub(crate) fn unlist(&mut self, serial: u64) {
        let Some(earlier) = self.listed.remove(&serial) else { return };
        self.changes.remove(&earlier);
        let version = self.change(Change::Ended { serial });
        self.ends.push_back(version);
        if self.ends.len() > ENDS_MAX
            && let Some(oldest) = self.ends.pop_front()
        {
            self.changes.remove(&oldest);
            self.forgotten = oldest;
        }
    }

    fn change(&mut self, change: Change) -> u64 {
        self.version += 1;
        self.changes.insert(self.version, change);
        self.version
    }

    /// What follows what was read; none when that is everything.
    pub(crate) fn page(&self, read: Read) -> Option<Page> {
        if read.upto == self.version {
            return None;
        }
        let is_behind = read.upto.max(read.since) < self.forgotten;
        let (after, since) = match read {
            Read { upto: 0, .. } => (0, self.version),
            Read { upto, .. } if is_behind || upto > self.version => (0, self.version),
            Read { upto, since } => (upto, since),
        };
        let (mut changes, mut bytes, mut upto) = (Vec::new(), 0, self.version);
        for (version, change) in self.changes.range(after + 1..) {
            bytes += change.bytes_max();
            if changes.len() == CHANGES_MAX || bytes > PAGE_BYTES && !changes.is_empty() {
                break;
            }
            upto = *version;
            changes.push(change.clone());
        }
        let is_last = self.changes.range(upto + 1..).next().is_none();
        let upto = if is_last { self.version } else { upto };
        Some(Page { after, upto, since, changes })
    }
}
