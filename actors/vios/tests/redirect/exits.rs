//! Rule 12 with the exits' side: an owner and two exits, the real machines, before a storage that
//! carries out whatever reaches it. Links fall silent, exits stop, are killed, are run late, and
//! the storage loses its cache.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::disk::{Abilities, Device};
use vioduct_vios::redirect::Moment;
use vioduct_vios::redirect::hold::Fence;
use vioduct_vios::redirect::initiator::{self, Fate, Initiator};
use vioduct_vios::redirect::limits::InitiatorLimits;
use vioduct_vios::redirect::message::{Call, Word};
use vioduct_vios::redirect::name::{
    ClientId, ConnId, Epoch, Holder, Identity, Life, LuId, OwnerId, ViosId,
};
use vioduct_vios::redirect::owner::{self, Attachment, Owner};

use super::disk::Disk;
use super::oracle::{Broken, Oracle};
use super::plan::{MS, Plan};

const LU: LuId = LuId(1);
const CELLS: usize = 3;
const ALIVE_EVERY: Duration = MS;
const LEASE: Duration = Duration::from_millis(4);
/// A request lands within this after it was given to its exit's kernel, or never.
const REQUEST_LIFE: Duration = Duration::from_millis(7);
const STEPS: usize = 1500;

/// A bug, planted around the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    Nothing,
    /// The owner takes the storage for one that refuses what is late.
    HoldOff,
    /// An exit keeps a session that its owner has left.
    NoLease,
    /// An exit that was stopped goes on to send when it runs again.
    NoGate,
    /// An exit says that a connection is aborted before it is.
    AbortedEarly,
    /// An exit says that nothing was sent of what was.
    SentIsVoid,
    /// A connection that comes back counts as the life before: a lost cache is hidden.
    LifeHidden,
}

struct Conn {
    /// The oracle's name for it.
    name: Epoch,
    is_there: bool,
    /// What is not in the kernel yet.
    queue: VecDeque<(u64, Request)>,
    allowed: Moment,
    is_cut: bool,
    /// The kernel takes nothing more for now.
    is_stuck: bool,
}

struct Exit {
    machine: Initiator,
    conns: BTreeMap<ConnId, Conn>,
    inbox: VecDeque<initiator::Input>,
    /// From and to the owner.
    calls: VecDeque<Call>,
    words: VecDeque<Word>,
    is_silent: bool,
    is_stopped: bool,
}

/// A request that has reached the storage.
struct Landing {
    exit: usize,
    conn: ConnId,
    name: Epoch,
    no: u64,
    request: Request,
    /// It lands by then, or never.
    until: Moment,
    /// Its connection is gone.
    is_cut: bool,
}

struct World {
    plant: Plant,
    owner: Owner,
    exits: [Exit; 2],
    landing: Vec<Landing>,
    /// Of connections that are said to be aborted and are not.
    stray: Vec<(Epoch, u64, Request)>,
    now: Moment,
    disk: Disk,
    oracle: Oracle,
    rng: StdRng,
    tag: u64,
    conns: u64,
    has_fua: bool,
    /// Steps between failures.
    fail_every: u32,
    /// The storage carries out nothing for now.
    is_slow: bool,
    is_out_of_hold: bool,
}

fn exit(seed: u64, plant: Plant) -> Exit {
    let lease = if plant == Plant::NoLease { MS * 3_600_000 } else { LEASE };
    let limits = InitiatorLimits { requests_max: 8, alive_every: ALIVE_EVERY, lease };
    Exit {
        machine: Initiator::new(limits, [(LU, false)], seed).unwrap(),
        conns: BTreeMap::new(),
        inbox: VecDeque::new(),
        calls: VecDeque::new(),
        words: VecDeque::new(),
        is_silent: false,
        is_stopped: false,
    }
}

