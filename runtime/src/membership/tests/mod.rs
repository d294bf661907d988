//! Several machines and a network that does as it is told.

mod failing;
mod hostile;
mod joining;
mod returning;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use vioduct_certs::identity::{NodeName, Role, Roles};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// The member of this name in its first run. Its address is made from the name's bytes.
fn member(text: &str) -> Member {
    let sum = text.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, sum));
    let roles = Roles::none().with(Role::Db).with(Role::Vios);
    Member { node: name(text), incarnation: 1, addr, roles }
}

fn machine(own: Member) -> Machine {
    Machine::new(own, MembershipConfig::default(), 7).unwrap()
}

fn seed(text: &str) -> Seed {
    Seed { node: name(text), addr: member(text).addr }
}

fn effects(machine: &mut Machine) -> Vec<Effect> {
    std::iter::from_fn(|| machine.poll()).collect()
}

fn up(text: &str) -> MemberEvent {
    MemberEvent::Up(member(text))
}

fn suspect(text: &str) -> MemberEvent {
    MemberEvent::Suspect { node: name(text), incarnation: 1 }
}

fn refuted(text: &str) -> MemberEvent {
    MemberEvent::Refuted { node: name(text), incarnation: 1 }
}

fn down(text: &str, reason: DownReason) -> MemberEvent {
    MemberEvent::Down { node: name(text), incarnation: 1, reason }
}

fn returned(text: &str, incarnation: u64) -> MemberEvent {
    MemberEvent::Returned { member: Member { incarnation, ..member(text) }, old: 1 }
}

/// Datagrams take no time, unless an end is cut off or frozen.
#[derive(Debug, Default)]
struct Net {
    now: Moment,
    machines: BTreeMap<NodeName, Machine>,
    /// Nothing goes in or out.
    cut: BTreeSet<NodeName>,
    /// Nothing goes from the one to the other, nor back.
    parted: Option<[NodeName; 2]>,
    /// They don't run; what comes for them waits.
    frozen: BTreeSet<NodeName>,
    flying: VecDeque<(NodeName, NodeName, Bytes)>,
    told: Vec<(Moment, NodeName, MemberEvent)>,
    refused: Vec<(NodeName, Effect)>,
    /// Every datagram that was sent.
    sent: Vec<Bytes>,
}

impl Net {
    /// Members that know each other; the first one is the seed.
    fn of(names: &[&str]) -> Self {
        let mut net = Self::default();
        for text in names {
            net.start(machine(member(text)), names[0]);
        }
        net.run_for(70 * SECOND);
        for machine in net.machines.values() {
            assert_eq!(machine.active(), names.len() - 1);
        }
        net.told.clear();
        net
    }

    fn start(&mut self, machine: Machine, through: &str) {
        let node = machine.own().node.clone();
        self.machines.insert(node.clone(), machine);
        self.step(&node, Input::JoinAsked { seeds: vec![seed(through)] });
        self.deliver();
    }

    fn step(&mut self, node: &NodeName, input: Input) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.handle(self.now, input);
        for effect in effects(machine) {
            match effect {
                Effect::Send { to, datagram, .. } => {
                    self.sent.push(datagram.clone());
                    self.flying.push_back((node.clone(), to, datagram));
                }
                Effect::Tell(event) => self.told.push((self.now, node.clone(), event)),
                Effect::Refuse { .. } => self.refused.push((node.clone(), effect)),
            }
        }
    }

    fn deliver(&mut self) {
        let (mut waiting, mut delivered) = (VecDeque::new(), 0);
        while let Some((from, to, datagram)) = self.flying.pop_front() {
            let is_parted = self
                .parted
                .as_ref()
                .is_some_and(|it| [&from, &to].iter().all(|end| it.contains(end)));
            if self.cut.contains(&from) || self.cut.contains(&to) || is_parted {
                continue;
            }
            if self.frozen.contains(&to) {
                waiting.push_back((from, to, datagram));
            } else {
                delivered += 1;
                assert!(delivered < 100_000, "datagrams go to and fro without an end");
                self.step(&to, Input::DatagramReceived { from, datagram });
            }
        }
        self.flying = waiting;
    }

    fn run_for(&mut self, span: Duration) {
        self.run_until(span, |_net| false);
    }

    /// Stops early when it is done; says whether it was.
    fn run_until(&mut self, span: Duration, mut is_done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now.after(span);
        loop {
            self.deliver();
            if is_done(self) {
                return true;
            }
            let running = self.machines.iter().filter(|(node, _)| !self.frozen.contains(node));
            let next = running.filter_map(|(node, m)| Some((m.deadline()?, node.clone()))).min();
            match next.filter(|(at, _)| *at <= end) {
                Some((at, node)) => {
                    self.now = self.now.max(at);
                    self.step(&node, Input::TimePassed);
                }
                None => break,
            }
        }
        self.now = end;
        false
    }

    fn has_told(&self, by: &str, event: &MemberEvent) -> bool {
        self.told.iter().any(|(_, node, told)| *node == name(by) && told == event)
    }

    /// What this node told since it was last asked.
    fn told_by(&mut self, by: &str) -> Vec<MemberEvent> {
        let (its, others) =
            std::mem::take(&mut self.told).into_iter().partition(|(_, node, _)| *node == name(by));
        self.told = others;
        let its: Vec<(Moment, NodeName, MemberEvent)> = its;
        its.into_iter().map(|(_, _, event)| event).collect()
    }
}
