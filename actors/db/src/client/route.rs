//! Which replica of a shard to ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::{Instant, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorName, ActorRef, AskError, Node, NotDelivered};

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
    found: BTreeMap<NodeName, ReplicaRef>,
    /// Who did not answer lately, and until when it is left alone.
    silent: BTreeMap<NodeName, Instant>,
}

/// Knows the replicas of a shard.
pub(super) struct Route {
    node: Node,
    /// The nodes to look at; without them, the replicas are found by their name.
    hosts: Option<Arc<[NodeName]>>,
    name: ActorName,
    config: DbConfig,
    /// Differs from node to node, so that they don't all ask the same replica.
    share: usize,
    known: Mutex<Known>,
}

impl Route {
    pub(super) fn new(
        node: Node,
        hosts: Option<Arc<[NodeName]>>,
        shard: ShardId,
        config: DbConfig,
    ) -> Self {
        let share = crc32c::crc32c(node.name().as_str().as_bytes()) as usize;
        Self { node, hosts, name: replica_name(shard), config, share, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while it holds this")
    }

    /// Whom to ask: the leader if it is known, else one after the other, those last that do not
    /// answer. What any may answer is asked of different ones by different nodes. Cancel-safe.
    pub(super) async fn target(&self, turn: usize, anywhere: bool) -> Option<ReplicaRef> {
        let leader = self.known().leader.clone();
        if let (Some(leader), false) = (leader, anywhere) {
            return Some(leader);
        }
        let is_silent = |replica: &ReplicaRef| self.is_silent(&replica.id().node);
        let mut replicas = self.found();
        if replicas.iter().all(is_silent) {
            replicas = self.replicas().await;
        }
        if !replicas.iter().all(is_silent) {
            replicas.retain(|replica| !is_silent(replica));
        }
        let count = replicas.len().max(1);
        let first = if anywhere { self.share } else { 0 };
        replicas.into_iter().nth(first.wrapping_add(turn) % count)
    }

    /// Those that are known without looking.
    fn found(&self) -> Vec<ReplicaRef> {
        match &self.hosts {
            Some(_hosts) => self.known().found.values().cloned().collect(),
            None => self.listed().collect(),
        }
    }

    fn listed(&self) -> impl Iterator<Item = ReplicaRef> {
        self.node.find_all(&self.name).into_iter()
    }

    /// Where replicas may be.
    fn hosts(&self) -> Vec<NodeName> {
        match &self.hosts {
            Some(hosts) => hosts.to_vec(),
            None => self.listed().map(|replica| replica.id().node.clone()).collect(),
        }
    }

    /// The replica of that node. One that is not found in the time of an attempt, or is not there,
    /// is left alone for a while.
    async fn at(&self, host: &NodeName) -> Option<ReplicaRef> {
        if self.hosts.is_none() {
            return self.listed().find(|replica| replica.id().node == *host);
        }
        if let Some(found) = self.known().found.get(host) {
            return Some(found.clone());
        }
        let looking = self.node.lookup(host, &self.name);
        let found = timeout(self.config.attempt, looking).await.ok().and_then(Result::ok);
        match &found {
            Some(replica) => drop(self.known().found.insert(host.clone(), replica.clone())),
            None => self.leave_alone(host),
        }
        found
    }

    /// All replicas that are found now.
    pub(super) async fn replicas(&self) -> Vec<ReplicaRef> {
        let hosts = self.hosts();
        let found = hosts.iter().map(|host| self.at(host));
        futures_util::future::join_all(found).await.into_iter().flatten().collect()
    }

    /// This one leads: it answered.
    pub(super) fn leads(&self, replica: ReplicaRef) {
        let mut known = self.known();
        known.silent.remove(&replica.id().node);
        known.leader = Some(replica);
    }

    /// This one did not answer, or is over; its node may have another one already.
    pub(super) fn is_gone(&self, replica: &ReplicaRef, why: &AskError) {
        let is_over = matches!(
            why,
            AskError::NotDelivered(
                NotDelivered::Gone { .. }
                    | NotDelivered::Restarted { .. }
                    | NotDelivered::NoSuchActor { .. }
            )
        );
        if self.forget(replica) && !is_over {
            self.leave_alone(&replica.id().node);
        }
    }

    /// It is looked for anew. False when another life of it is known already.
    pub(super) fn forget(&self, replica: &ReplicaRef) -> bool {
        let host = &replica.id().node;
        let mut known = self.known();
        known.leader.take_if(|leader| leader.id() == replica.id());
        if known.found.get(host).is_some_and(|found| found.id() != replica.id()) {
            return false;
        }
        known.found.remove(host);
        true
    }

    /// Another one leads, on that node as far as is known. Cancel-safe.
    pub(super) async fn is_led_by(&self, node: Option<&str>) {
        self.known().leader = None;
        let hosts = self.hosts();
        let Some(host) = hosts.iter().find(|host| Some(host.as_str()) == node) else { return };
        if !self.is_silent(host) {
            let leader = self.at(host).await;
            self.known().leader = leader;
        }
    }

    fn leave_alone(&self, host: &NodeName) {
        let now = Instant::now();
        let mut known = self.known();
        known.silent.retain(|_host, until| *until > now);
        known.silent.insert(host.clone(), now + self.config.attempt * SILENT_FOR);
    }

    fn is_silent(&self, host: &NodeName) -> bool {
        self.known().silent.get(host).is_some_and(|until| Instant::now() < *until)
    }
}
