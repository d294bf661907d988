//! A VIOS's redirect actor: as *entry* it chooses the way of a session, as *exit* it ties the
//! session to its own connection to the storage.
//!
//! ```text
//!   owner ──Open──▶ entry ──own fabric──▶ storage
//!                     └──hop 1──▶ exit ──own fabric──▶ storage
//! ```
//!
//! It makes no sessions, re-sends nothing, answers nothing in the storage's place, and keeps no
//! data.
//!
//! Invariants:
//! 1. An open from another VIOS leaves by the own fabric or not at all.
//! 2. A way is tried after another one only if that one definitely did not begin the session.
//! 3. A session has one way. If a part of that is lost, the session is over, and the owner is told.
//! 4. Words come only from the way that their session has, and go only to who opened it.
//!
//! Source: redirect protocol, rules 2, 3 and 11.

mod input;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::limits::{LimitError, RelayLimits};
use super::message::{Call, HOPS_MAX, Why, Word};
use super::moment::Moment;
use super::name::{ConnId, Epoch, Holder, LuId, ViosId};
pub use input::{Effect, Input, PathState, PeerPath, Port};
use paths::{Exit, Paths};

/// A VIOS's redirect actor. A pure machine: [`handle`](Self::handle) one input, then
/// [`poll`](Self::poll) until no effect is left, then wait for the next input or for the
/// [`deadline`](Self::deadline).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relay {
    limits: RelayLimits,
    paths: Paths,
    routes: BTreeMap<(LuId, Port), Route>,
    /// Owners were told that the own fabric is good again.
    has_told: bool,
    effects: VecDeque<Effect>,
}

/// One session that passes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Route {
    epoch: Epoch,
    exit: Exit,
    state: State,
    /// The owner was told of a better way.
    is_told: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Opening { holder: Holder, excluded: BTreeSet<ViosId> },
    Open,
}

