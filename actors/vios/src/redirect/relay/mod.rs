//! A VIOS's redirect actor: as *entry* it chooses the way of a session, as *exit* it ties the
//! session to one of its own connections to the storage, one for each of its physical adapters.
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
//! 5. Another own way is tried before another VIOS's, unless only that one is good.
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
use super::name::{AdapterId, ConnId, Epoch, Holder, LinkId, LuId, ViosId};
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
    effects: VecDeque<Effect>,
}

/// Where a session leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// By this adapter.
    By(AdapterId),
    /// By this other VIOS.
    Over(ViosId),
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
    Opening { holder: Holder, excluded: BTreeSet<Exit> },
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
            effects: VecDeque::new(),
        })
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Called { from, lu, call } => return self.called(from, lu, call),
            Input::Heard { from, lu, word } => return self.heard(from, lu, word),
            Input::PortLost { port } => self.port_lost(now, port),
            Input::Connected { adapter, conn } => self.connected(now, adapter, conn),
            Input::FabricChanged { adapter, state } => {
                let conn = self.paths.set_state(now, adapter, state);
                if let Some(conn) = conn.filter(|_| state == PathState::Lost) {
                    self.end_by_conn(conn, Why::FabricLost);
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
        self.paths.untold_at(self.limits.hysteresis)
    }

    /// Sessions that pass.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.routes.len()
    }

    /// Sessions that leave by this adapter.
    #[must_use]
    pub fn routes_by(&self, adapter: AdapterId) -> usize {
        let Some(conn) = self.paths.conn(adapter) else { return 0 };
        self.routes.values().filter(|route| route.exit == Exit::Own(conn)).count()
    }

    /// Where an owner's session leaves, if it has one.
    #[must_use]
    pub fn leaves(&self, owner: LinkId, lu: LuId) -> Option<Leaves> {
        match self.routes.get(&(lu, Port::Owner(owner)))?.exit {
            Exit::Own(conn) => self.paths.adapter(conn).map(Leaves::By),
            Exit::Peer(vios) => Some(Leaves::Over(vios)),
        }
    }

    /// The connection that an adapter has to the storage.
    #[must_use]
    pub fn conn(&self, adapter: AdapterId) -> Option<ConnId> {
        self.paths.conn(adapter)
    }

    /// How the best of the own ways does: what other VIOSes are told.
    #[must_use]
    pub fn own_state(&self) -> PathState {
        self.paths.own_state()
    }

    /// What other VIOSes have said of theirs.
    pub fn peers(&self) -> impl Iterator<Item = (ViosId, PeerPath)> {
        self.paths.peers()
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
        let before = self.routes.remove(&key);
        let excluded = self.excluded(avoid, before);
        let exit = match (from, hop) {
            (Port::Owner(_), 0) => self.paths.choose(&excluded),
            // An open that has hopped, whoever sends it, goes no further than to the own fabric.
            (Port::Owner(_) | Port::Peer(_) | Port::Storage(_), _) => self.paths.choose_own(),
        };
        let Some(exit) = exit else {
            self.word(from, lu, Word::NoPath { epoch });
            return;
        };
        let state = State::Opening { holder, excluded };
        self.routes.insert(key, Route { epoch, exit, state, is_told: false });
        debug_assert!(self.routes.len() <= self.limits.routes_max);
        self.pass_open(from, lu, epoch, holder, exit);
    }

    /// What an open leaves out when its owner names a VIOS that fell silent. If that is this one,
    /// only the adapter by which the last session went was silent, and those before it that were
    /// left out already: all of them, if that is not known.
    fn excluded(&self, avoid: Option<ViosId>, before: Option<Route>) -> BTreeSet<Exit> {
        let Some(avoid) = avoid else { return BTreeSet::new() };
        if !self.paths.is_own(avoid) {
            return BTreeSet::from([Exit::Peer(avoid)]);
        }
        let Some(Route { exit: exit @ Exit::Own(_), state, .. }) = before else {
            return self.paths.own_exits().collect();
        };
        let mut silent = match state {
            State::Opening { excluded, .. } => excluded,
            State::Open => BTreeSet::new(),
        };
        silent.retain(|exit| matches!(exit, Exit::Own(_)));
        silent.insert(exit);
        silent
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
            Word::Draining { .. }
            | Word::Answer { .. }
            | Word::Alive { .. }
            | Word::Lease { .. }
            | Word::Void { .. } => {}
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
                excluded.insert(route.exit);
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

    fn connected(&mut self, now: Moment, adapter: AdapterId, conn: ConnId) {
        if let Some(old) = self.paths.conn(adapter).filter(|old| *old != conn) {
            self.end_by_conn(old, Why::ConnectionLost);
        }
        self.paths.connect(now, adapter, conn);
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
                self.paths.disconnect(now, conn);
                self.end_by_conn(conn, Why::ConnectionLost);
            }
        }
    }

    fn end_by_conn(&mut self, conn: ConnId, why: Why) {
        self.end_routes(why, |_, route| route.exit == Exit::Own(conn));
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
        self.paths.told(now, hysteresis);
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
