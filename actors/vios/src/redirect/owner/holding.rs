//! Storage that cannot fence: what is held back until older attempts cannot land any more. Source:
//! redirect protocol, rule 12.

use super::super::hold::Fence;
use super::super::message::{Call, Why};
use super::super::moment::Moment;
use super::requests::Ticket;
use super::{Owner, Phase};
use crate::block::Request;

impl Owner {
    /// Until when a new owner must not begin, for attempts of an earlier one; `Some(None)` if only
    /// somebody can say.
    pub(super) fn clear_at(&self, now: Moment) -> Option<Option<Moment>> {
        match self.attachment.fence {
            Fence::Epochs | Fence::None { is_clear: true, .. } => None,
            Fence::None { lease, request_life, is_clear: false } => {
                Some(request_life.map(|life| now.after(lease).after(life)))
            }
        }
    }

    /// Changes that are without an answer when their session ends may land for a while. It is
    /// counted from the abort of the connection if the exit has told of it, else from when the
    /// exit's lease must have ended.
    pub(super) fn leave_unresolved(&mut self, now: Moment, why: Why) {
        let Fence::None { lease, request_life, .. } = self.attachment.fence else { return };
        let aborted = if why == Why::Aborted { now } else { now.after(lease) };
        let until = request_life.map(|life| aborted.after(life));
        for attempt in self.sent.values() {
            if let Some((write, extent)) = attempt.change {
                self.hold.leave(write, extent, until);
            }
        }
    }

    /// The session's exit asks whether its owner is still there.
    pub(super) fn stay(&mut self, beat: u64) {
        if self.phase != Phase::Opening {
            self.send(Call::Stay { epoch: self.epoch(), beat });
        }
    }

    /// Nothing of an attempt is left that could land.
    pub(super) fn void(&mut self, no: u64) {
        if let Some(attempt) = self.sent.get_mut(&no) {
            attempt.change = None;
        }
    }

    pub(super) fn attempts_ended(&mut self, now: Moment) {
        self.hold.clear();
        if let Phase::Clearing { .. } = self.phase {
            self.open(now);
        }
    }

    /// Whether a request waits for older attempts, or for room to remember its own.
    pub(super) fn must_hold(&self, ticket: Ticket, request: &Request) -> bool {
        if self.attachment.fence == Fence::Epochs || !request.is_change() {
            return false;
        }
        let is_blocked =
            request.extent().is_some_and(|extent| self.hold.blocks(ticket.write(), extent));
        is_blocked || !self.has_room_to_hold()
    }

    /// Whether one more attempt could be remembered if its session ended.
    pub(super) fn has_room_to_hold(&self) -> bool {
        self.attachment.fence == Fence::Epochs
            || self.hold.len() + self.sent.len() < self.limits.unresolved_max
    }
}
