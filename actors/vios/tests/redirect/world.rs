//! Owners, relays, a store and what lies between them, moved one step at a time.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use vioduct_vios::block::{Failure, Reply, Request};
use vioduct_vios::redirect::dirty::Content;
use vioduct_vios::redirect::hold::Fence;
use vioduct_vios::redirect::message::{Call, Word};
use vioduct_vios::redirect::name::{
    AdapterId, ClientId, ConnId, Holder, Identity, LinkId, LuId, OwnerId, ViosId,
};
use vioduct_vios::redirect::owner::{self, Attachment, End, Owner, OwnerEvent};
use vioduct_vios::redirect::relay::{self, PathState, PeerPath, Port, Relay};
use vioduct_vios::redirect::store::{self, OpId, Record, Start, Store, SyncId};
use vioduct_vios::redirect::{Epoch, Moment};

use super::disk::Disk;
use super::oracle::{Aside, Broken, Oracle};
use super::plan::{Budget, Links, MS, Plan, Plant};

mod plants;
mod steps;

pub(crate) use steps::Step;

pub(crate) const LU: LuId = LuId(1);
const CLIENT: ClientId = ClientId(1);

/// A hop between two nodes. Messages on it keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Wire {
    ToEntry(usize, u32),
    ToPeer(u32, u32),
    ToOwner(u32, usize),
    BackToPeer(u32, u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Note {
    Call(Call),
    Word(Word),
}

/// A connection between an exit and the storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Conn {
    pub(crate) vios: u32,
    pub(crate) adapter: AdapterId,
    pub(crate) down: VecDeque<Call>,
    pub(crate) up: VecDeque<Word>,
    /// The exit's end is gone: what it sent may still arrive.
    pub(crate) is_cut_above: bool,
    /// The storage's end is gone.
    pub(crate) is_cut_below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DeviceOp {
    /// `None` for one that the store does not know of: planted, or left by a dead process.
    pub(crate) op: Option<OpId>,
    pub(crate) conn: Option<usize>,
    pub(crate) epoch: Epoch,
    pub(crate) no: u64,
    pub(crate) request: Request,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Syncing {
    Record(Record),
    Identity(Identity),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) now: Moment,
    /// Every owner that was started; `None` for one that was killed.
    pub(crate) seats: Vec<Option<Owner>>,
    pub(crate) relays: Vec<Option<Relay>>,
    pub(crate) store: Option<Store>,
    pub(crate) disk: Disk,
    pub(crate) conns: Vec<Conn>,
    pub(crate) wires: BTreeMap<Wire, VecDeque<Note>>,
    pub(crate) device: Vec<DeviceOp>,
    pub(crate) syncs: Vec<(SyncId, Syncing)>,
    pub(crate) oracle: Oracle,
    pub(crate) budget: Budget,
    /// How far the script has come.
    pub(crate) at: usize,
    pub(crate) starts: u64,
    /// The owner whose sessions the storage opened last.
    pub(crate) fenced: Option<usize>,
    pub(crate) events: Aside<Vec<OwnerEvent>>,
    pub(crate) answers: Aside<BTreeMap<(usize, u64), Result<Reply, Failure>>>,
    /// LUs whose room the storage has given back.
    pub(crate) freed: Aside<u32>,
    pub(crate) planted: plants::Planted,
}

impl World {
    /// Everything runs, every exit is connected, and the first owner has asked for its session.
    pub(crate) fn new(plan: &Plan) -> Self {
        let identity = Identity { volume: 1, boot: 1, losses: 0 };
        let record = Record::new(plan.cells as u64, identity, Epoch::NONE);
        let mut world = Self {
            now: Moment::START,
            seats: Vec::new(),
            relays: Vec::new(),
            store: None,
            disk: Disk::new(plan.cells, BTreeMap::from([(LU, record)]), identity),
            conns: Vec::new(),
            wires: BTreeMap::new(),
            device: Vec::new(),
            syncs: Vec::new(),
            oracle: Oracle::new(plan.cells),
            budget: plan.budget,
            at: 0,
            starts: 0,
            fenced: None,
            events: Aside(Vec::new()),
            answers: Aside(BTreeMap::new()),
            freed: Aside(0),
            planted: plants::Planted::default(),
        };
        world.start_store(plan);
        for _ in 0..plan.vioses {
            world.relays.push(None);
        }
        for vios in 0..plan.vioses {
            world.start_relay(plan, vios);
        }
        world.attach(plan);
        world.settle(plan);
        world
    }

    pub(crate) fn start_store(&mut self, plan: &Plan) {
        self.starts += 1;
        let records = self.disk.records.clone();
        let identity = self.disk.identity;
        let was_syncing = self.disk.is_syncing && plan.plant != Plant::SyncNotNoted;
        let start = Start { identity, was_syncing, seed: self.starts };
        self.store = Some(Store::new(plan.store.clone(), start, records).unwrap());
        self.carry_out_store(plan);
    }

    pub(crate) fn start_relay(&mut self, plan: &Plan, vios: u32) {
        let relay = Relay::new(plan.relay.clone(), ViosId(vios)).unwrap();
        self.relays[vios as usize] = Some(relay);
        for adapter in plan.adapters() {
            let state = PathState::Good;
            self.relay(plan, vios, relay::Input::FabricChanged { adapter, state });
        }
        for other in (0..plan.vioses).filter(|other| *other != vios) {
            if self.relays[other as usize].is_some() {
                self.publish(plan, vios, other, PathState::Good);
                self.publish(plan, other, vios, PathState::Good);
            }
        }
        for adapter in plan.adapters() {
            self.connect(plan, vios, adapter);
        }
        for seat in 0..self.seats.len() {
            let entry = ViosId(vios);
            self.owner(plan, seat, owner::Input::EntryFound { entry });
        }
    }

    pub(crate) fn publish(&mut self, plan: &Plan, from: u32, to: u32, state: PathState) {
        let path = PeerPath { state, is_same_cec: true, round_trip: MS, load: 0 };
        self.relay(plan, to, relay::Input::PeerChanged { vios: ViosId(from), path });
    }

    pub(crate) fn connect(&mut self, plan: &Plan, vios: u32, adapter: AdapterId) {
        if self.store.is_none() || self.relays[vios as usize].is_none() {
            return;
        }
        let live = |conn: &Conn| (conn.vios, conn.adapter) == (vios, adapter) && !conn.is_cut_above;
        if Self::keeps_connection(plan) && self.conns.iter().any(live) {
            return;
        }
        let conn = ConnId(self.conns.len() as u64);
        self.conns.push(Conn {
            vios,
            adapter,
            down: VecDeque::new(),
            up: VecDeque::new(),
            is_cut_above: false,
            is_cut_below: false,
        });
        self.relay(plan, vios, relay::Input::Connected { adapter, conn });
    }

    /// A new owner, with all VIOSes as its entries.
    pub(crate) fn attach(&mut self, plan: &Plan) {
        let seat = self.seats.len();
        let attachment = Attachment {
            lu: LU,
            owner: OwnerId(seat as u64 + 1),
            holder: Holder(seat as u64 + 100),
            entries: (0..plan.vioses).map(ViosId).collect(),
            near: plan.near,
            is_client_new: false,
            fence: Fence::Epochs,
        };
        self.seats.push(Some(Owner::new(plan.owner.clone(), attachment, 1).unwrap()));
        self.owner(plan, seat, owner::Input::Started);
        self.find_entries(plan, seat);
    }

    /// An owner is told of the VIOSes that run.
    pub(crate) fn find_entries(&mut self, plan: &Plan, seat: usize) {
        for vios in 0..plan.vioses {
            if self.relays[vios as usize].is_some() {
                let entry = ViosId(vios);
                self.owner(plan, seat, owner::Input::EntryFound { entry });
            }
        }
    }

    pub(crate) fn ask(&mut self, plan: &Plan, seat: usize, request: &Request) {
        let request = self.numbered(request);
        let tag = u64::from(u8::try_from(self.at).unwrap());
        self.at += 1;
        self.oracle.ask(seat, tag, &request);
        self.owner(plan, seat, owner::Input::Asked { client: CLIENT, tag, request });
    }

    /// A write of zeroes becomes one of the next value.
    fn numbered(&self, request: &Request) -> Request {
        match request {
            Request::Write { offset, data, fua } => {
                let data = Bytes::from(vec![self.oracle.next_value(); data.len()]);
                Request::Write { offset: *offset, data, fua: *fua }
            }
            Request::Read { .. }
            | Request::Flush
            | Request::Trim { .. }
            | Request::WriteZeroes { .. }
            | Request::Status { .. } => request.clone(),
        }
    }

    pub(crate) fn owner(&mut self, plan: &Plan, seat: usize, input: owner::Input) {
        let now = self.now;
        self.owner_at(plan, seat, now, input);
    }

    pub(crate) fn owner_at(&mut self, plan: &Plan, seat: usize, now: Moment, input: owner::Input) {
        let Some(owner) = &mut self.seats[seat] else { return };
        owner.handle(now, input);
        let mut effects = Vec::new();
        while let Some(effect) = owner.poll() {
            effects.push(effect);
        }
        self.check_owner(plan, seat);
        for effect in effects {
            match effect {
                owner::Effect::Send { entry, call } => {
                    self.send_from_owner(plan, seat, entry.0, call);
                }
                owner::Effect::Answer { tag, outcome, .. } => {
                    self.oracle.answer(seat, tag, &outcome, &self.disk);
                    self.answers.0.insert((seat, tag), outcome);
                }
                owner::Effect::HangUp => {}
                owner::Effect::Tell(event) => self.note_event(seat, event),
            }
        }
    }

    fn note_event(&mut self, seat: usize, event: OwnerEvent) {
        if let OwnerEvent::Ended(end) = event
            && self.fenced == Some(seat)
        {
            if end == End::Closed {
                self.oracle.close(&self.disk);
            }
            self.oracle.lose_owner(&mut self.disk);
        }
        if self.events.0.len() < 64 {
            self.events.0.push(event);
        }
    }

    fn check_owner(&mut self, plan: &Plan, seat: usize) {
        let Some(owner) = &self.seats[seat] else { return };
        let limits = &plan.owner;
        let is_within = owner.requests() <= limits.requests_max
            && owner.under_way() <= limits.under_way_max
            && owner.dirty().bytes() <= limits.dirty_bytes_max
            && owner.dirty().ranges() <= limits.dirty_ranges_max;
        if !is_within {
            self.oracle.breaks(Broken::Bound);
        }
    }

    pub(crate) fn relay(&mut self, plan: &Plan, vios: u32, input: relay::Input) {
        let now = self.now;
        let Some(relay) = &mut self.relays[vios as usize] else { return };
        let has_hopped = matches!(input, relay::Input::Called { from: Port::Peer(_), .. });
        relay.handle(now, input);
        if relay.routes() > plan.relay.routes_max {
            self.oracle.breaks(Broken::Bound);
        }
        let mut effects = Vec::new();
        while let Some(effect) = self.relays[vios as usize].as_mut().and_then(Relay::poll) {
            effects.push(effect);
        }
        for effect in effects {
            match effect {
                relay::Effect::Call { to: Port::Storage(conn), call, .. } => {
                    self.note_sent(plan, &call);
                    self.send_down(conn, call);
                }
                relay::Effect::Call { to: Port::Peer(peer), call, .. } => {
                    if has_hopped {
                        self.oracle.breaks(Broken::Hops);
                    }
                    self.put(Wire::ToPeer(vios, peer.0), Note::Call(call));
                }
                relay::Effect::Word { to: Port::Owner(link), word, .. } => {
                    let seat = usize::try_from(link.0).unwrap();
                    self.put(Wire::ToOwner(vios, seat), Note::Word(word));
                }
                relay::Effect::Word { to: Port::Peer(peer), word, .. } => {
                    self.put(Wire::BackToPeer(vios, peer.0), Note::Word(word));
                }
                relay::Effect::Call { to: Port::Owner(_), .. }
                | relay::Effect::Word { to: Port::Storage(_), .. } => {
                    panic!("a relay sends the wrong way");
                }
            }
        }
    }

    fn send_down(&mut self, conn: ConnId, call: Call) {
        let conn = &mut self.conns[usize::try_from(conn.0).unwrap()];
        if !conn.is_cut_above {
            conn.down.push_back(call);
        }
    }

    pub(crate) fn put(&mut self, wire: Wire, note: Note) {
        self.wires.entry(wire).or_default().push_back(note);
    }

    pub(crate) fn store(&mut self, plan: &Plan, input: store::Input) {
        let now = self.now;
        let Some(store) = &mut self.store else { return };
        store.handle(now, input);
        if store.requests(LU) > plan.store.requests_max as u64 {
            self.oracle.breaks(Broken::Bound);
        }
        self.carry_out_store(plan);
    }

    fn carry_out_store(&mut self, plan: &Plan) {
        let mut effects = Vec::new();
        while let Some(effect) = self.store.as_mut().and_then(Store::poll) {
            effects.push(effect);
        }
        for effect in effects {
            match effect {
                store::Effect::Send { conn, word, .. } => self.send_up(plan, conn, word),
                store::Effect::Perform { op, epoch, no, request, .. } => {
                    let op = Some(op);
                    self.device.push(DeviceOp { op, conn: None, epoch, no, request });
                }
                store::Effect::Flush { op } => self.begin_flush(plan, op),
                store::Effect::StoreRecord { sync, record, .. } => {
                    self.begin_sync(plan, sync, Syncing::Record(record));
                }
                store::Effect::StoreIdentity { sync, identity } => {
                    self.begin_sync(plan, sync, Syncing::Identity(identity));
                }
                store::Effect::Note { is_syncing } => self.disk.is_syncing = is_syncing,
                store::Effect::Free { .. } => self.freed.0 += 1,
                store::Effect::Tell(_) => {}
            }
        }
    }

    pub(crate) fn send_up(&mut self, plan: &Plan, conn: ConnId, word: Word) {
        let index = usize::try_from(conn.0).unwrap();
        let Some(word) = self.altered_word(plan, index, word) else { return };
        if let Word::Opened { epoch, .. } = word {
            self.note_opened(epoch);
        }
        let conn = &mut self.conns[index];
        if !conn.is_cut_below {
            conn.up.push_back(word);
        }
    }

    fn note_opened(&mut self, epoch: Epoch) {
        self.oracle.open(epoch);
        let seat = usize::try_from(epoch.owner.0).unwrap() - 1;
        if self.fenced.is_none_or(|before| before < seat) {
            self.fenced = Some(seat);
            self.oracle.replace_owners(seat, &mut self.disk);
        }
    }

    /// Delivers what is on the wires, if links are instant.
    pub(crate) fn settle(&mut self, plan: &Plan) {
        if plan.links == Links::Instant {
            while let Some(wire) = self.wires.keys().next().copied() {
                self.deliver(plan, wire);
            }
        }
        self.check_cells();
    }

    pub(crate) fn deliver(&mut self, plan: &Plan, wire: Wire) {
        let Some(queue) = self.wires.get_mut(&wire) else { return };
        let note = queue.pop_front();
        if queue.is_empty() {
            self.wires.remove(&wire);
        }
        match (wire, note) {
            (Wire::ToEntry(seat, vios), Some(Note::Call(call))) => {
                if self.relays[vios as usize].is_none() {
                    let entry = ViosId(vios);
                    self.owner(plan, seat, owner::Input::EntryLost { entry });
                    return;
                }
                let from = Port::Owner(LinkId(seat as u64));
                self.relay(plan, vios, relay::Input::Called { from, lu: LU, call });
            }
            (Wire::ToPeer(from, to), Some(Note::Call(call))) => {
                if self.relays[to as usize].is_none() {
                    let port = Port::Peer(ViosId(to));
                    self.relay(plan, from, relay::Input::PortLost { port });
                    return;
                }
                let from = Port::Peer(ViosId(from));
                self.relay(plan, to, relay::Input::Called { from, lu: LU, call });
            }
            (Wire::ToOwner(vios, seat), Some(Note::Word(word))) => {
                let entry = ViosId(vios);
                self.owner(plan, seat, owner::Input::Heard { entry, word });
            }
            (Wire::BackToPeer(from, to), Some(Note::Word(word))) => {
                let from = Port::Peer(ViosId(from));
                self.relay(plan, to, relay::Input::Heard { from, lu: LU, word });
            }
            (_, Some(_) | None) => {}
        }
    }

    /// P4: what a byte must show is in the cache, or its owner would write it again.
    pub(crate) fn check_cells(&mut self) {
        for cell in 0..self.disk.cells.len() {
            let value = self.disk.cells[cell].cache;
            if !self.oracle.may_show(cell, value) && !self.is_kept(cell) {
                self.oracle.breaks(Broken::Lost);
            }
        }
    }

    /// Whether the owner that counts would write the byte again as it must be.
    pub(crate) fn is_kept(&self, cell: usize) -> bool {
        let owner = self.fenced.and_then(|seat| self.seats[seat].as_ref());
        let kept = owner.and_then(|owner| {
            owner.dirty().iter().find_map(|(offset, content)| {
                let index = cell.checked_sub(usize::try_from(offset).unwrap())?;
                match content {
                    Content::Data(data) => data.get(index).copied(),
                    Content::Zeroes { length, .. } => (index < *length as usize).then_some(0),
                }
            })
        });
        kept.is_some_and(|value| self.oracle.may_show(cell, value))
    }

    /// The owner that counts, if it lives.
    pub(crate) fn live_owner(&self) -> Option<usize> {
        self.fenced.filter(|seat| self.seats[*seat].as_ref().is_some_and(|o| o.end().is_none()))
    }

    /// What a reader of a failed run wants to see.
    pub(crate) fn brief(&self) -> String {
        let cells: Vec<(u8, u8)> = self.disk.cells.iter().map(|c| (c.cache, c.durable)).collect();
        let owners = self.seats.iter().flatten().map(|owner| {
            (owner.epoch().seq, owner.is_serving(), owner.requests(), owner.dirty().ranges())
        });
        let owners: Vec<_> = owners.collect();
        let events = self.events.0.last();
        format!("{cells:?} floors {:?} {owners:?} {events:?}", self.oracle.floors())
    }

    /// The last owner that lives.
    pub(crate) fn live_seat(&self) -> Option<usize> {
        let lives = |owner: &Option<Owner>| owner.as_ref().is_some_and(|o| o.end().is_none());
        self.seats.iter().rposition(lives)
    }

    /// Nobody who still listens enters by another CEC than its own.
    pub(crate) fn is_home(&self) -> bool {
        !self.seats.iter().flatten().any(|owner| owner.end().is_none() && owner.is_away())
    }

    /// Nobody who still listens waits for an answer.
    pub(crate) fn is_all_answered(&self) -> bool {
        let waits = |(seat, owner): (usize, &Option<Owner>)| {
            let lives = owner.as_ref().is_some_and(|owner| owner.end().is_none());
            lives && self.oracle.unanswered(seat) > 0
        };
        let is_served = self
            .live_seat()
            .is_none_or(|seat| self.seats[seat].as_ref().is_some_and(Owner::is_serving));
        is_served && !self.seats.iter().enumerate().any(waits)
    }
}
