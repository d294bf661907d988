//! Puts a simulated database together, and steps through its life.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use turmoil::Sim;
use vioduct_certs::identity::Role;
use vioduct_db::ShardId;
use vioduct_db::chance::Seeded;
use vioduct_db::consensus::rows::read_meta;
use vioduct_db::state::{ShardState, StateEngine, View};

use super::super::clock::SimClock;
use super::super::history::{Kind, Recorder};
use super::super::identity::SimCa;
use super::super::message::NodeId;
use super::super::schedule::calm;
use super::super::weather::{Conditions, Weather};
use super::super::world::SimError;
use super::board::{Board, What};
use super::disk::Disk;
use super::host::Host;
use super::node::{Client, Server, ask, serve};
use super::report::{HASH_START, Outcome, Report, Rows, hash};
use super::schedule::{FAULTS_END_MS, Fault, Step, Target, draw};
use super::{CLIENTS, NODES, Plant, Setup, panics};
use crate::db::{Load, Plant as ClientPlant};
use crate::linear::Recorder as Tape;

/// The step of virtual time. Datagrams arrive at the beginning of a step.
const TICK: Duration = Duration::from_millis(1);
const PORT: u16 = 7400;
/// Datagrams that wait in a socket; beyond it they are lost.
const SOCKET_DATAGRAMS: usize = 4096;
/// By then the database serves again: links are up, one leads, and what clients were at has ended.
const SERVES_MS: u64 = FAULTS_END_MS + 6000;
/// Clients stop here.
const STOP_MS: u64 = SERVES_MS + 2000;
/// Operations that each client has to have answered between the two.
const SERVED_LEAST: u64 = 10;
/// All is over here in any case.
const END_MS: u64 = STOP_MS + 12_000;
/// How often the rows of the replicas are held against each other.
const COMPARE_EVERY_MS: u64 = 500;
const KEYS: u32 = 8;
/// How long a client waits between two operations.
const PAUSE: Duration = Duration::from_millis(40);

/// Runs one simulation to its end. The same setup gives the same report.
///
/// # Errors
/// [`SimError`] when it cannot be run; what went wrong in it is part of the report.
pub fn run(setup: Setup) -> Result<Report, SimError> {
    let _seeded = Seeded::from(setup.seed_for([4, 0, 0, 0]));
    let panics = panics::so_far();
    let mut world = World::new(setup)?;
    let simulated_ms = world.live()?;
    let World { sim, board, tape, recorder, mut violations, .. } = world;
    // Ends the nodes, whose tasks may panic until then.
    drop(sim);
    let (entries, failures) = board.take();
    violations.extend(failures);
    let is_panic = |kind: &Kind| *kind == Kind::Panicked;
    if panics::so_far() > panics || recorder.history().events.iter().any(|e| is_panic(&e.kind)) {
        violations.push("a task panicked".to_owned());
    }
    let outcome = Outcome { simulated_ms, entries, history: tape.history(), violations };
    Ok(Report::new(setup, outcome))
}

/// What ends a fault.
#[derive(Debug, Clone, Copy)]
enum End {
    Restart(NodeId),
    Repair(NodeId, NodeId),
    Release(NodeId, NodeId),
    Calm(NodeId),
}

struct World {
    sim: Sim<'static>,
    setup: Setup,
    disks: BTreeMap<NodeId, Disk>,
    weather: Arc<Mutex<Weather>>,
    clock: SimClock,
    recorder: Recorder,
    board: Board,
    tape: Arc<Tape>,
    stop: Arc<AtomicBool>,
    down: BTreeSet<NodeId>,
    ends: Vec<(u64, End)>,
    /// The hash of the rows at each revision at which some replica was seen.
    rows: BTreeMap<u64, Rows>,
    violations: Vec<String>,
}

fn nodes() -> impl Iterator<Item = NodeId> + Clone {
    (1..=NODES).map(NodeId)
}

fn all() -> impl Iterator<Item = NodeId> + Clone {
    (1..=NODES + CLIENTS).map(NodeId)
}

fn others(node: NodeId) -> impl Iterator<Item = NodeId> + Clone {
    all().filter(move |other| *other != node)
}

