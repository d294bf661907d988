//! The hypervisor of a CEC: it carries the disks of its client partitions.
//!
//! ```text
//!  attach ──▶ attaching ──number granted──▶ open ──owner ended──▶ over
//!               ▲    │ no repository, …       │
//!               └────┘ tried again            └── requests wait while there is no path
//! ```

mod attach;
mod desk;
mod front;
mod open;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use vioduct_certs::identity::Role;
use vioduct_runtime::{Access, LocalRef, Node, RestartPolicy};

use self::attach::Attacher;
pub use self::desk::{
    AskClient, AskUse, AttachRefused, ClearDisk, DISKS_MAX, DiskPhase, DiskState, Disks,
    FRONT_BYTES_MAX, ListDisks, NotCleared, PHYP_NAME, Phyp, PhypDesk,
};
use self::desk::{Attach, Note, Order, Stage};
pub use self::front::{Front, FrontError};
pub use self::open::{NoDisk, OpenDisks};
use super::layout::{Layout, Layouts};
use super::{RoleError, name};
use crate::cluster::cm::ClusterSight;
use crate::cluster::row::{ClientKey, VtdKey};
use crate::lpar::{Entry, LparConfig, LparDisk, OutsideLu};
use crate::redirect::limits::OwnerLimits;
use crate::redirect::name::LuId;
use crate::seek::Task;

/// How long a repository is waited for at once, and until it is asked again.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
const OPEN_AGAIN: Duration = Duration::from_millis(500);
/// Disks whose attachment was asked for and has not begun.
const ORDERS_MAX: usize = DISKS_MAX;
/// Why a disk is not opened.
const NO_VIOS: &str = "no VIOS of the cluster is known yet";
/// How long a disk may take to end in order.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A disk of a client partition.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// Its LU.
    pub lu: LuId,
    /// Where the client finds it.
    pub front: Front,
    /// The VTD that shows it, and to which client partition; none if somebody else attaches it.
    pub vtd: Option<(VtdKey, ClientKey)>,
    /// It lies on a storage outside of the cluster.
    pub outside: Option<OutsideLu>,
}

/// What the hypervisor of a CEC carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhypConfig {
    /// The CEC.
    pub cec: u32,
    /// Where clients find disks whose VTD names no other place: a directory of Unix sockets.
    pub sockets: PathBuf,
    /// Bounds of each disk's owner.
    pub limits: OwnerLimits,
}

/// What all disks of a hypervisor have in common.
#[derive(Debug)]
struct Common {
    node: Node,
    cec: u32,
    layouts: Layouts,
    limits: OwnerLimits,
    phyp: LocalRef<Phyp>,
}

/// A node's hypervisor. Dropping it cuts its clients off; [`close`](Self::close) ends it in order.
#[derive(Debug)]
pub struct PhypRole {
    phyp: LocalRef<Phyp>,
    disks: OpenDisks,
    stop: watch::Sender<bool>,
    keeper: JoinHandle<()>,
    following: Option<Task>,
}

impl PhypRole {
    /// Begins to carry these disks, whose clients go by these VIOSes. When this returns, their
    /// sockets listen; clients wait there until the repository was found.
    ///
    /// # Errors
    /// [`RoleError`]
    pub async fn start(
        node: &Node,
        vioses: &Layouts,
        config: PhypConfig,
        disks: Vec<DiskConfig>,
    ) -> Result<Self, RoleError> {
        let PhypConfig { cec, limits, .. } = config;
        limits.validate()?;
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (changes, changed) = watch::channel(());
        let phyp = node.actor(move || Phyp::new(cec, orders.clone(), changes.clone()));
        let phyp = phyp.named(name(PHYP_NAME));
        let phyp = phyp.restart(RestartPolicy::never());
        let phyp = phyp.accept::<ListDisks>(Access::nodes().or(Access::tools()));
        let phyp = phyp.accept::<AskUse>(Access::roles([Role::Storage]));
        let phyp = phyp.accept::<AskClient>(Access::roles([Role::Vios]));
        let phyp = phyp.accept::<ClearDisk>(Access::tools()).start().await?;
        let phyp = phyp.now().ok_or(RoleError::Ended)?;
        let (stop, stopped) = watch::channel(false);
        let (layouts, to) = (vioses.clone(), phyp.clone());
        let common = Common { node: node.clone(), cec, layouts, limits, phyp: to };
        let keeper = tokio::spawn(keep(Arc::new(common), ordered, stopped));
        let disks_open = OpenDisks::new(phyp.clone(), changed);
        let role = Self { phyp, disks: disks_open, stop, keeper, following: None };
        for disk in disks {
            role.attach(disk).await?;
        }
        Ok(role)
    }

