//! Finds the actors that others need, wherever and whenever they run.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::marker::PhantomData;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorId, ActorName, ActorRef, Node};

/// Tells of the actors of one name, each life once.
#[derive(Debug)]
pub(crate) struct Seeker<P> {
    node: Node,
    name: ActorName,
    changed: watch::Receiver<u64>,
    told: BTreeMap<NodeName, ActorId>,
    found: VecDeque<ActorRef<P>>,
    protocol: PhantomData<fn(P)>,
}

impl<P: 'static> Seeker<P> {
    pub(crate) fn new(node: Node, name: ActorName) -> Self {
        let mut changed = node.names_changed();
        changed.mark_changed();
        let (told, found) = (BTreeMap::new(), VecDeque::new());
        Self { node, name, changed, told, found, protocol: PhantomData }
    }

    /// The next one that was not told yet; `None` once the node has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<ActorRef<P>> {
        loop {
            if let Some(found) = self.found.pop_front() {
                self.told.insert(found.id().node.clone(), found.id().clone());
                return Some(found);
            }
            self.changed.changed().await.ok()?;
            let all = self.node.find_all::<P>(&self.name);
            let is_new = |actor: &ActorRef<P>| self.told.get(&actor.id().node) != Some(actor.id());
            self.found = all.into_iter().filter(is_new).collect();
        }
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(AbortHandle);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
