//! What may happen next, and what comes of it.

use vioduct_vios::block::{Failure, Request};
use vioduct_vios::redirect::message::Call;
use vioduct_vios::redirect::name::{AdapterId, ConnId, ViosId};
use vioduct_vios::redirect::relay::{PathState, Port};
use vioduct_vios::redirect::{owner, relay, store};

use super::{LU, Syncing, Wire, World};
use crate::oracle::Broken;
use crate::plan::{Links, Plan, Plant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The client of an owner asks for the next thing in the script.
    Ask(usize),
    /// The next message on a connection arrives at the storage.
    Down(usize),
    /// The next message on a connection arrives at the exit.
    Up(usize),
    /// The next message between two nodes arrives.
    Deliver(Wire),
    /// The device carries out an operation.
    Perform(usize),
    /// The device fails to.
    Fail(usize),
    /// A record or identity is stored.
    Stored(usize),
    /// The exit loses a connection; what it sent may still arrive.
    Cut(usize),
    /// The storage sees that a connection is gone.
    StoreSees(usize),
    /// The exit sees that a connection is gone.
    ExitSees(usize),
    Connect(u32, AdapterId),
    KillStore,
    /// The storage's host loses its power; of what was not flushed these cells had been written.
    CutPower(u8),
    StartStore,
    KillOwner(usize),
    /// Another owner is given the LU.
    Attach,
    KillRelay(u32),
    StartRelay(u32),
    LoseFabric(u32, AdapterId),
    MendFabric(u32, AdapterId),
    /// The owner's deadline comes.
    Tick(usize),
    StoreTick,
    RelayTick(u32),
    /// Pages that count as clean leave the cache.
    Evict,
    /// The next message on a connection to the storage arrives twice.
    Duplicate(usize),
    /// The next message between two nodes is lost without a trace.
    Lose(Wire),
    /// The next message on a connection arrives at the storage spoilt.
    Spoil(usize),
    /// The next word to an owner arrives spoilt.
    SpoilWord(u32, usize),
    /// An owner is given its entries in another order.
    Shuffle(usize),
    /// The owner is asked to close.
    Close(usize),
    /// A message that a planted bug holds back goes on.
    Plant(usize),
}

impl World {
    /// All that may happen now, the client's and the network's part first.
    pub(crate) fn enabled(&self, plan: &Plan) -> Vec<Step> {
        let mut steps = Vec::new();
        self.flow_steps(plan, &mut steps);
        self.fault_steps(plan, &mut steps);
        steps
    }

    /// What happens if nothing fails.
    pub(crate) fn flow_steps(&self, plan: &Plan, steps: &mut Vec<Step>) {
        for (seat, owner) in self.seats.iter().enumerate() {
            let Some(owner) = owner else { continue };
            let next = plan.script.get(self.at).filter(|_| self.budget.asks > 0);
            if next.is_some_and(|next| owner.has_room(next.payload())) && owner.end().is_none() {
                steps.push(Step::Ask(seat));
            }
            // Where time stands still, the wait before the next open ends by itself.
            let may_open = owner.is_waiting() && owner.epoch().seq < plan.seq_max;
            if plan.links == Links::Instant && may_open {
                steps.push(Step::Tick(seat));
            }
        }
        for (index, conn) in self.conns.iter().enumerate() {
            if !conn.down.is_empty() && !conn.is_cut_below && self.store.is_some() {
                steps.push(Step::Down(index));
            }
            if !conn.up.is_empty() && !conn.is_cut_above {
                steps.push(Step::Up(index));
            }
            if conn.is_cut_above && !conn.is_cut_below {
                steps.push(Step::StoreSees(index));
            }
            if conn.is_cut_below && !conn.is_cut_above && !Self::keeps_connection(plan) {
                steps.push(Step::ExitSees(index));
            }
        }
        steps.extend(self.wires.keys().map(|wire| Step::Deliver(*wire)));
        steps.extend((0..self.device.len()).map(Step::Perform));
        steps.extend((0..self.syncs.len()).map(Step::Stored));
        steps.extend((0..self.planted.waiting.len()).map(Step::Plant));
        let may_start = self.device.is_empty() || plan.plant == Plant::NoLockAtStart;
        if self.store.is_none() && may_start {
            steps.push(Step::StartStore);
        }
        for vios in 0..plan.vioses {
            let relay = self.relays[vios as usize].as_ref();
            if relay.is_none() {
                steps.push(Step::StartRelay(vios));
            }
            for adapter in plan.adapters() {
                let is_cut = relay.is_some_and(|relay| relay.conn(adapter).is_none());
                if is_cut && self.store.is_some() {
                    steps.push(Step::Connect(vios, adapter));
                }
                if self.planted.is_fabric_lost(vios, adapter) {
                    steps.push(Step::MendFabric(vios, adapter));
                }
            }
        }
    }

