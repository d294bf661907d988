//! Names and groups over the whole cluster.
//!
//! Each node keeps a [`Ledger`](ledger::Ledger) of its own named and grouped actors, and tells it
//! to every node that it has a link to; nobody speaks for another one's actors. A reader says how
//! far it has read, is told what follows, a page at a time, and says so again:
//!
//! ```text
//!  reader                                    ledger
//!    │ ── Read: up to 0 ──────────────────────▶ │   with a new link, or when something was lost
//!    │ ◀── page: after 0, up to 70 ──────────── │
//!    │ ── Read: up to 70 ─────────────────────▶ │   nothing follows: the ledger keeps in mind
//!    │                                          │   …an actor starts…
//!    │ ◀── page: after 70, up to 71 ─────────── │
//! ```
//!
//! No page is sent before the one before it was read, so each reader has one page under way at
//! most, and quiet ledgers cost nothing. What is found may have ended a moment ago: references say
//! so when they are used. Two nodes may use one name at the same time, and both are found: only
//! consensus could prevent that.

mod directory;
mod group;
mod ledger;
mod listing;
mod replica;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use vioduct_certs::identity::NodeName;

use self::directory::Directory;
pub use self::group::{Group, GroupAnswers, GroupSend};
pub(crate) use self::ledger::LISTED_MAX;
pub(crate) use self::listing::{GROUPS_MAX, Listing, Page, Read};
use self::replica::PageError;
use crate::error::NotDelivered;
use crate::id::{ActorId, ActorName, GroupName};
use crate::node::Node;
use crate::reference::ActorRef;

/// The directory of a node, and who waits for it to change.
pub(crate) struct Names {
    directory: Mutex<Directory>,
    /// The directory's version.
    changed: watch::Sender<u64>,
    /// The own ledger has changed.
    written: Notify,
}

/// What became of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Read on from here.
    ReadOn(Read),
    /// The peer breaks the protocol: nothing more of it is read.
    Refused(PageError),
}

impl Names {
    pub(crate) fn new(node: NodeName, incarnation: u64) -> Self {
        Self {
            directory: Mutex::new(Directory::new(node, incarnation)),
            changed: watch::Sender::new(0),
            written: Notify::new(),
        }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        // No code that holds the lock can panic half-way through a change.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, act: impl FnOnce(&mut Directory) -> T) -> T {
        let mut directory = self.directory();
        let before = directory.version();
        let result = act(&mut directory);
        let after = directory.version();
        if after != before {
            self.changed.send_replace(after);
        }
        result
    }

    /// Lists an actor of this node.
    pub(crate) fn list(&self, listing: Listing) {
        self.change(|directory| directory.list(listing));
        self.written.notify_one();
    }

    pub(crate) fn unlist(&self, serial: u64) {
        self.change(|directory| directory.unlist(serial));
        self.written.notify_one();
    }

    pub(crate) fn unlist_all(&self) {
        self.change(Directory::unlist_all);
        self.written.notify_one();
    }

    /// Waits until the own ledger may have changed.
    pub(crate) async fn written(&self) {
        self.written.notified().await;
    }

    pub(crate) fn page(&self, read: Read) -> Option<Page> {
        self.directory().page(read)
    }

    pub(crate) fn read(&self, node: &NodeName, incarnation: u64) -> Read {
        self.change(|directory| directory.read(node, incarnation))
    }

    pub(crate) fn take(&self, node: &NodeName, incarnation: u64, page: Page) -> Taken {
        match self.change(|directory| directory.take(node, incarnation, page)) {
            Ok(()) | Err(PageError::Gap { .. }) => Taken::ReadOn(self.read(node, incarnation)),
            Err(error @ (PageError::Backwards { .. } | PageError::TooMuch)) => {
                Taken::Refused(error)
            }
        }
    }

    /// The node is gone, and all its actors, if it is that run of it or an earlier one.
    pub(crate) fn forget_run(&self, node: &NodeName, incarnation: u64) {
        self.change(|directory| directory.forget_run(node, incarnation));
    }

    /// The node is gone, whichever run of it.
    pub(crate) fn forget(&self, node: &NodeName) {
        self.forget_run(node, u64::MAX);
    }

    /// How many actors of that node can be found.
    pub(crate) fn listed(&self, node: &NodeName) -> u64 {
        self.directory().listed(node) as u64
    }

    /// The groups of an actor of this node.
    pub(crate) fn groups(&self, serial: u64) -> Vec<GroupName> {
        self.directory().groups(serial)
    }

    fn version(&self) -> u64 {
        *self.changed.borrow()
    }

    fn holders(&self, name: &ActorName) -> Vec<ActorId> {
        self.directory().holders(name)
    }
}

/// How far a peer is in reading this node's ledger.
#[derive(Debug, Default)]
pub(crate) enum Reader {
    /// It has not asked on this connection.
    #[default]
    Silent,
    /// It has read so far, and waits for more.
    Waits(Read),
    /// A page is on its way to it.
    Reads,
}

/// Names and groups of all nodes that this one is linked to.
impl Node {
    /// The actor of this name: this node's own, else that of the first node, in order of names,
    /// which has one. None when no node that is linked has told of one.
    #[must_use]
    pub fn find<P>(&self, name: &ActorName) -> Option<ActorRef<P>> {
        self.shared().names.holders(name).iter().find_map(|id| self.shared().reference(id))
    }

    /// Every actor of this name, this node's own first.
    #[must_use]
    pub fn find_all<P>(&self, name: &ActorName) -> Vec<ActorRef<P>> {
        let holders = self.shared().names.holders(name);
        holders.iter().filter_map(|id| self.shared().reference(id)).collect()
    }

    /// As [`find`](Self::find), waiting until there is one. Cancel-safe.
    ///
    /// # Errors
    /// [`NotDelivered::NoSuchName`] after `wait`.
    pub async fn find_within<P>(
        &self,
        name: &ActorName,
        wait: Duration,
    ) -> Result<ActorRef<P>, NotDelivered> {
        let mut changed = self.shared().names.changed.subscribe();
        let found = async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = self.find(name) {
                    return found;
                }
                if changed.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        let none = |_late| NotDelivered::NoSuchName { name: name.clone() };
        timeout(wait, found).await.map_err(none)
    }

    /// Changes whenever what [`find`](Self::find) and groups tell may have changed.
    #[must_use]
    pub fn names_changed(&self) -> watch::Receiver<u64> {
        self.shared().names.changed.subscribe()
    }

    /// The actors that are in this group, wherever they run; there may be none yet.
    #[must_use]
    pub fn group<P>(&self, name: GroupName) -> Group<P> {
        Group::new(self.shared(), name)
    }
}
