//! Which members are reached by a third one, and by which.
//!
//! ```text
//!              link down           grace over         a port
//!   (direct) ────────────▶ waiting ──────────▶ asking ──────▶ dialling ──▶ carried
//!       ▲                   ▲ ▲ ▲               │ no           │ late        │ │ link down
//!       │                   │ │ └───────────────┘              │             │ │
//!       │                   │ └────────────────────────────────┘             │ │
//!       │                   └──────────────────────────────────────────────────┘
//!       └──── at any time, the link is up by another address ────────────────┘
//! ```
//!
//! Invariants:
//! 1. Only live members are sought, and asked: those of the last look. Who is asked is linked
//!    directly, as far as this node knows.
//! 2. For each member there is one question or dial by a third one at a time, and for all of them
//!    [`SOUGHT_MAX`].
//! 3. A member that is carried is dialled directly as well, until that succeeds.
//! 4. However many third ones there are and lead nowhere, the member is dialled where it is between
//!    two dials by them, and for [`PAUSE`] after [`TRIES_MAX`] of them.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use vioduct_certs::identity::NodeName;

use crate::membership::Moment;

/// Members for which a third one is asked, or dialled by, at once; others wait.
const SOUGHT_MAX: usize = 16;
/// How long a dial by a third one may take: a handshake may take 5 s.
const DIAL_MAX: Duration = Duration::from_secs(6);
/// How long the direct way is tried alone after a dial by a third one that led nowhere, and after
/// so many that did not even dial. A handshake may take as long.
const PAUSE: Duration = Duration::from_secs(5);
/// Third ones that are asked in a row.
const TRIES_MAX: usize = 3;
/// So many times as long is waited where the other side is the one that dials.
const PATIENCE: u32 = 3;

/// How a live member stands when it is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    /// Where it says that it is dialled.
    pub(crate) addr: SocketAddr,
    /// The address on the connection that carries its link; none while it is down.
    pub(crate) linked: Option<SocketAddr>,
    /// It is not suspected.
    pub(crate) is_sound: bool,
    /// It is this node that dials it.
    pub(crate) is_ours: bool,
}

#[derive(Debug)]
pub(crate) enum Input {
    /// How every live member stands.
    Looked(BTreeMap<NodeName, Sight>),
    /// A member's answer: where the other one is dialled by it.
    Answered { by: NodeName, to: NodeName, port: Option<SocketAddr> },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask for a way.
    Ask { by: NodeName, to: NodeName },
    /// Dial a member at this address now, and no more at another.
    Dial { to: NodeName, addr: SocketAddr },
    /// A member's link goes by this one now, and is to be kept alive.
    Carried { by: NodeName, to: NodeName },
    /// It does not any more. `is_direct`: nor by any other.
    Left { to: NodeName, is_direct: bool },
}

#[derive(Debug)]
enum Step {
    Waiting { until: Moment },
    Asking { by: NodeName },
    Dialling { by: NodeName, port: SocketAddr, until: Moment },
    Carried { by: NodeName, port: SocketAddr },
}

/// The way to one member.
#[derive(Debug)]
struct Way {
    step: Step,
    /// Who led nowhere.
    tried: BTreeSet<NodeName>,
}

#[derive(Debug)]
pub(crate) struct Seeker {
    after: Duration,
    rng: StdRng,
    ways: BTreeMap<NodeName, Way>,
    effects: VecDeque<Effect>,
}

impl Seeker {
    /// Others are sought for a member that was down for `after`.
    pub(crate) fn new(after: Duration, rng: StdRng) -> Self {
        Self { after, rng, ways: BTreeMap::new(), effects: VecDeque::new() }
    }

