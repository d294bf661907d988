//! Planted bugs: what goes into a machine or comes out of it is altered on the way, or goes around
//! the machine. Without a plant each of these functions hands on what it is given.

use std::collections::BTreeSet;

use vioduct_vios::block::{Failure, Reply, Request};
use vioduct_vios::redirect::Epoch;
use vioduct_vios::redirect::message::{Call, Word};
use vioduct_vios::redirect::name::{AdapterId, ConnId, Holder, Life};
use vioduct_vios::redirect::owner::Owner;
use vioduct_vios::redirect::store::{self, OpId, SyncId};

use super::{DeviceOp, LU, Note, Syncing, Wire, World};
use crate::plan::{Plan, Plant};

/// What a planted bug remembers, and what the world has no other place for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Planted {
    /// Requests that are carried out later, around the store.
    pub(crate) waiting: Vec<(usize, Call)>,
    /// The VIOSes' adapters whose fabric is lost.
    pub(crate) lost_fabric: BTreeSet<(u32, AdapterId)>,
    first_life: Option<Life>,
    /// What an exit has sent and has no answer to.
    unanswered: Vec<Call>,
    holder: Option<Holder>,
    raised: Option<Raised>,
}

/// A session that an exit has raised by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Raised {
    conn: usize,
    owners: Epoch,
    own: Epoch,
    /// The last number of the owner's session that was answered in it.
    base: u64,
}

impl Planted {
    pub(super) fn is_fabric_lost(&self, vios: u32, adapter: AdapterId) -> bool {
        self.lost_fabric.contains(&(vios, adapter))
    }

    pub(super) fn note_fabric(&mut self, vios: u32, adapter: AdapterId, is_lost: bool) {
        if is_lost {
            self.lost_fabric.insert((vios, adapter));
        } else {
            self.lost_fabric.remove(&(vios, adapter));
        }
    }
}

impl World {
    pub(super) fn send_from_owner(&mut self, plan: &Plan, seat: usize, vios: u32, call: Call) {
        let is_repairing = self.seats[seat].as_ref().is_some_and(Owner::is_repairing);
        let call = match (plan.plant, call) {
            (Plant::ReplayInBackground, Call::Request { epoch, no, request }) if is_repairing => {
                self.planted.waiting.push((0, Call::Request { epoch, no, request }));
                self.pretend(vios, seat, epoch, no, Ok(Reply::Done))
            }
            (Plant::HeldReleased, Call::Request { epoch, no, request })
                if self.oracle.was_refused(&request) =>
            {
                self.pretend(vios, seat, epoch, no, Err(Failure::Io))
            }
            (_, call) => call,
        };
        self.put(Wire::ToEntry(seat, vios), Note::Call(call));
    }

    /// Answers in the storage's place; the storage gets something harmless of the same number.
    fn pretend(
        &mut self,
        vios: u32,
        seat: usize,
        epoch: Epoch,
        no: u64,
        outcome: Result<Reply, Failure>,
    ) -> Call {
        let word = Word::Answer { epoch, no, outcome };
        self.put(Wire::ToOwner(vios, seat), Note::Word(word));
        Call::Request { epoch, no, request: Request::Flush }
    }

    pub(super) fn altered_word(&mut self, plan: &Plan, conn: usize, word: Word) -> Option<Word> {
        match (plan.plant, word) {
            (Plant::LifeHidden, Word::Opened { epoch, life, identity, settled, size }) => {
                let life = *self.planted.first_life.get_or_insert(life);
                Some(Word::Opened { epoch, life, identity, settled, size })
            }
            (Plant::SettledForged, Word::Opened { epoch, life, identity, size, .. }) => {
                Some(Word::Opened { epoch, life, identity, settled: identity, size })
            }
            (Plant::SecondRaiser, word) => self.owners_word(conn, word),
            (_, word) => Some(word),
        }
    }

    /// What the store is given of a call that arrives.
    pub(super) fn altered_call(&mut self, plan: &Plan, conn: usize, call: Call) -> Option<Call> {
        let open = self.store.as_ref().and_then(|store| store.open_epoch(LU));
        let epoch = call.epoch();
        let is_around = match plan.plant {
            Plant::NoFence => open != Some(epoch),
            Plant::OpenAfterStart => {
                let record = self.disk.records.get(&LU).map(|record| record.highest);
                open.is_none() && record == Some(epoch)
            }
            Plant::CheckedOnArrival if open == Some(epoch) => {
                if let Call::Request { .. } = call {
                    self.planted.waiting.push((conn, call));
                    return None;
                }
                false
            }
            Plant::SecondRaiser => return Some(self.raised_call(conn, call)),
            _ => false,
        };
        match call {
            Call::Request { epoch, no, request } if is_around => {
                self.around(Some(conn), epoch, no, request);
                None
            }
            call => Some(call),
        }
    }

    /// Gives the device a request that the store does not know of.
    fn around(&mut self, conn: Option<usize>, epoch: Epoch, no: u64, request: Request) {
        self.device.push(DeviceOp { op: None, conn, epoch, no, request });
    }

    /// A request that was held back is carried out; nobody looks at its session any more.
    pub(super) fn release(&mut self, plan: &Plan, index: usize) {
        let (conn, call) = self.planted.waiting.remove(index);
        if let Call::Request { epoch, no, request } = call {
            let conn = (plan.plant == Plant::CheckedOnArrival).then_some(conn);
            self.around(conn, epoch, no, request);
        }
    }

