//! Opens a client's disk: a number for its owner, the owner, and the VIOSes for it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use vioduct_certs::identity::Role;
use vioduct_runtime::{
    Access, ActorName, ActorRef, AskError, LocalRef, Node, NotDelivered, RestartPolicy, StartError,
};

use super::actor::{AttemptsEnded, ClientLpar};
use super::disk::{LparDisk, Search, client_device};
use super::entries::{Entry, EntryFound, SetEntries};
use super::record::{OwnerRecord, RecordError, Records, Taken};
use crate::carry::CarriedWord;
use crate::disk::{Device, Disk};
use crate::redirect::hold::Fence;
use crate::redirect::limits::{LEASE_TOLD, LimitError, OwnerLimits};
use crate::redirect::name::{Holder, LuId, OwnerId};
use crate::redirect::owner::Attachment;
use crate::repository::desk::{
    AskLu, Desk, Granted, LuState, NextOwner, NotGranted, REPOSITORY_NAME,
};
use crate::seek::{Seeker, Task};
use crate::vsa::{Adapter, NotKnown, VSA_NAME, find_model};

/// How long the actor of a disk may take to end that could not end in order.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// What a client's disk is.
#[derive(Debug, Clone)]
pub struct LparConfig {
    /// Which LU.
    pub lu: LuId,
    /// The client partition that uses it, for people; may be empty.
    pub client: String,
    /// The VIOSes by which it is reached, the preferred one first.
    pub entries: Vec<Entry>,
    /// Bounds of its owner.
    pub limits: OwnerLimits,
    /// It lies on a storage outside of the cluster.
    pub outside: Option<OutsideLu>,
}

/// An LU on a storage outside of the cluster: this node alone carries it.
#[derive(Debug, Clone)]
pub struct OutsideLu {
    /// Where it is kept who owns the LU.
    pub records: Records,
    /// A request takes effect within this after it was given to its VIOS's kernel, or never, as
    /// the operator knows of the storage. `None`: nobody knows, and writes that share bytes with
    /// one that was left without an answer wait until somebody says that it can land no more.
    pub request_life: Option<Duration>,
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
    /// No VIOS knows the LU.
    #[error("LU {}: {}", lu.0, reason.as_ref().map_or_else(
        || "no VIOS that leads to an outside storage was found".to_owned(), NotKnown::to_string
    ))]
    NotKnown {
        /// Which LU.
        lu: LuId,
        /// What a VIOS said.
        reason: Option<NotKnown>,
    },
    /// The LU's record cannot be had.
    #[error("LU {}: {source}", lu.0)]
    Record {
        /// Which LU.
        lu: LuId,
        /// Why.
        source: RecordError,
    },
    /// The owner did not start: the node is ending.
    #[error("owner: {0}")]
    Start(#[from] StartError),
}

/// What a new owner begins with.
struct Grant {
    owner: OwnerId,
    device: Device,
    fence: Fence,
    record: Option<OwnerRecord>,
}

/// A number for a new owner: the repository's, or that of a record for a storage that keeps none.
async fn grant(node: &Node, config: &LparConfig, within: Duration) -> Result<Grant, OpenError> {
    let LparConfig { lu, client, entries, outside, .. } = config;
    let lu = *lu;
    let Some(OutsideLu { records, request_life }) = outside else {
        let Granted { owner, size } = ask_repository(node, lu, client, within).await?;
        let (owner, device, fence) = (OwnerId(owner), client_device(size), Fence::Epochs);
        return Ok(Grant { owner, device, fence, record: None });
    };
    let model = find_model(node, lu, entries, within).await;
    let model = model.map_err(|reason| OpenError::NotKnown { lu, reason })?;
    let taken = OwnerRecord::take(records, lu, node.name()).await;
    let Taken { record, owner, is_clear } =
        taken.map_err(|source| OpenError::Record { lu, source })?;
    let fence = Fence::None { lease: LEASE_TOLD, request_life: *request_life, is_clear };
    let device = model.device(client_device(model.size));
    Ok(Grant { owner, device, fence, record: Some(record) })
}

/// A number for a new owner, from the repository.
async fn ask_repository(
    node: &Node,
    lu: LuId,
    client: &str,
    within: Duration,
) -> Result<Granted, OpenError> {
    let deadline = Instant::now() + within;
    let desk = repository(node, within).await?;
    let left = deadline.saturating_duration_since(Instant::now());
    let granted = desk.ask(NextOwner { lu: lu.0, client: client.to_owned() }, left).await?;
    granted.map_err(|reason| OpenError::NotGranted { lu, reason })
}

