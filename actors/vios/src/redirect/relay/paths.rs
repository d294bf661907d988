//! Which way to the storage is taken. Source: redirect protocol, rules 3 and 11.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::moment::Moment;
use super::super::name::{AdapterId, ConnId, ViosId};
use super::input::{PathState, PeerPath};

/// A way out of this VIOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Of own ways the one that has been good for longest.
    good_since: Moment,
}

/// The fabric behind one of the VIOS's own adapters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OwnPath {
    conn: Option<ConnId>,
    state: PathState,
    /// Since when it has been good, with a connection.
    good_since: Option<Moment>,
    /// Owners were told that it is good again.
    has_told: bool,
}

impl OwnPath {
    const NONE: Self =
        Self { conn: None, state: PathState::Lost, good_since: None, has_told: false };

    /// The connection by which requests leave here, if it is of use.
    fn usable(&self) -> Option<ConnId> {
        self.conn.filter(|_| self.state != PathState::Lost)
    }

    fn note(&mut self, now: Moment) {
        let is_good = self.conn.is_some() && self.state == PathState::Good;
        self.good_since = is_good.then(|| self.good_since.unwrap_or(now));
    }

    /// When it has been good for long enough.
    fn proven_at(&self, hysteresis: Duration) -> Option<Moment> {
        self.good_since.map(|since| since.after(hysteresis))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Paths {
    own: ViosId,
    adapters: BTreeMap<AdapterId, OwnPath>,
    peers: BTreeMap<ViosId, PeerPath>,
}

impl Paths {
    pub(super) fn new(own: ViosId) -> Self {
        Self { own, adapters: BTreeMap::new(), peers: BTreeMap::new() }
    }

    pub(super) fn is_own(&self, vios: ViosId) -> bool {
        vios == self.own
    }

    pub(super) fn conn(&self, adapter: AdapterId) -> Option<ConnId> {
        self.adapters.get(&adapter).and_then(|path| path.conn)
    }

    /// The adapter that has this connection.
    pub(super) fn adapter(&self, conn: ConnId) -> Option<AdapterId> {
        let mut adapters = self.adapters.iter();
        adapters.find(|(_adapter, path)| path.conn == Some(conn)).map(|(adapter, _path)| *adapter)
    }

    pub(super) fn own_exits(&self) -> impl Iterator<Item = Exit> {
        self.adapters.values().filter_map(OwnPath::usable).map(Exit::Own)
    }

    pub(super) fn own_state(&self) -> PathState {
        let usable = self.adapters.values().filter(|path| path.conn.is_some());
        usable.map(|path| path.state).min().unwrap_or(PathState::Lost)
    }

    pub(super) fn connect(&mut self, now: Moment, adapter: AdapterId, conn: ConnId) {
        let path = self.adapters.entry(adapter).or_insert(OwnPath::NONE);
        path.conn = Some(conn);
        path.note(now);
    }

    pub(super) fn disconnect(&mut self, now: Moment, conn: ConnId) {
        for path in self.adapters.values_mut().filter(|path| path.conn == Some(conn)) {
            path.conn = None;
            path.note(now);
        }
    }

    /// Its connection, if it has one.
    pub(super) fn set_state(
        &mut self,
        now: Moment,
        adapter: AdapterId,
        state: PathState,
    ) -> Option<ConnId> {
        let path = self.adapters.entry(adapter).or_insert(OwnPath::NONE);
        path.state = state;
        path.note(now);
        path.conn
    }

    /// When the next own way that owners were not told of has been good for long enough.
    pub(super) fn untold_at(&self, hysteresis: Duration) -> Option<Moment> {
        let untold = self.adapters.values().filter(|path| !path.has_told);
        untold.filter_map(|path| path.proven_at(hysteresis)).min()
    }

    /// Owners are told now.
    pub(super) fn told(&mut self, now: Moment, hysteresis: Duration) {
        for path in self.adapters.values_mut() {
            path.has_told = path.proven_at(hysteresis).is_some_and(|at| at <= now);
        }
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

    pub(super) fn peers(&self) -> impl Iterator<Item = (ViosId, PeerPath)> {
        self.peers.iter().map(|(vios, path)| (*vios, *path))
    }

    pub(super) fn name(&self, exit: Exit) -> ViosId {
        match exit {
            Exit::Own(_) => self.own,
            Exit::Peer(vios) => vios,
        }
    }

    fn by_conn(&self, conn: ConnId) -> Option<&OwnPath> {
        self.adapters.values().find(|path| path.conn == Some(conn))
    }

    pub(super) fn grade(&self, exit: Exit) -> Option<Grade> {
        match exit {
            Exit::Own(conn) => self.by_conn(conn).map(|path| Grade {
                state: path.state,
                is_remote: false,
                is_other_cec: false,
                round_trip: Duration::ZERO,
                load: 0,
                good_since: path.good_since.unwrap_or_default(),
            }),
            Exit::Peer(vios) => self.peers.get(&vios).map(|path| Grade {
                state: path.state,
                is_remote: true,
                is_other_cec: !path.is_same_cec,
                round_trip: path.round_trip,
                load: path.load,
                good_since: Moment::START,
            }),
        }
    }

    /// The best way that is not excluded: one that is good before one that is degraded, the own
    /// before others', those of the same CEC first, then the nearest, then the least loaded; of
    /// own ways the one that has been good for longest.
    pub(super) fn choose(&self, excluded: &BTreeSet<Exit>) -> Option<Exit> {
        let peers = self.peers.keys().map(|vios| Exit::Peer(*vios));
        self.best_of(self.own_exits().chain(peers).filter(|exit| !excluded.contains(exit)))
    }

    /// The best own way.
    pub(super) fn choose_own(&self) -> Option<Exit> {
        self.best_of(self.own_exits())
    }

    fn best_of(&self, exits: impl Iterator<Item = Exit>) -> Option<Exit> {
        let graded = exits.filter_map(|exit| Some((self.grade(exit)?, exit)));
        let usable = graded.filter(|(grade, _)| grade.state != PathState::Lost);
        usable.min().map(|(_, exit)| exit)
    }

    /// Whether a way is so much better that a session should move: a good one instead of a degraded
    /// one, or an own one instead of another VIOS's; if it is an own one, it is proven. Load and
    /// distance alone are no reason, nor is how long a way has been good.
    pub(super) fn is_better(&self, than: Exit, now: Moment, hysteresis: Duration) -> bool {
        let Some(best) = self.choose(&BTreeSet::new()).filter(|best| *best != than) else {
            return false;
        };
        let (Some(best_grade), Some(grade)) = (self.grade(best), self.grade(than)) else {
            return false;
        };
        let is_sounder = best_grade.state < grade.state;
        match (best, than) {
            (Exit::Own(conn), _) => {
                let proven_at = self.by_conn(conn).and_then(|path| path.proven_at(hysteresis));
                let is_proven = proven_at.is_some_and(|at| at <= now);
                is_proven && (is_sounder || matches!(than, Exit::Peer(_)))
            }
            (Exit::Peer(_), _) => is_sounder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: ViosId = ViosId(1);
    const ADAPTER: AdapterId = AdapterId(1);

    fn peer(state: PathState, is_same_cec: bool, micros: u64, load: u32) -> PeerPath {
        PeerPath { state, is_same_cec, round_trip: Duration::from_micros(micros), load }
    }

    fn order(peers: &[(u32, PeerPath)], own: Option<PathState>) -> Vec<u32> {
        let mut paths = Paths::new(OWN);
        if let Some(state) = own {
            paths.connect(Moment::START, ADAPTER, ConnId(1));
            paths.set_state(Moment::START, ADAPTER, state);
        }
        for (vios, path) in peers {
            paths.set_peer(ViosId(*vios), *path, 8);
        }
        let mut tried = BTreeSet::new();
        let mut order = Vec::new();
        while let Some(exit) = paths.choose(&tried) {
            tried.insert(exit);
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
