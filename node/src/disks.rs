//! What a node does for disks while it runs.

use vioduct_runtime::Node;
use vioduct_vios::cluster::cm::ClusterSight;
use vioduct_vios::roles::RoleError;
use vioduct_vios::roles::keep::{ClusterVios, Fabrics};
use vioduct_vios::roles::layout::Layouts;
use vioduct_vios::roles::phyp::{OpenDisks, PhypRole};
use vioduct_vios::roles::storage::StorageRole;
use vioduct_vios::roles::vios::ViosRole;

use crate::config::DiskRoles;

/// The roles that a node has taken up.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    storage: Option<StorageRole>,
    vios: Option<Vios>,
    phyp: Option<PhypRole>,
    fabrics: Fabrics,
}

#[derive(Debug)]
enum Vios {
    /// By its node's file.
    Fixed(ViosRole),
    /// By the cluster's database.
    OfCluster(ClusterVios),
}

impl Disks {
    /// Takes them up, from the storage on; in a cluster, as its database says.
    pub(crate) async fn start(
        node: &Node,
        roles: DiskRoles,
        cluster: Option<&ClusterSight>,
    ) -> Result<Self, RoleError> {
        let (mut disks, layouts) = (Self::default(), Layouts::from(roles.layout));
        if let Some(config) = roles.storage {
            let storage = match cluster {
                Some(cluster) => StorageRole::start_in(node, cluster.clone(), config).await?,
                None => StorageRole::start(node, &layouts, config).await?,
            };
            disks.fabrics.add(node, storage.fabrics());
            disks.storage = Some(storage);
        }
        if let Some(config) = roles.vios {
            disks.vios = Some(match cluster {
                Some(cluster) => {
                    let (cluster, fabrics) = (cluster.clone(), disks.fabrics.clone());
                    Vios::OfCluster(ClusterVios::start(node, cluster, config, fabrics))
                }
                None => {
                    let vios = ViosRole::start(node, &layouts, config).await?;
                    disks.fabrics.add(node, vios.fabrics());
                    Vios::Fixed(vios)
                }
            });
        }
        if let Some(config) = roles.phyp {
            disks.phyp = Some(match cluster {
                Some(cluster) => PhypRole::start_in(node, cluster.clone(), config).await?,
                None => PhypRole::start(node, &layouts, config).await?,
            });
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
        match self.vios.take() {
            Some(Vios::Fixed(vios)) => vios.close().await,
            Some(Vios::OfCluster(vios)) => vios.close().await,
            None => {}
        }
        if let Some(storage) = self.storage.take() {
            storage.close().await;
        }
    }
}
