//! How a session begins and ends. Source: redirect protocol, rules 2, 3 and 8.

use std::time::Duration;

use super::super::message::{Call, Why};
use super::super::moment::Moment;
use super::super::name::{Epoch, Holder, Life, ViosId};
use super::{ENTRIES_MAX, End, Owner, OwnerEvent, Phase, Room};

impl Owner {
    pub(super) fn start(&mut self, now: Moment) {
        if self.phase == Phase::Resting {
            self.lost_since = now;
            if let Some(until) = self.clear_at(now) {
                self.phase = Phase::Clearing { until };
            } else {
                self.open(now);
            }
        }
    }

    /// Asks for a new session, above all before.
    pub(super) fn open(&mut self, now: Moment) {
        let Some(seq) = self.seq.checked_add(1) else {
            self.end_with(End::Exhausted);
            return;
        };
        if self.entry().is_none() {
            self.phase = Phase::Waiting { until: now.after(self.limits.backoff_max) };
            return;
        }
        self.seq = seq;
        self.exit = None;
        self.phase = Phase::Opening;
        self.silent_at = now.after(self.limits.open_max);
        let (epoch, holder, avoid) = (self.epoch(), self.attachment.holder, self.avoid);
        self.send(Call::Open { epoch, holder, hop: 0, avoid });
    }

    pub(super) fn opened(&mut self, now: Moment, life: Life, is_settled: bool, size: u64) {
        if self.phase != Phase::Opening {
            return;
        }
        self.last_no = 0;
        self.answers = 0;
        self.avoid = None;
        self.size = Some(self.size.map_or(size, |known| known.max(size)));
        self.silent_at = now.after(self.limits.silence_max);
        if self.is_new && !is_settled && !self.attachment.is_client_new && !self.has_loss {
            self.has_loss = true;
            self.tell(OwnerEvent::DoubleLoss { epoch: self.epoch() });
        }
        self.begin_repair(life, is_settled);
    }

    pub(super) fn refused(&mut self, now: Moment, highest: Epoch, holder: Holder) {
        let own = self.attachment.owner;
        let is_other =
            highest.owner > own || (highest.owner == own && holder != self.attachment.holder);
        if is_other {
            self.end_with(End::Superseded { by: highest });
        } else if self.phase == Phase::Opening {
            // Of a lower owner it makes no sense: it is a failed open like any other.
            if highest.owner == own {
                self.seq = self.seq.max(highest.seq);
            }
            self.failed(now);
        }
    }

    pub(super) fn no_path(&mut self, now: Moment) {
        if self.phase == Phase::Opening {
            // The exit that was left out may be the only one that is left.
            if self.avoid.take().is_none() {
                self.next_entry(now);
            }
            self.failed(now);
        }
    }

    /// The session is over, by the word of an entry that lives: the next one goes by the same.
    pub(super) fn down(&mut self, now: Moment, why: Why) {
        match self.phase {
            Phase::Opening => self.failed(now),
            Phase::Repairing(_) | Phase::Serving | Phase::Closing => {
                self.end_session(now, why);
                self.reopen(now);
            }
            Phase::Resting | Phase::Clearing { .. } | Phase::Waiting { .. } | Phase::Ended(_) => {}
        }
    }

    pub(super) fn fell_silent(&mut self, now: Moment) {
        self.avoid = self.exit;
        self.next_entry(now);
        let has_third = self.attachment.entries.len() > 2;
        if has_third && self.entry() == self.avoid {
            // The exit may be what died: to find that out would take as long again.
            self.next_entry(now);
        }
        self.down(now, Why::Silent);
    }

    pub(super) fn entry_lost(&mut self, now: Moment, entry: ViosId) {
        self.forget_home(entry);
        if self.entry() == Some(entry) {
            self.next_entry(now);
            self.down(now, Why::ConnectionLost);
        }
    }

    pub(super) fn change_entries(&mut self, now: Moment, mut entries: Vec<ViosId>, near: usize) {
        entries.truncate(ENTRIES_MAX);
        let before = self.entry();
        self.attachment.entries = entries;
        self.attachment.near = near;
        self.keep_homes();
        let mut found = self.attachment.entries.iter();
        match found.position(|entry| Some(*entry) == before) {
            Some(at) => self.at = at,
            None => {
                self.at = 0;
                self.down(now, Why::ConnectionLost);
            }
        }
        if matches!(self.phase, Phase::Waiting { .. }) && self.failures == 0 {
            self.open(now);
        }
    }

    /// What was under way in the session has no answer, and will get none.
    pub(super) fn end_session(&mut self, now: Moment, why: Why) {
        if matches!(self.phase, Phase::Serving | Phase::Closing) {
            self.lost_since = now;
            self.tell(OwnerEvent::PathLost { epoch: self.epoch(), why });
        }
        self.leave_unresolved(now, why);
        self.sent.clear();
        self.reserved = Room::default();
        self.requests.call_back();
        self.errand.restart();
    }

    /// Opens at once after a session that was served; else after the back-off.
    pub(super) fn reopen(&mut self, now: Moment) {
        match self.phase {
            Phase::Serving | Phase::Closing if self.failures == 0 => self.open(now),
            Phase::Resting
            | Phase::Clearing { .. }
            | Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Repairing(_)
            | Phase::Serving
            | Phase::Closing
            | Phase::Ended(_) => self.failed(now),
        }
    }

    /// An open, or its repair, has failed.
    fn failed(&mut self, now: Moment) {
        let wait = self.backoff();
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: now.after(wait) };
        if wait.is_zero() {
            self.open(now);
        }
    }

    /// Nothing while there is an entry that was not tried; then more and more.
    fn backoff(&mut self) -> Duration {
        let entries = u32::try_from(self.attachment.entries.len().max(1)).unwrap_or(u32::MAX);
        let rounds = (self.failures.saturating_add(1)) / entries;
        let Some(doublings) = rounds.checked_sub(1) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let wait = self.limits.backoff_min.saturating_mul(factor).min(self.limits.backoff_max);
        self.chance.jitter(wait)
    }

    fn next_entry(&mut self, now: Moment) {
        self.leave_entry(now);
        self.at = (self.at + 1).checked_rem(self.attachment.entries.len()).unwrap_or(0);
    }
}