    /// The same in a cluster: it attaches and detaches the disks of its CEC's clients as the
    /// cluster's database says, for as long as this lives.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_in(
        node: &Node,
        cluster: ClusterSight,
        config: PhypConfig,
    ) -> Result<Self, RoleError> {
        let (cec, sockets) = (config.cec, config.sockets.clone());
        let mut role = Self::start(node, &cluster.layouts, config, Vec::new()).await?;
        let attacher = Attacher::new(node.clone(), role.phyp.clone(), cec, sockets, cluster);
        role.following = Some(Task::spawn(attacher.run()));
        Ok(role)
    }

    /// Its open disks, for whoever uses them without NBD on this node.
    #[must_use]
    pub const fn disks(&self) -> &OpenDisks {
        &self.disks
    }

    async fn attach(&self, disk: DiskConfig) -> Result<(), RoleError> {
        let (lu, front) = (disk.lu, disk.front.to_string());
        let attached = self.phyp.ask(Attach(disk), OPEN_WITHIN).await;
        let attached = attached.map_err(|_ended| RoleError::Ended)?;
        attached.map_err(|reason| RoleError::Disk { lu, front, reason })
    }

    /// Ends every disk in order: clients are cut off, what they asked for is finished and flushed,
    /// sessions are closed. Not cancel-safe.
    pub async fn close(mut self) {
        drop(self.following.take());
        self.stop.send_replace(true);
        // Fails only when it panicked.
        drop((&mut self.keeper).await);
    }
}

impl Drop for PhypRole {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Carries what is ordered until it is stopped.
async fn keep(
    common: Arc<Common>,
    mut orders: mpsc::Receiver<Order>,
    mut stop: watch::Receiver<bool>,
) {
    let mut disks = JoinSet::new();
    let stopped = stop.clone();
    loop {
        tokio::select! {
            biased;
            _stop = stop.wait_for(|is_stopped| *is_stopped) => break,
            Some(ended) = disks.join_next(), if !disks.is_empty() => report(ended),
            order = orders.recv() => match order {
                Some(order) => {
                    disks.spawn(carry(Arc::clone(&common), order, stopped.clone()));
                }
                None => break,
            },
        }
    }
    while let Some(ended) = disks.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a disk failed");
    }
}

/// Carries one disk from its attachment until it is detached, or all of them are stopped.
async fn carry(common: Arc<Common>, order: Order, mut stop: watch::Receiver<bool>) {
    let Order { config: DiskConfig { lu, front, vtd, outside }, bound, detach } = order;
    let stop = async move {
        tokio::select! {
            _stop = stop.wait_for(|is_stopped| *is_stopped) => {}
            // Also when its sender is gone.
            _detach = detach => {}
        }
    };
    let stop = stop.boxed().shared();
    let opened = tokio::select! {
        biased;
        () = stop.clone() => None,
        disk = common.open(lu, vtd.map(|(_vtd, client)| client), outside) => Some(Arc::new(disk)),
    };
    if let Some(disk) = opened {
        tracing::info!(lu = lu.0, %front, "disk attached");
        common.note(lu, Stage::Open(Arc::clone(&disk))).await;
        let name = format!("lu{}", lu.0);
        tokio::select! {
            served = bound.serve(&common.node, Arc::clone(&disk), name, stop) => {
                if let Err(error) = served {
                    tracing::warn!(lu = lu.0, %error, "a disk is not served");
                }
            }
            () = common.follow_entries(&disk, lu) => {}
        }
        disk.close(CLOSE_WITHIN).await;
        tracing::info!(lu = lu.0, "disk detached");
    }
    common.note(lu, Stage::Over).await;
}

impl Common {
    async fn note(&self, lu: LuId, stage: Stage) {
        // Fails only when the node is ending.
        drop(self.phyp.tell(Note { lu, stage }).await);
    }

    /// Tells a disk of the VIOSes to enter by whenever they change. Goes on for ever.
    async fn follow_entries(&self, disk: &LparDisk, lu: LuId) {
        let mut layouts = self.layouts.clone();
        loop {
            let entries = layouts.until(|layout| self.entries(layout, lu)).await;
            disk.set_entries(entries);
            layouts.changed().await;
        }
    }

    /// Those of its clients, if there are any.
    fn entries(&self, layout: &Layout, lu: LuId) -> Option<Vec<Entry>> {
        (!layout.is_empty()).then(|| layout.entries(self.cec, lu.0))
    }

    /// Opens a disk, however often it takes.
    async fn open(
        &self,
        lu: LuId,
        client: Option<ClientKey>,
        outside: Option<OutsideLu>,
    ) -> LparDisk {
        let client = client.as_ref().map(ClientKey::to_string).unwrap_or_default();
        let mut layouts = self.layouts.clone();
        let mut last = String::new();
        loop {
            if layouts.now().is_empty() {
                self.note(lu, Stage::Attaching(Some(NO_VIOS.to_owned()))).await;
            }
            let entries = layouts.until(|layout| self.entries(layout, lu)).await;
            let (client, limits) = (client.clone(), self.limits.clone());
            let config = LparConfig { lu, client, entries, limits, outside: outside.clone() };
            match LparDisk::open(&self.node, config, OPEN_WITHIN).await {
                Ok(disk) => return disk,
                Err(error) => {
                    let error = error.to_string();
                    if error != last {
                        tracing::warn!(lu = lu.0, error, "disk not attached, it is tried again");
                        self.note(lu, Stage::Attaching(Some(error.clone()))).await;
                        last = error;
                    }
                }
            }
            sleep_until(Instant::now() + OPEN_AGAIN).await;
        }
    }
}
