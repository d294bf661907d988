//! What a node does for disks while it runs.

use vioduct_runtime::Node;
use vioduct_vios::cluster::cm::ClusterSight;
use vioduct_vios::roles::RoleError;
use vioduct_vios::roles::keep::{ClusterVios, Fabrics};
use vioduct_vios::roles::phyp::{OpenDisks, PhypRole};
use vioduct_vios::roles::storage::StorageRole;

use crate::config::DiskRoles;

/// The roles that a node has taken up.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    storage: Option<StorageRole>,
    vios: Option<ClusterVios>,
    phyp: Option<PhypRole>,
    fabrics: Fabrics,
}

impl Disks {
    /// Takes them up, from the storage on, as the cluster's database says.
    pub(crate) async fn start(
        node: &Node,
        roles: DiskRoles,
        cluster: &ClusterSight,
    ) -> Result<Self, RoleError> {
        let mut disks = Self::default();
        if let Some(config) = roles.storage {
            let storage = StorageRole::start_in(node, cluster.clone(), config).await?;
            disks.fabrics.add(node, storage.fabrics());
            disks.storage = Some(storage);
        }
        if let Some(config) = roles.vios {
            let (cluster, fabrics) = (cluster.clone(), disks.fabrics.clone());
            disks.vios = Some(ClusterVios::start(node, cluster, config, fabrics));
        }
        if let Some(config) = roles.phyp {
            disks.phyp = Some(PhypRole::start_in(node, cluster.clone(), config).await?);
        }
        Ok(disks)
    }

    /// The node's ends of the fabric: they show the node's certificate.
    pub(crate) fn fabrics(&self) -> Fabrics {
        self.fabrics.clone()
    }

    /// Clients' disks, if it carries any.
    pub(crate) fn open(&self) -> Option<&OpenDisks> {
        self.phyp.as_ref().map(PhypRole::disks)
    }

    /// Ends them in order, clients' disks first.
    pub(crate) async fn close(&mut self) {
        if let Some(phyp) = self.phyp.take() {
            phyp.close().await;
        }
        if let Some(vios) = self.vios.take() {
            vios.close().await;
        }
        if let Some(storage) = self.storage.take() {
            storage.close().await;
        }
    }
}