    pub(crate) fn fault_steps(&self, plan: &Plan, steps: &mut Vec<Step>) {
        let budget = self.budget;
        self.network_faults(steps);
        self.owner_faults(plan, steps);
        for (index, op) in self.device.iter().enumerate() {
            let budget = match op.request {
                Request::Flush => budget.fsync_failures,
                _ => budget.op_failures,
            };
            if budget > 0 && op.op.is_some() {
                steps.push(Step::Fail(index));
            }
        }
        if budget.store_kills > 0 && self.store.is_some() {
            steps.push(Step::KillStore);
        }
        if budget.power_cuts > 0 {
            let masks = 1_u8 << self.disk.cells.len().min(7);
            let masks = if self.disk.is_all_durable() { 1 } else { masks };
            steps.extend((0..masks).map(Step::CutPower));
        }
        if budget.attaches > 0 {
            steps.push(Step::Attach);
        }
        for vios in 0..plan.vioses {
            if self.relays[vios as usize].is_none() {
                continue;
            }
            if budget.relay_kills > 0 {
                steps.push(Step::KillRelay(vios));
            }
            let is_good = |adapter: &AdapterId| !self.planted.is_fabric_lost(vios, *adapter);
            if budget.fabric_losses > 0 {
                let good = plan.adapters().filter(is_good);
                steps.extend(good.map(|adapter| Step::LoseFabric(vios, adapter)));
            }
        }
        if budget.fsync_failures < plan.budget.fsync_failures && !self.disk.is_all_durable() {
            steps.push(Step::Evict);
        }
    }

    fn network_faults(&self, steps: &mut Vec<Step>) {
        let budget = self.budget;
        for (index, conn) in self.conns.iter().enumerate() {
            if budget.cuts > 0 && !conn.is_cut_above {
                steps.push(Step::Cut(index));
            }
            if budget.spoils > 0 && !conn.down.is_empty() && !conn.is_cut_below {
                steps.push(Step::Spoil(index));
            }
            if budget.duplicates > 0 && !conn.down.is_empty() && !conn.is_cut_below {
                steps.push(Step::Duplicate(index));
            }
        }
        if budget.losses > 0 {
            steps.extend(self.wires.keys().map(|wire| Step::Lose(*wire)));
        }
        if budget.spoils > 0 {
            steps.extend(self.wires.keys().filter_map(|wire| match wire {
                Wire::ToOwner(vios, seat) => Some(Step::SpoilWord(*vios, *seat)),
                Wire::ToEntry(..) | Wire::ToPeer(..) | Wire::BackToPeer(..) => None,
            }));
        }
    }

    fn owner_faults(&self, plan: &Plan, steps: &mut Vec<Step>) {
        let budget = self.budget;
        for (seat, owner) in self.seats.iter().enumerate() {
            let Some(owner) = owner.as_ref().filter(|owner| owner.end().is_none()) else {
                continue;
            };
            if budget.owner_kills > 0 {
                steps.push(Step::KillOwner(seat));
            }
            if budget.shuffles > 0 {
                steps.push(Step::Shuffle(seat));
            }
            if budget.closes > 0 {
                steps.push(Step::Close(seat));
            }
            let may_open = owner.epoch().seq < plan.seq_max;
            if budget.ticks > 0 && may_open && !owner.is_waiting() && owner.deadline().is_some() {
                steps.push(Step::Tick(seat));
            }
        }
    }

