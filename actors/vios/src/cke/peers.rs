//! The ways to the CKEs of other VIOSes.

use std::collections::BTreeMap;

use vioduct_runtime::{ActorId, ActorRef};

use super::redirect::lost;
use super::{PathNews, Peer};
use crate::carry::{CarriedCall, CarriedWord};
use crate::redirect::name::{LuId, ViosId};
use crate::redirect::relay::Port;
use crate::way::Way;

/// Another VIOS.
#[derive(Debug)]
struct Known {
    cke: ActorRef<Peer>,
    /// None once they were lost, until the next news is told.
    ways: Option<Ways>,
}

#[derive(Debug)]
struct Ways {
    calls: Way<CarriedCall>,
    words: Way<CarriedWord>,
    news: Way<PathNews>,
}

impl Ways {
    fn to(vios: ViosId, cke: &ActorRef<Peer>) -> Self {
        let port = Port::Peer(vios);
        Self {
            calls: Way::to(cke.clone(), lost(port)),
            words: Way::to(cke.clone(), lost(port)),
            news: Way::to(cke.clone(), lost(port)),
        }
    }
}

/// The other VIOSes that were found.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<ViosId, Known>,
}

impl Peers {
    pub(super) fn found(&mut self, vios: ViosId, cke: ActorRef<Peer>, news: PathNews) {
        let ways = Ways::to(vios, &cke);
        // A way is empty at first.
        ways.news.send(LuId(0), news).ok();
        self.known.insert(vios, Known { cke, ways: Some(ways) });
    }

    /// Nothing more is sent by the ways there were: what was under way is lost.
    pub(super) fn lose(&mut self, vios: ViosId) {
        if let Some(known) = self.known.get_mut(&vios) {
            known.ways = None;
        }
    }

    /// Whether it was known.
    pub(super) fn forget(&mut self, vios: ViosId) -> bool {
        self.known.remove(&vios).is_some()
    }

    /// The VIOS whose CKE has ended; it is forgotten.
    pub(super) fn end(&mut self, cke: &ActorId) -> Option<ViosId> {
        let mut known = self.known.iter();
        let vios = known.find(|(_vios, known)| known.cke.id() == cke).map(|(vios, _)| *vios)?;
        self.known.remove(&vios);
        Some(vios)
    }

    pub(super) fn send_call(&self, vios: ViosId, lu: LuId, call: CarriedCall) -> bool {
        self.ways(vios).is_some_and(|ways| ways.calls.send(lu, call).is_ok())
    }

    pub(super) fn send_word(&self, vios: ViosId, lu: LuId, word: CarriedWord) -> bool {
        self.ways(vios).is_some_and(|ways| ways.words.send(lu, word).is_ok())
    }

    fn ways(&self, vios: ViosId) -> Option<&Ways> {
        self.known.get(&vios)?.ways.as_ref()
    }

    /// Tells every other VIOS how this one reaches the storage.
    pub(super) fn publish(&mut self, news: PathNews) {
        for (vios, known) in &mut self.known {
            let ways = known.ways.get_or_insert_with(|| Ways::to(*vios, &known.cke));
            // What is too much for it is said again.
            ways.news.send(LuId(0), news).ok();
        }
    }
}
