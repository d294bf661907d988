//! Requests of the open sessions, and the device. Source: redirect protocol, rules 4, 6 and 11.

use std::collections::VecDeque;

use super::super::message::{Why, Word};
use super::super::name::{ConnId, Epoch, Life, LuId};
use super::lu::{Open, Session, State};
use super::{Effect, OpId, Store, StoreEvent, SyncId, draw};
use crate::block::{Extent, Failure, Reply, Request};

/// A request that has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Queued {
    no: u64,
    request: Request,
    settle: bool,
}

/// A request that is in the device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Op {
    pub(super) epoch: Epoch,
    no: u64,
    extent: Option<Extent>,
    /// It gives room back, so nothing may refer to that meanwhile.
    frees: bool,
    is_fua: bool,
}

impl Op {
    fn of(epoch: Epoch, no: u64, request: &Request) -> Self {
        let frees = match request {
            Request::Trim { .. } => true,
            Request::WriteZeroes { may_punch, .. } => *may_punch,
            Request::Read { .. }
            | Request::Write { .. }
            | Request::Flush
            | Request::Status { .. } => false,
        };
        Self { epoch, no, extent: request.extent(), frees, is_fua: request.is_fua() }
    }

    /// Whether the two may not be in the device together.
    fn clashes(&self, other: &Self) -> bool {
        let shares = match (self.extent, other.extent) {
            (Some(one), Some(two)) => one.overlaps(two),
            (None, _) | (_, None) => false,
        };
        shares && (self.frees || other.frees)
    }
}

/// Who waits for a flush of the volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Waiter {
    pub(super) lu: LuId,
    conn: ConnId,
    epoch: Epoch,
    no: u64,
    settle: bool,
}

impl Store {
    /// A request has arrived. It is looked at again when it is given to the device.
    pub(super) fn take(
        &mut self,
        from: Session,
        id: LuId,
        no: u64,
        request: Request,
        settle: bool,
    ) {
        let requests_max = u64::try_from(self.limits.requests_max).unwrap_or(u64::MAX);
        let Some(open) = self.open_by(from, id) else { return };
        if no <= open.taken {
            return;
        }
        let is_next = open.taken.checked_add(1) == Some(no);
        if !is_next || open.taken.saturating_sub(open.answered) >= requests_max {
            self.end(id, Why::OutOfStep);
            return;
        }
        open.taken = no;
        open.queue.push_back(Queued { no, request, settle });
        self.step(id);
    }

    /// Gives the device what it may have now. Only what the open session holds can come here: a
    /// session that ends takes its queue with it.
    pub(super) fn hand_over(&mut self, id: LuId) {
        loop {
            let (depth, bytes_max) = (self.limits.device_depth, self.limits.request_bytes_max);
            let Some(lu) = self.lus.get_mut(&id) else { return };
            let State::Open(open) = &mut lu.state else { return };
            let Session { epoch, conn, .. } = open.session;
            let Some(Queued { no, request, .. }) = open.queue.front() else { return };
            let entry = Op::of(epoch, *no, request);
            let is_flush = matches!(request, Request::Flush);
            let is_valid = is_valid(request, lu.size, bytes_max);
            let clashes = lu.device.values().any(|other| entry.clashes(other));
            if is_valid && !is_flush && (lu.device.len() >= depth || clashes) {
                return;
            }
            let Some(Queued { no, request, settle }) = open.queue.pop_front() else { return };
            if !is_valid {
                self.reply(id, epoch, no, Err(Failure::Invalid));
            } else if is_flush {
                self.next_flush.push(Waiter { lu: id, conn, epoch, no, settle });
            } else {
                let op = OpId(draw(&mut self.last_id));
                if entry.is_fua {
                    self.fuas += 1;
                    note(&mut self.is_noted, &mut self.effects);
                }
                lu.device.insert(op, entry);
                self.ops.insert(op, id);
                self.effects.push_back(Effect::Perform { op, lu: id, epoch, no, request });
            }
        }
    }

    /// One flush of the volume at a time: of two at once, one could take away the error that the
    /// other should see.
    pub(super) fn start_flush(&mut self) {
        if self.flush.is_none() && self.renewing.is_none() && !self.next_flush.is_empty() {
            let op = OpId(draw(&mut self.last_id));
            self.flush = Some((op, std::mem::take(&mut self.next_flush)));
            note(&mut self.is_noted, &mut self.effects);
            self.effects.push_back(Effect::Flush { op });
        }
    }

    pub(super) fn take_back_note(&mut self) {
        let is_syncing = self.flush.is_some() || self.fuas > 0 || self.renewing.is_some();
        if self.is_noted && !is_syncing {
            self.is_noted = false;
            self.effects.push_back(Effect::Note { is_syncing: false });
        }
    }

