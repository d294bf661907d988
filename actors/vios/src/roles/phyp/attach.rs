//! Attaches and detaches a hypervisor's disks as the cluster's database says.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use vioduct_runtime::{LocalRef, Node};

use super::desk::{AskUse, Attach, Detach, OpenDisk, Phyp};
use super::front::Front;
use super::{DiskConfig, OPEN_WITHIN};
use crate::cluster::admin::let_go;
use crate::cluster::cm::ClusterSight;
use crate::cluster::row::{LuRow, OwnerRow, PoolRow, Storage, VtdKey, VtdRow};
use crate::cluster::view::View;
use crate::disk::Disk;
use crate::lpar::{OutsideLu, Records};
use crate::redirect::limits::LEASE_TOLD;
use crate::redirect::name::LuId;

/// How long it is waited before a disk is attached or detached again that was not.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a storage is waited for that makes a disk larger.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether disks are over, to be attached anew.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Gives a hypervisor its disks.
pub(super) struct Attacher {
    node: Node,
    phyp: LocalRef<Phyp>,
    cec: u32,
    sockets: PathBuf,
    cluster: ClusterSight,
    /// Those that it has given, and by which VTD.
    attached: BTreeMap<LuId, VtdKey>,
    /// LUs outside of the cluster whose owner, of this number, has died here, and since when that
    /// is known.
    left: BTreeMap<LuId, (u64, Instant)>,
    /// Why disks were not attached, as it was logged.
    refused: BTreeMap<LuId, String>,
}

