//! Who the replicas of a shard are: begun, and changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::{Handler, Message};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use openraft::{ChangeMembers, Raft};
use serde::{Deserialize, Serialize};
use vioduct_runtime::{Accepts, Cancellable, RemoteMessage, Wire};

use super::actor::Replica;
use super::client::{Member, ReplicaClient};
use crate::consensus::entry::{Host, REPLICAS_MAX};
use crate::consensus::rows::ShardRows;
use crate::consensus::{Membership, ReplicaId, Types};
use crate::log::LogEngine;
use crate::state::ShardState;

/// How long a leader that ends waits for another one.
const RETIRE_WITHIN: Duration = Duration::from_secs(1);

impl Accepts<Reform> for ReplicaClient {}

/// Begins the shard with these members.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), ReformRefusal>")]
pub(crate) struct Initialize {
    pub(crate) members: Vec<Member>,
}

/// Asks the replica to let another one lead, if it does; answered once it does not, or cannot.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Retire;

/// Asks the leader to change who the replicas are, or who leads.
#[derive(Clone, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.Reform")]
pub struct Reform {
    /// How.
    pub change: MemberChange,
}

impl Message for Reform {
    type Result = Result<(), ReformRefusal>;
}

/// A change of who the replicas are.
#[derive(Clone, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum MemberChange {
    /// One more that is sent everything and has no vote.
    AddLearner {
        /// Which replica.
        replica: u64,
        /// Its node.
        node: String,
    },
    /// Some vote from now on, others are members no longer, by one change. Nor are those without a
    /// vote whose node has one of another.
    Voters {
        /// Which vote from now on, all of them members.
        come: Vec<u64>,
        /// Which are members no longer. If one was to take the place of another, and none of these
        /// is a member, the change is refused: somebody has taken them out meanwhile.
        go: Vec<u64>,
    },
    /// That one is to lead.
    Lead {
        /// Which replica.
        replica: u64,
    },
}

/// Why it stayed as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum ReformRefusal {
    /// Another one leads.
    #[error("another replica leads: {leader:?}")]
    NotLeader {
        /// The node that does, if that is known.
        leader: Option<String>,
    },
    /// The shard has begun already.
    #[error("the shard has begun already")]
    Begun,
    /// Another change has not ended yet.
    #[error("another change is under way")]
    UnderWay,
    /// The change can't be made.
    #[error("{why}")]
    Invalid {
        /// Why.
        why: String,
    },
    /// The replica has stopped, or is about to.
    #[error("the replica has stopped")]
    Stopped,
}

impl<E: LogEngine, S: ShardState> Handler<Initialize> for Replica<E, S> {
    type Result = Cancellable<Result<(), ReformRefusal>>;

    fn handle(&mut self, begin: Initialize, _ctx: &mut Self::Context) -> Self::Result {
        let raft = self.raft();
        Cancellable::new(async move {
            let raft = raft.map_err(|_stopped| ReformRefusal::Stopped)?;
            let members = begin.members.into_iter();
            let members = members.map(|member| (member.replica, Host(member.node)));
            let members: BTreeMap<ReplicaId, Host> = members.collect();
            raft.initialize(members).await.map_err(|error| match error {
                RaftError::APIError(InitializeError::NotAllowed(_)) => ReformRefusal::Begun,
                RaftError::APIError(error) => ReformRefusal::Invalid { why: error.to_string() },
                RaftError::Fatal(_) => ReformRefusal::Stopped,
            })
        })
    }
}

impl<E: LogEngine, S: ShardState> Handler<Reform> for Replica<E, S> {
    type Result = Cancellable<Result<(), ReformRefusal>>;

    fn handle(&mut self, reform: Reform, _ctx: &mut Self::Context) -> Self::Result {
        let raft = self.raft();
        Cancellable::new(async move {
            let raft = raft.map_err(|_stopped| ReformRefusal::Stopped)?;
            change(&raft, reform.change).await
        })
    }
}

impl<E: LogEngine, S: ShardState> Handler<Retire> for Replica<E, S> {
    type Result = Cancellable<()>;