impl World {
    fn new(seed: u64, plant: Plant) -> Self {
        let mut limits = Plan::small(Vec::new()).owner;
        limits.silence_max = MS * 3;
        limits.open_max = MS * 3;
        if seed % 3 == 1 {
            limits.hold_max = 5 * MS;
        }
        let fence = match plant {
            Plant::HoldOff => Fence::Epochs,
            _other => {
                Fence::None { lease: LEASE, request_life: Some(REQUEST_LIFE), is_clear: true }
            }
        };
        let entries = vec![ViosId(0), ViosId(1)];
        let (owner, holder, is_client_new) = (OwnerId(1), Holder(1), false);
        let near = entries.len();
        let attachment = Attachment { lu: LU, owner, holder, entries, near, is_client_new, fence };
        let identity = Identity { volume: 1, boot: 1, losses: 0 };
        let mut world = Self {
            plant,
            owner: Owner::new(limits, attachment, seed).unwrap(),
            exits: [exit(seed, plant), exit(!seed, plant)],
            landing: Vec::new(),
            stray: Vec::new(),
            now: Moment::START,
            disk: Disk::new(CELLS, BTreeMap::new(), identity),
            oracle: Oracle::new(CELLS),
            rng: StdRng::seed_from_u64(seed),
            tag: 0,
            conns: 0,
            has_fua: seed.is_multiple_of(2),
            fail_every: [30, 60, 120][usize::try_from(seed / 2 % 3).unwrap()],
            is_slow: false,
            is_out_of_hold: false,
        };
        world.owner_input(owner::Input::Started);
        world
    }

    fn owner_input(&mut self, input: owner::Input) {
        self.owner.handle(self.now, input);
        while let Some(effect) = self.owner.poll() {
            match effect {
                owner::Effect::Send { entry: ViosId(entry), call } => {
                    let exit = &mut self.exits[entry as usize];
                    if !exit.is_silent {
                        exit.calls.push_back(call);
                    }
                }
                owner::Effect::Answer { tag, outcome, .. } => {
                    self.oracle.answer(0, tag, &outcome, &self.disk);
                }
                owner::Effect::HangUp | owner::Effect::Tell(_) => {}
            }
        }
    }

    fn exit_input(&mut self, at: usize, input: initiator::Input) {
        let plant = self.plant;
        self.exits[at].machine.handle(self.now, input);
        while let Some(effect) = self.exits[at].machine.poll() {
            let exit = &mut self.exits[at];
            match effect {
                initiator::Effect::Word { word, .. } if exit.is_silent => drop(word),
                initiator::Effect::Word { word, .. } => exit.words.push_back(match word {
                    Word::Opened { epoch, identity, settled, size, .. }
                        if plant == Plant::LifeHidden =>
                    {
                        Word::Opened { epoch, life: Life(1), identity, settled, size }
                    }
                    word => word,
                }),
                initiator::Effect::Connect { conn, .. } => {
                    self.conns += 1;
                    let name = Epoch { owner: OwnerId(1), seq: self.conns };
                    let (queue, allowed) = (VecDeque::new(), self.now);
                    let is_stuck = false;
                    let fresh =
                        Conn { name, is_there: false, queue, allowed, is_cut: false, is_stuck };
                    exit.conns.insert(conn, fresh);
                }
                initiator::Effect::Allow { conn, until } => {
                    // Its end may not have been told yet.
                    if let Some(conn) = exit.conns.get_mut(&conn) {
                        conn.allowed = until;
                    }
                }
                initiator::Effect::Perform { conn, no, request } => {
                    match exit.conns.get_mut(&conn) {
                        Some(conn) => conn.queue.push_back((no, request)),
                        None => exit.inbox.push_back(performed(conn, no, Fate::NotSent)),
                    }
                }
                initiator::Effect::Cut { conn } => {
                    if let Some(conn) = exit.conns.get_mut(&conn) {
                        conn.is_cut = true;
                    }
                    if plant == Plant::AbortedEarly {
                        self.close(at, conn);
                    }
                }
                initiator::Effect::Tell(_) => {}
            }
        }
    }