impl Relay {
    /// A relay that has no connection to the storage, and knows no other VIOS.
    ///
    /// # Errors
    /// [`LimitError`] names the first setting that is out of range.
    pub fn new(limits: RelayLimits, own: ViosId) -> Result<Self, LimitError> {
        limits.validate()?;
        Ok(Self {
            limits,
            paths: Paths::new(own),
            routes: BTreeMap::new(),
            has_told: false,
            effects: VecDeque::new(),
        })
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Called { from, lu, call } => return self.called(from, lu, call),
            Input::Heard { from, lu, word } => return self.heard(from, lu, word),
            Input::PortLost { port } => self.port_lost(now, port),
            Input::Connected { conn } => self.connected(now, conn),
            Input::FabricChanged { state } => {
                self.paths.set_state(now, state);
                if state == PathState::Lost {
                    self.end_routes(Why::FabricLost, |_, route| matches!(route.exit, Exit::Own(_)));
                }
            }
            Input::PeerChanged { vios, path } => {
                self.paths.set_peer(vios, path, self.limits.peers_max);
            }
            Input::TimePassed => {}
        }
        self.tell_of_better(now);
    }

    /// The next effect; `None` when all are taken. Those of one input are at most two for each
    /// session that passes.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::TimePassed`] is due; `None` for never.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.paths.proven_at(self.limits.hysteresis).filter(|_| !self.has_told)
    }

    /// Sessions that pass.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.routes.len()
    }

    /// The connection to the storage that is in use.
    #[must_use]
    pub fn conn(&self) -> Option<ConnId> {
        self.paths.conn()
    }

    fn call(&mut self, exit: Exit, lu: LuId, call: Call) {
        let to = match exit {
            Exit::Own(conn) => Port::Storage(conn),
            Exit::Peer(vios) => Port::Peer(vios),
        };
        self.effects.push_back(Effect::Call { to, lu, call });
    }

    fn word(&mut self, to: Port, lu: LuId, word: Word) {
        self.effects.push_back(Effect::Word { to, lu, word });
    }

    fn called(&mut self, from: Port, lu: LuId, call: Call) {
        let epoch = call.epoch();
        if let Port::Storage(_) = from {
            // The storage calls nobody.
            return;
        }
        if let Call::Open { holder, hop, avoid, .. } = call {
            self.open(from, lu, epoch, holder, hop, avoid);
            return;
        }
        let route = self.routes.get(&(lu, from)).filter(|route| route.epoch == epoch);
        match route.map(|route| (route.exit, &route.state)) {
            Some((exit, State::Open)) => self.call(exit, lu, call),
            Some((_, State::Opening { .. })) | None => {
                self.word(from, lu, Word::Down { epoch, why: Why::NotOpen });
            }
        }
    }

    fn open(
        &mut self,
        from: Port,
        lu: LuId,
        epoch: Epoch,
        holder: Holder,
        hop: u8,
        avoid: Option<ViosId>,
    ) {
        let key = (lu, from);
        if self.routes.get(&key).is_some_and(|route| route.epoch >= epoch) {
            return;
        }
        let has_room = self.routes.len() < self.limits.routes_max;
        if !has_room && !self.routes.contains_key(&key) {
            self.word(from, lu, Word::NoPath { epoch });
            return;
        }
        self.routes.remove(&key);
        let exit = match (from, hop) {
            (Port::Owner(_), 0) => self.paths.choose(&avoid.into_iter().collect()),
            // An open that has hopped, whoever sends it, goes no further than to the own fabric.
            (Port::Owner(_) | Port::Peer(_) | Port::Storage(_), _) => {
                self.paths.usable().map(Exit::Own)
            }
        };
        let Some(exit) = exit else {
            self.word(from, lu, Word::NoPath { epoch });
            return;
        };
        let excluded = avoid.into_iter().collect();
        let state = State::Opening { holder, excluded };
        self.routes.insert(key, Route { epoch, exit, state, is_told: false });
        debug_assert!(self.routes.len() <= self.limits.routes_max);
        self.pass_open(from, lu, epoch, holder, exit);
    }

    fn pass_open(&mut self, from: Port, lu: LuId, epoch: Epoch, holder: Holder, exit: Exit) {
        if let Port::Owner(_) = from {
            let exit = self.paths.name(exit);
            self.word(from, lu, Word::Via { epoch, exit });
        }
        let hop = match exit {
            Exit::Own(_) => 0,
            Exit::Peer(_) => HOPS_MAX,
        };
        self.call(exit, lu, Call::Open { epoch, holder, hop, avoid: None });
    }

    fn heard(&mut self, from: Port, lu: LuId, word: Word) {
        let way = match from {
            Port::Owner(_) => return,
            Port::Peer(vios) => Exit::Peer(vios),
            Port::Storage(conn) => Exit::Own(conn),
        };
        let epoch = word.epoch();
        let of_lu = self.routes.range((lu, Port::MIN)..=(lu, Port::MAX));
        let up = of_lu.rev().find(|(_, route)| route.epoch == epoch && route.exit == way);
        let Some(key) = up.map(|(key, _)| *key) else { return };
        match word {
            Word::NoPath { .. } => return self.try_next(key),
            Word::Opened { .. } => {
                if let Some(route) = self.routes.get_mut(&key) {
                    route.state = State::Open;
                }
            }
            Word::Refused { .. } | Word::Gone { .. } | Word::Down { .. } | Word::Closed { .. } => {
                self.routes.remove(&key);
            }
            Word::Draining { .. } | Word::Answer { .. } | Word::Alive { .. } => {}
            // The owner's entry alone says these.
            Word::Via { .. } | Word::Better { .. } => return,
        }
        self.word(key.1, lu, word);
    }

    /// The way did not begin the session, for certain: the next one may, under the same number.
    fn try_next(&mut self, key: (LuId, Port)) {
        let Some(mut route) = self.routes.remove(&key) else { return };
        let (lu, from) = key;
        let epoch = route.epoch;
        let next = match (&mut route.state, from) {
            (State::Opening { holder, excluded }, Port::Owner(_)) => {
                excluded.insert(self.paths.name(route.exit));
                self.paths.choose(excluded).map(|exit| (exit, *holder))
            }
            (
                State::Opening { .. } | State::Open,
                Port::Owner(_) | Port::Peer(_) | Port::Storage(_),
            ) => None,
        };
        let Some((exit, holder)) = next else {
            self.word(from, lu, Word::NoPath { epoch });
            return;
        };
        route.exit = exit;
        self.routes.insert(key, route);
        self.pass_open(from, lu, epoch, holder, exit);
    }

    fn connected(&mut self, now: Moment, conn: ConnId) {
        if let Some(old) = self.paths.conn().filter(|old| *old != conn) {
            self.end_by_conn(old);
        }
        self.paths.connect(now, Some(conn));
    }

    fn port_lost(&mut self, now: Moment, port: Port) {
        match port {
            Port::Owner(_) => self.routes.retain(|(_, up), _| *up != port),
            Port::Peer(vios) => {
                self.routes.retain(|(_, up), _| *up != port);
                self.paths.forget_peer(vios);
                let by_it = |_: &Port, route: &Route| route.exit == Exit::Peer(vios);
                self.end_routes(Why::ConnectionLost, by_it);
            }
            Port::Storage(conn) => {
                if self.paths.conn() == Some(conn) {
                    self.paths.connect(now, None);
                }
                self.end_by_conn(conn);
            }
        }
    }

    fn end_by_conn(&mut self, conn: ConnId) {
        self.end_routes(Why::ConnectionLost, |_, route| route.exit == Exit::Own(conn));
    }

    /// These sessions are over: whoever opened them is told.
    fn end_routes(&mut self, why: Why, is_over: impl Fn(&Port, &Route) -> bool) {
        let effects = &mut self.effects;
        self.routes.retain(|(lu, up), route| {
            let ends = is_over(up, route);
            if ends {
                let word = Word::Down { epoch: route.epoch, why };
                effects.push_back(Effect::Word { to: *up, lu: *lu, word });
            }
            !ends
        });
    }

    /// Tells each owner once that there is a better way than its own.
    fn tell_of_better(&mut self, now: Moment) {
        let hysteresis = self.limits.hysteresis;
        self.has_told = self.paths.proven_at(hysteresis).is_some_and(|at| at <= now);
        let (paths, effects) = (&self.paths, &mut self.effects);
        for ((lu, up), route) in &mut self.routes {
            let can_move = matches!(up, Port::Owner(_))
                && matches!(route.state, State::Open)
                && !route.is_told;
            if can_move && paths.is_better(route.exit, now, hysteresis) {
                route.is_told = true;
                let word = Word::Better { epoch: route.epoch };
                effects.push_back(Effect::Word { to: *up, lu: *lu, word });
            }
        }
    }
}
