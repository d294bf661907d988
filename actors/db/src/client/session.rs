//! Which commands of a client are under way, so that each is done once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::command::{Attempt, WINDOW};

#[derive(Debug, Default)]
struct Inner {
    session: Option<u64>,
    next: u64,
    open: BTreeSet<u64>,
}

impl Inner {
    fn answered_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }
}

/// A client's session with one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    inner: Arc<Mutex<Inner>>,
    ended: Arc<Notify>,
}

/// A command that is under way. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Underway {
    session: Session,
    id: u64,
    sequence: u64,
}

impl Session {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the session")
    }

    /// Begins a command, if a session is open. Waits while too many are under way behind the
    /// oldest. Cancel-safe.
    pub(super) async fn begin(&self) -> Option<Underway> {
        loop {
            let ended = self.ended.notified();
            {
                let mut inner = self.inner();
                let id = inner.session?;
                if inner.next - inner.answered_below() < WINDOW {
                    let sequence = inner.next;
                    inner.next += 1;
                    inner.open.insert(sequence);
                    return Some(Underway { session: self.clone(), id, sequence });
                }
            }
            ended.await;
        }
    }

    /// A new session takes the place of the one that is over, or of none.
    pub(super) fn opened(&self, id: u64) {
        let mut inner = self.inner();
        *inner = Inner { session: Some(id), next: 0, open: BTreeSet::new() };
        drop(inner);
        self.ended.notify_waiters();
    }

    /// That session is over.
    pub(super) fn over(&self, id: u64) {
        let mut inner = self.inner();
        if inner.session == Some(id) {
            inner.session = None;
        }
        drop(inner);
        self.ended.notify_waiters();
    }
}

impl Underway {
    /// Its session's number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// What makes it the same command whenever it is sent.
    pub(super) fn attempt(&self) -> Attempt {
        let answered_below = self.session.inner().answered_below().min(self.sequence);
        Attempt { session: self.id, sequence: self.sequence, answered_below }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut inner = self.session.inner();
        if inner.session == Some(self.id) {
            inner.open.remove(&self.sequence);
        }
        drop(inner);
        self.session.ended.notify_waiters();
    }
}
