//! Which way to the storage is taken. Source: redirect protocol, rules 3 and 11.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::moment::Moment;
use super::super::name::{ConnId, ViosId};
use super::input::{PathState, PeerPath};

/// A way out of this VIOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Exit {
    Own(ConnId),
    Peer(ViosId),
}

/// How good a way is; the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Grade {
    state: PathState,
    is_remote: bool,
    is_other_cec: bool,
    round_trip: Duration,
    load: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Paths {
    own: ViosId,
    conn: Option<ConnId>,
    state: PathState,
    /// Since when the own fabric has been good, with a connection.
    good_since: Option<Moment>,
    peers: BTreeMap<ViosId, PeerPath>,
}

impl Paths {
    pub(super) fn new(own: ViosId) -> Self {
        Self { own, conn: None, state: PathState::Lost, good_since: None, peers: BTreeMap::new() }
    }

    pub(super) fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// The connection by which requests leave here, if the fabric is of use.
    pub(super) fn usable(&self) -> Option<ConnId> {
        self.conn.filter(|_| self.state != PathState::Lost)
    }

    pub(super) fn connect(&mut self, now: Moment, conn: Option<ConnId>) {
        self.conn = conn;
        self.note(now);
    }

    pub(super) fn set_state(&mut self, now: Moment, state: PathState) {
        self.state = state;
        self.note(now);
    }

    fn note(&mut self, now: Moment) {
        let is_good = self.conn.is_some() && self.state == PathState::Good;
        self.good_since = is_good.then(|| self.good_since.unwrap_or(now));
    }

    /// When the own fabric has been good for long enough.
    pub(super) fn proven_at(&self, hysteresis: Duration) -> Option<Moment> {
        self.good_since.map(|since| since.after(hysteresis))
    }

    /// Keeps what another VIOS says; of more than `peers_max` the rest is not kept.
    pub(super) fn set_peer(&mut self, vios: ViosId, path: PeerPath, peers_max: usize) {
        let has_room = self.peers.len() < peers_max || self.peers.contains_key(&vios);
        if vios != self.own && has_room {
            self.peers.insert(vios, path);
        }
    }

    pub(super) fn forget_peer(&mut self, vios: ViosId) {
        self.peers.remove(&vios);
    }

    pub(super) fn name(&self, exit: Exit) -> ViosId {
        match exit {
            Exit::Own(_) => self.own,
            Exit::Peer(vios) => vios,
        }
    }

    pub(super) fn grade(&self, exit: Exit) -> Option<Grade> {
        match exit {
            Exit::Own(_) => Some(Grade {
                state: self.state,
                is_remote: false,
                is_other_cec: false,
                round_trip: Duration::ZERO,
                load: 0,
            }),
            Exit::Peer(vios) => self.peers.get(&vios).map(|path| Grade {
                state: path.state,
                is_remote: true,
                is_other_cec: !path.is_same_cec,
                round_trip: path.round_trip,
                load: path.load,
            }),
        }
    }

    /// The best way that is not excluded: one that is good before one that is degraded, the own
    /// before others', those of the same CEC first, then the nearest, then the least loaded.
    pub(super) fn choose(&self, excluded: &BTreeSet<ViosId>) -> Option<Exit> {
        let own = self.usable().map(Exit::Own);
        let peers = self.peers.keys().map(|vios| Exit::Peer(*vios));
        let exits = own.into_iter().chain(peers);
        let allowed = exits.filter(|exit| !excluded.contains(&self.name(*exit)));
        let graded = allowed.filter_map(|exit| Some((self.grade(exit)?, exit)));
        let usable = graded.filter(|(grade, _)| grade.state != PathState::Lost);
        usable.min_by_key(|(grade, exit)| (*grade, self.name(*exit))).map(|(_, exit)| exit)
    }

    /// Whether a way is so much better that a session should move: a good one instead of a degraded
    /// one, or the own, proven, instead of another's. Load and distance alone are no reason.
    pub(super) fn is_better(&self, than: Exit, now: Moment, hysteresis: Duration) -> bool {
        let Some(best) = self.choose(&BTreeSet::new()).filter(|best| *best != than) else {
            return false;
        };
        let (Some(best_grade), Some(grade)) = (self.grade(best), self.grade(than)) else {
            return false;
        };
        let is_proven = self.proven_at(hysteresis).is_some_and(|at| at <= now);
        match best {
            Exit::Own(_) => is_proven,
            Exit::Peer(_) => best_grade.state < grade.state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: ViosId = ViosId(1);

    fn peer(state: PathState, is_same_cec: bool, micros: u64, load: u32) -> PeerPath {
        PeerPath { state, is_same_cec, round_trip: Duration::from_micros(micros), load }
    }

    fn order(peers: &[(u32, PeerPath)], own: Option<PathState>) -> Vec<u32> {
        let mut paths = Paths::new(OWN);
        if let Some(state) = own {
            paths.connect(Moment::START, Some(ConnId(1)));
            paths.set_state(Moment::START, state);
        }
        for (vios, path) in peers {
            paths.set_peer(ViosId(*vios), *path, 8);
        }
        let mut tried = BTreeSet::new();
        let mut order = Vec::new();
        while let Some(exit) = paths.choose(&tried) {
            tried.insert(paths.name(exit));
            order.push(paths.name(exit).0);
        }
        order
    }

    #[test]
    fn the_nearest_good_way_comes_first_and_one_that_is_lost_never() {
        use PathState::{Degraded, Good, Lost};
        let peers = [
            (2, peer(Degraded, true, 1, 0)),
            (3, peer(Good, false, 90, 0)),
            (4, peer(Good, false, 80, 9)),
            (5, peer(Good, true, 500, 9)),
            (6, peer(Good, false, 90, 1)),
            (7, peer(Lost, true, 1, 0)),
        ];
        assert_eq!(order(&peers, Some(Good)), [1, 5, 4, 3, 6, 2]);
        assert_eq!(order(&peers, Some(Degraded)), [5, 4, 3, 6, 1, 2]);
        assert_eq!(order(&peers, Some(Lost)), [5, 4, 3, 6, 2]);
        assert_eq!(order(&peers, None), [5, 4, 3, 6, 2]);
    }

    #[test]
    fn what_a_vios_says_of_this_one_or_beyond_the_bound_is_not_kept() {
        let mut paths = Paths::new(OWN);
        let path = peer(PathState::Good, true, 1, 0);
        for vios in 0..9 {
            paths.set_peer(ViosId(vios), path, 3);
        }
        assert_eq!(paths.peers.len(), 3);
        assert!(!paths.peers.contains_key(&OWN));
    }
}
