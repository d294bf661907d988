//! What a node does for disks while it runs.

use vioduct_runtime::Node;
use vioduct_transport::Endpoint;
use vioduct_vios::roles::RoleError;
use vioduct_vios::roles::phyp::PhypRole;
use vioduct_vios::roles::storage::StorageRole;
use vioduct_vios::roles::vios::ViosRole;

use crate::config::DiskRoles;

/// The roles that a node has taken up.
#[derive(Debug)]
pub(crate) struct Disks {
    storage: Option<StorageRole>,
    vios: Option<ViosRole>,
    phyp: Option<PhypRole>,
}

impl Disks {
    /// Takes them up, from the storage on.
    pub(crate) async fn start(node: &Node, roles: DiskRoles) -> Result<Self, RoleError> {
        let mut disks = Self { storage: None, vios: None, phyp: None };
        if let Some(config) = roles.storage {
            disks.storage = Some(StorageRole::start(node, config).await?);
        }
        if let Some(config) = roles.vios {
            disks.vios = Some(ViosRole::start(node, config).await?);
        }
        if let Some(config) = roles.phyp {
            disks.phyp = Some(PhypRole::start(node, config).await?);
        }
        Ok(disks)
    }

    /// The node's ends of the fabric: they show the node's certificate.
    pub(crate) fn fabrics(&self) -> Vec<Endpoint> {
        let storage = self.storage.iter().flat_map(StorageRole::fabrics);
        storage.chain(self.vios.iter().flat_map(ViosRole::fabrics)).cloned().collect()
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