    pub(crate) fn apply(&mut self, plan: &Plan, step: Step) {
        match step {
            Step::Ask(seat) => {
                self.budget.asks -= 1;
                let request = plan.script[self.at].clone();
                self.ask(plan, seat, &request);
            }
            Step::Down(conn) => {
                let call = self.conns[conn].down.pop_front().unwrap();
                self.arrive(plan, conn, call);
            }
            Step::Duplicate(conn) => {
                self.budget.duplicates -= 1;
                let call = self.conns[conn].down.front().unwrap().clone();
                self.arrive(plan, conn, call);
            }
            Step::Up(conn) => {
                let word = self.conns[conn].up.pop_front().unwrap();
                let from = Port::Storage(ConnId(conn as u64));
                let vios = self.conns[conn].vios;
                self.relay(plan, vios, relay::Input::Heard { from, lu: LU, word });
            }
            Step::Deliver(wire) => self.deliver(plan, wire),
            Step::Lose(wire) => {
                self.budget.losses -= 1;
                self.lose(wire);
            }
            Step::Spoil(_) | Step::SpoilWord(..) | Step::Shuffle(_) => self.disturb(plan, step),
            Step::Close(seat) => {
                self.budget.closes -= 1;
                self.owner(plan, seat, owner::Input::CloseAsked);
            }
            Step::Perform(index) => self.perform(plan, index),
            Step::Fail(index) => self.fail(plan, index),
            Step::Stored(index) => self.complete_sync(plan, index),
            Step::Plant(index) => self.release(plan, index),
            Step::Cut(_) | Step::StoreSees(_) | Step::ExitSees(_) | Step::Connect(..) => {
                self.apply_to_conns(plan, step);
            }
            Step::KillStore | Step::CutPower(_) | Step::StartStore | Step::Evict => {
                self.apply_to_storage(plan, step);
            }
            Step::KillOwner(_)
            | Step::Attach
            | Step::KillRelay(_)
            | Step::StartRelay(_)
            | Step::LoseFabric(..)
            | Step::MendFabric(..) => self.apply_to_nodes(plan, step),
            Step::Tick(_) | Step::StoreTick | Step::RelayTick(_) => self.tick(plan, step),
        }
        self.settle(plan);
    }

    fn disturb(&mut self, plan: &Plan, step: Step) {
        match step {
            Step::Spoil(index) => {
                self.budget.spoils -= 1;
                self.conns[index].down.pop_front();
                let conn = ConnId(index as u64);
                self.store(plan, store::Input::Spoilt { conn, lu: LU });
            }
            Step::SpoilWord(vios, seat) => {
                self.budget.spoils -= 1;
                self.lose(Wire::ToOwner(vios, seat));
                self.owner(plan, seat, owner::Input::Spoilt { entry: ViosId(vios) });
            }
            Step::Shuffle(seat) => {
                self.budget.shuffles -= 1;
                let entries = (0..plan.vioses).rev().skip(self.at % 2).map(ViosId);
                let entries = entries.collect::<Vec<_>>();
                if !entries.is_empty() {
                    let near = plan.near;
                    self.owner(plan, seat, owner::Input::EntriesChanged { entries, near });
                    self.find_entries(plan, seat);
                }
            }
            _ => panic!("not a step that disturbs"),
        }
    }

    fn lose(&mut self, wire: Wire) {
        if let Some(queue) = self.wires.get_mut(&wire) {
            queue.pop_front();
            if queue.is_empty() {
                self.wires.remove(&wire);
            }
        }
    }

    pub(crate) fn arrive(&mut self, plan: &Plan, conn: usize, call: Call) {
        let exit = ViosId(self.conns[conn].vios);
        if let Some(call) = self.altered_call(plan, conn, call) {
            let conn = ConnId(conn as u64);
            let is_open = matches!(call, Call::Open { .. });
            self.store(plan, store::Input::Received { conn, exit, lu: LU, call });
            if is_open {
                self.skip_drain(plan);
            }
        }
    }

