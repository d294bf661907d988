//! What the world and the nodes of a simulated database tell each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vioduct_db::client::Status;

use super::super::clock::SimClock;
use super::super::message::NodeId;
use super::Fault;

/// What happened, and when, in virtual milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A run of a database node began.
    Started {
        /// Which node.
        node: NodeId,
        /// Its run.
        run: u64,
    },
    /// The database has begun.
    Founded,
    /// A replica's term, leader or number of applied entries changed.
    Replica {
        /// On which node.
        node: NodeId,
        /// The term.
        term: u64,
        /// Whether it leads.
        leads: bool,
        /// How many entries are applied.
        applied: u64,
    },
    /// The world did this; to that node, if it was to one.
    Fault(Fault, Option<NodeId>),
    /// All faults are over.
    Healed,
    /// Operations that each client had answered by now.
    Answered(Vec<u64>),
    /// What came of handing over the lead.
    Moved(Option<String>),
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    replicas: BTreeMap<NodeId, (u64, bool, u64)>,
    orders: VecDeque<NodeId>,
    is_founded: bool,
    failures: Vec<String>,
    done: usize,
    is_read: bool,
}

/// The board. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Board {
    inner: Arc<Mutex<Inner>>,
    clock: SimClock,
    /// For each client.
    pub(super) answered: Vec<Arc<AtomicU64>>,
}

impl Board {
    pub(super) fn new(clock: SimClock, clients: usize) -> Self {
        let answered = (0..clients).map(|_client| Arc::default()).collect();
        Self { inner: Arc::default(), clock, answered }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, what: What) {
        let entry = Entry { at_ms: self.clock.now_ms(), what };
        self.inner().entries.push(entry);
    }

    /// How a node's own replica is.
    pub(super) fn note(&self, node: NodeId, status: &Status) {
        let leads = status.leader == Some(status.replica);
        let now = (status.term, leads, status.applied);
        if self.inner().replicas.insert(node, now) != Some(now) {
            let (term, leads, applied) = now;
            self.add(What::Replica { node, term, leads, applied });
        }
    }

    /// Nothing is known of a node that crashed.
    pub(super) fn forget(&self, node: NodeId) {
        self.inner().replicas.remove(&node);
    }

    /// Who leads, as far as the nodes themselves say.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let inner = self.inner();
        let leaders = inner.replicas.iter().filter(|(_node, (_term, leads, _))| *leads);
        leaders.max_by_key(|(_node, (term, ..))| *term).map(|(node, _)| *node)
    }

    pub(super) fn founded(&self) {
        self.inner().is_founded = true;
        self.add(What::Founded);
    }

    pub(super) fn is_founded(&self) -> bool {
        self.inner().is_founded
    }

    /// That node is to lead.
    pub(super) fn order(&self, node: NodeId) {
        self.inner().orders.push_back(node);
    }

    pub(super) fn next_order(&self) -> Option<NodeId> {
        self.inner().orders.pop_front()
    }

    /// A client has ended, with its failure if it failed.
    pub(super) fn done(&self, ended: Result<(), String>) {
        let mut inner = self.inner();
        inner.done += 1;
        inner.failures.extend(ended.err());
    }

    pub(super) fn are_done(&self) -> bool {
        self.inner().done == self.answered.len()
    }

    /// Every key was read at the end, or that failed.
    pub(super) fn read(&self, ended: Result<(), String>) {
        let mut inner = self.inner();
        inner.is_read = true;
        inner.failures.extend(ended.err());
    }

    pub(super) fn is_read(&self) -> bool {
        self.inner().is_read
    }

    /// All that happened, and all that failed.
    pub(super) fn take(&self) -> (Vec<Entry>, Vec<String>) {
        let mut inner = self.inner();
        (std::mem::take(&mut inner.entries), std::mem::take(&mut inner.failures))
    }
}
