//! What a session does before it serves: bring the storage to where every acknowledged write is in
//! its cache again, and nothing that was lost goes unnoticed. Source: redirect protocol, rules 5
//! and 7.

use super::super::dirty::Content;
use super::super::hold::WriteId;
use super::super::message::Call;
use super::super::moment::Moment;
use super::super::name::Life;
use super::{Attempt, Cause, Kind, Owner, OwnerEvent, Phase};
use crate::block::{Extent, Failure, Reply, Request};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Repair {
    life: Life,
    is_settled: bool,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    /// The map's ranges from here on are still to be written; `None` when all were sent.
    Replaying(Option<u64>),
    /// All of the map is in the storage's cache; it is to be flushed.
    Replayed,
    /// The flush is under way.
    Flushing,
    /// Nothing is left to do.
    Done,
}

impl Owner {
    pub(super) fn begin_repair(&mut self, life: Life, is_settled: bool) {
        let is_needed = self.map_life != Some(life) && !self.dirty.is_empty();
        let stage = if is_needed { Stage::Replaying(Some(0)) } else { Stage::Replayed };
        if is_needed {
            let ranges = self.dirty.ranges();
            self.tell(OwnerEvent::Replayed { epoch: self.epoch(), ranges });
        }
        self.phase = Phase::Repairing(Repair { life, is_settled, stage });
    }

    /// Sends what the repair may send now, and serves when it is done.
    pub(super) fn repair(&mut self, now: Moment) {
        self.replay(now);
        let Phase::Repairing(repair) = &mut self.phase else { return };
        if repair.stage == Stage::Replaying(None) && self.sent.is_empty() {
            repair.stage = Stage::Replayed;
        }
        if repair.stage == Stage::Replayed {
            self.map_life = Some(repair.life);
            // A loss is settled only after a client was told of it.
            let settle = !repair.is_settled && !self.has_loss;
            if settle || self.is_new {
                repair.stage = Stage::Flushing;
                self.send_flush(now, settle, Cause::Repair);
                return;
            }
            repair.stage = Stage::Done;
        }
        if repair.stage == Stage::Done {
            self.phase = Phase::Serving;
            let (epoch, waited) = (self.epoch(), now.since(self.lost_since));
            self.tell(OwnerEvent::PathBack { epoch, waited });
            self.serve(now);
        }
    }

    fn replay(&mut self, now: Moment) {
        while self.sent.len() < self.under_way_max() && self.has_room_to_hold() {
            let Phase::Repairing(repair) = &mut self.phase else { return };
            let Stage::Replaying(Some(from)) = repair.stage else { return };
            let Some((offset, order, content)) = self.dirty.first_from(from) else {
                repair.stage = Stage::Replaying(None);
                return;
            };
            let request = replay_of(offset, content);
            repair.stage = Stage::Replaying(offset.checked_add(1));
            let write = WriteId(order);
            // Nothing newer than an attempt that may still land was ever acknowledged.
            debug_assert!(request.extent().is_some_and(|extent| !self.hold.blocks(write, extent)));
            self.send_request(now, request, write, Kind::Replay);
        }
    }

    pub(super) fn replay_answered(&mut self, now: Moment, outcome: Result<Reply, Failure>) {
        if let Err(failure) = outcome {
            self.repair_failed(now, failure);
        }
    }

    pub(super) fn repair_flushed(&mut self, now: Moment, outcome: Result<Reply, Failure>) {
        match outcome {
            Ok(_) => {
                if let Phase::Repairing(repair) = &mut self.phase {
                    self.is_new = false;
                    repair.stage = Stage::Done;
                }
            }
            Err(failure) => self.repair_failed(now, failure),
        }
    }

    /// The path is of no use as it is: another session is tried later, and the client's next flush
    /// is told.
    fn repair_failed(&mut self, now: Moment, failure: Failure) {
        self.tell(OwnerEvent::RepairFailed { epoch: self.epoch(), failure });
        self.owed = Some(failure);
        self.end_session(now, super::Why::Moved);
        self.reopen(now);
    }

    pub(super) fn send_flush(&mut self, now: Moment, settle: bool, cause: Cause) {
        let kind = Kind::Flush { mark: self.dirty.mark(), cause };
        let no = self.note(now, kind, None);
        self.send(Call::Flush { epoch: self.epoch(), no, settle });
    }

    pub(super) fn send_request(
        &mut self,
        now: Moment,
        request: Request,
        write: WriteId,
        kind: Kind,
    ) {
        let change = request.extent().filter(|_| request.is_change());
        let no = self.note(now, kind, change.map(|extent| (write, extent)));
        self.send(Call::Request { epoch: self.epoch(), no, request });
    }

    fn note(&mut self, now: Moment, kind: Kind, change: Option<(WriteId, Extent)>) -> u64 {
        // One a nanosecond would last for 584 years.
        self.last_no = self.last_no.saturating_add(1);
        self.sent.insert(self.last_no, Attempt { kind, change, sent_at: now });
        self.last_no
    }
}

fn replay_of(offset: u64, content: &Content) -> Request {
    match content {
        Content::Data(data) => Request::Write { offset, data: data.clone(), fua: false },
        Content::Zeroes { length, may_punch } => Request::WriteZeroes {
            extent: Extent { offset, length: *length },
            fua: false,
            may_punch: *may_punch,
            only_fast: false,
        },
    }
}
