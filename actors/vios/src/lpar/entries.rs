//! The VIOSes that an owner's requests may enter by.

use std::collections::BTreeMap;

use actix::Message;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorId, ActorRef, LocalRef};

use super::actor::ClientLpar;
use crate::carry::{CarriedCall, WordTaker};
use crate::redirect::message::Call;
use crate::redirect::name::{LuId, ViosId};
use crate::vsa::Adapter;
use crate::way::Way;

/// A VIOS that the client's requests may enter by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which VIOS.
    pub vios: ViosId,
    /// The node that it runs on.
    pub node: NodeName,
    /// It is in the client's own CEC. Such entries come before the others.
    pub is_near: bool,
}

/// The VIOS of an entry was found.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct EntryFound {
    /// Which VIOS.
    pub vios: ViosId,
    /// Its VSA.
    pub actor: ActorRef<Adapter>,
}

/// These are the VIOSes to enter by from now on, the preferred one first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SetEntries(pub(super) Vec<Entry>);

/// Nothing more can be sent by this way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Lost {
    pub(super) vios: ViosId,
    pub(super) way: u64,
}

#[derive(Debug)]
struct Seen {
    actor: ActorRef<Adapter>,
    /// Made with the next open when the one before was lost. Numbered.
    way: Option<(u64, Way<CarriedCall>)>,
}

/// The entries, and the ways to those that were found.
#[derive(Debug)]
pub(super) struct Entries {
    list: Vec<Entry>,
    seen: BTreeMap<ViosId, Seen>,
    last_way: u64,
}

impl Entries {
    pub(super) fn new(list: Vec<Entry>) -> Self {
        Self { list, seen: BTreeMap::new(), last_way: 0 }
    }

    /// The entry that runs on this node.
    pub(super) fn on(&self, node: &NodeName) -> Option<ViosId> {
        self.list.iter().find(|entry| entry.node == *node).map(|entry| entry.vios)
    }

    /// Takes others in their place; gives those of them whose VIOSes are there.
    pub(super) fn replace(&mut self, list: Vec<Entry>) -> Vec<ViosId> {
        self.list = list;
        let there = self.list.iter().map(|entry| entry.vios).filter(|vios| self.is_there(*vios));
        there.collect()
    }

    /// Whether its VIOS is there, as far as is known.
    pub(super) fn is_there(&self, vios: ViosId) -> bool {
        self.seen.contains_key(&vios)
    }

    /// Whether it is the preferred one.
    pub(super) fn is_first(&self, vios: ViosId) -> bool {
        self.list.first().is_some_and(|first| first.vios == vios)
    }

    pub(super) fn found(&mut self, EntryFound { vios, actor }: EntryFound) {
        let is_known = self.seen.get(&vios).is_some_and(|seen| seen.actor.id() == actor.id());
        if !is_known {
            self.seen.insert(vios, Seen { actor, way: None });
        }
    }

    /// Gives a call to an entry. False if that cannot be done: then nothing of a session by it can,
    /// until the next open.
    pub(super) fn send(&mut self, vios: ViosId, lu: LuId, call: Call) -> bool {
        let Some(seen) = self.seen.get_mut(&vios) else { return false };
        let me = vioduct_runtime::myself::<ClientLpar>();
        let is_open = matches!(call, Call::Open { .. });
        let mut carried = CarriedCall::seal(lu, call);
        if let Some(me) = me.filter(|_me| is_open) {
            carried = carried.answered_to(words_of(&me));
            if seen.way.is_none() {
                self.last_way += 1;
                seen.way = Some((self.last_way, way(&me, vios, self.last_way, &seen.actor)));
            }
        }
        let sent = seen.way.as_ref().map(|(_no, way)| way.send(lu, carried));
        let is_sent = matches!(sent, Some(Ok(())));
        if !is_sent {
            seen.way = None;
        }
        is_sent
    }

    /// Whether the way that was lost is the one in use.
    pub(super) fn lose(&mut self, Lost { vios, way: lost }: &Lost) -> bool {
        let Some(seen) = self.seen.get_mut(vios) else { return false };
        seen.way.take_if(|(no, _way)| no == lost).is_some()
    }

    /// The entry whose VIOS has ended.
    pub(super) fn end(&mut self, actor: &ActorId) -> Option<ViosId> {
        let mut seen = self.seen.iter();
        let vios = seen.find(|(_vios, seen)| seen.actor.id() == actor).map(|(vios, _)| *vios)?;
        self.seen.remove(&vios);
        Some(vios)
    }
}

fn way(
    me: &LocalRef<ClientLpar>,
    vios: ViosId,
    way: u64,
    to: &ActorRef<Adapter>,
) -> Way<CarriedCall> {
    let me = me.clone();
    Way::to(to.clone(), move || {
        // Without room for it, the next message finds out.
        me.try_tell(Lost { vios, way }).ok();
    })
}

/// The same actor, to those who send it words.
fn words_of(me: &LocalRef<ClientLpar>) -> ActorRef<WordTaker> {
    me.actor_ref().as_protocol()
}