    /// The socket of a connection is closed, for whatever reason.
    fn close(&mut self, at: usize, id: ConnId) {
        let Some(conn) = self.exits[at].conns.remove(&id) else { return };
        let mut told = VecDeque::new();
        if conn.is_there {
            told.push_back(initiator::Input::ConnClosed { conn: id });
        } else {
            told.push_back(initiator::Input::NotConnected { conn: id });
        }
        let is_early = self.plant == Plant::AbortedEarly && conn.is_cut;
        for (no, request) in conn.queue {
            if is_early && request.is_change() {
                self.stray.push((conn.name, no, request));
            }
            told.push_back(performed(id, no, Fate::NotSent));
        }
        let sent = self.landing.iter().filter(|one| one.exit == at && one.conn == id);
        for no in sent.filter(|one| !one.is_cut).map(|one| one.no) {
            let fate = match self.plant {
                Plant::SentIsVoid => Fate::NotSent,
                _other => Fate::Unanswered,
            };
            told.push_back(performed(id, no, fate));
        }
        self.detach(at, id);
        // The end and the requests' fates are told by different tasks.
        if self.rng.random_bool(0.5) {
            told.rotate_left(1);
        }
        self.exits[at].inbox.extend(told);
    }

    fn detach(&mut self, at: usize, conn: ConnId) {
        for one in &mut self.landing {
            one.is_cut |= one.exit == at && one.conn == conn;
        }
        self.landing.retain(|one| !one.is_cut || one.request.is_change());
    }

    /// Something of a connection goes into the kernel, from which it reaches the storage.
    fn send(&mut self, at: usize) {
        let has_queue = |(id, conn): (&ConnId, &Conn)| {
            (!conn.queue.is_empty() && !conn.is_stuck).then_some(*id)
        };
        let ids: Vec<ConnId> = self.exits[at].conns.iter().filter_map(has_queue).collect();
        let Some(id) = ids.choose(&mut self.rng).copied() else { return };
        let conn = self.exits[at].conns.get_mut(&id).unwrap();
        if self.now >= conn.allowed && self.plant != Plant::NoGate {
            return self.close(at, id);
        }
        let (no, request) = conn.queue.pop_front().unwrap();
        let name = conn.name;
        self.reach(at, id, name, no, request);
    }

    fn reach(&mut self, exit: usize, conn: ConnId, name: Epoch, no: u64, request: Request) {
        let is_older = |other: &Landing| value(&other.request) < value(&request);
        let may_land = |other: &Landing| is_older(other) && other.request.collides(&request);
        if request.is_change() && self.landing.iter().any(may_land) {
            self.is_out_of_hold = true;
        }
        let until = self.now.after(REQUEST_LIFE);
        self.landing.push(Landing { exit, conn, name, no, request, until, is_cut: false });
    }

    fn land(&mut self, index: usize) {
        let Landing { exit, conn, name, no, request, .. } = self.landing.remove(index);
        if request == Request::Flush {
            self.disk.flush();
        } else {
            self.oracle.execute(name, no, &request);
        }
        let reply = self.disk.perform_any(&request);
        if self.exits[exit].conns.get(&conn).is_some_and(|conn| conn.name == name) {
            let fate = Fate::Answered(Ok::<Reply, Failure>(reply));
            self.exits[exit].inbox.push_back(performed(conn, no, fate));
        }
    }

    fn lose_cache(&mut self) {
        for at in 0..2 {
            for id in self.exits[at].conns.keys().copied().collect::<Vec<_>>() {
                let is_there = self.exits[at].conns[&id].is_there;
                if is_there {
                    self.close(at, id);
                }
            }
        }
        self.landing.clear();
        self.stray.clear();
        let kept = self.rng.random();
        self.disk.cut_power(kept);
    }

    fn kill(&mut self, at: usize) {
        for id in self.exits[at].conns.keys().copied().collect::<Vec<_>>() {
            self.detach(at, id);
        }
        let seed = self.rng.random();
        self.exits[at] = exit(seed, self.plant);
        if self.rng.random_bool(0.5) {
            let entry = ViosId(u32::try_from(at).unwrap());
            self.owner_input(owner::Input::EntryLost { entry });
        }
    }

