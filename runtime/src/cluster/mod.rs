//! The membership of a running node: the pure machine's edge.
//!
//! A task on the first worker carries datagrams between links and [`Machine`](crate::membership),
//! and does what the machine wants done:
//!
//! | the machine says | the task does |
//! |---|---|
//! | send | over the link; without one it dials, and keeps the datagram until there is one |
//! | up, returned | of two nodes the lower name dials, so that each has a link to each |
//! | down | gives the link up, tells watchers, forgets names; one that left is heard out first |
//! | refuse | gives the link up |
//! | expelled | tells the embedder: this run of the node is over for all others |
//!
//! Once the node [relays](crate::relay), it also looks which members it has no link to, and has
//! those reached by others.

mod driver;
mod post;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use vioduct_certs::identity::{Identity, Kind, NodeName};

pub(crate) use self::driver::Driver;
use crate::Wire;
use crate::inspect::ClusterFigures;
use crate::membership::{
    Dropped, ExpelReason, Input, Machine, Member, MemberEvent, MemberState, MembershipConfig,
    Moment, Seed,
};
use crate::node::{Node, NodeError};

/// Inputs that wait for the machine; datagrams beyond are dropped, as a network drops them.
const INPUTS_MAX: usize = 1024;
/// Events that a listener may be behind.
const EVENTS_MAX: usize = 1024;

/// How a node takes part in a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Nodes through which it joins; itself among them does not count. The first of a cluster needs
    /// none. Default: none.
    pub seeds: Vec<Seed>,
    /// Where others dial it. Default: where it listens, which must then be one address.
    pub advertise: Option<SocketAddr>,
    /// Settings of the failure detector.
    pub membership: MembershipConfig,
}

/// How this node itself stands in its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum Standing {
    /// It takes part.
    #[default]
    Member,
    /// It took its leave.
    Left,
    /// It counts as down: the others refuse this run of it. It goes on as a new node, started with
    /// a higher incarnation.
    Expelled(ExpelReason),
}

/// A node's cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// How this node stands in it.
    pub standing: Standing,
    /// Every other node that is known, those that are down too, in order of names.
    pub members: Arc<[(Member, MemberState)]>,
}

/// Events of the membership, from the moment when this was made.
#[derive(Debug)]
pub struct MemberEvents {
    events: broadcast::Receiver<MemberEvent>,
}

/// The next events are not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoEvent {
    /// The listener was too slow. What it missed is seen in [`Node::cluster`].
    #[error("{0} events were missed")]
    Missed(u64),
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
}

impl MemberEvents {
    /// The next event. Cancel-safe.
    ///
    /// # Errors
    /// [`NoEvent`]; after [`NoEvent::Missed`] it goes on with the oldest that is kept.
    pub async fn next(&mut self) -> Result<MemberEvent, NoEvent> {
        self.events.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => NoEvent::Missed(missed),
            broadcast::error::RecvError::Closed => NoEvent::Ended,
        })
    }
}

/// A cluster that is about to be joined.
pub(crate) struct Joining {
    machine: Machine,
    cluster: Arc<Cluster>,
    inputs: mpsc::Receiver<Input>,
}

impl ClusterConfig {
    /// `addr` is where the node listens. All random choices come from `seed`.
    pub(crate) fn begin(
        self,
        own: &Identity,
        incarnation: u64,
        addr: SocketAddr,
        seed: [u8; 32],
    ) -> Result<(Arc<Cluster>, Joining), NodeError> {
        if own.kind == Kind::Tool {
            return Err(NodeError::ToolAsMember);
        }
        let addr = self.advertise.unwrap_or(addr);
        if addr.ip().is_unspecified() || addr.port() == 0 {
            return Err(NodeError::Advertise(addr));
        }
        let own = Member { node: own.name.clone(), incarnation, addr, roles: own.roles };
        let mut machine = Machine::new(own, self.membership, StdRng::from_seed(seed).random())?;
        machine.handle(Moment::START, Input::JoinAsked { seeds: self.seeds });
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let cluster = Arc::new(Cluster {
            inputs,
            sighted: Mutex::default(),
            seen: Notify::new(),
            view: watch::Sender::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            dropped: Mutex::default(),
            overflowed: AtomicU64::new(0),
            relayed_after: watch::Sender::default(),
            relayed: Mutex::default(),
        });
        let joining = Joining { machine, cluster: Arc::clone(&cluster), inputs: received };
        Ok((cluster, joining))
    }
}

