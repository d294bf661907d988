//! Nodes, the network between them, and the order in which things happen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use vioduct_certs::identity::{NodeName, Role, Roles};
use vioduct_runtime::membership::{
    Effect, Input, Machine, Member, MemberEvent, MembershipConfig, Moment, Seed,
};

use super::scene::Scene;
use super::traffic::Traffic;

/// How long a datagram takes, microseconds.
const LATENCY_US: std::ops::RangeInclusive<u64> = 200..=2000;

/// A node by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeIndex(pub(super) u32);

impl NodeIndex {
    fn at(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Join(NodeIndex),
    Wake(NodeIndex),
    Arrival { from: NodeIndex, to: NodeIndex, datagram: Bytes },
}

/// What a node told, and when.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) at: Moment,
    pub(super) by: NodeIndex,
    pub(super) event: MemberEvent,
}

#[derive(Debug)]
struct Node {
    name: NodeName,
    machine: Machine,
    /// The earliest wake-up that is under way.
    wakes_at: Option<Moment>,
    is_alive: bool,
}

/// All of it. The same seed makes the same happen.
#[derive(Debug)]
pub(super) struct World {
    now: Moment,
    nodes: Vec<Node>,
    addresses: BTreeMap<SocketAddr, NodeIndex>,
    queue: BinaryHeap<Reverse<(Moment, u64, Happening)>>,
    queued: u64,
    chance: StdRng,
    loss_percent: u8,
    hash: DefaultHasher,
    links: HashSet<(NodeIndex, NodeIndex)>,
    pub(super) traffic: Traffic,
    pub(super) told: Vec<Told>,
}

impl World {
    /// Nodes that join through the first three, at some time within `spread`.
    pub(super) fn new(scene: Scene, config: &MembershipConfig, spread: Duration) -> Self {
        let mut world = Self {
            now: Moment::START,
            nodes: Vec::new(),
            addresses: BTreeMap::new(),
            queue: BinaryHeap::new(),
            queued: 0,
            chance: StdRng::seed_from_u64(scene.seed),
            loss_percent: scene.loss_percent,
            hash: DefaultHasher::new(),
            links: HashSet::new(),
            traffic: Traffic::default(),
            told: Vec::new(),
        };
        for number in 0..scene.nodes {
            let index = NodeIndex(number);
            let own = member(index);
            world.addresses.insert(own.addr, index);
            let name = own.node.clone();
            let machine = Machine::new(own, config.clone(), world.chance.random())
                .expect("the configuration is checked by whoever made it");
            world.nodes.push(Node { name, machine, wakes_at: None, is_alive: true });
            let spread_us = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
            let at_us = if number == 0 { 0 } else { world.chance.random_range(0..=spread_us) };
            world.push(Duration::from_micros(at_us), Happening::Join(index));
        }
        world
    }

    pub(super) fn now(&self) -> Moment {
        self.now
    }

    /// Hash of every datagram that arrived, with its time.
    pub(super) fn trace_hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Pairs of nodes that have talked.
    pub(super) fn links(&self) -> u64 {
        u64::try_from(self.links.len()).unwrap_or(u64::MAX)
    }

    /// Whether each living node counts all other living ones as members.
    pub(super) fn is_whole(&self) -> bool {
        let alive = self.nodes.iter().filter(|node| node.is_alive).count();
        self.nodes.iter().all(|node| !node.is_alive || node.machine.active() + 1 == alive)
    }

    /// Datagrams that a node threw away as wrong. All run the same code: there should be none.
    pub(super) fn accusations(&self) -> u64 {
        let dropped = self.nodes.iter().map(|node| node.machine.dropped());
        dropped.map(|dropped| dropped.forged + dropped.malformed + dropped.rejected).sum()
    }

    pub(super) fn random_node(&mut self) -> NodeIndex {
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        NodeIndex(self.chance.random_range(0..count))
    }

    pub(super) fn name(&self, index: NodeIndex) -> Option<&NodeName> {
        self.nodes.get(index.at()).map(|node| &node.name)
    }

    /// Ends a node without a word.
    pub(super) fn kill(&mut self, index: NodeIndex) {
        if let Some(node) = self.nodes.get_mut(index.at()) {
            node.is_alive = false;
        }
    }