    pub(super) fn performed(&mut self, op: OpId, outcome: Result<Reply, Failure>) {
        if let Some((_, waiters)) = self.flush.take_if(|(flush, _)| *flush == op) {
            self.flushed(waiters, outcome);
            return;
        }
        let Some(id) = self.ops.remove(&op) else { return };
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let Some(Op { epoch, no, is_fua, .. }) = lu.device.remove(&op) else { return };
        self.fuas -= usize::from(is_fua);
        if is_fua && outcome == Err(Failure::Io) {
            // It may have been the sync that failed, for others' data too.
            let session = lu.session().filter(|session| session.epoch == epoch);
            let word = Word::Answer { epoch, no, outcome };
            self.held_back.extend(session.map(|session| (session.conn, id, word)));
            self.fsync_failed();
        } else {
            self.reply(id, epoch, no, outcome);
        }
        self.step(id);
    }

    /// Answers in the session that asked, if it is still open.
    fn reply(&mut self, id: LuId, epoch: Epoch, no: u64, outcome: Result<Reply, Failure>) {
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let State::Open(open) = &mut lu.state else { return };
        if open.session.epoch == epoch {
            open.answered += 1;
            let conn = open.session.conn;
            self.send(conn, id, Word::Answer { epoch, no, outcome });
        }
    }

    fn flushed(&mut self, waiters: Vec<Waiter>, outcome: Result<Reply, Failure>) {
        if let Err(failure) = outcome {
            for Waiter { lu, conn, epoch, no, .. } in waiters {
                let word = Word::Answer { epoch, no, outcome: Err(failure) };
                self.held_back.push((conn, lu, word));
            }
            self.fsync_failed();
            return;
        }
        let identity = self.identity;
        for Waiter { lu: id, epoch, no, settle, .. } in waiters {
            if !settle {
                self.reply(id, epoch, no, Ok(Reply::Done));
                continue;
            }
            // A session that is over has taken its waiters with it.
            let Some(lu) = self.lus.get_mut(&id) else { continue };
            let version = lu.change(|record| record.settled = identity);
            if let State::Open(Open { settling, .. }) = &mut lu.state {
                settling.push((version, no));
            }
            self.step(id);
        }
    }

    pub(super) fn answer_settled(&mut self, id: LuId) {
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let stored = lu.stored_version();
        let State::Open(open) = &mut lu.state else { return };
        let epoch = open.session.epoch;
        let is_stored = |(version, _): &(u64, u64)| *version <= stored;
        let ready: Vec<u64> =
            open.settling.iter().filter(|one| is_stored(one)).map(|(_, no)| *no).collect();
        open.settling.retain(|one| !is_stored(one));
        for no in ready {
            self.reply(id, epoch, no, Ok(Reply::Done));
        }
    }

    /// What was acknowledged and is not durable may be lost from the cache without a trace: a new
    /// identity and life say so, and every session is over. Nobody is told of the failure before
    /// it is stored.
    pub(super) fn fsync_failed(&mut self) {
        self.identity.losses = self.identity.losses.saturating_add(1);
        self.life = Life(self.chance.draw());
        let open = |state: &State| matches!(state, State::Open(_));
        let lus = self.lus.iter().filter(|(_, lu)| open(&lu.state)).map(|(id, _)| *id);
        for id in lus.collect::<Vec<_>>() {
            if let Some(Session { epoch, conn, .. }) = self.drop_session(id) {
                self.held_back.push((conn, id, Word::Down { epoch, why: Why::FsyncFailed }));
            }
        }
        let sync = SyncId(draw(&mut self.last_id));
        self.renewing = Some(sync);
        let identity = self.identity;
        self.effects.push_back(Effect::StoreIdentity { sync, identity });
    }

    pub(super) fn renewed(&mut self) {
        self.renewing = None;
        for (conn, lu, word) in std::mem::take(&mut self.held_back) {
            self.send(conn, lu, word);
        }
        let identity = self.identity;
        self.effects.push_back(Effect::Tell(StoreEvent::FsyncFailed { identity }));
        for id in self.lus.keys().copied().collect::<Vec<_>>() {
            self.step(id);
        }
    }

    pub(super) fn lose_identity(&mut self) {
        self.is_lost = true;
        for (conn, lu, word) in std::mem::take(&mut self.held_back) {
            self.send(conn, lu, word);
        }
        for id in self.lus.keys().copied().collect::<Vec<_>>() {
            self.end(id, Why::FsyncFailed);
        }
        self.effects.push_back(Effect::Tell(StoreEvent::IdentityLost));
    }
}

fn note(is_noted: &mut bool, effects: &mut VecDeque<Effect>) {
    if !std::mem::replace(is_noted, true) {
        effects.push_back(Effect::Note { is_syncing: true });
    }
}

fn is_valid(request: &Request, size: u64, bytes_max: u32) -> bool {
    let Some(extent) = request.extent() else { return true };
    let is_short = match request {
        Request::Read { .. } | Request::Write { .. } => extent.length <= bytes_max,
        Request::Flush
        | Request::Trim { .. }
        | Request::WriteZeroes { .. }
        | Request::Status { .. } => true,
    };
    is_short && extent.fits(size)
}
