//! Leaving a session in order: for a better path, or for good. Source: redirect protocol, rules 8
//! and 11.

use super::super::message::{Call, Why};
use super::super::moment::Moment;
use super::super::name::ViosId;
use super::{Cause, End, Kind, Owner, Phase};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Errand {
    None,
    /// Flush until little is dirty, drain, flush, open.
    Move {
        flushes: u8,
        is_draining: bool,
        /// By which entry; `None`: by the same.
        to: Option<ViosId>,
    },
    /// Finish all, flush, close.
    Close,
}

impl Errand {
    /// The session is over: a move has become needless.
    pub(super) fn restart(&mut self) {
        match self {
            Self::Move { .. } => *self = Self::None,
            Self::None | Self::Close => {}
        }
    }

    /// A move to another entry.
    pub(super) const fn to(entry: ViosId) -> Self {
        Self::Move { flushes: 0, is_draining: false, to: Some(entry) }
    }

    pub(super) fn leads_to(self, entry: ViosId) -> bool {
        matches!(self, Self::Move { to: Some(to), .. } if to == entry)
    }

    pub(super) fn is_close(self) -> bool {
        self == Self::Close
    }
}

impl Owner {
    pub(super) fn better(&mut self) {
        if self.phase == Phase::Serving && self.errand == Errand::None {
            self.errand = Errand::Move { flushes: 0, is_draining: false, to: None };
        }
    }

    pub(super) fn ask_to_close(&mut self, now: Moment) {
        // A clean end says that nothing can land any more, of an earlier owner neither.
        if self.phase == Phase::Resting && self.clear_at(now).is_none() {
            self.end_with(End::Closed);
        } else {
            self.errand = Errand::Close;
        }
    }

    /// The next step of the errand. Whether requests are sent meanwhile.
    pub(super) fn run_errand(&mut self, now: Moment) -> bool {
        match self.errand {
            Errand::None => true,
            Errand::Move { is_draining: true, .. } => {
                self.leave(now);
                false
            }
            Errand::Move { flushes, is_draining: false, to } => {
                self.prepare_to_move(now, flushes, to)
            }
            Errand::Close if self.requests.is_empty() => {
                self.leave(now);
                false
            }
            Errand::Close => true,
        }
    }

    fn prepare_to_move(&mut self, now: Moment, flushes: u8, to: Option<ViosId>) -> bool {
        let is_little = self.dirty.bytes() <= self.limits.little_dirty_bytes;
        if is_little || flushes >= self.limits.move_flushes_max {
            self.errand = Errand::Move { flushes, is_draining: true, to };
            self.leave(now);
            return false;
        }
        if !self.is_flushing_itself() && self.sent.len() < self.limits.under_way_max {
            let flushes = flushes.saturating_add(1);
            self.errand = Errand::Move { flushes, is_draining: false, to };
            self.send_flush(now, false, Cause::Own);
        }
        true
    }

    /// Once nothing is under way: flush what is dirty, then leave.
    fn leave(&mut self, now: Moment) {
        // A clean end says that nothing can land any more.
        let may_land = self.errand.is_close() && self.hold.len() > 0;
        if !self.sent.is_empty() || may_land {
            return;
        }
        if !self.dirty.is_empty() {
            self.send_flush(now, false, Cause::Own);
        } else if let Errand::Move { to, .. } = self.errand {
            self.end_session(now, Why::Moved);
            if let Some(entry) = to {
                self.enter_by(now, entry);
            }
            self.open(now);
        } else if self.has_loss {
            // A clean end would hide the loss from the next owner.
            self.end_with(End::Closed);
        } else {
            self.phase = Phase::Closing;
            self.silent_at = now.after(self.limits.open_max);
            self.send(Call::Close { epoch: self.epoch() });
        }
    }

    fn is_flushing_itself(&self) -> bool {
        self.sent
            .values()
            .any(|attempt| matches!(attempt.kind, Kind::Flush { cause: Cause::Own, .. }))
    }
}
