//! Who waits for changes, and who is told what when.
//!
//! Time is counted in ticks. Whoever waited in vain until its tick is told how far the shard is
//! only after a round to the other replicas, of which one is under way at most; what changes
//! meanwhile is told all the same.

use std::sync::Arc;

use crate::consensus::recent::Revised;
use crate::replica::client::Refusal;
use crate::schema::Schema;
use crate::watch::{Filter, Told};

/// Most who wait at one replica.
pub(super) const WAITING_MAX: usize = 8192;

/// What somebody is told.
pub(super) type Telling<T> = (T, Result<Told, Refusal>);

/// Those who wait for changes of a shard; `T` is the way to one of them.
#[derive(Debug)]
pub(super) struct Hub<T> {
    schema: Arc<Schema>,
    waiting: Vec<Waiting<T>>,
    /// Up to which revision all who wait know all that they want to.
    seen: u64,
    is_round_under_way: bool,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// The way to it.
    pub(super) to: T,
    /// What it wants to know of.
    pub(super) filter: Filter,
    /// It knows all up to this revision.
    pub(super) after: u64,
    /// The tick on which it has waited long enough.
    pub(super) until: u64,
    /// It is waiting for the round that is under way.
    pub(super) is_ending: bool,
}

impl<T> Hub<T> {
    /// Nobody waits, and the rows are as far as that.
    pub(super) fn new(schema: Arc<Schema>, seen: u64) -> Self {
        Self { schema, waiting: Vec::new(), seen, is_round_under_way: false }
    }

    /// Up to which revision those who wait are told.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// One more waits. `revised` is all that changed behind what it knows, up to `through`: if it
    /// wants any of that, it is told at once, as it is if no more can wait.
    pub(super) fn admit(
        &mut self,
        mut waiting: Waiting<T>,
        revised: &[Revised],
        through: u64,
    ) -> Option<Telling<T>> {
        match self.pick(&waiting, revised, through) {
            Some(told) => Some((waiting.to, Ok(told))),
            None if self.waiting.len() >= WAITING_MAX => {
                Some((waiting.to, Err(Refusal::TooManyWatches)))
            }
            None => {
                waiting.after = waiting.after.max(through);
                self.waiting.push(waiting);
                None
            }
        }
    }

    /// The rows are as far as `through`, and changed so since the last call.
    pub(super) fn changed(&mut self, revised: &[Revised], through: u64) -> Vec<Telling<T>> {
        self.seen = self.seen.max(through);
        if revised.is_empty() {
            return Vec::new();
        }
        let mut told = Vec::new();
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            match self.pick(waiting, revised, through) {
                Some(answer) => told.push((self.waiting.swap_remove(at).to, Ok(answer))),
                None => at += 1,
            }
        }
        told
    }

    /// The rows changed in ways that are not known here: all who wait have to ask again.
    pub(super) fn lost(&mut self, through: u64) -> Vec<Telling<T>> {
        let known = std::mem::replace(&mut self.seen, through);
        let again = |waiting: Waiting<T>| {
            let through = waiting.after.max(known);
            let told = Told::Changes { notices: Vec::new(), through, is_current: false };
            (waiting.to, Ok(told))
        };
        self.waiting.drain(..).map(again).collect()
    }

    /// Whether a round is to begin, since somebody has waited long enough.
    pub(super) fn begins_round(&mut self, now: u64) -> bool {
        if self.is_round_under_way {
            return false;
        }
        for waiting in &mut self.waiting {
            waiting.is_ending = waiting.until <= now;
        }
        self.is_round_under_way = self.waiting.iter().any(|waiting| waiting.is_ending);
        self.is_round_under_way
    }

    /// The round is over: the replica led while it went, and all that was committed before it is
    /// [seen](Self::seen); or not.
    pub(super) fn round_ended(&mut self, led: &Result<(), Refusal>) -> Vec<Telling<T>> {
        self.is_round_under_way = false;
        let through = self.seen;
        let told = led.clone().map(|()| {
            let notices = Vec::new();
            Told::Changes { notices, through, is_current: true }
        });
        let ended = self.waiting.extract_if(.., |waiting| waiting.is_ending);
        ended.map(|waiting| (waiting.to, told.clone())).collect()
    }

    /// The tick on which a round is to begin, if nothing happens before.
    pub(super) fn next_round(&self) -> Option<u64> {
        if self.is_round_under_way {
            return None;
        }
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Leaves out those who do not wait any more.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&T) -> bool) {
        self.waiting.retain(|waiting| !is_gone(&waiting.to));
    }

    /// Whether no more can wait.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// All who wait, with this refusal.
    pub(super) fn refuse_all(&mut self, refusal: &Refusal) -> Vec<Telling<T>> {
        self.waiting.drain(..).map(|waiting| (waiting.to, Err(refusal.clone()))).collect()
    }

    fn pick(&self, waiting: &Waiting<T>, revised: &[Revised], through: u64) -> Option<Told> {
        let behind = revised.partition_point(|(revision, _events)| *revision <= waiting.after);
        let revised = revised.iter().skip(behind);
        let revised = revised.map(|(revision, events)| (*revision, events.as_ref()));
        let (notices, through) = Told::pick(&waiting.filter, &self.schema, revised, through);
        let is_current = false;
        (!notices.is_empty()).then_some(Told::Changes { notices, through, is_current })
    }
}

#[cfg(test)]
mod tests;
