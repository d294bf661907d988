//! Linearizable reads: one round to the other replicas serves all that wait for it.

use std::cell::RefCell;
use std::rc::Rc;

use openraft::Raft;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use tokio::sync::oneshot;

use super::client::{Freshness, Refusal};
use crate::consensus::Types;
use crate::consensus::rows::ShardRows;
use crate::state::ShardState;

/// Reads that wait for a round. Those past it are refused.
const WAITING_MAX: usize = 65_536;

type Passed = Result<(), Refusal>;

#[derive(Debug, Default)]
struct Waiting {
    reads: Vec<oneshot::Sender<Passed>>,
    is_under_way: bool,
}

/// Lets reads pass once it is sure that the replica led after they had come.
#[derive(Clone, Debug)]
pub(super) struct Gate<S: ShardState> {
    raft: Raft<Types, ShardRows<S>>,
    waiting: Rc<RefCell<Waiting>>,
}

impl<S: ShardState> Gate<S> {
    pub(super) fn new(raft: Raft<Types, ShardRows<S>>) -> Self {
        Self { raft, waiting: Rc::default() }
    }

    /// Waits until what is here is as fresh as that. Cancel-safe.
    pub(super) async fn pass(&self, freshness: Freshness) -> Passed {
        match freshness {
            Freshness::Lease => round(&self.raft, ReadPolicy::LeaseRead).await,
            _linearizable => self.wait().await,
        }
    }

    async fn wait(&self) -> Passed {
        let (pass, passed) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            if waiting.reads.len() >= WAITING_MAX {
                return Err(Refusal::Busy);
            }
            waiting.reads.push(pass);
            if !waiting.is_under_way {
                waiting.is_under_way = true;
                tokio::task::spawn_local(rounds(self.clone()));
            }
        }
        passed.await.unwrap_or(Err(Refusal::Stopped))
    }
}

/// Rounds, one after the other, while reads wait.
async fn rounds<S: ShardState>(gate: Gate<S>) {
    loop {
        let reads = {
            let mut waiting = gate.waiting.borrow_mut();
            waiting.is_under_way = !waiting.reads.is_empty();
            std::mem::take(&mut waiting.reads)
        };
        if reads.is_empty() {
            return;
        }
        let passed = round(&gate.raft, ReadPolicy::ReadIndex).await;
        for read in reads {
            // Fails only when nobody waits any more.
            drop(read.send(passed.clone()));
        }
    }
}

async fn round<S: ShardState>(raft: &Raft<Types, ShardRows<S>>, policy: ReadPolicy) -> Passed {
    let linearizer = raft.get_read_linearizer(policy).await.map_err(|error| match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            Refusal::not_leader(forward.leader_node)
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => Refusal::NoQuorum,
        RaftError::Fatal(_) => Refusal::Stopped,
    })?;
    linearizer.await_ready(raft).await.map(drop).map_err(|_fatal| Refusal::Stopped)
}
