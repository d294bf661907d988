//! Who holds a shard's replicas: adds, removes and replaces them, and hands the lead over.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorRef, AskError, Node};

use super::Db;
use super::error::DbError;
use super::found::{FoundError, desk, settle};
use crate::ShardId;
use crate::query::Query;
use crate::replica::client::{Freshness, Member, ReplicaClient, Status};
use crate::replica::reform::{MemberChange, Reform, ReformRefusal};
use crate::replica::replica_name;
use crate::role::Prepare;

/// How often it is looked how far a replica is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one step may take on one replica.
const STEP: Duration = Duration::from_secs(10);
/// How long one that was asked to lead may take until it does.
const LED_WITHIN: Duration = Duration::from_secs(2);

/// Why the replicas are as they were, or on their way.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// The node that is to have a replica.
    #[error(transparent)]
    Node(#[from] FoundError),
    /// There is no such shard, or none that answers.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The node has no replica of the shard.
    #[error("{node} has no replica of {shard}")]
    NoReplica {
        /// Which shard.
        shard: ShardId,
        /// Which node.
        node: NodeName,
    },
    /// The leader refuses. Nothing was changed by this step.
    #[error("{shard}: {source}")]
    Refused {
        /// Which shard.
        shard: ShardId,
        /// Why.
        #[source]
        source: ReformRefusal,
    },
    /// It was not done in time. It may be done yet: look at the status, and do it again.
    #[error("{shard}: not done in time: {step}")]
    Late {
        /// Which shard.
        shard: ShardId,
        /// What was waited for.
        step: &'static str,
    },
}

/// The replicas of one shard, for those who operate it.
#[derive(Debug)]
pub struct Members<'a> {
    db: &'a Db,
    node: &'a Node,
    shard: ShardId,
    deadline: Instant,
}

impl<'a> Members<'a> {
    /// Of this shard. Each call may take until `within` from now.
    #[must_use]
    pub fn of(db: &'a Db, node: &'a Node, shard: ShardId, within: Duration) -> Self {
        Self { db, node, shard, deadline: Instant::now() + within }
    }

    /// Has a node hold a replica. It is sent all rows first, and votes once it has them. A call
    /// that was cut off may be made again.
    ///
    /// # Errors
    ///
    /// [`MembersError`].
    pub async fn add(&self, host: &NodeName) -> Result<(), MembersError> {
        let replica = self.bring(host).await?;
        self.reform(MemberChange::Voters { come: vec![replica], go: Vec::new() }).await
    }

    /// Takes a node's replica from the members. Its node may be gone.
    ///
    /// # Errors
    ///
    /// [`MembersError`].
    pub async fn remove(&self, host: &NodeName) -> Result<(), MembersError> {
        let leader = self.leader().await?;
        let gone = self.replica_on(&leader, host)?;
        self.reform(MemberChange::Voters { come: Vec::new(), go: vec![gone] }).await
    }

    /// Has `new` hold a replica in the place of `old`, by one change of the voters. `old` may be
    /// gone; it may be the same node, whose disk was lost.
    ///
    /// # Errors
    ///
    /// [`MembersError`].
    pub async fn replace(&self, old: &NodeName, new: &NodeName) -> Result<(), MembersError> {
        self.replica_on(&self.leader().await?, old)?;
        let replica = self.bring(new).await?;
        let leader = self.leader().await?;
        // All of the old node's: an earlier call that was cut off may have left one.
        let of_old = leader.members.iter().filter(|member| member.node == old.as_str());
        let go = of_old.map(|member| member.replica).filter(|old| *old != replica).collect();
        self.reform(MemberChange::Voters { come: vec![replica], go }).await
    }

    /// Has a node's replica lead.
    ///
    /// # Errors
    ///
    /// [`MembersError`].
    pub async fn lead(&self, host: &NodeName) -> Result<(), MembersError> {
        let trying = async {
            loop {
                let leader = self.leader().await?;
                let replica = self.replica_on(&leader, host)?;
                if leader.replica == replica {
                    return Ok(());
                }
                self.reform(MemberChange::Lead { replica }).await?;
                let leads = self.until("another leader", |leader| leader.replica == replica);
                // One that lags is passed over, and is asked again once it had time.
                if let Ok(led) = timeout(LED_WITHIN, leads).await {
                    return led.map(drop);
                }
            }
        };
        let late = MembersError::Late { shard: self.shard, step: "another leader" };
        timeout_at(self.deadline, trying).await.unwrap_or(Err(late))
    }