    /// The next thing to do; drain to `None` after each [`handle`](Self::handle).
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(crate) fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Looked(sights) => self.looked(now, &sights),
            Input::Answered { by, to, port } => self.answered(now, &by, to, port),
        }
    }

    /// It is no member any more.
    pub(crate) fn gone(&mut self, node: &NodeName) {
        self.forget(node, false);
    }

    fn forget(&mut self, node: &NodeName, is_direct: bool) {
        let way = self.ways.remove(node);
        if let Some(Way { step: Step::Carried { .. }, .. }) = way {
            self.effects.push_back(Effect::Left { to: node.clone(), is_direct });
        }
    }

    fn looked(&mut self, now: Moment, sights: &BTreeMap<NodeName, Sight>) {
        let gone: Vec<_> =
            self.ways.keys().filter(|node| !sights.contains_key(*node)).cloned().collect();
        gone.iter().for_each(|node| self.forget(node, false));
        for (node, sight) in sights {
            match sight.linked {
                Some(linked) => self.up(node, sight.addr, linked),
                None => self.down(now, node, sight),
            }
        }
        self.seek(now, sights);
    }

    fn up(&mut self, node: &NodeName, addr: SocketAddr, linked: SocketAddr) {
        let Some(way) = self.ways.get_mut(node) else { return };
        let to = node.clone();
        match &way.step {
            Step::Dialling { by, port, .. } if *port == linked => {
                let (by, port) = (by.clone(), *port);
                self.effects.push_back(Effect::Carried { by: by.clone(), to: to.clone() });
                self.effects.push_back(Effect::Dial { to, addr });
                *way = Way::at(Step::Carried { by, port });
            }
            Step::Carried { port, .. } if *port == linked => {}
            Step::Dialling { .. } => {
                // That dial would take the place of what is up now.
                self.effects.push_back(Effect::Dial { to, addr });
                self.forget(node, true);
            }
            Step::Waiting { .. } | Step::Asking { .. } | Step::Carried { .. } => {
                self.forget(node, true);
            }
        }
    }

    fn down(&mut self, now: Moment, node: &NodeName, sight: &Sight) {
        let patience = if sight.is_ours { 1 } else { PATIENCE };
        let until = now.after(self.after.saturating_mul(patience));
        let (to, step) = (node.clone(), Step::Waiting { until });
        let way = self.ways.entry(to.clone()).or_insert_with(|| Way::at(step));
        match &way.step {
            Step::Carried { by, .. } => {
                self.effects.push_back(Effect::Left { to, is_direct: false });
                way.failed(by.clone(), now);
            }
            Step::Dialling { by, until, .. } if *until <= now => {
                self.effects.push_back(Effect::Dial { to, addr: sight.addr });
                way.failed(by.clone(), now.after(PAUSE));
            }
            Step::Dialling { .. } | Step::Waiting { .. } | Step::Asking { .. } => {}
        }
    }

    /// Asks for those that have waited long enough.
    fn seek(&mut self, now: Moment, sights: &BTreeMap<NodeName, Sight>) {
        let due = self.ways.iter().filter_map(|(node, way)| Some((way.due(now)?, node.clone())));
        let mut due: Vec<(Moment, NodeName)> = due.collect();
        due.sort();
        let under_way = self.ways.values().filter(|way| way.is_under_way()).count();
        for (_since, to) in due.into_iter().take(SOUGHT_MAX.saturating_sub(under_way)) {
            let Some(tried) = self.ways.get(&to).map(|way| &way.tried) else { continue };
            let is_enough = tried.len() >= TRIES_MAX;
            let others = sights.iter().filter(|(node, sight)| {
                let is_direct = sight.linked.is_some() && !self.ways.contains_key(*node);
                is_direct && sight.is_sound && !tried.contains(*node)
            });
            let others: Vec<&NodeName> = others.map(|(node, _sight)| node).collect();
            let chosen = others.choose(&mut self.rng).filter(|_by| !is_enough);
            let chosen = chosen.map(|by| (*by).clone());
            let Some(way) = self.ways.get_mut(&to) else { continue };
            match chosen {
                Some(by) => {
                    way.step = Step::Asking { by: by.clone() };
                    self.effects.push_back(Effect::Ask { by, to });
                }
                None => {
                    way.step = Step::Waiting { until: now.after(PAUSE) };
                    way.tried.clear();
                }
            }
        }
    }

    fn answered(&mut self, now: Moment, by: &NodeName, to: NodeName, port: Option<SocketAddr>) {
        let Some(way) = self.ways.get_mut(&to) else { return };
        match (&way.step, port) {
            (Step::Asking { by: asked }, Some(port)) if asked == by => {
                let (by, until) = (by.clone(), now.after(DIAL_MAX));
                way.step = Step::Dialling { by, port, until };
                self.effects.push_back(Effect::Dial { to, addr: port });
            }
            (Step::Asking { by: asked }, None) if asked == by => way.failed(by.clone(), now),
            // An answer of before the link was up, and down again.
            _other => {}
        }
    }
}

impl Way {
    fn at(step: Step) -> Self {
        Self { step, tried: BTreeSet::new() }
    }

    fn failed(&mut self, by: NodeName, until: Moment) {
        self.tried.insert(by);
        self.step = Step::Waiting { until };
    }

    /// Since when others may be asked, if they may.
    fn due(&self, now: Moment) -> Option<Moment> {
        match self.step {
            Step::Waiting { until } => (until <= now).then_some(until),
            Step::Asking { .. } | Step::Dialling { .. } | Step::Carried { .. } => None,
        }
    }

    fn is_under_way(&self) -> bool {
        matches!(self.step, Step::Asking { .. } | Step::Dialling { .. })
    }
}

#[cfg(test)]
#[path = "seeker_tests.rs"]
mod tests;
