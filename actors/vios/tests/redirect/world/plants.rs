//! Planted bugs: what goes into a machine or comes out of it is altered on the way.

use std::collections::BTreeSet;

use vioduct_vios::block::Reply;
use vioduct_vios::redirect::message::{Call, Word};
use vioduct_vios::redirect::name::Life;
use vioduct_vios::redirect::store::{self, OpId, SyncId};

use super::{DeviceOp, Note, Syncing, Wire, World};
use crate::plan::{Plan, Plant};

/// What a planted bug remembers, and what the world has no other place for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Planted {
    /// Calls that are carried out later.
    pub(crate) waiting: Vec<(usize, Call)>,
    /// Seats whose requests were answered EIO.
    pub(crate) held: BTreeSet<usize>,
    /// Bit by bit, the VIOSes whose fabric is lost.
    pub(crate) lost_fabric: u32,
    first_life: Option<Life>,
}

impl World {
    pub(super) fn send_from_owner(&mut self, plan: &Plan, seat: usize, vios: u32, call: Call) {
        let _ = plan;
        self.put(Wire::ToEntry(seat, vios), Note::Call(call));
    }

    pub(super) fn altered_word(&mut self, plan: &Plan, word: Word) -> Word {
        match (plan.plant, word) {
            (Plant::LifeHidden, Word::Opened { epoch, life, identity, settled, size }) => {
                let life = *self.planted.first_life.get_or_insert(life);
                Word::Opened { epoch, life, identity, settled, size }
            }
            (Plant::SettledForged, Word::Opened { epoch, life, identity, size, .. }) => {
                Word::Opened { epoch, life, identity, settled: identity, size }
            }
            (_, word) => word,
        }
    }

    /// What the store is given of a call that arrives.
    pub(super) fn altered_call(&mut self, plan: &Plan, conn: usize, call: Call) -> Option<Call> {
        let _ = (plan, conn);
        Some(call)
    }

    pub(super) fn begin_sync(&mut self, plan: &Plan, sync: SyncId, what: Syncing) {
        if plan.plant == Plant::RecordNotDurable {
            self.store(plan, store::Input::Stored { sync });
        } else {
            self.syncs.push((sync, what));
        }
    }

    pub(super) fn forget_records(&mut self) {}

    pub(super) fn release(&mut self, plan: &Plan, index: usize) {
        let _ = (plan, index);
    }

    pub(super) fn answer_planted(&mut self, plan: &Plan, done: &DeviceOp, reply: Reply) {
        let _ = (plan, done, reply);
    }

    pub(super) fn hide_failed_flush(&mut self, plan: &Plan, op: OpId) {
        let outcome = Ok(Reply::Done);
        self.store(plan, store::Input::Performed { op, outcome });
    }

    pub(super) fn keeps_connection(&mut self, plan: &Plan, conn: usize) -> bool {
        let _ = (plan, conn);
        false
    }

    pub(super) fn reattach(&mut self, plan: &Plan, vios: u32) {
        let _ = (plan, vios);
    }
}