impl Attacher {
    pub(super) fn new(
        node: Node,
        phyp: LocalRef<Phyp>,
        cec: u32,
        sockets: PathBuf,
        cluster: ClusterSight,
    ) -> Self {
        let (attached, left, refused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { node, phyp, cec, sockets, cluster, attached, left, refused }
    }

    /// Ends with the node.
    pub(super) async fn run(mut self) {
        let sockets = self.sockets.clone();
        let made = spawn_blocking(move || fs::create_dir_all(sockets)).await;
        if let Ok(Err(error)) = made {
            tracing::error!(%error, dir = %self.sockets.display(), "no directory for sockets");
        }
        loop {
            let view = self.cluster.view.borrow_and_update().clone();
            let is_done = match view {
                Some(view) => self.become_as(&view).await,
                None => true,
            };
            let pause = if is_done { LOOK_EVERY } else { PAUSE };
            if !self.cluster.changed(Some(pause)).await {
                return;
            }
        }
    }

    /// Whether all is as the database says.
    async fn become_as(&mut self, view: &View) -> bool {
        let wanted = self.wanted(view);
        let mut is_done = true;
        for (lu, vtd) in self.attached.clone() {
            let is_wanted = wanted.get(&lu).is_some_and(|(wanted, _row)| *wanted == vtd);
            if is_wanted || view.is_unreadable::<VtdRow>(&vtd) {
                continue;
            }
            match self.phyp.ask(Detach { lu, vtd }, OPEN_WITHIN).await {
                Ok(true) => drop((self.attached.remove(&lu), self.refused.remove(&lu))),
                Ok(false) | Err(_) => is_done = false,
            }
        }
        for (lu, (vtd, row)) in wanted {
            if self.attached.get(&lu).is_some_and(|attached| *attached != vtd) {
                continue;
            }
            is_done &= match self.place_of(view, lu, vtd) {
                Some(place) => self.attach(lu, vtd, row, place).await,
                None => false,
            };
        }
        is_done &= self.let_go(view).await;
        self.are_as_large(view).await && is_done
    }

    /// Whether every LU outside of the cluster whose owner has died here without an end in order is
    /// let go, so that another hypervisor may have it: once nothing of that owner can land there.
    async fn let_go(&mut self, view: &View) -> bool {
        let own = self.node.name().clone();
        let left = view.all::<OwnerRow>().filter(|(_lu, row)| row.node == own && !row.is_clean);
        let (mut is_done, mut before) = (true, std::mem::take(&mut self.left));
        for (lu, OwnerRow { owner, .. }) in left {
            // One that nobody knows a life of is an operator's to release.
            let Some(life) = request_life(view, lu).flatten() else { continue };
            if self.phyp.ask(AskUse { lu: lu.0 }, OPEN_WITHIN).await != Ok(false) {
                continue;
            }
            let known = before.remove(&lu).filter(|(of, _since)| *of == owner);
            let (_owner, since) = known.unwrap_or((owner, Instant::now()));
            self.left.insert(lu, (owner, since));
            is_done = false;
            if since.elapsed() > LEASE_TOLD + life {
                match let_go(&self.cluster.db, lu, owner).await {
                    Ok(()) => tracing::info!(lu = lu.0, "an LU whose owner has died is let go"),
                    Err(error) => tracing::debug!(lu = lu.0, %error, "an LU is not let go yet"),
                }
            }
        }
        is_done
    }

    /// The disks of its CEC's clients.
    fn wanted(&self, view: &View) -> BTreeMap<LuId, (VtdKey, VtdRow)> {
        let own = view.all::<VtdRow>().filter(|(_vtd, row)| row.client.cec == self.cec);
        own.map(|(vtd, row)| (LuId(row.lu), (vtd, row))).collect()
    }

    /// Whether the disks that are open are as large as they are to be. After one that nobody tells
    /// of, the others are looked at later: a storage that is away would be waited for each time.
    async fn are_as_large(&self, view: &View) -> bool {
        let mut are_large = true;
        for (lu, vtd) in &self.attached {
            let size = view.get::<LuRow>(lu).map_or(0, |row| row.size);
            match self.is_as_large(*lu, *vtd, size).await {
                Some(is_large) => are_large &= is_large,
                None => return false,
            }
        }
        are_large
    }

    /// Whether a disk that is open has this size, or has it now; one that is not open will. None if
    /// the storage does not tell.
    async fn is_as_large(&self, lu: LuId, vtd: VtdKey, size: u64) -> Option<bool> {
        let Ok(Some(disk)) = self.phyp.ask(OpenDisk { lu, vtd }, OPEN_WITHIN).await else {
            return Some(true);
        };
        if disk.device().size >= size {
            return Some(true);
        }
        match disk.look_at_size(&self.node, lu, LOOK_WITHIN).await {
            Ok(has) if has >= size => {
                tracing::info!(lu = lu.0, size, "who connects sees a larger disk");
                Some(true)
            }
            Ok(_smaller) => Some(false),
            Err(error) => {
                tracing::debug!(lu = lu.0, %error, "it is not known how large a disk is");
                None
            }
        }
    }

    /// Attaches a disk, unless it is attached and not over.
    async fn attach(
        &mut self,
        lu: LuId,
        vtd: VtdKey,
        row: VtdRow,
        outside: Option<OutsideLu>,
    ) -> bool {
        let own = || Front::Unix(self.sockets.join(format!("{}-lu{}.sock", row.client.name, lu.0)));
        let front = row.front.as_deref().and_then(|front| front.parse().ok()).unwrap_or_else(own);
        let disk = DiskConfig { lu, front, vtd: Some((vtd, row.client)), outside };
        match self.phyp.ask(Attach(disk), OPEN_WITHIN).await {
            Ok(Ok(())) => {
                self.attached.insert(lu, vtd);
                self.refused.remove(&lu);
                true
            }
            Ok(Err(error)) => {
                // What is shown of it goes when the VTD does.
                self.attached.insert(lu, vtd);
                let error = error.to_string();
                if self.refused.get(&lu) != Some(&error) {
                    tracing::warn!(lu = lu.0, vtd = vtd.0, error, "a VTD's disk is not attached");
                    self.refused.insert(lu, error);
                }
                false
            }
            Err(_ended) => false,
        }
    }

    /// Where an LU lies; none if that is not known, as what it is then must not be guessed.
    #[expect(clippy::option_option, reason = "in the cluster, outside of it, or nobody knows")]
    fn place_of(&self, view: &View, lu: LuId, vtd: VtdKey) -> Option<Option<OutsideLu>> {
        if view.get::<LuRow>(&lu)?.export.is_none() {
            return Some(None);
        }
        let request_life = request_life(view, lu)?;
        let records = Records::Database { db: self.cluster.db.clone(), vtd };
        Some(Some(OutsideLu { records, request_life }))
    }
}

/// The request life of the storage outside of the cluster that an LU lies on, if anybody knows it;
/// none if the LU does not lie on such a one.
#[expect(clippy::option_option, reason = "a life, one that nobody knows, or no such storage")]
fn request_life(view: &View, lu: LuId) -> Option<Option<Duration>> {
    let pool = view.get::<LuRow>(&lu)?.pool;
    match view.get::<PoolRow>(&pool)?.storage {
        Storage::Outside { request_life_ms } => {
            Some(request_life_ms.map(|ms| Duration::from_millis(ms.into())))
        }
        Storage::Node(_) => None,
    }
}