async fn repository(node: &Node, within: Duration) -> Result<ActorRef<Desk>, OpenError> {
    let name = ActorName::new(REPOSITORY_NAME).expect("a constant that is a name");
    let found = node.find_within::<Desk>(&name, within).await;
    found.map_err(|_none: NotDelivered| OpenError::NoRepository { within })
}

/// Tells the owner of the VIOSes that it enters by, for as long as both are there.
async fn find_entries(
    node: Node,
    owner: LocalRef<ClientLpar>,
    mut entries: watch::Receiver<Vec<Entry>>,
) {
    let name = ActorName::new(VSA_NAME).expect("a constant that is a name");
    let mut vioses = Seeker::<Adapter>::new(node, name);
    // Of each node the latest life: a VIOS may become an entry after it was found.
    let mut found = BTreeMap::new();
    loop {
        let news = tokio::select! {
            actor = vioses.next() => match actor {
                Some(actor) => vec![actor],
                None => return,
            },
            Ok(()) = entries.changed() => {
                let list = entries.borrow_and_update().clone();
                if owner.tell(SetEntries(list)).await.is_err() {
                    return;
                }
                found.values().cloned().collect()
            }
        };
        for actor in news {
            let node = actor.id().node.clone();
            let vios = entries.borrow().iter().find(|entry| entry.node == node).map(|it| it.vios);
            found.insert(node, actor.clone());
            if let Some(vios) = vios
                && owner.tell(EntryFound { vios, actor }).await.is_err()
            {
                return;
            }
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
        let Grant { owner, device, fence, record } = grant(node, &config, within).await?;
        let LparConfig { lu, entries, limits, .. } = config;
        let attachment = Attachment {
            lu,
            owner,
            holder: Holder(rand::random()),
            entries: entries.iter().map(|entry| entry.vios).collect(),
            near: entries.iter().take_while(|entry| entry.is_near).count(),
            is_client_new: false,
            fence,
        };
        let requests_max = limits.requests_max;
        let owner = ClientLpar::new(limits, attachment, entries.clone(), rand::random())?;
        let mut owner = Some(owner);
        let owner = node.actor(move || owner.take().expect("it is made once"));
        let owner = owner.restart(RestartPolicy::never());
        let owner = owner.accept::<CarriedWord>(Access::roles([Role::Vios])).start().await?;
        let life = owner.now().ok_or(StartError::Closing)?;
        let (entries, listed) = watch::channel(entries);
        let search = Task::spawn(find_entries(node.clone(), life.clone(), listed));
        Ok(Self::new(owner, life, device, requests_max, Search::new(entries, search), record))
    }

    /// These are the VIOSes to enter by from now on, the preferred one first. A session by one that
    /// is none of them goes on by another one; nothing that was acknowledged is lost with it.
    pub fn set_entries(&self, entries: Vec<Entry>) {
        self.search().entries.send_if_modified(|before| {
            let is_other = *before != entries;
            *before = entries;
            is_other
        });
    }

    /// Becomes as large as the repository has its LU. Gives its bytes. Cancel-safe.
    ///
    /// # Errors
    /// The repository, or the owner, does not answer within the time.
    pub async fn look_at_size(
        &self,
        node: &Node,
        lu: LuId,
        within: Duration,
    ) -> Result<u64, OpenError> {
        let desk = repository(node, within).await?;
        if let Some(LuState { size, .. }) = desk.ask(AskLu { lu: lu.0 }, within).await? {
            self.grown(size, within).await?;
        }
        Ok(self.device().size)
    }

    /// Ends the disk in order: it finishes what was asked, flushes, and closes its session, so that
    /// the next owner finds all durable. After `within`, what is left of that is dropped: nothing
    /// that was flushed is lost. Not cancel-safe.
    pub async fn close(&self, within: Duration) {
        let deadline = Instant::now() + within;
        if timeout_at(deadline, self.close_owner(within)).await.is_err() {
            tracing::warn!("a disk was not closed in order in time");
            // Else it would go on for a client that is not there any more.
            drop(timeout_at(Instant::now() + STOP_WITHIN, self.stop_owner()).await);
        }
    }

    /// Nothing that an earlier owner or a lost session has left can land on the storage any more: a
    /// fence has seen to it, or an operator knows. For an LU on a storage outside of the cluster
    /// whose requests have no known life. Cancel-safe.
    ///
    /// # Errors
    /// The owner has ended.
    pub async fn clear(&self, within: Duration) -> Result<(), AskError> {
        self.owner().ask(AttemptsEnded, within).await
    }
}