    /// Lets everything happen that happens within `span`.
    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now.after(span);
        while let Some(Reverse((at, _, _))) = self.queue.peek()
            && *at <= end
            && let Some(Reverse((at, _, happening))) = self.queue.pop()
        {
            self.now = at;
            self.perform(happening);
        }
        self.now = end;
    }

    fn push(&mut self, wait: Duration, happening: Happening) {
        self.queued += 1;
        self.queue.push(Reverse((self.now.after(wait), self.queued, happening)));
    }

    fn perform(&mut self, happening: Happening) {
        match happening {
            Happening::Join(index) => {
                let seeds = if index.0 == 0 { Vec::new() } else { self.seeds() };
                self.step(index, None, Input::JoinAsked { seeds });
            }
            Happening::Wake(index) => {
                let Some(node) = self.nodes.get_mut(index.at()) else { return };
                if node.wakes_at == Some(self.now) {
                    node.wakes_at = None;
                    self.step(index, None, Input::TimePassed);
                }
            }
            Happening::Arrival { from, to, datagram } => {
                self.trace(from, to, &datagram);
                let Some(sender) = self.name(from).cloned() else { return };
                self.step(to, Some(from), Input::DatagramReceived { from: sender, datagram });
            }
        }
    }

    fn trace(&mut self, from: NodeIndex, to: NodeIndex, datagram: &Bytes) {
        self.hash.write_u128(self.now.since(Moment::START).as_nanos());
        self.hash.write_u32(from.0);
        self.hash.write_u32(to.0);
        self.hash.write(datagram);
    }

    /// One input to one node, and all that comes of it.
    fn step(&mut self, index: NodeIndex, from: Option<NodeIndex>, input: Input) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index.at()).filter(|node| node.is_alive) else {
            return;
        };
        node.machine.handle(now, input);
        let mut effects = Vec::new();
        while let Some(effect) = node.machine.poll() {
            effects.push(effect);
        }
        let mut is_answered = false;
        for effect in effects {
            match effect {
                Effect::Send { addr, datagram, .. } => {
                    let to = self.addresses.get(&addr).copied();
                    is_answered |= to == from;
                    if let Some(to) = to {
                        self.send(index, to, datagram);
                    }
                }
                Effect::Tell(event) => self.told.push(Told { at: now, by: index, event }),
                Effect::Refuse { .. } => {}
            }
        }
        if from.is_some() && !is_answered {
            self.traffic.acknowledgement();
        }
        self.arm(index);
    }

    fn arm(&mut self, index: NodeIndex) {
        let Some(node) = self.nodes.get_mut(index.at()) else { return };
        let Some(deadline) = node.machine.deadline() else { return };
        if node.wakes_at.is_none_or(|wakes_at| deadline < wakes_at) {
            node.wakes_at = Some(deadline.max(self.now));
            let wait = deadline.since(self.now);
            self.push(wait, Happening::Wake(index));
        }
    }

    fn send(&mut self, from: NodeIndex, to: NodeIndex, datagram: Bytes) {
        self.traffic.datagram(datagram.len());
        self.links.insert((from.min(to), from.max(to)));
        let latency = Duration::from_micros(self.chance.random_range(LATENCY_US));
        if self.chance.random_range(0..100) >= self.loss_percent {
            self.push(latency, Happening::Arrival { from, to, datagram });
        }
    }

    fn seeds(&self) -> Vec<Seed> {
        (0..3).map(NodeIndex).map(member).map(|m| Seed { node: m.node, addr: m.addr }).collect()
    }
}

fn member(NodeIndex(number): NodeIndex) -> Member {
    let [_, high, middle, low] = number.to_be_bytes();
    let addr = SocketAddr::from((Ipv4Addr::new(10, high, middle, low), 7401));
    let node = format!("host-{number:04}").parse().expect("digits make a name");
    let roles = Roles::none().with(Role::Phyp).with(Role::Vios);
    // As a clock in microseconds would give it.
    Member { node, incarnation: 1_700_000_000_000_000 + u64::from(number), addr, roles }
}