    fn perform(&mut self, plan: &Plan, index: usize) {
        let done = self.device.remove(index);
        if done.request == Request::Flush {
            self.disk.flush();
        } else {
            self.oracle.execute(done.epoch, done.no, &done.request);
        }
        let reply = self.disk.perform_any(&done.request);
        if let Some(op) = done.op {
            self.store(plan, store::Input::Performed { op, outcome: Ok(reply) });
        } else {
            self.answer_planted(plan, &done, reply);
        }
    }

    fn fail(&mut self, plan: &Plan, index: usize) {
        let failed = self.device.remove(index);
        if failed.request == Request::Flush {
            self.budget.fsync_failures -= 1;
            self.disk.fail_flush();
            self.drop_unkept();
        } else {
            self.budget.op_failures -= 1;
        }
        let Some(op) = failed.op else { return };
        let outcome = match failed.request {
            Request::Flush => Self::failed_flush(plan),
            _ => Err(Failure::Io),
        };
        self.store(plan, store::Input::Performed { op, outcome });
    }

    /// After a failed fsync whatever no owner would write again falls back to what is durable.
    fn drop_unkept(&mut self) {
        for cell in 0..self.disk.cells.len() {
            if !self.is_kept(cell) && self.disk.evict_cell(cell) {
                self.fall_back(cell);
            }
        }
    }

    /// A cell of the cache was lost: somebody writes it again, or nobody has to.
    fn fall_back(&mut self, cell: usize) {
        let value = self.disk.cells[cell].cache;
        if self.oracle.may_show(cell, value) || self.is_kept(cell) {
            return;
        }
        match self.live_owner() {
            Some(seat) if self.oracle.is_promised_by(cell, seat) => {
                self.oracle.breaks(Broken::Lost);
            }
            Some(_) | None => self.oracle.lower(cell, value),
        }
    }

    fn complete_sync(&mut self, plan: &Plan, index: usize) {
        let (sync, what) = self.syncs.remove(index);
        match what {
            Syncing::Record(record) => drop(self.disk.records.insert(LU, record)),
            Syncing::Identity(identity) => self.disk.identity = identity,
        }
        self.store(plan, store::Input::Stored { sync });
    }

    fn apply_to_conns(&mut self, plan: &Plan, step: Step) {
        match step {
            Step::Cut(conn) => {
                self.budget.cuts -= 1;
                self.cut_above(plan, conn);
            }
            Step::StoreSees(index) => {
                self.conns[index].is_cut_below = true;
                self.conns[index].down.clear();
                let conn = ConnId(index as u64);
                self.store(plan, store::Input::Lost { conn });
            }
            Step::ExitSees(conn) => self.cut_above(plan, conn),
            Step::Connect(vios, adapter) => self.connect(plan, vios, adapter),
            _ => panic!("not a step of connections"),
        }
    }

    pub(crate) fn cut_above(&mut self, plan: &Plan, index: usize) {
        self.conns[index].is_cut_above = true;
        self.conns[index].up.clear();
        let port = Port::Storage(ConnId(index as u64));
        let vios = self.conns[index].vios;
        self.relay(plan, vios, relay::Input::PortLost { port });
    }

    fn apply_to_storage(&mut self, plan: &Plan, step: Step) {
        match step {
            Step::KillStore => {
                self.budget.store_kills -= 1;
                self.kill_store();
            }
            Step::CutPower(kept) => {
                self.budget.power_cuts -= 1;
                self.kill_store();
                self.device.clear();
                self.cut_power(kept);
            }
            Step::StartStore => {
                self.start_store(plan);
                self.reconnect(plan);
            }
            Step::Evict => self.disk.evict(),
            _ => panic!("not a step of the storage"),
        }
    }

    /// The process dies. What it gave to the kernel may still be carried out.
    fn kill_store(&mut self) {
        self.store = None;
        self.syncs.clear();
        self.device.retain(|op| op.request != Request::Flush);
        self.device.iter_mut().for_each(|op| op.op = None);
        for conn in &mut self.conns {
            conn.is_cut_below = true;
            conn.down.clear();
        }
    }

    fn cut_power(&mut self, kept: u8) {
        self.disk.cut_power(kept);
        for cell in 0..self.disk.cells.len() {
            self.fall_back(cell);
        }
    }

