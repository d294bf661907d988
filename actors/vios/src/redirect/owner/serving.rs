//! Requests of clients, while a session is open. Source: redirect protocol, rules 1, 6 and 9.

use super::super::dirty::{Content, Mark};
use super::super::message::Why;
use super::super::moment::Moment;
use super::requests::{Asker, Pending, Ticket};
use super::{Cause, End, Kind, Owner, Phase, Room};
use crate::block::{Extent, Failure, Reply, Request};

impl Owner {
    pub(super) fn asked(&mut self, now: Moment, asker: Asker, request: Request) {
        if self.errand.is_close() {
            self.answer(asker, Err(Failure::ShuttingDown));
        } else if !self.has_room(request.payload()) {
            self.answer(asker, Err(Failure::Io));
        } else if self.size.is_some_and(|size| !fits(&request, size)) {
            self.answer(asker, Err(Failure::Invalid));
        } else {
            self.requests.add(asker, request, now);
        }
    }

    /// Sends what may be sent, and goes on with the errand, if there is one.
    pub(super) fn serve(&mut self, now: Moment) {
        if self.run_errand(now) {
            self.dispatch(now);
        }
    }

    fn dispatch(&mut self, now: Moment) {
        let is_half_full = self.dirty.bytes() >= self.limits.flush_from_bytes
            || self.dirty.ranges() >= self.limits.flush_from_ranges;
        if is_half_full {
            self.make_room(now);
        }
        let mut passed_over = None;
        while self.sent.len() < self.under_way_max() {
            let Some((ticket, pending)) = self.requests.next_ready(passed_over) else { return };
            let request = pending.request.clone();
            if self.must_hold(ticket, &request) {
                passed_over = Some(ticket);
                continue;
            }
            match (&request, request.extent()) {
                (Request::Flush, _) | (_, None) => self.dispatch_flush(now, ticket),
                (_, Some(extent)) => {
                    if !self.dispatch_request(now, ticket, request, extent) {
                        return;
                    }
                }
            }
        }
    }

    /// A flush that is owed an error is answered without being sent.
    fn dispatch_flush(&mut self, now: Moment, ticket: Ticket) {
        let had_loss = std::mem::take(&mut self.has_loss);
        let owed = self.owed.take();
        if let Some(failure) = owed.or(had_loss.then_some(Failure::Io)) {
            self.finish(ticket, Err(failure));
            if had_loss {
                self.send_flush(now, true, Cause::Own);
            }
        } else {
            self.requests.send(ticket);
            self.send_flush(now, false, Cause::Client(ticket));
        }
    }

    /// `false` if it must wait until a flush has made room in the map.
    fn dispatch_request(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: Request,
        extent: Extent,
    ) -> bool {
        let Some((room, is_kept)) = self.map_room(&request, extent) else {
            self.make_room(now);
            return false;
        };
        let lacks_room = !is_kept && self.is_to_keep(&request, extent);
        if lacks_room {
            self.make_room(now);
            if self.sent.len() >= self.under_way_max() {
                return false;
            }
        }
        self.reserved.ranges += room.ranges;
        self.reserved.bytes += room.bytes;
        self.requests.send(ticket);
        let must_fua = lacks_room || self.limits.is_write_through;
        let request = if must_fua { request.with_fua(true) } else { request };
        let write = ticket.write();
        self.send_request(now, request, write, Kind::Request { ticket, is_kept, room });
        true
    }

    /// The room in the map that a request may take once it is acknowledged, and whether it is kept
    /// there. `None`: there is none, not even for what is left of a range that it splits.
    fn map_room(&self, request: &Request, extent: Extent) -> Option<(Room, bool)> {
        if !request.is_change() {
            return Some((Room::default(), false));
        }
        let bytes = u64::try_from(request.payload()).unwrap_or(u64::MAX);
        let kept = Room { ranges: self.dirty.growth_of_put(extent), bytes };
        if self.is_to_keep(request, extent) && self.has_map_room(kept) {
            return Some((kept, true));
        }
        let removed = Room { ranges: self.dirty.growth_of_removal(extent), bytes: 0 };
        self.has_map_room(removed).then_some((removed, false))
    }

    /// Whether it must be kept until it is flushed, if there is room.
    fn is_to_keep(&self, request: &Request, extent: Extent) -> bool {
        let is_written = matches!(request, Request::Write { .. } | Request::WriteZeroes { .. });
        is_written && !request.is_fua() && !self.limits.is_write_through && extent.length > 0
    }

    fn has_map_room(&self, room: Room) -> bool {
        let ranges = self.dirty.ranges() + self.reserved.ranges + room.ranges;
        let bytes = self.dirty.bytes() + self.reserved.bytes + room.bytes;
        room == Room::default()
            || (ranges <= self.limits.dirty_ranges_max && bytes <= self.limits.dirty_bytes_max)
    }