impl World {
    fn new(setup: Setup) -> Result<Self, SimError> {
        let sim = turmoil::Builder::new()
            .rng_seed(setup.seed_for([5, 0, 0, 0]))
            .tick_duration(TICK)
            .min_message_latency(TICK)
            .max_message_latency(TICK)
            .udp_capacity(SOCKET_DATAGRAMS)
            .simulation_duration(Duration::from_millis(2 * END_MS))
            .build();
        let clock = SimClock::default();
        let disks = nodes().map(|node| (node, Disk::new(setup.plant == Some(Plant::HastyLog))));
        let mut world = Self {
            sim,
            setup,
            disks: disks.collect(),
            weather: Arc::default(),
            recorder: Recorder::new(clock.clone()),
            board: Board::new(clock.clone(), CLIENTS.into()),
            clock,
            tape: Arc::default(),
            stop: Arc::default(),
            down: BTreeSet::new(),
            ends: Vec::new(),
            rows: BTreeMap::new(),
            violations: Vec::new(),
        };
        world.add_weather();
        world.add_hosts()?;
        Ok(world)
    }

    fn add_weather(&self) {
        let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to) in all().flat_map(|from| others(from).map(move |to| (from, to))) {
            let seed = self.setup.seed_for([6, from.0.into(), to.0.into(), 0]);
            let calm = calm(&mut StdRng::seed_from_u64(seed));
            weather.add(self.addr(from), self.addr(to), calm, seed);
        }
    }

    fn add_hosts(&mut self) -> Result<(), SimError> {
        let mut ca = SimCa::for_roles([Role::Db].into_iter().collect())?;
        for node in all() {
            let peers = nodes().filter(|peer| *peer != node);
            let host = Host {
                setup: self.setup,
                node,
                addr: SocketAddr::new(self.addr(node), PORT),
                peers: peers.map(|peer| (peer, SocketAddr::new(self.addr(peer), PORT))).collect(),
                held: ca.issue(node, self.clock.wall(), None)?,
                weather: Arc::clone(&self.weather),
                clock: self.clock.clone(),
                recorder: self.recorder.clone(),
                runs: AtomicU64::new(0),
            };
            match self.disks.get(&node).cloned() {
                Some(disk) => self.add_server(host, disk),
                None => self.add_client(host),
            }
        }
        Ok(())
    }

    fn add_server(&mut self, host: Host, disk: Disk) {
        let name = host.node.to_string();
        let server = Arc::new(Server { host, disk, board: self.board.clone() });
        self.sim.host(name, move || serve(Arc::clone(&server)));
    }

    fn add_client(&mut self, host: Host) {
        let name = host.node.to_string();
        let plant = match self.setup.plant {
            Some(Plant::LostWrite) => Some(ClientPlant::LostWrite),
            Some(Plant::StaleRead) => Some(ClientPlant::StaleRead),
            Some(Plant::HastyLog) | None => None,
        };
        let seed = self.setup.seed_for([7, 0, 0, 0]);
        let client = Arc::new(Client {
            number: u32::from(host.node.0 - NODES - 1),
            load: Load { clients: CLIENTS.into(), keys: KEYS, seed, pause: PAUSE, plant },
            host,
            board: self.board.clone(),
            recorder: Arc::clone(&self.tape),
            stop: Arc::clone(&self.stop),
        });
        self.sim.host(name, move || ask(Arc::clone(&client)));
    }

    fn addr(&self, node: NodeId) -> IpAddr {
        self.sim.lookup(node.to_string())
    }

    /// Steps to the end; gives when that was, in virtual milliseconds.
    fn live(&mut self) -> Result<u64, SimError> {
        let mut faults = draw(self.setup).into_iter().peekable();
        let mut served = Vec::new();
        loop {
            let now_ms = u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.clock.set_ms(now_ms);
            while let Some(step) = faults.next_if(|step| step.at_ms <= now_ms) {
                self.inflict(step);
            }
            self.end_faults(now_ms);
            match now_ms {
                FAULTS_END_MS => self.board.add(What::Healed),
                SERVES_MS => served = self.answered(),
                STOP_MS => self.stop(&served),
                END_MS => {
                    self.violations.push("clients or replicas do not come to an end".to_owned());
                    return Ok(now_ms);
                }
                _other => {}
            }
            if now_ms.is_multiple_of(COMPARE_EVERY_MS) && self.compare() && self.board.is_read() {
                return Ok(now_ms);
            }
            self.sim.step().map_err(|error| {
                let reason = error.to_string();
                SimError::Node { seed: self.setup.seed, at_ms: now_ms, reason }
            })?;
        }
    }

    fn answered(&self) -> Vec<u64> {
        let counts = self.board.answered.iter().map(|count| count.load(Ordering::Relaxed));
        let counts: Vec<u64> = counts.collect();
        self.board.add(What::Answered(counts.clone()));
        counts
    }

    /// The clients stop; each has to have been served since `before`.
    fn stop(&mut self, before: &[u64]) {
        for (number, (before, now)) in before.iter().zip(self.answered()).enumerate() {
            let since = now - before;
            if since < SERVED_LEAST {
                let what = format!("client {number} had {since} answers after all was healed");
                self.violations.push(what);
            }
        }
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Holds the replicas' rows against each other; whether all are as far as one another.
    fn compare(&mut self) -> bool {
        self.answered();
        let mut reached = BTreeSet::new();
        for (node, disk) in &self.disks {
            let Some(rows) = read_rows(*node, disk) else { continue };
            reached.insert(rows.applied);
            let known = *self.rows.entry(rows.applied).or_insert(rows);
            if known.hash != rows.hash {
                self.violations.push(format!("rows of one revision differ: {known:?} {rows:?}"));
            }
        }
        reached.len() == 1 && self.down.is_empty()
    }

    fn inflict(&mut self, step: Step) {
        let node = match step.fault {
            Fault::Crash(target)
            | Fault::CutOff(target)
            | Fault::Mute(target)
            | Fault::Deafen(target)
            | Fault::Hold(target)
            | Fault::Storm(target, _) => match target {
                Target::Node(node) => Some(node),
                Target::Leader => self.board.leader(),
            },
            Fault::CrashAll | Fault::Cut(..) | Fault::Lead(_) => None,
        };
        self.board.add(What::Fault(step.fault, node));
        match (step.fault, node) {
            (Fault::CrashAll, _) => nodes().for_each(|node| self.crash(node, step.until_ms)),
            (Fault::Cut(one, other), _) => {
                self.sim.partition(one.to_string(), other.to_string());
                self.ends.push((step.until_ms, End::Repair(one, other)));
            }
            (Fault::Lead(node), _) => self.board.order(node),
            (Fault::Crash(_), Some(node)) => self.crash(node, step.until_ms),
            (fault, Some(node)) => self.disturb(fault, node, step.until_ms),
            (_to_nobody, None) => {}
        }
    }

    fn crash(&mut self, node: NodeId, until_ms: u64) {
        if self.down.insert(node) {
            self.sim.crash(node.to_string());
            self.board.forget(node);
            self.ends.push((until_ms, End::Restart(node)));
        }
    }

    /// Does something to all links of a node.
    fn disturb(&mut self, fault: Fault, node: NodeId, until_ms: u64) {
        for other in others(node) {
            let (one, two) = (node.to_string(), other.to_string());
            match fault {
                Fault::Mute(_) => self.sim.partition_oneway(one, two),
                Fault::Deafen(_) => self.sim.partition_oneway(two, one),
                Fault::Hold(_) => self.sim.hold(one, two),
                Fault::Storm(_, conditions) => self.storm(node, other, Some(conditions)),
                _cut => self.sim.partition(one, two),
            }
            self.ends.push(match fault {
                Fault::Hold(_) => (until_ms, End::Release(node, other)),
                Fault::Storm(..) => (until_ms, End::Calm(node)),
                _cut => (until_ms, End::Repair(node, other)),
            });
        }
    }

    /// Weather between two nodes, both ways; as it was made without any.
    fn storm(&self, one: NodeId, other: NodeId, conditions: Option<Conditions>) {
        let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to) in [(one, other), (other, one)] {
            let (from, to) = (self.addr(from), self.addr(to));
            match conditions {
                Some(conditions) => weather.set(from, to, conditions),
                None => weather.calm(from, to),
            }
        }
    }

    /// Ends what is over by now.
    fn end_faults(&mut self, now_ms: u64) {
        let (over, later) = self.ends.iter().partition(|(until_ms, _)| *until_ms <= now_ms);
        self.ends = later;
        let over: Vec<(u64, End)> = over;
        for (_until_ms, end) in over {
            match end {
                End::Restart(node) => {
                    self.down.remove(&node);
                    self.sim.bounce(node.to_string());
                }
                End::Repair(one, other) => self.sim.repair(one.to_string(), other.to_string()),
                End::Release(one, other) => self.sim.release(one.to_string(), other.to_string()),
                End::Calm(node) => others(node).for_each(|other| self.storm(node, other, None)),
            }
        }
    }
}

/// How far a replica's rows are, and what they are.
fn read_rows(node: NodeId, disk: &Disk) -> Option<Rows> {
    let shard = disk.rows().open(ShardId(0)).ok()?;
    let applied = read_meta(|key| shard.get(key)).ok()?.last_log_id?.index;
    let (mut view, mut rows) = (shard.view().ok()?, HASH_START);
    loop {
        let next = view.next(1 << 20).ok()?;
        if next.is_empty() {
            return Some(Rows { node, applied, hash: rows });
        }
        for (key, value) in next {
            rows = hash(rows, [key, value].concat());
        }
    }
}