    fn ask(&mut self) {
        let offset = if self.rng.random() { 0 } else { self.rng.random_range(0..3_u64) };
        let length = self.rng.random_range(1..=3 - u32::try_from(offset).unwrap());
        let request = match self.rng.random_range(0..10) {
            0..6 => {
                let data = Bytes::from(vec![self.oracle.next_value(); length as usize]);
                Request::Write { offset, data, fua: self.rng.random_bool(0.2) }
            }
            6 => Request::Flush,
            _ => Request::Read { extent: Extent { offset, length } },
        };
        if self.owner.has_room(request.payload()) {
            self.tag += 1;
            self.oracle.ask(0, self.tag, &request);
            self.owner_input(owner::Input::Asked { client: ClientId(1), tag: self.tag, request });
        }
    }

    /// Up to the next moment at which somebody has to do something; no request lands after its
    /// life.
    fn pass_time(&mut self) {
        let running = self.exits.iter().filter(|exit| !exit.is_stopped);
        let due = running.filter_map(|exit| exit.machine.deadline());
        let due = due.chain(self.owner.deadline()).min().unwrap_or_default();
        let due = due.max(self.now.after(MS / 20)).min(self.now.after(MS / 4));
        let ends = |world: &Self| {
            let ends = world.landing.iter().enumerate();
            ends.map(|(index, one)| (one.until, index)).min()
        };
        while let Some((until, index)) = ends(self).filter(|(until, _)| *until < due) {
            self.now = self.now.max(until);
            if !self.landing[index].is_cut || self.rng.random_bool(0.7) {
                self.land(index);
            } else {
                self.landing.remove(index);
            }
        }
        self.now = due;
        self.owner_input(owner::Input::TimePassed);
        for at in 0..2 {
            // A timer may ring late.
            let is_late = self.exits[at].is_stopped || self.rng.random_bool(0.2);
            if self.exits[at].machine.deadline().is_some_and(|due| due <= self.now) && !is_late {
                self.exit_input(at, initiator::Input::TimePassed);
            }
        }
    }

    fn go_on(&mut self) {
        let at = self.rng.random_range(0..2_usize);
        if self.rng.random_bool(0.3) {
            let index = self.rng.random_range(0..=self.landing.len());
            if index < self.landing.len() && !self.is_slow && !self.landing[index].is_cut {
                self.land(index);
            }
            return;
        }
        if self.exits[at].is_stopped {
            return;
        }
        match self.rng.random_range(0..6) {
            0 => {
                if let Some(word) = self.exits[at].words.pop_front() {
                    let entry = ViosId(u32::try_from(at).unwrap());
                    self.owner_input(owner::Input::Heard { entry, word });
                }
            }
            1 => {
                if let Some(call) = self.exits[at].calls.pop_front() {
                    self.exit_input(at, initiator::Input::Called { lu: LU, call });
                }
            }
            2 => {
                if let Some(input) = self.exits[at].inbox.pop_front() {
                    self.exit_input(at, input);
                }
            }
            3 => self.send(at),
            4 => {
                let mut conns = self.exits[at].conns.iter();
                let cut = conns.find(|(_, conn)| conn.is_cut).map(|(id, _)| *id);
                if let Some(id) = cut {
                    self.close(at, id);
                }
            }
            _ => self.connect(at),
        }
    }

    fn connect(&mut self, at: usize) {
        let mut conns = self.exits[at].conns.iter_mut();
        let Some((id, conn)) = conns.find(|(_, conn)| !conn.is_there && !conn.is_cut) else {
            return;
        };
        let (id, is_refused) = (*id, self.rng.random_bool(0.1));
        conn.is_there = !is_refused;
        if is_refused {
            return self.close(at, id);
        }
        let abilities = Abilities { can_fua: self.has_fua, ..Abilities::ALL };
        let device = Device { abilities, ..Device::new(CELLS as u64) };
        self.exits[at].inbox.push_back(initiator::Input::Connected { conn: id, device });
    }