    /// Flushes, unless a flush that empties the map is under way.
    fn make_room(&mut self, now: Moment) {
        let is_flushing =
            self.sent.values().any(|attempt| matches!(attempt.kind, Kind::Flush { .. }));
        if !is_flushing && !self.dirty.is_empty() && self.sent.len() < self.limits.under_way_max {
            self.send_flush(now, false, Cause::Own);
        }
    }

    /// An answer of the session. One that does not fit what was asked ends it, as if none had come.
    pub(super) fn answered(&mut self, now: Moment, no: u64, outcome: Result<Reply, Failure>) {
        let Some(attempt) = self.sent.get(&no) else { return };
        let is_fitting = match attempt.kind {
            Kind::Request { ticket, .. } => self.requests.is_answer(ticket, &outcome),
            Kind::Replay | Kind::Flush { .. } => matches!(outcome, Ok(Reply::Done) | Err(_)),
        };
        if !is_fitting {
            self.down(now, Why::Spoilt);
            return;
        }
        self.wait_on(now);
        self.answers += 1;
        if self.phase == Phase::Serving {
            self.failures = 0;
        }
        match self.sent.remove(&no).map(|attempt| attempt.kind) {
            Some(Kind::Replay) => self.replay_answered(now, outcome),
            Some(Kind::Flush { mark, cause }) => self.flush_answered(now, mark, cause, outcome),
            Some(Kind::Request { ticket, is_kept, room }) => {
                self.reserved.ranges -= room.ranges;
                self.reserved.bytes -= room.bytes;
                self.request_answered(ticket, is_kept, outcome);
            }
            None => {}
        }
    }

    fn flush_answered(
        &mut self,
        now: Moment,
        mark: Mark,
        cause: Cause,
        outcome: Result<Reply, Failure>,
    ) {
        let is_durable = outcome.is_ok();
        if is_durable {
            self.dirty.settle(mark);
        }
        match cause {
            Cause::Repair => return self.repair_flushed(now, outcome),
            Cause::Client(ticket) => self.finish(ticket, outcome),
            Cause::Own => {}
        }
        if !is_durable {
            // What the storage holds is in doubt; a second flush would prove nothing.
            self.down(now, Why::FsyncFailed);
        }
    }

    fn request_answered(&mut self, ticket: Ticket, is_kept: bool, outcome: Result<Reply, Failure>) {
        if outcome.is_ok()
            && let Some(Pending { request, .. }) = self.requests.peek(ticket)
        {
            let order = ticket.write().0;
            match (request, request.extent()) {
                (Request::Write { offset, data, .. }, _) if is_kept => {
                    self.dirty.put(*offset, Content::Data(data.clone()), order);
                }
                (Request::WriteZeroes { extent, may_punch, .. }, _) if is_kept => {
                    let zeroes = Content::Zeroes { length: extent.length, may_punch: *may_punch };
                    self.dirty.put(extent.offset, zeroes, order);
                }
                (request, Some(extent)) if request.is_change() => self.dirty.remove(extent),
                (_, Some(_) | None) => {}
            }
        }
        self.finish(ticket, outcome);
    }

    /// The request's end, and the answer if somebody waits for it.
    fn finish(&mut self, ticket: Ticket, outcome: Result<Reply, Failure>) {
        if let Some(Pending { asker: Some(asker), .. }) = self.requests.remove(ticket) {
            self.answer(asker, outcome);
        }
    }

    /// The storage lives. If it tells of answers that did not arrive, of a session whose beginning
    /// was not told, or has not taken what was sent long ago, something was lost on the way.
    pub(super) fn alive(&mut self, now: Moment, taken: u64, answered: u64) {
        match self.phase {
            Phase::Opening => self.down(now, Why::OutOfStep),
            Phase::Repairing(_) | Phase::Serving => {
                if self.phase == Phase::Serving {
                    self.failures = 0;
                }
                self.wait_on(now);
                let untaken = self.sent.range(taken.saturating_add(1)..).next();
                let is_lost = untaken.is_some_and(|(_, attempt)| {
                    now.since(attempt.sent_at) > self.limits.silence_max
                });
                if answered > self.answers || is_lost {
                    self.down(now, Why::OutOfStep);
                }
            }
            // The close itself may be lost, so its wait is not drawn out.
            Phase::Resting
            | Phase::Clearing { .. }
            | Phase::Waiting { .. }
            | Phase::Closing
            | Phase::Ended(_) => {}
        }
    }

    pub(super) fn closed(&mut self) {
        if self.phase == Phase::Closing {
            self.end_with(End::Closed);
        }
    }
}

/// Whether the request lies on the disk. An empty one is left to the storage.
fn fits(request: &Request, size: u64) -> bool {
    request.extent().is_none_or(|extent| extent.fits(size))
}
