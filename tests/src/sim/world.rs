//! Puts a simulation together and steps through it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use turmoil::Sim;

use super::clock::{SimClock, over_ms};
use super::history::{Kind, Recorder};
use super::identity::{Held, IdentityError, SimCa};
use super::message::{Bodies, NodeId};
use super::node::{Orders, PROGRESS_MS, Peer, Site, live};
use super::report::Report;
use super::schedule::{FAULTS_END_MS, Fault, Setup, Step, calm, draw};
use super::weather::Weather;

/// The step of virtual time. Datagrams arrive at the beginning of a step.
const TICK: Duration = Duration::from_millis(1);
/// Where nodes listen.
const PORT: u16 = 7400;
/// Datagrams that wait in a socket; beyond it they are lost.
const SOCKET_DATAGRAMS: usize = 4096;
/// A simulation ends this long after its nodes have finished: late reports and duplicates show.
const GRACE_MS: u64 = 500;
/// A simulation ends here in any case.
const END_MS: u64 = PROGRESS_MS + 8000;

/// Why a simulation could not be run. What the nodes did wrong is in the [`Report`] instead.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A certificate could not be made. Fault: ours.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A node's program ended or panicked. Fault: ours.
    #[error("seed {seed}: a node ended at {at_ms} ms: {reason}")]
    Node {
        /// The seed.
        seed: u64,
        /// Virtual time.
        at_ms: u64,
        /// What the program said. Text, because turmoil's error stays on its thread.
        reason: String,
    },
}

/// Runs one simulation to its end. The same setup gives the same report.
///
/// # Errors
/// [`SimError`] when it cannot be run; broken invariants are part of the report.
pub fn run(setup: Setup) -> Result<Report, SimError> {
    let mut world = World::new(setup)?;
    let mut faults = draw(setup).into_iter().peekable();
    let mut ends_ms = END_MS;
    loop {
        let now_ms = u64::try_from(world.sim.elapsed().as_millis()).unwrap_or(u64::MAX);
        world.clock.set_ms(now_ms);
        if now_ms >= ends_ms {
            break;
        }
        while let Some(Step { fault, .. }) = faults.next_if(|step| step.at_ms <= now_ms) {
            world.apply(fault)?;
        }
        if now_ms == FAULTS_END_MS {
            world.recorder.record(Kind::Healed);
        }
        let stepped = world.sim.step();
        stepped.map_err(|error| {
            let reason = error.to_string();
            SimError::Node { seed: setup.seed, at_ms: now_ms, reason }
        })?;
        if ends_ms == END_MS && world.is_finished() {
            ends_ms = END_MS.min(now_ms + GRACE_MS);
        }
    }
    let World { sim, recorder, .. } = world;
    // Ends the nodes, whose tasks record until then.
    drop(sim);
    let events = std::mem::take(&mut recorder.history().events);
    Ok(Report::new(setup.seed, ends_ms, events))
}

struct World {
    sim: Sim<'static>,
    setup: Setup,
    ca: SimCa,
    sites: BTreeMap<NodeId, Arc<Site>>,
    weather: Arc<Mutex<Weather>>,
    clock: SimClock,
    recorder: Recorder,
}

impl World {
    fn new(setup: Setup) -> Result<Self, SimError> {
        let sim = turmoil::Builder::new()
            .rng_seed(setup.seed_for([5, 0, 0, 0]))
            .tick_duration(TICK)
            .min_message_latency(TICK)
            .max_message_latency(TICK)
            .udp_capacity(SOCKET_DATAGRAMS)
            .simulation_duration(Duration::from_millis(END_MS))
            .build();
        let clock = SimClock::default();
        let recorder = Recorder::new(clock.clone());
        let (ca, sites, weather) = (SimCa::new()?, BTreeMap::new(), Arc::default());
        let mut world = Self { sim, setup, ca, sites, weather, clock, recorder };
        world.add_weather();
        world.add_nodes()?;
        Ok(world)
    }