    fn handle(&mut self, _retire: Retire, _ctx: &mut Self::Context) -> Self::Result {
        let raft = self.raft();
        Cancellable::new(async move {
            if let Ok(raft) = raft {
                retire(&raft).await;
            }
        })
    }
}

/// Hands the lead to the voter that has most of the log.
async fn retire<S: ShardState>(raft: &Raft<Types, ShardRows<S>>) {
    let metrics = raft.metrics().borrow_watched().clone();
    let me = *raft.node_id();
    let Some(replication) = metrics.replication.filter(|_| raft.is_leader()) else { return };
    let voters: Vec<ReplicaId> = raft.voter_ids().collect();
    let others = replication.into_iter().filter(|(replica, _)| voters.contains(replica));
    let best = others.filter(|(replica, _)| *replica != me).max_by_key(|(_, last)| *last);
    let Some((next, _last)) = best else { return };
    if raft.trigger().transfer_leader(next).await.is_ok() {
        let waited = raft.wait(Some(RETIRE_WITHIN));
        let is_over = waited.metrics(|seen| seen.current_leader != Some(me), "another leads");
        if let Err(error) = is_over.await {
            tracing::warn!(%error, "no other replica leads");
        }
    }
}

async fn change<S: ShardState>(
    raft: &Raft<Types, ShardRows<S>>,
    change: MemberChange,
) -> Result<(), ReformRefusal> {
    match change {
        MemberChange::AddLearner { replica, node } => {
            let count = raft.voter_ids().chain(raft.learner_ids()).count();
            if count >= REPLICAS_MAX {
                let why = format!("a shard has {REPLICAS_MAX} replicas at most");
                return Err(ReformRefusal::Invalid { why });
            }
            let added = raft.add_learner(replica, Host(node), false).await;
            added.map(drop).map_err(refusal)
        }
        MemberChange::Voters { come, go } => {
            let go: BTreeSet<ReplicaId> = go.into_iter().collect();
            let is_member = |replica: &ReplicaId| {
                let metrics = raft.metrics();
                let metrics = metrics.borrow_watched();
                metrics.membership_config.membership().get_node(replica).is_some()
            };
            if !come.is_empty() && !go.is_empty() && !go.iter().any(is_member) {
                let why = "the replica whose place it is to take is a member no longer".into();
                return Err(ReformRefusal::Invalid { why });
            }
            let come = come.into_iter().collect();
            // As differences: another change that was made meanwhile stays.
            let change = ChangeMembers::Batch(vec![
                ChangeMembers::AddVoterIds(come),
                ChangeMembers::RemoveVoters(go),
            ]);
            let changed = raft.change_membership(change, false).await.map_err(refusal)?;
            let replaced = changed.membership().as_ref().map(replaced).unwrap_or_default();
            if replaced.is_empty() {
                return Ok(());
            }
            let change = ChangeMembers::RemoveNodes(replaced);
            raft.change_membership(change, false).await.map(drop).map_err(refusal)
        }
        MemberChange::Lead { replica } => {
            let lead = raft.trigger().transfer_leader(replica).await;
            lead.map_err(|_fatal| ReformRefusal::Stopped)
        }
    }
}

/// Those without a vote that another replica of their node has taken the place of.
fn replaced(members: &Membership) -> BTreeSet<ReplicaId> {
    let is_voter = |replica: &ReplicaId| members.voter_ids().any(|voter| voter == *replica);
    let (voters, others): (Vec<_>, Vec<_>) =
        members.nodes().partition(|(replica, _host)| is_voter(replica));
    let has_voter = |host: &Host| voters.iter().any(|(_replica, other)| *other == host);
    let others = others.into_iter().filter(|(_replica, host)| has_voter(host));
    others.map(|(replica, _host)| *replica).collect()
}

fn refusal(error: RaftError<Types, ClientWriteError<Types>>) -> ReformRefusal {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ReformRefusal::NotLeader { leader: forward.leader_node.map(|host| host.0) }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_),
        )) => ReformRefusal::UnderWay,
        RaftError::APIError(error) => ReformRefusal::Invalid { why: error.to_string() },
        RaftError::Fatal(_) => ReformRefusal::Stopped,
    }
}
