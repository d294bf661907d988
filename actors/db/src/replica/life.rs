//! One life of a replica after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot, watch};

use crate::StoreError;
use crate::consensus::Types;
use crate::consensus::rows::ShardRows;
use crate::log::{LogDamage, LogWriter};
use crate::offload::Offload;
use crate::state::{Fence, Fenced, ShardState, Trouble, Troubles};

/// The lives of a replica: one begins when nothing of the one before it can reach log or rows any
/// more. A clone is of the same replica.
#[derive(Clone, Debug)]
pub(crate) struct Lives {
    /// Whose consensus runs.
    turn: Arc<AsyncMutex<()>>,
    last: Arc<Mutex<Option<Fence>>>,
    troubles: Troubles,
    damage: LogDamage,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Life {
    lives: Lives,
    before: Option<Fence>,
}

impl Lives {
    pub(crate) fn new(damage: LogDamage) -> Self {
        let (turn, last, troubles) = (Arc::default(), Arc::default(), Troubles::default());
        Self { turn, last, troubles, damage }
    }

    /// The next one, and the rows for it.
    pub(crate) fn next<S: ShardState>(&self, rows: S) -> (Life, Fenced<S>) {
        let fence = Fence::new(self.troubles.clone());
        let before = self.last().replace(fence.clone());
        (Life { lives: self.clone(), before }, Fenced::new(rows, fence))
    }

    /// What keeps it from having another one.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.troubles.first()
    }

    /// Waits until the last one is over.
    pub(crate) async fn over(&self, offload: Offload) -> Result<(), StoreError> {
        let _none_runs = self.turn.lock().await;
        let last = self.last().take();
        offload.run(move || last.iter().for_each(Fence::close)).await
    }

    fn last(&self) -> MutexGuard<'_, Option<Fence>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Life {
    /// Waits until the life before is over, and what it gave to the log's writer is written: what
    /// is read of the log from then on is on the disk.
    pub(super) async fn begin(
        &self,
        writer: &LogWriter,
        offload: Offload,
    ) -> Result<Turn, StoreError> {
        let turn = Arc::clone(&self.lives.turn).lock_owned().await;
        if let Some(before) = self.before.clone() {
            offload.run(move || before.close()).await?;
        }
        let (done, written) = oneshot::channel();
        writer.submit(Vec::new(), move |result| drop(done.send(result))).await;
        written.await.unwrap_or(Err(StoreError::Stopped))?;
        Ok(turn)
    }

    /// Waits for trouble with what is stored. Cancel-safe.
    pub(super) async fn troubled(&self) {
        tokio::select! {
            () = self.lives.troubles.come() => {}
            _damage = self.lives.damage.found() => {}
        }
    }

    /// Whether another life would fare no better.
    pub(super) fn is_last(&self, writer: &LogWriter) -> bool {
        self.lives.trouble().is_some() || self.lives.damage.is_found() || writer.has_ended()
    }
}

/// Leave to use the log and the rows.
pub(super) type Turn = OwnedMutexGuard<()>;

/// Consensus that runs. Dropped it is ended, and only then its turn.
#[derive(Debug)]
pub(super) struct Underway<S: ShardState> {
    raft: Raft<Types, ShardRows<S>>,
    rows_in_use: watch::Receiver<()>,
    turn: Option<Turn>,
}

impl<S: ShardState> Underway<S> {
    pub(super) fn new(
        raft: Raft<Types, ShardRows<S>>,
        rows_in_use: watch::Receiver<()>,
        turn: Turn,
    ) -> Self {
        Self { raft, rows_in_use, turn: Some(turn) }
    }

    /// Waits until it has ended by itself; gives why. Cancel-safe.
    pub(super) fn over(&self) -> impl Future<Output = String> + use<S> {
        let (raft, mut rows_in_use) = (self.raft.clone(), self.rows_in_use.clone());
        async move {
            // What leads the library's work has what applies it, and is not there without it.
            drop(rows_in_use.changed().await);
            let running = raft.metrics().borrow_watched().running_state.clone();
            running.err().map_or_else(|| "its consensus panicked".into(), |why| why.to_string())
        }
    }
}

impl<S: ShardState> Drop for Underway<S> {
    fn drop(&mut self) {
        let (raft, turn) = (self.raft.clone(), self.turn.take());
        // Without a runtime this ends because its thread does, and the library with it.
        if let Ok(runtime) = Handle::try_current() {
            // Apart from the actor, which is over.
            runtime.spawn(async move {
                drop(raft.shutdown().await);
                drop(turn);
            });
        }
    }
}
