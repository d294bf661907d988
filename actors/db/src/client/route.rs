//! Which replica of a shard to ask.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::{Instant, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorName, ActorRef, Node};

use super::config::DbConfig;
use crate::ShardId;
use crate::replica::client::ReplicaClient;
use crate::replica::replica_name;

/// Attempts for which a replica that did not answer is left alone, whoever says that it leads.
const SILENT_FOR: u32 = 4;

pub(super) type ReplicaRef = ActorRef<ReplicaClient>;

#[derive(Debug, Default)]
struct Known {
    leader: Option<ReplicaRef>,
    /// Who did not answer lately, and until when it is left alone.
    silent: Option<(NodeName, Instant)>,
    /// Whether any replica was found before.
    has_found: bool,
}

/// Knows the replicas of a shard.
pub(super) struct Route {
    node: Node,
    /// The nodes to look at; without them, the replicas are found by their name.
    hosts: Option<Arc<[NodeName]>>,
    name: ActorName,
    config: DbConfig,
    known: Mutex<Known>,
}

impl Route {
    pub(super) fn new(
        node: Node,
        hosts: Option<Arc<[NodeName]>>,
        shard: ShardId,
        config: DbConfig,
    ) -> Self {
        Self { node, hosts, name: replica_name(shard), config, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while it holds this")
    }

    /// Whom to ask: the leader if it is known, else one after the other, those last that do not
    /// answer.
    pub(super) async fn target(&self, turn: usize, anywhere: bool) -> Option<ReplicaRef> {
        let leader = self.known().leader.clone();
        if let (Some(leader), false) = (leader, anywhere) {
            return Some(leader);
        }
        let mut replicas = self.replicas().await;
        let is_silent = |replica: &ReplicaRef| self.is_silent(&replica.id().node);
        if !replicas.iter().all(is_silent) {
            replicas.retain(|replica| !is_silent(replica));
        }
        let count = replicas.len().max(1);
        replicas.into_iter().nth(turn % count)
    }

    /// All replicas that are found.
    pub(super) async fn replicas(&self) -> Vec<ReplicaRef> {
        let Some(hosts) = &self.hosts else { return self.node.find_all(&self.name) };
        // A node that is gone must not keep the others waiting.
        let has_found = self.known().has_found;
        let within = if has_found { self.config.pause * 2 } else { self.config.attempt };
        let found = hosts.iter().map(|host| timeout(within, self.node.lookup(host, &self.name)));
        let found = futures_util::future::join_all(found).await;
        let found: Vec<_> = found.into_iter().filter_map(|found| found.ok()?.ok()).collect();
        self.known().has_found |= !found.is_empty();
        found
    }

    /// This one leads: it answered.
    pub(super) fn leads(&self, replica: ReplicaRef) {
        let mut known = self.known();
        known.leader = Some(replica);
        known.silent = None;
    }

    /// This one did not answer.
    pub(super) fn is_gone(&self, replica: &ReplicaRef) {
        let until = Instant::now() + self.config.attempt * SILENT_FOR;
        let mut known = self.known();
        known.leader = None;
        known.silent = Some((replica.id().node.clone(), until));
    }

    /// Another one leads, on that node as far as is known.
    pub(super) async fn is_led_by(&self, node: Option<&str>) {
        self.known().leader = None;
        let Some(node) = node else { return };
        let replicas = self.replicas().await.into_iter();
        let mut meant = replicas.filter(|replica| replica.id().node.as_str() == node);
        let leader = meant.next().filter(|replica| !self.is_silent(&replica.id().node));
        self.known().leader = leader;
    }

    fn is_silent(&self, node: &NodeName) -> bool {
        let known = self.known();
        let silent = known.silent.as_ref();
        silent.is_some_and(|(silent, until)| silent == node && Instant::now() < *until)
    }
}
