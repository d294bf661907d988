//! The hypervisor of a CEC: it carries the disks of its client partitions.
//!
//! ```text
//!  attach ──▶ attaching ──number granted──▶ open ──owner ended──▶ over
//!               ▲    │ no repository, …       │
//!               └────┘ tried again            └── requests wait while there is no path
//! ```

mod desk;
mod front;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use vioduct_runtime::{Access, LocalRef, Node};

use self::desk::{Attach, Note, Order, Stage};
pub use self::desk::{
    AttachDisk, AttachRefused, ClearDisk, DISKS_MAX, DiskPhase, DiskState, Disks, ListDisks,
    NotCleared, PHYP_NAME, Phyp, PhypDesk,
};
pub use self::front::{Front, FrontError};
use super::layout::Layout;
use super::{RoleError, name};
use crate::lpar::{LparConfig, LparDisk, OutsideLu};
use crate::redirect::limits::OwnerLimits;
use crate::redirect::name::LuId;

/// How long a repository is waited for at once, and until it is asked again.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
const OPEN_AGAIN: Duration = Duration::from_millis(500);
/// Disks whose attachment was asked for and has not begun.
const ORDERS_MAX: usize = DISKS_MAX;
/// How long a disk may take to end in order.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A disk of a client partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskConfig {
    /// Its LU.
    pub lu: LuId,
    /// Where the client finds it.
    pub front: Front,
    /// It lies on a storage outside of the cluster.
    pub outside: Option<OutsideLu>,
}

/// What the hypervisor of a CEC carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhypConfig {
    /// The CEC.
    pub cec: u32,
    /// All VIOSes of the cluster.
    pub layout: Layout,
    /// Its disks from the start.
    pub disks: Vec<DiskConfig>,
    /// Bounds of each disk's owner.
    pub limits: OwnerLimits,
}

/// What all disks of a hypervisor have in common.
#[derive(Debug)]
struct Common {
    node: Node,
    cec: u32,
    layout: Layout,
    limits: OwnerLimits,
    phyp: LocalRef<Phyp>,
}

/// A node's hypervisor. Dropping it cuts its clients off; [`close`](Self::close) ends it in order.
#[derive(Debug)]
pub struct PhypRole {
    phyp: LocalRef<Phyp>,
    stop: watch::Sender<bool>,
    keeper: JoinHandle<()>,
}

impl PhypRole {
    /// Begins to carry disks. When this returns, their sockets listen; clients wait there until
    /// the repository was found.
    ///
    /// # Errors
    /// [`RoleError`]
    pub async fn start(node: &Node, config: PhypConfig) -> Result<Self, RoleError> {
        let PhypConfig { cec, layout, disks, limits } = config;
        limits.validate()?;
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let phyp = node.actor(move || Phyp::new(orders.clone())).named(name(PHYP_NAME));
        let phyp = phyp.accept::<ListDisks>(Access::nodes().or(Access::tools()));
        let phyp = phyp.accept::<AttachDisk>(Access::tools());
        let phyp = phyp.accept::<ClearDisk>(Access::tools()).start().await?;
        let phyp = phyp.now().ok_or(RoleError::Ended)?;
        let (stop, stopped) = watch::channel(false);
        let common = Common { node: node.clone(), cec, layout, limits, phyp: phyp.clone() };
        let keeper = tokio::spawn(keep(Arc::new(common), ordered, stopped));
        let role = Self { phyp, stop, keeper };
        for disk in disks {
            role.attach(disk).await?;
        }
        Ok(role)
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

/// Carries one disk from its attachment to its end.
async fn carry(common: Arc<Common>, order: Order, mut stop: watch::Receiver<bool>) {
    let Order { config: DiskConfig { lu, front, outside }, bound } = order;
    let opened = tokio::select! {
        biased;
        _stop = stop.wait_for(|is_stopped| *is_stopped) => None,
        disk = common.open(lu, outside) => Some(Arc::new(disk)),
    };
    if let Some(disk) = opened {
        tracing::info!(lu = lu.0, %front, "disk attached");
        common.note(lu, Stage::Open(Arc::clone(&disk))).await;
        let name = format!("lu{}", lu.0);
        if let Err(error) = bound.serve(&common.node, Arc::clone(&disk), name, stop).await {
            tracing::warn!(lu = lu.0, %error, "a disk is not served");
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

    /// Opens a disk, however often it takes.
    async fn open(&self, lu: LuId, outside: Option<OutsideLu>) -> LparDisk {
        let entries = self.layout.entries(self.cec, lu.0);
        let config = LparConfig { lu, entries, limits: self.limits.clone(), outside };
        let mut last = String::new();
        loop {
            match LparDisk::open(&self.node, config.clone(), OPEN_WITHIN).await {
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
