//! In what order a VIOS gives its storage what it carries for other VIOSes.
//!
//! What its own clients ask for goes at once, and never comes here. Of the requests that it carries
//! a few are under way at a time, and the others wait in the order in which they came: when another
//! VIOS has lost its fabric, and what all of its clients held comes at once, the own clients'
//! requests find no more than these few before them. A flush keeps its place among the requests,
//! but is not counted: it is long under way, and takes no more of the way to the storage than a
//! word.
//!
//! Invariants:
//! 1. Requests and flushes of one session go on in the order in which they came.
//! 2. No more than [`UNDER_WAY_MAX`] requests are under way, but for those that 3 and 4 let go.
//! 3. Nothing waits for longer than [`WAIT_MAX`].
//! 4. No more than [`WAITING_MAX`] calls wait, nor more data than [`WAITING_BYTES_MAX`]: what has
//!    waited for longest goes on then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::carry::Checksum;
use crate::redirect::message::{Call, Word};
use crate::redirect::name::{LuId, ViosId};
use crate::redirect::{Epoch, Moment};

/// Carried requests that the storage has at once.
const UNDER_WAY_MAX: usize = 32;
/// Far below the silence after which an owner gives a session up.
const WAIT_MAX: Duration = Duration::from_millis(500);
const WAITING_MAX: usize = 4096;
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A request or a flush that another VIOS's CKE has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) vios: ViosId,
    pub(super) lu: LuId,
    pub(super) call: Call,
    pub(super) checksum: Checksum,
}

#[derive(Debug)]
struct Waiting {
    since: Moment,
    carried: Carried,
}

/// Calls that wait for their turn, and requests that had it and are not answered.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// By their numbers in the session.
    under_way: BTreeMap<(ViosId, LuId, Epoch), BTreeSet<u64>>,
    under_way_count: usize,
}

impl Turns {
    /// Whether a call waits for its turn. The others are nothing to the storage, and need not keep
    /// the order: before an open come only requests of sessions that it ends, before a close none.
    pub(super) const fn concern(call: &Call) -> bool {
        match call {
            Call::Request { .. } | Call::Flush { .. } => true,
            Call::Open { .. } | Call::Close { .. } | Call::Stay { .. } => false,
        }
    }

    /// Takes a call; [`next`](Self::next) gives it back when it is its turn.
    pub(super) fn came(&mut self, now: Moment, carried: Carried) {
        self.waiting_bytes += bytes(&carried);
        self.waiting.push_back(Waiting { since: now, carried });
    }

    /// The next call whose turn it is.
    pub(super) fn next(&mut self, now: Moment) -> Option<Carried> {
        let first = self.waiting.front()?;
        let is_too_much =
            self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX;
        let has_place = request_no(&first.carried).is_none()
            || self.under_way_count < UNDER_WAY_MAX
            || is_too_much
            || first.since.after(WAIT_MAX) <= now;
        if !has_place {
            return None;
        }
        let carried = self.waiting.pop_front()?.carried;
        self.waiting_bytes -= bytes(&carried);
        let Carried { vios, lu, call, .. } = &carried;
        if let Some(no) = request_no(&carried) {
            let session = self.under_way.entry((*vios, *lu, call.epoch())).or_default();
            self.under_way_count += usize::from(session.insert(no));
        }
        Some(carried)
    }

    /// When somebody's turn comes though nothing is answered.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.waiting.front().map(|first| first.since.after(WAIT_MAX))
    }

    /// A word goes back to another VIOS.
    pub(super) fn said(&mut self, vios: ViosId, lu: LuId, word: &Word) {
        let session = (vios, lu, word.epoch());
        match word {
            Word::Answer { no, .. } | Word::Void { no, .. } => {
                let Some(requests) = self.under_way.get_mut(&session) else { return };
                self.under_way_count -= usize::from(requests.remove(no));
                if requests.is_empty() {
                    self.under_way.remove(&session);
                }
            }
            Word::Down { .. }
            | Word::NoPath { .. }
            | Word::Refused { .. }
            | Word::Gone { .. }
            | Word::Closed { .. } => self.forget(|of| *of == session),
            // No session of an LU that comes by one VIOS is open beside another.
            Word::Opened { epoch, .. } => {
                self.forget(|of| (of.0, of.1) == (vios, lu) && of.2 < *epoch);
            }
            Word::Via { .. }
            | Word::Draining { .. }
            | Word::Alive { .. }
            | Word::Better { .. }
            | Word::Lease { .. } => {}
        }
    }

    /// Another VIOS is lost: nobody waits for what it has brought.
    pub(super) fn lost(&mut self, vios: ViosId) {
        self.waiting.retain(|waiting| waiting.carried.vios != vios);
        self.waiting_bytes = self.waiting.iter().map(|waiting| bytes(&waiting.carried)).sum();
        self.forget(|of| of.0 == vios);
    }

    fn forget(&mut self, is_over: impl Fn(&(ViosId, LuId, Epoch)) -> bool) {
        self.under_way.retain(|session, _requests| !is_over(session));
        self.under_way_count = self.under_way.values().map(BTreeSet::len).sum();
    }
}

fn request_no(Carried { call, .. }: &Carried) -> Option<u64> {
    match call {
        Call::Request { no, .. } => Some(*no),
        Call::Open { .. } | Call::Flush { .. } | Call::Close { .. } | Call::Stay { .. } => None,
    }
}

fn bytes(Carried { call, .. }: &Carried) -> usize {
    match call {
        Call::Request { request, .. } => request.payload(),
        Call::Open { .. } | Call::Flush { .. } | Call::Close { .. } | Call::Stay { .. } => 0,
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
