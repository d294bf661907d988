//! The actor that owners speak to.

use std::collections::BTreeMap;

use actix::{Actor, Context, Handler, Message};
use tokio::sync::mpsc;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorId, ActorRef, LocalRef, Terminated};

use super::login::{Came, Client, begin};
use crate::carry::{CarriedCall, CarriedWord, WordTaker};
use crate::cke::{Redirect, VsaUp};
use crate::dsa::Adapter;
use crate::outside::Outside;
use crate::redirect::name::{LinkId, LuId};
use crate::way::Way;

/// LUs whose owners are known at once, over all nodes. Sessions of one more are not opened.
const LUS_MAX: usize = 65_536;

/// Why nobody logs in.
const NO_CLUSTER: &str = "the VIOS belongs to no cluster with a database";

/// An owner that has opened a session here.
#[derive(Debug)]
struct OwnerSeen {
    id: ActorId,
    way: Way<CarriedWord>,
}

/// What an owner has to say.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromVsa {
    pub(crate) link: LinkId,
    pub(crate) what: Ordered,
}

#[derive(Debug)]
pub(crate) enum Ordered {
    Call(CarriedCall),
    /// It is gone, or takes no more words.
    Lost,
}

/// A word for an owner.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ToOwner {
    pub(crate) link: LinkId,
    pub(crate) word: CarriedWord,
}

/// An owner takes no more words.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Lost {
    link: LinkId,
}

/// A VIOS's virtual SCSI adapter.
///
/// It is made once, and not started again after a failure, as its redirect actor is.
#[derive(Debug)]
pub struct Vsa {
    pub(super) redirect: LocalRef<Redirect>,
    calls: Way<FromVsa>,
    outside: Option<LocalRef<Outside>>,
    /// Its physical adapters.
    pub(super) ports: Vec<Adapter>,
    owners: BTreeMap<LinkId, OwnerSeen>,
    /// Which owner an LU has on a node.
    pub(super) by_lu: BTreeMap<(LuId, NodeName), Owned>,
    last_link: u64,
    /// Where it is told who comes, in a cluster.
    pub(super) come: Option<mpsc::Sender<Came>>,
}

/// An LU that has an owner.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) link: LinkId,
    /// The owner's client, or why it has not logged in.
    pub(super) login: Result<Client, String>,
}

impl Vsa {
    /// Before this redirect actor and these physical adapters; `outside` is the one that leads to
    /// an outside storage, if there is one.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub(crate) fn new(
        redirect: LocalRef<Redirect>,
        outside: Option<LocalRef<Outside>>,
        ports: Vec<Adapter>,
    ) -> Self {
        Self {
            calls: Way::within(redirect.clone()),
            redirect,
            outside,
            ports,
            owners: BTreeMap::new(),
            by_lu: BTreeMap::new(),
            last_link: 0,
            come: None,
        }
    }

    pub(super) const fn outside(&self) -> Option<&LocalRef<Outside>> {
        self.outside.as_ref()
    }

    /// The owner that calls, if it is known.
    fn owner(&mut self, carried: &CarriedCall, node: NodeName) -> Option<LinkId> {
        let key = (carried.lu(), node);
        let Some(back) = carried.back() else {
            return self.by_lu.get(&key).map(|owned| owned.link);
        };
        let (lu, node) = &key;
        if back.id().node != *node {
            tracing::warn!(peer = %node, "an owner speaks for an actor of another node");
            return None;
        }
        if self.by_lu.len() >= LUS_MAX && !self.by_lu.contains_key(&key) {
            tracing::warn!(peer = %node, lu = lu.0, "too many LUs: one is not served");
            return None;
        }
        let link = self.link_of(back.id()).unwrap_or_else(|| self.see_owner(back));
        if self.by_lu.get(&key).is_none_or(|owned| owned.link != link || owned.login.is_err()) {
            let (lu, node) = &key;
            let begin = |come| begin(come, link, *lu, node);
            let login = self.come.as_ref().map_or_else(|| Err(NO_CLUSTER.to_owned()), begin);
            self.by_lu.insert(key, Owned { link, login });
        }
        Some(link)
    }

    fn link_of(&self, id: &ActorId) -> Option<LinkId> {
        let mut owners = self.owners.iter();
        owners.find(|(_link, owner)| owner.id == *id).map(|(link, _owner)| *link)
    }

    fn see_owner(&mut self, back: &ActorRef<WordTaker>) -> LinkId {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        let me = vioduct_runtime::myself::<Self>();
        if let Some(me) = &me {
            me.watch(back);
        }
        let way = Way::to(back.clone(), move || {
            if let Some(me) = me {
                // Without room for it, the next word finds out.
                me.try_tell(Lost { link }).ok();
            }
        });
        self.owners.insert(link, OwnerSeen { id: back.id().clone(), way });
        link
    }

    /// Nothing more comes from the owner, or goes to it.
    fn lose(&mut self, link: LinkId) {
        self.owners.remove(&link);
        self.by_lu.retain(|_lu, owned| owned.link != link);
        self.pass(LuId(0), FromVsa { link, what: Ordered::Lost });
    }

    fn pass(&self, lu: LuId, from: FromVsa) {
        // Fails only when the redirect actor has ended, and the VIOS with it.
        self.calls.send(lu, from).ok();
    }
}

impl Actor for Vsa {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        if let Some(me) = vioduct_runtime::myself::<Self>() {
            // The first message that it gets: there is room.
            self.redirect.try_tell(VsaUp { words: Way::within(me) }).ok();
        }
    }
}

/// From an owner.
impl Handler<CarriedCall> for Vsa {
    type Result = ();

    fn handle(&mut self, carried: CarriedCall, _ctx: &mut Self::Context) {
        let caller = vioduct_runtime::caller().map(|identity| identity.name);
        // No caller is this node: only the first call of an owner says more than that.
        let here = || vioduct_runtime::myself::<Self>().map(|me| me.id().node.clone());
        let Some(node) = caller.or_else(here) else { return };
        let Some(link) = self.owner(&carried, node) else { return };
        self.pass(carried.lu(), FromVsa { link, what: Ordered::Call(carried) });
    }
}

impl Handler<ToOwner> for Vsa {
    type Result = ();

    fn handle(&mut self, ToOwner { link, word }: ToOwner, _ctx: &mut Self::Context) {
        let (owner, lu) = (self.owners.get(&link), word.lu());
        if owner.is_some_and(|owner| owner.way.send(lu, word).is_err()) {
            self.lose(link);
        }
    }
}

impl Handler<Lost> for Vsa {
    type Result = ();

    fn handle(&mut self, Lost { link }: Lost, _ctx: &mut Self::Context) {
        self.lose(link);
    }
}

impl Handler<Terminated> for Vsa {
    type Result = ();

    fn handle(&mut self, Terminated { actor, .. }: Terminated, _ctx: &mut Self::Context) {
        if let Some(link) = self.link_of(&actor) {
            self.lose(link);
        }
    }
}