    fn fail(&mut self) {
        let at = self.rng.random_range(0..2_usize);
        match self.rng.random_range(0..14) {
            9..12 => {
                let conns = self.exits[at].conns.values_mut();
                conns.for_each(|conn| conn.is_stuck = !conn.is_stuck);
            }
            12 | 13 => self.is_slow = !self.is_slow,
            0 => self.exits[at].is_silent = true,
            1 | 2 => self.exits[at].is_silent = false,
            3 => self.exits[at].is_stopped = true,
            4 | 5 => self.exits[at].is_stopped = false,
            6 => {
                let conn = self.exits[at].conns.iter().find(|(_, conn)| conn.is_there);
                if let Some(id) = conn.map(|(id, _)| *id) {
                    self.close(at, id);
                }
            }
            7 if self.rng.random_bool(0.4) => self.kill(at),
            8 if self.rng.random_bool(0.4) => self.lose_cache(),
            _ => self.exits[at].inbox.push_back(initiator::Input::PathLost),
        }
    }

    fn step(&mut self) {
        if !self.stray.is_empty() && self.rng.random_bool(0.02) {
            let (name, no, request) = self.stray.remove(0);
            self.reach(0, ConnId(0), name, no, request);
            self.detach(0, ConnId(0));
        }
        if self.rng.random_ratio(1, self.fail_every) {
            self.fail();
        }
        match self.rng.random_range(0..100) {
            0..12 if self.tag < 120 => self.ask(),
            12..30 => self.pass_time(),
            _ => self.go_on(),
        }
    }

    /// Nothing fails any more: every request must be answered.
    fn heal(&mut self) {
        self.is_slow = false;
        for exit in &mut self.exits {
            (exit.is_silent, exit.is_stopped) = (false, false);
            exit.conns.values_mut().for_each(|conn| conn.is_stuck = false);
        }
        for _ in 0..20_000 {
            if self.oracle.unanswered(0) == 0 {
                return;
            }
            if self.rng.random_ratio(1, 12) {
                self.pass_time();
            } else {
                self.go_on();
            }
        }
    }
}

fn performed(conn: ConnId, no: u64, fate: Fate) -> initiator::Input {
    initiator::Input::Performed { conn, no, fate }
}

/// Every write has bytes of its own, greater than those of earlier ones.
fn value(request: &Request) -> Option<u8> {
    match request {
        Request::Write { data, .. } => data.first().copied(),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Broken(Broken),
    OutOfHold,
    Unanswered,
}

fn first_found(plant: Plant, schedules: u64) -> Option<(u64, Found)> {
    (0..schedules).find_map(|seed| {
        let mut world = World::new(seed, plant);
        for _ in 0..STEPS {
            world.step();
            assert!(world.owner.unresolved() <= 64);
        }
        world.heal();
        let found = if let Some(broken) = world.oracle.broken {
            Found::Broken(broken)
        } else if world.is_out_of_hold {
            Found::OutOfHold
        } else if world.oracle.unanswered(0) > 0 {
            Found::Unanswered
        } else {
            return None;
        };
        Some((seed, found))
    })
}

#[test]
fn exits_before_a_storage_that_cannot_fence_let_nothing_late_land_and_hide_no_lost_cache() {
    let schedules = std::env::var("REDIRECT_SCHEDULES").ok().and_then(|text| text.parse().ok());
    assert_eq!(first_found(Plant::Nothing, schedules.unwrap_or(2000)), None);
}

#[test]
fn exits_with_a_planted_bug_are_found() {
    for plant in [
        Plant::HoldOff,
        Plant::NoLease,
        Plant::NoGate,
        Plant::AbortedEarly,
        Plant::SentIsVoid,
        Plant::LifeHidden,
    ] {
        let found = first_found(plant, 40_000);
        println!("{plant:?}: {found:?}");
        assert!(found.is_some(), "{plant:?}");
    }
}
