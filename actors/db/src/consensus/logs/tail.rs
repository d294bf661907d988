//! The end of a log, in memory.

use std::collections::VecDeque;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use super::weight::Weight;
use crate::consensus::{Entry, LogId, Vote};

/// Written entries that are kept in memory, and their bytes.
const KEPT_ENTRIES: usize = 8192;
const KEPT_BYTES: usize = 16 << 20;
/// What an entry takes beside its command.
const ENTRY_BYTES: usize = 128;

/// An entry, and the number of the write that it goes to the disk with.
#[derive(Debug)]
struct Held {
    entry: Entry,
    write: u64,
}

/// What is known of a log without asking the disk: all entries that are not written yet, the latest
/// of those that are, and where it begins and ends.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// What is known to be committed, until it goes to the disk.
    pub(super) committed: Option<LogId>,
    /// Where the log began: a log without a purged entry may begin behind 0.
    begin: u64,
    entries: VecDeque<Held>,
    bytes: usize,
    /// Of all entries, in memory or not.
    pub(super) weight: Weight,
    /// The number of the last write, and of the last that is done.
    write: u64,
    done: u64,
}

impl Tail {
    /// Of a log whose first record, if it has one, is at `begin`.
    pub(super) fn new(
        vote: Option<Vote>,
        purged: Option<LogId>,
        last: Option<LogId>,
        begin: u64,
    ) -> Self {
        Self {
            vote,
            purged,
            last,
            committed: None,
            begin,
            entries: VecDeque::new(),
            bytes: 0,
            weight: Weight::default(),
            write: 0,
            done: 0,
        }
    }

    /// The first index that was not purged.
    pub(super) fn first_index(&self) -> u64 {
        self.begin.max(self.purged.map_or(0, |purged| purged.index + 1))
    }

    /// The index of the next entry.
    pub(super) fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    /// Adds entries; gives the number of the write that is to carry them.
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> u64 {
        self.write += 1;
        if let (None, Some(first)) = (self.last, entries.first()) {
            self.begin = first.index();
        }
        for entry in entries {
            self.last = Some(entry.log_id());
            let bytes = bytes_of(&entry);
            self.bytes += bytes;
            self.weight.append(entry.index(), bytes as u64);
            self.entries.push_back(Held { entry, write: self.write });
        }
        self.write
    }

    /// A write is done, and with it all before. What is written is kept only for a while.
    pub(super) fn written(&mut self, write: u64) {
        self.done = self.done.max(write);
        while self.entries.len() > KEPT_ENTRIES || self.bytes > KEPT_BYTES {
            match self.entries.front() {
                Some(held) if held.write <= self.done => self.forget_first(),
                _none_or_not_written => return,
            }
        }
    }

    /// Takes away what is behind `last`.
    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        let next = last.map_or(0, |last| last.index + 1);
        while let Some(held) = self.entries.pop_back_if(|held| held.entry.index() >= next) {
            self.bytes -= bytes_of(&held.entry);
        }
        self.weight.truncate(next);
        self.last = self.last.min(last);
    }

    /// Takes away what is up to `upto`; a log that ends before it begins behind it.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|held| held.entry.index() <= upto.index) {
            self.forget_first();
        }
        self.weight.purge(upto.index);
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(Some(upto));
    }

    /// The entries `start..end` that are here: all from some index on, up to `end`.
    pub(super) fn range(&self, start: u64, end: u64) -> Vec<Entry> {
        let Some(first) = self.entries.front().map(|held| held.entry.index()) else {
            return Vec::new();
        };
        let skipped = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let wanted = self.entries.iter().skip(skipped);
        let wanted = wanted.take_while(|held| held.entry.index() < end);
        wanted.map(|held| held.entry.clone()).collect()
    }

    fn forget_first(&mut self) {
        if let Some(held) = self.entries.pop_front() {
            self.bytes -= bytes_of(&held.entry);
        }
    }
}

/// What an entry takes in memory, and in a message.
pub(super) fn bytes_of(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => ENTRY_BYTES + proposal.command.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_BYTES,
    }
}