    /// A replica on that node that has all rows, without a vote if it had none.
    async fn bring(&self, host: &NodeName) -> Result<u64, MembersError> {
        let prepare = Prepare { shards: vec![self.shard.0], founders: Vec::new() };
        let desk = desk(self.node, host).await?;
        let here = settle(host, desk.ask(prepare, STEP).await)?;
        let missing = || MembersError::NoReplica { shard: self.shard, node: host.clone() };
        let replica = here.first().ok_or_else(missing)?.replica;
        let leader = self.leader().await?;
        if !leader.members.iter().any(|member| member.replica == replica) {
            let node = host.to_string();
            self.reform(MemberChange::AddLearner { replica, node }).await?;
        }
        let goal = self.leader().await?.applied;
        self.caught_up(replica, goal).await?;
        Ok(replica)
    }

    async fn caught_up(&self, replica: u64, goal: u64) -> Result<(), MembersError> {
        let mut looks = looks();
        let waiting = async {
            loop {
                looks.tick().await;
                let statuses = self.db.status(self.shard).await?;
                let mut new = statuses.iter().filter(|(_node, status)| status.replica == replica);
                if new.any(|(_node, status)| status.applied >= goal) {
                    return Ok(());
                }
            }
        };
        let late = MembersError::Late { shard: self.shard, step: "the new replica's rows" };
        timeout_at(self.deadline, waiting).await.unwrap_or(Err(late))
    }

    /// The replica that leads, as it sees itself and the others.
    pub(crate) async fn leader(&self) -> Result<Status, MembersError> {
        self.until("a leader", |_any| true).await
    }

    /// The same, once it was sure that it leads: one that the others left behind may not know.
    pub(crate) async fn sure_leader(&self) -> Result<Status, MembersError> {
        let leader = self.leader().await?;
        let nothing = Query::Get(Vec::new());
        self.db.shard(self.shard)?.read(&nothing, Freshness::Linearizable).await?;
        Ok(leader)
    }

    /// The leader, once it is as asked.
    async fn until(
        &self,
        step: &'static str,
        is_meant: impl Fn(&Status) -> bool,
    ) -> Result<Status, MembersError> {
        let mut looks = looks();
        let waiting = async {
            loop {
                looks.tick().await;
                let statuses = self.db.status(self.shard).await?;
                let leaders = statuses.into_iter().map(|(_node, status)| status);
                let leaders = leaders.filter(|status| status.leader == Some(status.replica));
                let newest = leaders.max_by_key(|status| status.term);
                if let Some(leader) = newest.filter(&is_meant) {
                    return Ok(leader);
                }
            }
        };
        let late = MembersError::Late { shard: self.shard, step };
        timeout_at(self.deadline, waiting).await.unwrap_or(Err(late))
    }

    fn replica_on(&self, leader: &Status, host: &NodeName) -> Result<u64, MembersError> {
        let is_there = |member: &&Member| member.node == host.as_str();
        let found = leader.members.iter().find(is_there).map(|member| member.replica);
        found.ok_or_else(|| MembersError::NoReplica { shard: self.shard, node: host.clone() })
    }

    /// Has the leader make a change; whoever leads by then.
    async fn reform(&self, change: MemberChange) -> Result<(), MembersError> {
        let mut looks = looks();
        let shard = self.shard;
        let trying = async {
            loop {
                looks.tick().await;
                let leader = self.leader().await?;
                let Some(actor) = self.actor_of(&leader).await else { continue };
                match actor.ask(Reform { change: change.clone() }, STEP).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(
                        ReformRefusal::NotLeader { .. }
                        | ReformRefusal::UnderWay
                        | ReformRefusal::Stopped,
                    )) => {}
                    Ok(Err(source)) => return Err(MembersError::Refused { shard, source }),
                    Err(AskError::NotDelivered(_) | AskError::MaybeDelivered(_)) => {}
                }
            }
        };
        let late = MembersError::Late { shard, step: "the leader's change" };
        timeout_at(self.deadline, trying).await.unwrap_or(Err(late))
    }

    async fn actor_of(&self, leader: &Status) -> Option<ActorRef<ReplicaClient>> {
        let own = leader.members.iter().find(|member| member.replica == leader.replica)?;
        let host: NodeName = own.node.parse().ok()?;
        self.node.lookup(&host, &replica_name(self.shard)).await.ok()
    }
}

fn looks() -> tokio::time::Interval {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}