    pub(super) fn answer_planted(&mut self, plan: &Plan, done: &DeviceOp, reply: Reply) {
        if let Some(conn) = done.conn {
            let word = Word::Answer { epoch: done.epoch, no: done.no, outcome: Ok(reply) };
            self.send_up(plan, ConnId(conn as u64), word);
        }
    }

    pub(super) fn begin_sync(&mut self, plan: &Plan, sync: SyncId, what: Syncing) {
        if plan.plant == Plant::RecordNotDurable {
            self.store(plan, store::Input::Stored { sync });
        } else {
            self.syncs.push((sync, what));
        }
    }

    pub(super) fn begin_flush(&mut self, plan: &Plan, op: OpId) {
        let (request, epoch) = (Request::Flush, Epoch::NONE);
        let is_early = plan.plant == Plant::FlushAcknowledgedEarly;
        let known = (!is_early).then_some(op);
        self.device.push(DeviceOp { op: known, conn: None, epoch, no: op.0, request });
        if is_early {
            self.store(plan, store::Input::Performed { op, outcome: Ok(Reply::Done) });
        }
    }

    /// After an open: the store is told that the device is empty.
    pub(super) fn skip_drain(&mut self, plan: &Plan) {
        if plan.plant != Plant::NoDrain {
            return;
        }
        let left = self.device.iter_mut().filter(|op| op.request != Request::Flush);
        let ops: Vec<OpId> = left.filter_map(|op| op.op.take()).collect();
        for op in ops {
            self.store(plan, store::Input::Performed { op, outcome: Ok(Reply::Done) });
        }
    }

    pub(super) fn failed_flush(plan: &Plan) -> Result<Reply, Failure> {
        match plan.plant {
            // It was tried again, and the second one had nothing to complain of.
            Plant::FsyncTriedAgain => Ok(Reply::Done),
            _ => Err(Failure::Io),
        }
    }

    pub(super) fn keeps_connection(plan: &Plan) -> bool {
        matches!(plan.plant, Plant::OpenAfterStart | Plant::SecondRaiser)
    }

    /// The exit connects anew under its sessions.
    pub(super) fn reconnect(&mut self, plan: &Plan) {
        if !Self::keeps_connection(plan) {
            return;
        }
        for index in 0..self.conns.len() {
            if !self.conns[index].is_cut_above && self.conns[index].is_cut_below {
                self.conns[index].is_cut_below = false;
                self.raise(plan, index);
            }
        }
    }

    pub(super) fn note_sent(&mut self, plan: &Plan, call: &Call) {
        if plan.plant == Plant::SecondRaiser {
            if let Call::Open { holder, .. } = call {
                self.planted.holder = Some(*holder);
                self.planted.unanswered.clear();
                self.planted.raised = None;
            } else if no_of(call) > 0 {
                self.planted.unanswered.push(call.clone());
            }
        }
    }

    /// The exit begins a session by itself, and sends again what was not answered.
    fn raise(&mut self, plan: &Plan, conn: usize) {
        let first = self.planted.unanswered.first().map(|call| (call.epoch(), no_of(call)));
        let record = self.disk.records.get(&LU).map(|record| record.highest);
        let (Some((owners, no)), Some(highest), Some(holder)) =
            (first, record, self.planted.holder)
        else {
            return;
        };
        if plan.plant != Plant::SecondRaiser || self.planted.raised.is_some() {
            return;
        }
        let own = Epoch { owner: highest.owner, seq: highest.seq + 1 };
        self.planted.raised = Some(Raised { conn, owners, own, base: no - 1 });
        let queue = &mut self.conns[conn].down;
        queue.push_back(Call::Open { epoch: own, holder, hop: 0, avoid: None });
        queue.extend(self.planted.unanswered.iter().cloned());
    }

    fn raised_call(&self, conn: usize, call: Call) -> Call {
        let Some(raised) = self.planted.raised.filter(|r| r.conn == conn) else { return call };
        if call.epoch() != raised.owners {
            return call;
        }
        let epoch = raised.own;
        match call {
            Call::Request { no, request, .. } => {
                let no = no.saturating_sub(raised.base);
                Call::Request { epoch, no, request }
            }
            Call::Flush { no, settle, .. } => {
                let no = no.saturating_sub(raised.base);
                Call::Flush { epoch, no, settle }
            }
            call => call,
        }
    }

    fn owners_word(&mut self, conn: usize, word: Word) -> Option<Word> {
        let raised = self.planted.raised.filter(|r| r.conn == conn && r.own == word.epoch());
        let word = match (raised, word) {
            (None, word) => word,
            (Some(raised), Word::Answer { no, outcome, .. }) => {
                Word::Answer { epoch: raised.owners, no: no + raised.base, outcome }
            }
            (Some(raised), Word::Down { why, .. }) => Word::Down { epoch: raised.owners, why },
            (Some(raised), Word::Opened { .. }) => {
                self.note_opened(raised.own);
                return None;
            }
            (Some(_), _) => return None,
        };
        if let Word::Answer { no, .. } = word {
            self.planted.unanswered.retain(|call| no_of(call) != no);
        }
        Some(word)
    }
}

fn no_of(call: &Call) -> u64 {
    match call {
        Call::Request { no, .. } | Call::Flush { no, .. } => *no,
        Call::Open { .. } | Call::Close { .. } | Call::Stay { .. } => 0,
    }
}