    fn apply_to_nodes(&mut self, plan: &Plan, step: Step) {
        match step {
            Step::KillOwner(seat) => {
                self.budget.owner_kills -= 1;
                self.kill_owner(plan, seat);
            }
            Step::Attach => {
                self.budget.attaches -= 1;
                self.attach(plan);
            }
            Step::KillRelay(vios) => {
                self.budget.relay_kills -= 1;
                self.kill_relay(plan, vios);
            }
            Step::StartRelay(vios) => self.start_relay(plan, vios),
            Step::LoseFabric(vios, adapter) => {
                self.budget.fabric_losses -= 1;
                self.set_fabric(plan, vios, adapter, PathState::Lost);
            }
            Step::MendFabric(vios, adapter) => {
                self.set_fabric(plan, vios, adapter, PathState::Good);
            }
            _ => panic!("not a step of nodes"),
        }
    }

    fn kill_owner(&mut self, plan: &Plan, seat: usize) {
        self.seats[seat] = None;
        self.wires.retain(|wire, _| !matches!(wire, Wire::ToOwner(_, to) if *to == seat));
        if self.fenced == Some(seat) {
            self.oracle.lose_owner(&mut self.disk);
        }
        let port = Port::Owner(vioduct_vios::redirect::name::LinkId(seat as u64));
        for vios in 0..plan.vioses {
            self.relay(plan, vios, relay::Input::PortLost { port });
        }
    }

    fn kill_relay(&mut self, plan: &Plan, vios: u32) {
        self.relays[vios as usize] = None;
        self.wires.retain(|wire, _| match wire {
            Wire::ToEntry(_, to) | Wire::ToPeer(_, to) | Wire::BackToPeer(_, to) => *to != vios,
            Wire::ToOwner(..) => true,
        });
        for conn in self.conns.iter_mut().filter(|conn| conn.vios == vios) {
            conn.is_cut_above = true;
            conn.up.clear();
        }
        let entry = ViosId(vios);
        for other in (0..plan.vioses).filter(|other| *other != vios) {
            self.relay(plan, other, relay::Input::PortLost { port: Port::Peer(entry) });
        }
        for seat in 0..self.seats.len() {
            self.owner(plan, seat, owner::Input::EntryLost { entry });
        }
    }

    fn set_fabric(&mut self, plan: &Plan, vios: u32, adapter: AdapterId, state: PathState) {
        self.planted.note_fabric(vios, adapter, state == PathState::Lost);
        self.relay(plan, vios, relay::Input::FabricChanged { adapter, state });
        let mut adapters = plan.adapters();
        let is_lost = adapters.all(|adapter| self.planted.is_fabric_lost(vios, adapter));
        let best = if is_lost { PathState::Lost } else { PathState::Good };
        for other in (0..plan.vioses).filter(|other| *other != vios) {
            self.publish(plan, vios, other, best);
        }
    }

    fn tick(&mut self, plan: &Plan, step: Step) {
        // With instant links time stands still but for whom it passes: fewer states.
        let is_still = plan.links == Links::Instant;
        let deadline = match step {
            Step::Tick(seat) => self.seats[seat].as_ref().and_then(owner::Owner::deadline),
            Step::StoreTick => self.store.as_ref().and_then(store::Store::deadline),
            Step::RelayTick(vios) => {
                self.relays[vios as usize].as_ref().and_then(relay::Relay::deadline)
            }
            _ => panic!("not a step of time"),
        };
        let Some(deadline) = deadline else { return };
        let now = self.now.max(deadline);
        if !is_still {
            self.now = now;
        }
        match step {
            Step::Tick(seat) => {
                if self.seats[seat].as_ref().is_some_and(|owner| !owner.is_waiting()) {
                    self.budget.ticks = self.budget.ticks.saturating_sub(1);
                }
                self.owner_at(plan, seat, now, owner::Input::TimePassed);
            }
            Step::StoreTick => self.store(plan, store::Input::TimePassed),
            Step::RelayTick(vios) => self.relay(plan, vios, relay::Input::TimePassed),
            _ => panic!("not a step of time"),
        }
    }
}