/// What the driver's task and the rest of the node share.
pub(crate) struct Cluster {
    inputs: mpsc::Sender<Input>,
    /// Nodes whose links came up, and with which run: the latest of each.
    sighted: Mutex<BTreeMap<NodeName, u64>>,
    seen: Notify,
    view: watch::Sender<ClusterView>,
    events: broadcast::Sender<MemberEvent>,
    /// What the machine threw away, as of the last input.
    dropped: Mutex<Dropped>,
    /// Datagrams dropped because the machine was behind.
    overflowed: AtomicU64,
    /// Members without a link are reached by others after so long; none: never.
    relayed_after: watch::Sender<Option<Duration>>,
    /// Members whose links go by others, as far as this node has dialled them so, and by whom.
    relayed: Mutex<BTreeMap<NodeName, NodeName>>,
}

impl Cluster {
    pub(crate) fn datagram(&self, from: NodeName, datagram: Bytes) {
        if self.inputs.try_send(Input::DatagramReceived { from, datagram }).is_err() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection with that run of a node carries its link now.
    pub(crate) fn sighted(&self, node: NodeName, incarnation: u64) {
        let mut sighted = self.sighted.lock().unwrap_or_else(PoisonError::into_inner);
        sighted.insert(node, incarnation);
        drop(sighted);
        self.seen.notify_one();
    }

    fn take_sighted(&self) -> BTreeMap<NodeName, u64> {
        std::mem::take(&mut *self.sighted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the driver reach members by others from now on.
    pub(crate) fn reach_by_others(&self, after: Duration) {
        self.relayed_after.send_replace(Some(after));
    }

    fn reached(&self, to: NodeName, by: Option<NodeName>) {
        let mut relayed = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
        match by {
            Some(by) => relayed.insert(to, by),
            None => relayed.remove(&to),
        };
    }

    /// Whether this node has a member's link go by another one.
    pub(crate) fn is_reached_by_another(&self, member: &NodeName) -> bool {
        self.relayed.lock().unwrap_or_else(PoisonError::into_inner).contains_key(member)
    }

    fn set_dropped(&self, dropped: Dropped) {
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner) = dropped;
    }

    pub(crate) fn view(&self) -> ClusterView {
        self.view.borrow().clone()
    }

    pub(crate) fn figures(&self, view: &ClusterView) -> ClusterFigures {
        let count =
            |wanted| view.members.iter().filter(|(_member, state)| *state == wanted).count();
        ClusterFigures {
            standing: view.standing,
            alive: count(MemberState::Alive) as u64,
            suspect: count(MemberState::Suspect) as u64,
            down: count(MemberState::Down) as u64,
            dropped: *self.dropped.lock().unwrap_or_else(PoisonError::into_inner),
            overflowed: self.overflowed.load(Ordering::Relaxed),
        }
    }

    /// Takes leave, and waits until the others are told, as far as they can be.
    pub(crate) async fn leave(&self) {
        let mut view = self.view.subscribe();
        if self.inputs.send(Input::LeaveAsked).await.is_ok() {
            // Fails only when the driver has ended.
            view.wait_for(|view| view.standing != Standing::Member).await.ok();
        }
    }
}

/// The cluster that this node is a member of, if it was [started](crate::NodeBuilder::cluster) so.
impl Node {
    /// The cluster as this node sees it now; none for a node that is no member of one.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterView> {
        Some(self.shared().cluster.as_ref()?.view())
    }

    /// The cluster as this node sees it, to be followed by who does not keep the node; none for a
    /// node that is no member of one.
    #[must_use]
    pub fn watch_cluster(&self) -> Option<watch::Receiver<ClusterView>> {
        Some(self.shared().cluster.as_ref()?.view.subscribe())
    }

    /// Waits until the cluster, as this node sees it, is so. Cancel-safe. Never ends on a node that
    /// is no member of one.
    pub async fn cluster_is(&self, mut so: impl FnMut(&ClusterView) -> bool) -> ClusterView {
        if let Some(cluster) = &self.shared().cluster
            && let Ok(view) = cluster.view.subscribe().wait_for(|view| so(view)).await
        {
            return view.clone();
        }
        std::future::pending().await
    }

    /// What happens in the cluster from now on; none for a node that is no member of one. A
    /// listener that falls 1024 events behind is told so.
    #[must_use]
    pub fn member_events(&self) -> Option<MemberEvents> {
        let events = self.shared().cluster.as_ref()?.events.subscribe();
        Some(MemberEvents { events })
    }

    /// Joins through these nodes from now on, as long as it knows no other; for seeds whose
    /// addresses change. Cancel-safe.
    pub async fn set_seeds(&self, seeds: Vec<Seed>) {
        if let Some(cluster) = &self.shared().cluster {
            // Fails only when the node is shutting down.
            cluster.inputs.send(Input::JoinAsked { seeds }).await.ok();
        }
    }
}
