//! Has this node's lost replicas made anew.
//!
//! A node that has a vote in a shard by its leader's word, under a replica that it does not have,
//! makes a new replica and has it put in the place of the old one. Its disk was replaced, or what
//! was on it was damaged: there is one rule for all of them. The old replica is never taken up
//! again, since what it has voted for may be forgotten; and whether a new one may take its place is
//! decided by a majority of the others. Without a majority nothing is done, and nothing is thrown
//! away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use vioduct_runtime::Node;

use crate::ShardId;
use crate::chance::Chance;
use crate::client::{Db, DbConfig, Members, MembersError};
use crate::consensus::ReplicaId;
use crate::schema::Schema;

/// The waits between two looks at the shards that are not as they should be.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long it is looked for a leader, and how long that may take to be sure that it leads.
const LOOK: Duration = Duration::from_secs(5);
/// How long it is waited for one replica before others get their turn; what was begun goes on.
const HEAL: Duration = Duration::from_secs(120);

type Here = Option<BTreeMap<ShardId, ReplicaId>>;

/// Looks after the replicas of a node.
pub(super) struct Healer {
    node: Node,
    db: Db,
    here: watch::Receiver<Here>,
    /// Of which it is not known that all is well.
    doubtful: BTreeSet<ShardId>,
    running: BTreeSet<ShardId>,
}

/// How a shard's replica is, by the leader's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is the one that the others know, or one that they do not count with.
    Well,
    /// There is none, and none is counted with. Perhaps the shard is about to be founded.
    None,
    /// They count with one that is not here.
    Lost,
}

impl Healer {
    pub(super) fn new(node: &Node, schema: Arc<Schema>, here: watch::Receiver<Here>) -> Self {
        let doubtful = (0..=schema.data_shards()).map(ShardId).collect();
        let db = Db::new(node, schema, DbConfig { deadline: LOOK, ..DbConfig::default() });
        Self { node: node.clone(), db, here, doubtful, running: BTreeSet::new() }
    }

    /// Goes on for ever.
    pub(super) async fn run(mut self) {
        // Fails only when the desk is gone.
        if self.here.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let mut wait = WAIT_MIN;
        loop {
            let mut is_news = self.take_note();
            for shard in self.doubtful.clone() {
                match self.look_after(shard).await {
                    Ok(true) => is_news |= self.doubtful.remove(&shard),
                    Ok(false) => {}
                    Err(error) => tracing::debug!(shard = shard.0, %error, "not known yet"),
                }
                is_news |= self.take_note();
            }
            wait = if is_news { WAIT_MIN } else { (wait * 2).min(WAIT_MAX) };
            if !self.pause(wait).await {
                return;
            }
        }
    }

    /// Whether a replica was lost since the last time.
    fn take_note(&mut self) -> bool {
        let running: BTreeSet<ShardId> =
            self.here.borrow_and_update().iter().flat_map(BTreeMap::keys).copied().collect();
        let mut lost = self.running.difference(&running).copied().peekable();
        let is_any = lost.peek().is_some();
        self.doubtful.extend(lost);
        self.running = running;
        is_any
    }

    /// Waits, but no longer than until a replica comes or goes; false when there is nothing to do
    /// any more.
    async fn pause(&mut self, wait: Duration) -> bool {
        // Nodes that were lost together do not come together.
        let wait = wait.mul_f64(Chance.random_range(0.5..1.0));
        let changed = self.here.changed();
        if self.doubtful.is_empty() {
            return changed.await.is_ok();
        }
        timeout(wait, changed).await.unwrap_or(Ok(())).is_ok()
    }

    fn replica(&self, shard: ShardId) -> Option<ReplicaId> {
        self.here.borrow().as_ref().and_then(|here| here.get(&shard)).copied()
    }

    /// Whether all is well with it, or is so now.
    async fn look_after(&self, shard: ShardId) -> Result<bool, MembersError> {
        match self.standing(shard).await? {
            Standing::Well => return Ok(true),
            Standing::None => return Ok(false),
            Standing::Lost => {}
        }
        let begun = Instant::now();
        tracing::warn!(shard = shard.0, "the node's replica is lost: it is made anew");
        let members = Members::of(&self.db, &self.node, shard, HEAL);
        let replaced = members.replace(self.node.name(), self.node.name()).await;
        let (took, replica) = (begun.elapsed(), self.replica(shard));
        match &replaced {
            Ok(()) => tracing::info!(shard = shard.0, replica, ?took, "the new replica votes"),
            Err(error) => {
                tracing::warn!(shard = shard.0, replica, %error, "the new replica has no vote");
            }
        }
        Ok(replaced.is_ok())
    }

    async fn standing(&self, shard: ShardId) -> Result<Standing, MembersError> {
        let leader = Members::of(&self.db, &self.node, shard, LOOK).sure_leader().await?;
        let here = self.replica(shard);
        let host = self.node.name().as_str();
        let of_host = leader.members.iter().filter(|member| member.node == host);
        let voters: Vec<ReplicaId> =
            of_host.filter(|member| member.is_voter).map(|member| member.replica).collect();
        Ok(match here {
            Some(replica) if voters.is_empty() || voters.contains(&replica) => Standing::Well,
            None if voters.is_empty() => Standing::None,
            _other => Standing::Lost,
        })
    }
}
