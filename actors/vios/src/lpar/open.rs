//! Opens a client's disk: a number for its owner, the owner, and the VIOSes for it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use vioduct_certs::identity::Role;
use vioduct_runtime::{
    Access, ActorName, ActorRef, AskError, LocalRef, Node, NotDelivered, RestartPolicy, StartError,
};

use super::actor::ClientLpar;
use super::disk::LparDisk;
use super::entries::{Entry, EntryFound};
use crate::carry::CarriedWord;
use crate::cke::{VIOS_NAME, Vios};
use crate::redirect::hold::Fence;
use crate::redirect::limits::{LimitError, OwnerLimits};
use crate::redirect::name::{Holder, LuId, OwnerId};
use crate::redirect::owner::Attachment;
use crate::repository::desk::{Desk, Granted, NextOwner, NotGranted, REPOSITORY_NAME};
use crate::seek::{Seeker, Task};

/// What a client's disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LparConfig {
    /// Which LU.
    pub lu: LuId,
    /// The VIOSes by which it is reached, the preferred one first.
    pub entries: Vec<Entry>,
    /// Bounds of its owner.
    pub limits: OwnerLimits,
}

/// Why a disk was not opened. Nothing of it runs, and whoever owned the LU owns it still.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is out of its range. Fault: the caller.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// No node of the cluster has told of a repository. Fault: none, or no node serves a volume.
    #[error("no repository in the cluster within {} ms", within.as_millis())]
    NoRepository {
        /// How long it was waited.
        within: Duration,
    },
    /// The repository was not asked, or gave no answer.
    #[error("repository: {0}")]
    Ask(#[from] AskError),
    /// The repository refuses.
    #[error("LU {}: {reason}", lu.0)]
    NotGranted {
        /// Which LU.
        lu: LuId,
        /// Why.
        reason: NotGranted,
    },
    /// The owner did not start: the node is ending.
    #[error("owner: {0}")]
    Start(#[from] StartError),
}

/// A number for a new owner, from the repository: the one place that a database of the cluster
/// will take.
async fn grant(node: &Node, lu: LuId, within: Duration) -> Result<Granted, OpenError> {
    let deadline = Instant::now() + within;
    let name = ActorName::new(REPOSITORY_NAME).expect("a constant that is a name");
    let found = node.find_within::<Desk>(&name, within).await;
    let desk: ActorRef<Desk> =
        found.map_err(|_none: NotDelivered| OpenError::NoRepository { within })?;
    let left = deadline.saturating_duration_since(Instant::now());
    let granted = desk.ask(NextOwner { lu: lu.0 }, left).await?;
    granted.map_err(|reason| OpenError::NotGranted { lu, reason })
}

/// Tells the owner of the VIOSes that it enters by, for as long as both are there.
async fn find_entries(node: Node, owner: LocalRef<ClientLpar>, entries: Vec<Entry>) {
    let name = ActorName::new(VIOS_NAME).expect("a constant that is a name");
    let mut vioses = Seeker::<Vios>::new(node, name);
    while let Some(actor) = vioses.next().await {
        let Some(entry) = entries.iter().find(|entry| entry.node == actor.id().node) else {
            continue;
        };
        if owner.tell(EntryFound { vios: entry.vios, actor }).await.is_err() {
            return;
        }
    }
}

impl LparDisk {
    /// Opens a disk on this node, which must hold the role `phyp`: from the first session on,
    /// whoever owned the LU before owns it no more. When this returns, requests are taken; they
    /// wait until there is a way to the storage, for [`OwnerLimits::hold_max`] at most.
    ///
    /// Not cancel-safe: a number may have been drawn, which is not used then.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(
        node: &Node,
        config: LparConfig,
        within: Duration,
    ) -> Result<Self, OpenError> {
        let LparConfig { lu, entries, limits } = config;
        let granted = grant(node, lu, within).await?;
        let attachment = Attachment {
            lu,
            owner: OwnerId(granted.owner),
            holder: Holder(rand::random()),
            entries: entries.iter().map(|entry| entry.vios).collect(),
            is_client_new: false,
            fence: Fence::Epochs,
        };
        let requests_max = limits.requests_max;
        let owner = ClientLpar::new(limits, attachment, entries.clone(), rand::random())?;
        let mut owner = Some(owner);
        let owner = node.actor(move || owner.take().expect("it is made once"));
        let owner = owner.restart(RestartPolicy::never());
        let owner = owner.accept::<CarriedWord>(Access::roles([Role::Vios])).start().await?;
        let life = owner.now().ok_or(StartError::Closing)?;
        let search = Task::spawn(find_entries(node.clone(), life.clone(), entries));
        Ok(Self::new(owner, life, granted.size, requests_max, search))
    }

    /// Ends the disk in order: it finishes what was asked, flushes, and closes its session, so that
    /// the next owner finds all durable. After `within`, what is left of that is dropped: nothing
    /// that was flushed is lost. Not cancel-safe.
    pub async fn close(&self, within: Duration) {
        let deadline = Instant::now() + within;
        if timeout_at(deadline, self.close_owner(within)).await.is_err() {
            tracing::warn!("a disk was not closed in order in time");
        }
    }
}
