//! Leases that end by time: the leader sees when, and has their ends committed.
//!
//! Keeping a lease alive is no entry of the log. The leader makes sure that it leads, as for a
//! read, and then counts anew, by its own clock. One that was deposed can't make sure and refuses,
//! so that its clients look for the one that counts now; that one counts from when it began to
//! lead, which is later than any answer of the one before.

mod keeper;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

use actix::Handler;
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use vioduct_runtime::Cancellable;

use self::keeper::Keeper;
use super::actor::Replica;
use super::client::{Encoded, Freshness, KeepAlive, Refusal};
use crate::StoreError;
use crate::clock::WallClock;
use crate::command::{Answer, Command, Operation};
use crate::consensus::entry::Proposal;
use crate::consensus::rows::ShardRows;
use crate::consensus::{ReplicaId, Types};
use crate::log::LogEngine;
use crate::machine::{lease, leases_after};
use crate::state::ShardState;

/// How often it is looked which leases are new, and which have passed.
const TICK: Duration = Duration::from_millis(100);
/// Leases that are seen at one look. A grant that is seen late ends late.
const FOUND_AT_ONCE: usize = 1024;
/// Leases, and as many more as were found, of which one look sees whether they are there yet: so
/// those that were revoked are never more than those that there are.
const SWEPT_AT_ONCE: usize = 64;

/// The leases of a shard, at one of its replicas.
#[derive(Debug)]
pub(super) struct Leases<S: ShardState> {
    inner: Rc<Inner<S>>,
}

impl<S: ShardState> Clone for Leases<S> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<S: ShardState> {
    replica: ReplicaId,
    rows: S,
    raft: Raft<Types, ShardRows<S>>,
    clock: WallClock,
    begun: Instant,
    /// In which term this replica leads, and what it keeps as long as it does.
    kept: RefCell<Option<(u64, Keeper)>>,
}

impl<S: ShardState> Leases<S> {
    /// Begins to end them, until no more is applied.
    pub(super) fn begin(
        replica: ReplicaId,
        rows: S,
        raft: Raft<Types, ShardRows<S>>,
        clock: WallClock,
        progress: watch::Receiver<u64>,
    ) -> Self {
        let (begun, kept) = (Instant::now(), RefCell::default());
        let leases = Self { inner: Rc::new(Inner { replica, rows, raft, clock, begun, kept }) };
        tokio::task::spawn_local(look(leases.clone(), progress));
        leases
    }

    fn now(&self) -> Duration {
        self.inner.begun.elapsed()
    }

    /// What this replica keeps, if it leads as far as it knows: nothing yet at the begin of each
    /// term of its own.
    fn keeper(&self) -> Option<RefMut<'_, Keeper>> {
        let (leader, term) = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.current_leader, metrics.current_term)
        };
        let mut kept = self.inner.kept.borrow_mut();
        if leader != Some(self.inner.replica) {
            *kept = None;
        } else if kept.as_ref().is_none_or(|(of, _keeper)| *of != term) {
            *kept = Some((term, Keeper::default()));
        }
        RefMut::filter_map(kept, |kept| kept.as_mut().map(|(_term, keeper)| keeper)).ok()
    }

    /// Sees which are new, which were revoked and which have passed; whether there are any.
    fn turn(&self) -> Result<bool, StoreError> {
        let (now, rows) = (self.now(), &self.inner.rows);
        let Some(mut keeper) = self.keeper() else { return Ok(false) };
        let found = leases_after(rows, keeper.newest(), FOUND_AT_ONCE)?;
        for lease in &found {
            keeper.found(now, *lease);
        }
        for number in keeper.sweep(SWEPT_AT_ONCE + found.len()) {
            if lease(rows, number)?.is_none() {
                keeper.gone(number);
            }
        }
        let due = keeper.due(now);
        let is_any = !keeper.is_empty();
        drop(keeper);
        let term = self.inner.kept.borrow().as_ref().map(|(term, _keeper)| *term);
        for number in due {
            let leases = self.clone();
            tokio::task::spawn_local(async move {
                let is_gone = leases.end(number).await;
                leases.ended(term, number, is_gone);
            });
        }
        Ok(is_any)
    }

    /// Has a lease and all its rows taken away; whether they are.
    async fn end(&self, number: u64) -> bool {
        let command = Command { attempt: None, operation: Operation::Revoke { lease: number } };
        let command = command.encode();
        loop {
            let proposal = Proposal { now_ms: self.inner.clock.now_ms(), command: command.clone() };
            match self.inner.raft.client_write(proposal).await {
                Ok(written) if matches!(written.data, Answer::Partly { .. }) => {}
                Ok(_whole) => return true,
                Err(error) => {
                    tracing::debug!(lease = number, %error, "a lease is not ended");
                    return false;
                }
            }
        }
    }

    fn ended(&self, term: Option<u64>, number: u64, is_gone: bool) {
        let now = self.now();
        let mut kept = self.inner.kept.borrow_mut();
        match kept.as_mut() {
            Some((of, keeper)) if Some(*of) == term => match is_gone {
                true => keeper.gone(number),
                false => keeper.not_ended(now, number),
            },
            _another_term => {}
        }
    }

    /// Lets a lease last for its whole time from now on. The replica has made sure that it leads.
    pub(super) fn keep(&self, number: u64) -> Result<Answer, Refusal> {
        let found = lease(&self.inner.rows, number).map_err(|error| {
            tracing::error!(%error, "a lease can't be read");
            Refusal::Stopped
        })?;
        let Some(found) = found else { return Ok(Answer::NoLease { lease: number }) };
        let mut keeper = self.keeper().ok_or_else(|| Refusal::not_leader(None))?;
        Ok(match keeper.keep(self.now(), found) {
            true => Answer::Granted { lease: number },
            false => Answer::NoLease { lease: number },
        })
    }
}

async fn look<S: ShardState>(leases: Leases<S>, mut progress: watch::Receiver<u64>) {
    loop {
        progress.mark_unchanged();
        let is_any = leases.turn().unwrap_or_else(|error| {
            tracing::error!(%error, "leases can't be read: none ends here");
            false
        });
        // Whoever begins to lead has an entry of its own to apply, as has every grant.
        if !is_any && progress.changed().await.is_err() {
            return;
        }
        sleep_until(Instant::now() + TICK).await;
        if progress.has_changed().is_err() {
            return;
        }
    }
}

impl<E: LogEngine, S: ShardState> Handler<KeepAlive> for Replica<E, S> {
    type Result = Cancellable<Result<Encoded, Refusal>>;

    fn handle(&mut self, ask: KeepAlive, _ctx: &mut Self::Context) -> Self::Result {
        let ready = self.leases();
        Cancellable::new(async move {
            let (gate, leases) = ready?;
            gate.pass(Freshness::Linearizable).await?;
            let mut body = Vec::new();
            leases.keep(ask.lease)?.encode(&mut body);
            Ok(Encoded { body: body.into() })
        })
    }
}