    fn add_weather(&self) {
        let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to) in self.setup.directions() {
            let purpose = [6, from.0.into(), to.0.into(), 0];
            let mut rng = StdRng::seed_from_u64(self.setup.seed_for(purpose));
            let calm = calm(&mut rng);
            let seed = rng.random();
            weather.add(self.addr(from), self.addr(to), calm, seed);
        }
    }

    fn add_nodes(&mut self) -> Result<(), SimError> {
        let bodies = Bodies::new();
        for node in self.setup.nodes() {
            let held = self.issue(node, None)?;
            let peers = self.setup.nodes().filter(|peer| *peer != node);
            let peers = peers.map(|peer| Peer { node: peer, addr: self.socket_addr(peer) });
            let site = Arc::new(Site {
                setup: self.setup,
                node,
                addr: self.socket_addr(node),
                peers: peers.collect(),
                orders: watch::Sender::new(Orders { held, is_closing: false }),
                weather: Arc::clone(&self.weather),
                clock: self.clock.clone(),
                recorder: self.recorder.clone(),
                incarnation: AtomicU64::new(0),
                bodies: bodies.clone(),
            });
            self.sites.insert(node, Arc::clone(&site));
            self.sim.host(node.to_string(), move || live(Arc::clone(&site)));
        }
        Ok(())
    }

    /// A new certificate, which the node does not have yet.
    fn issue(&mut self, node: NodeId, life: Option<Duration>) -> Result<Held, IdentityError> {
        let held = self.ca.issue(node, self.clock.wall(), life)?;
        let over_ms = life.map(|_life| over_ms(held.credentials.not_after()));
        self.recorder.record(Kind::Issued { node, leaf: held.leaf, over_ms });
        Ok(held)
    }

    fn revoke(&mut self, node: NodeId) -> Result<(), IdentityError> {
        let leaf = self.ca.revoke(node)?;
        let crl = self.ca.crl_number();
        self.recorder.record(Kind::Revoked { node, leaf, crl });
        for (_node, site) in self.sites.iter().filter(|(other, _site)| **other != node) {
            let held = self.ca.updated(&site.orders.borrow().held)?;
            site.orders.send_modify(|orders| orders.held = held);
        }
        Ok(())
    }

    fn order(&self, node: NodeId, change: impl FnOnce(&mut Orders)) {
        if let Some(site) = self.sites.get(&node) {
            site.orders.send_modify(change);
        }
    }

    fn addr(&self, node: NodeId) -> IpAddr {
        self.sim.lookup(node.to_string())
    }

    fn socket_addr(&self, node: NodeId) -> SocketAddr {
        SocketAddr::new(self.addr(node), PORT)
    }

    fn apply(&mut self, fault: Fault) -> Result<(), IdentityError> {
        self.recorder.record(Kind::Fault(fault));
        let name = |node: NodeId| node.to_string();
        match fault {
            Fault::Cut(one, other) => self.sim.partition(name(one), name(other)),
            Fault::CutOneWay(from, to) => self.sim.partition_oneway(name(from), name(to)),
            Fault::Heal(one, other) => self.sim.repair(name(one), name(other)),
            Fault::Storm(from, to, conditions) => {
                let (from, to) = (self.addr(from), self.addr(to));
                let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
                weather.set(from, to, conditions);
            }
            Fault::Calm(from, to) => {
                let (from, to) = (self.addr(from), self.addr(to));
                let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
                weather.calm(from, to);
            }
            Fault::Crash(node) => self.sim.crash(name(node)),
            Fault::Close(node) => self.order(node, |orders| orders.is_closing = true),
            Fault::Restart(node) => {
                self.order(node, |orders| orders.is_closing = false);
                self.sim.bounce(name(node));
            }
            Fault::Rotate(node) => {
                let held = self.issue(node, None)?;
                self.order(node, |orders| orders.held = held);
            }
            Fault::Shorten(node, lives_s) => {
                let held = self.issue(node, Some(Duration::from_secs(lives_s.into())))?;
                self.order(node, |orders| orders.held = held);
            }
            Fault::Revoke(node) => self.revoke(node)?,
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.recorder.history().finished.len() == usize::from(self.setup.nodes)
    }
}
