//! Serves a volume.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::task::spawn_blocking;
use vioduct_certs::identity::Role;
use vioduct_runtime::{Access, LocalRef, Node, RestartPolicy};
use vioduct_transport::{Endpoint, TransportConfig};

use super::layout::Layouts;
use super::provision::Provisioner;
use super::{RoleError, fabric, name};
use crate::carry::CarriedCall;
use crate::cluster::cm::ClusterSight;
use crate::fabric::FabricEnd;
use crate::file::OpenError;
use crate::redirect::Epoch;
use crate::redirect::limits::{StoreLimits, within};
use crate::redirect::name::LuId;
use crate::repository::actor::Repository;
use crate::repository::backing::{Backing, FileBacking};
use crate::repository::desk::{AskLu, ListLus, NextOwner, REPOSITORY_NAME};
use crate::repository::room::AskRoom;
use crate::repository::volume::{Opened, Volume, VolumeError};
use crate::seek::Task;

/// What a storage node serves, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// The volume's directory. It is made when it is new.
    pub dir: PathBuf,
    /// Where VIOSes dial the fabric, UDP: one port for each fabric that leads here, 256 at most.
    /// The adapters of a VIOS lead to different ones.
    pub ports: Vec<SocketAddr>,
    /// LUs that there have to be, with their bytes. Those that are missing are made.
    pub lus: BTreeMap<LuId, u64>,
    /// Bounds of the repository.
    pub limits: StoreLimits,
    /// The fabric's links.
    pub fabric: TransportConfig,
}

/// A node's repository. It ends with the node; close its ends of the fabric before.
#[derive(Debug)]
pub struct StorageRole {
    fabrics: Vec<Endpoint>,
    _provisioning: Option<Task>,
}

impl StorageRole {
    /// Serves a volume on this node to these VIOSes.
    ///
    /// # Errors
    /// [`RoleError`]; also when an LU has another size than it has to have.
    pub async fn start(
        node: &Node,
        vioses: &Layouts,
        config: StorageConfig,
    ) -> Result<Self, RoleError> {
        Self::start_with(node, vioses, config, FileBacking::open).await
    }

    /// The same, and `open` gives the bytes of each LU.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with<D: Backing>(
        node: &Node,
        vioses: &Layouts,
        config: StorageConfig,
        open_lu: impl Fn(&Volume, LuId) -> Result<D, OpenError> + Send + Sync + 'static,
    ) -> Result<Self, RoleError> {
        let (_repository, fabrics) = serve(node, vioses.clone(), config, open_lu).await?;
        Ok(Self { fabrics, _provisioning: None })
    }

    /// Serves a volume on this node to a cluster's VIOSes. LUs are made and deleted as the
    /// cluster's database says of this node's pools, for as long as this lives.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_in(
        node: &Node,
        cluster: ClusterSight,
        config: StorageConfig,
    ) -> Result<Self, RoleError> {
        let vioses = cluster.layouts.clone();
        let (repository, fabrics) = serve(node, vioses, config, FileBacking::open).await?;
        let provisioner = Provisioner::new(node.name().clone(), repository, cluster);
        Ok(Self { fabrics, _provisioning: Some(Task::spawn(provisioner.run())) })
    }

    /// Its ends of the fabric: one for each port, in order.
    #[must_use]
    pub fn fabrics(&self) -> &[Endpoint] {
        &self.fabrics
    }

    /// Closes its ends of the fabric in order. Not cancel-safe.
    pub async fn close(&self) {
        for fabric in &self.fabrics {
            fabric.close().await;
        }
    }
}

async fn serve<D: Backing>(
    node: &Node,
    vioses: Layouts,
    config: StorageConfig,
    open_lu: impl Fn(&Volume, LuId) -> Result<D, OpenError> + Send + Sync + 'static,
) -> Result<(LocalRef<Repository<D>>, Vec<Endpoint>), RoleError> {
    let StorageConfig { dir, ports, lus, limits, fabric: links } = config;
    within("ports", ports.len() as u128, 1, 256)?;
    let opened = spawn_blocking(move || open(&dir, &lus)).await??;
    let repository =
        spawn_blocking(move || Repository::with(opened, limits, vioses, open_lu)).await??;
    let mut repository = Some(repository.asking(node.clone()));
    let actor = node.actor(move || repository.take().expect("it is made once"));
    let actor = actor.restart(RestartPolicy::never()).named(name(REPOSITORY_NAME));
    let actor = actor.accept::<NextOwner>(Access::roles([Role::Phyp]));
    let actor = actor.accept::<AskLu>(Access::nodes().or(Access::tools()));
    let actor = actor.accept::<AskRoom>(Access::nodes().or(Access::tools()));
    let actor = actor.accept::<ListLus>(Access::nodes().or(Access::tools()));
    let actor = actor.start().await?.now().ok_or(RoleError::Ended)?;
    let mut fabrics = Vec::with_capacity(ports.len());
    for (number, port) in (0..=u8::MAX).zip(ports) {
        let served = actor.clone();
        let end = move || FabricEnd::<_, CarriedCall, _>::new(number, served.clone(), served);
        fabrics.push(fabric(node, &actor, port, links.clone(), end).await?);
    }
    Ok((actor, fabrics))
}

/// Opens the volume; makes it, and the LUs, that are missing.
fn open(dir: &std::path::Path, lus: &BTreeMap<LuId, u64>) -> Result<Opened, VolumeError> {
    let mut opened = match Volume::open(dir, rand::random()) {
        Err(VolumeError::Missing { .. }) => {
            Volume::create(dir, rand::random())?;
            tracing::info!(dir = %dir.display(), "volume made");
            Volume::open(dir, rand::random())?
        }
        opened => opened?,
    };
    for (lu, size) in lus {
        match opened.records.get(lu) {
            Some(record) if record.is_deleted => return Err(VolumeError::NoLu { lu: *lu }),
            Some(record) if record.size != *size => {
                return Err(VolumeError::OtherSize { lu: *lu, size: record.size, wanted: *size });
            }
            Some(_record) => {}
            None => {
                let identity = opened.start.identity;
                let record = opened.volume.create_lu(*lu, *size, identity, Epoch::NONE, 0)?;
                opened.records.insert(*lu, record);
                tracing::info!(lu = lu.0, size, "LU made");
            }
        }
    }
    Ok(opened)
}
