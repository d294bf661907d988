//! What a node of the cluster does for disks: it starts the actors of a role, finds the others that
//! they need, and keeps the fabric.
//!
//! | role | actors | needs |
//! |---|---|---|
//! | [`storage`] | `Repository` | |
//! | [`vios`] | `Redirect`, `Cke`, `Dsa`, `PhysicalAdapter`s | a repository, other VIOSes |
//! | [`phyp`] | `Phyp`, a `ClientLpar` for each disk | the VIOSes, a number from the repository |
//!
//! A node may have any of them. What it starts ends with the node; what a role has besides, links
//! of the fabric and searches, ends with [`StorageRole`](storage::StorageRole) and its likes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use actix::{Actor, Context};
use tokio::sync::oneshot;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorName, LocalRef, Node, StartError};
use vioduct_transport::{Endpoint, EndpointError, Inbound, TransportConfig};

use self::phyp::AttachRefused;
use crate::dsa::DsaError;
use crate::redirect::limits::LimitError;
use crate::redirect::name::LuId;
use crate::repository::actor::RepositoryError;
use crate::repository::volume::VolumeError;

pub mod keep;
pub mod layout;
mod login;
pub mod phyp;
mod provision;
mod redundancy;
pub mod storage;
pub mod vios;

/// Why a role was not taken up. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// A setting is out of its range. Fault: the operator.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The ways to the storage are not watched.
    #[error(transparent)]
    Dsa(#[from] DsaError),
    /// None of the cluster's VIOSes belongs on the node. Fault: the caller.
    #[error("no VIOS of the cluster belongs on {0}")]
    NoVios(NodeName),
    /// Two adapters of a VIOS lead to one port of a storage, where one certificate has one
    /// connection. Fault: the operator.
    #[error("two physical adapters lead to {storage} at {addr}")]
    SamePort {
        /// The storage's node.
        storage: NodeName,
        /// The port.
        addr: SocketAddr,
    },
    /// A VIOS leads to a repository and to an outside storage. Fault: the operator.
    #[error("a VIOS leads either to a repository or to an outside storage")]
    TwoStorages,
    /// The volume is not served.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Nothing can listen for the fabric, or for clients.
    #[error("can't listen on {place}")]
    Listen {
        /// Where.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The fabric's endpoint was refused. Fault: its settings.
    #[error("fabric")]
    Fabric(#[from] EndpointError),
    /// An actor did not start, since the node is ending, or runs the role already.
    #[error("an actor of the role")]
    Actor(#[from] StartError),
    /// A disk is not carried.
    #[error("LU {} at {front}: {reason}", lu.0)]
    Disk {
        /// Which LU.
        lu: LuId,
        /// Where clients were to find it.
        front: String,
        /// Why.
        reason: AttachRefused,
    },
    /// A task of the role ended before it began: the system is short of threads.
    #[error("the role was not started: {0}")]
    Cancelled(#[from] tokio::task::JoinError),
    /// An actor of the role failed as soon as it was started. Its log says why.
    #[error("an actor of the role has ended")]
    Ended,
}

impl From<VolumeError> for RoleError {
    fn from(error: VolumeError) -> Self {
        Self::Repository(error.into())
    }
}

/// The name of an actor of a role.
fn name(name: &'static str) -> ActorName {
    ActorName::new(name).expect("the names of actors are short and plain")
}

/// A fabric endpoint on an actor's worker and under the node's certificate. What `end` makes, on
/// that worker, stands behind it.
async fn fabric<A, E>(
    node: &Node,
    actor: &LocalRef<A>,
    addr: SocketAddr,
    config: TransportConfig,
    end: impl FnOnce() -> E + Send + 'static,
) -> Result<Endpoint, RoleError>
where
    A: Actor<Context = Context<A>>,
    E: Inbound,
{
    let (links, run) = (node.endpoint().clone(), node.incarnation());
    let make = move || {
        let listen = |source| RoleError::Listen { place: format!("{addr} for the fabric"), source };
        let surroundings = links.bind_beside(addr, config.socket_buffer_bytes).map_err(listen)?;
        Ok(Endpoint::new(config, run, links.credentials(), surroundings, Arc::new(end()))?)
    };
    let (made, endpoint) = oneshot::channel();
    let begin = move || async move {
        // Fails only when nobody waits for it any more.
        made.send(make()).ok();
    };
    node.spawn_beside(actor, begin).await?;
    endpoint.await.map_err(|_gone| RoleError::Ended)?
}
