//! A virtual I/O server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use vioduct_certs::identity::{NodeName, Role};
use vioduct_runtime::{Access, ActorHandle, ActorId, LocalRef, Node, RestartPolicy};
use vioduct_transport::{Endpoint, TransportConfig};

use super::layout::Layouts;
use super::login::{LOGINS_MAX, Logins};
use super::{RoleError, fabric, name, redundancy};
use crate::carry::{CarriedCall, CarriedWord};
use crate::cke::{CKE_NAME, Cke, PathNews, Peer, PeerGone, PeerSeen, REDIRECT_NAME, Redirect};
use crate::cluster::cm::ClusterSight;
use crate::dsa::limits::DsaLimits;
use crate::dsa::{self, Adapter, Dsa, FollowPaths};
use crate::outside::{self, Outside, OutsideConfig};
use crate::redirect::limits::RelayLimits;
use crate::redirect::name::ViosId;
use crate::seek::{Seeker, Task};
use crate::vsa::{AskAdapters, Inquire, TellWhoComes, VSA_NAME, Vsa};

/// The DSA answers on this node.
const TELL_WITHIN: Duration = Duration::from_secs(5);

/// A physical adapter: one way to the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterConfig {
    /// What operators call it; the VIOS has no other one of this name.
    pub name: String,
    /// Where it sends from, UDP.
    pub listen: SocketAddr,
    /// The node that serves the storage.
    pub storage: NodeName,
    /// The port of that which it leads to, UDP: no other adapter of the VIOS leads there.
    pub addr: SocketAddr,
}

/// What a VIOS is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViosConfig {
    /// Its ways to a repository.
    pub adapters: Vec<AdapterConfig>,
    /// Its way to a storage outside of the cluster, if it has no other.
    pub outside: Option<OutsideConfig>,
    /// Bounds of its redirect actor.
    pub limits: RelayLimits,
    /// When a way is lost, degraded or good.
    pub dsa: DsaLimits,
    /// The fabric's links.
    pub fabric: TransportConfig,
}

/// A node's VIOS. It ends with the node; close its ends of the fabric before.
#[derive(Debug)]
pub struct ViosRole {
    vios: ViosId,
    redirect: LocalRef<Redirect>,
    dsa: LocalRef<Dsa>,
    vsa: ActorHandle<Vsa>,
    fabrics: Vec<Endpoint>,
    outside: Option<LocalRef<Outside>>,
    /// What it does beside in a cluster.
    joined: Vec<Task>,
    _search: Task,
}

impl ViosRole {
    /// Begins to serve clients from this node, as the one of these VIOSes that belongs on it.
    ///
    /// # Errors
    /// [`RoleError`]
    pub async fn start(
        node: &Node,
        vioses: &Layouts,
        config: ViosConfig,
    ) -> Result<Self, RoleError> {
        let ViosConfig { adapters, outside, limits, dsa, fabric: links } = config;
        let own = vioses.now().on(node.name()).cloned();
        let own = own.ok_or_else(|| RoleError::NoVios(node.name().clone()))?;
        if outside.is_some() && !adapters.is_empty() {
            return Err(RoleError::TwoStorages);
        }
        let mut ports = BTreeSet::new();
        for AdapterConfig { storage, addr, .. } in &adapters {
            if !ports.insert((storage, addr)) {
                return Err(RoleError::SamePort { storage: storage.clone(), addr: *addr });
            }
        }
        let mut redirect = Some(Redirect::new(limits, own.vios, own.cec)?);
        let redirect = node.actor(move || redirect.take().expect("it is made once"));
        let redirect = redirect.restart(RestartPolicy::never()).named(name(REDIRECT_NAME));
        let redirect = redirect.start().await?.now().ok_or(RoleError::Ended)?;

        let (front, fellows) = (redirect.clone(), vioses.clone());
        let cke = node.actor(move || Cke::new(front.clone(), fellows.clone())).beside(&redirect);
        let fellows = || Access::roles([Role::Vios]);
        let cke = cke.named(name(CKE_NAME)).accept::<CarriedCall>(fellows());
        let cke = cke.accept::<CarriedWord>(fellows()).accept::<PathNews>(fellows());
        cke.start().await?;

        let adapter = |AdapterConfig { name, storage, addr, .. }: &AdapterConfig| Adapter {
            name: name.clone(),
            storage: storage.to_string(),
            port: Some(addr.to_string()),
        };
        let beyond = outside.iter().map(|OutsideConfig { name, server, .. }| Adapter {
            name: name.clone(),
            storage: server.to_string(),
            port: None,
        });
        let watched: Vec<_> = adapters.iter().map(adapter).chain(beyond).collect();
        let dsa = dsa::start(node, &redirect, dsa, &watched).await?;
        let outside = match outside {
            Some(outside) => Some(outside::start(node, &redirect, &dsa, outside).await?),
            None => None,
        };
        let inside = watched.get(..adapters.len()).unwrap_or_default();
        let ends = dsa::start_adapters(node, &redirect, &dsa, inside).await?;
        let mut fabrics = Vec::with_capacity(adapters.len());
        for (AdapterConfig { listen, storage, addr, .. }, end) in adapters.into_iter().zip(ends) {
            let fabric = fabric(node, &redirect, listen, links.clone(), end).await?;
            fabric.connect(storage, addr).await?;
            fabrics.push(fabric);
        }
        let clients = || Access::roles([Role::Phyp]);
        let mut made = Some(Vsa::new(redirect.clone(), outside.clone(), watched));
        let vsa = node.actor(move || made.take().expect("it is made once")).beside(&redirect);
        let vsa = vsa.restart(RestartPolicy::never()).named(name(VSA_NAME));
        let vsa = vsa.accept::<CarriedCall>(clients()).accept::<Inquire>(clients());
        let vsa = vsa.accept::<AskAdapters>(Access::tools()).start().await?;
        let search = find_fellows(node.clone(), redirect.clone(), own.vios, vioses.clone());
        let (vios, search) = (own.vios, Task::spawn(search));
        let joined = Vec::new();
        Ok(Self { vios, redirect, dsa, vsa, fabrics, outside, joined, _search: search })
    }

    /// From now on what becomes of its paths is told, its clients are logged in, and an outside
    /// storage has the exports that the cluster's database says.
    pub(super) async fn join(&mut self, node: &Node, cluster: &ClusterSight) {
        let Some(vsa) = self.vsa.now() else { return };
        let (come, came) = mpsc::channel(LOGINS_MAX);
        // Each fails only when the node ends.
        let follow = FollowPaths { events: cluster.events.clone() };
        if let Ok(paths) = self.dsa.ask(follow, TELL_WITHIN).await {
            let (db, name) = (cluster.db.clone(), node.name().clone());
            self.joined.push(Task::spawn(redundancy::tell(db, name, self.vios, paths)));
        }
        vsa.tell(TellWhoComes(come)).await.ok();
        if let Some(outside) = self.outside.clone() {
            let follow = outside::follow(node.name().clone(), outside, cluster.clone());
            self.joined.push(Task::spawn(follow));
        }
        let (node, vios, cluster) = (node.clone(), self.vios, cluster.clone());
        self.joined.push(Task::spawn(Logins { node, vios, cluster, vsa, came }.run()));
    }

    /// Its redirect actor.
    #[must_use]
    pub const fn redirect(&self) -> &LocalRef<Redirect> {
        &self.redirect
    }

    /// Its ends of the fabric: one for each adapter, in order.
    #[must_use]
    pub fn fabrics(&self) -> &[Endpoint] {
        &self.fabrics
    }

    /// Ends its part in the cluster, while its node goes on: clients enter by others at once. Not
    /// cancel-safe.
    pub async fn leave(&self) {
        self.vsa.stop().await;
        self.close().await;
    }

    /// Closes its ends of the fabric in order. Not cancel-safe.
    pub async fn close(&self) {
        for fabric in &self.fabrics {
            fabric.close().await;
        }
    }
}

/// Tells the redirect actor of the other VIOSes: each life of a CKE once its node is known as a
/// VIOS's, and when it is that no more.
async fn find_fellows(node: Node, redirect: LocalRef<Redirect>, own: ViosId, mut layouts: Layouts) {
    let mut fellows = Seeker::<Peer>::new(node, name(CKE_NAME));
    let mut found = BTreeMap::new();
    let mut told: BTreeMap<NodeName, (ViosId, ActorId)> = BTreeMap::new();
    loop {
        tokio::select! {
            cke = fellows.next() => match cke {
                Some(cke) => drop(found.insert(cke.id().node.clone(), cke)),
                None => return,
            },
            () = layouts.changed() => {}
        }
        let (gone, seen) = {
            let layout = layouts.now();
            let vios_on = |node: &NodeName| layout.on(node).map(|place| place.vios);
            let gone = told.iter().filter(|(node, (vios, _))| vios_on(node) != Some(*vios));
            let gone: Vec<_> = gone.map(|(node, (vios, _))| (node.clone(), *vios)).collect();
            let others = found.iter().filter_map(|(node, cke)| Some((node, vios_on(node)?, cke)));
            let others = others.filter(|(node, vios, cke)| {
                let is_told = |(of, id): &(ViosId, ActorId)| of == vios && id == cke.id();
                *vios != own && !told.get(*node).is_some_and(is_told)
            });
            let seen: Vec<PeerSeen> =
                others.map(|(_, vios, cke)| PeerSeen { vios, cke: cke.clone() }).collect();
            (gone, seen)
        };
        for (node, vios) in gone {
            told.remove(&node);
            if redirect.tell(PeerGone { vios }).await.is_err() {
                return;
            }
        }
        for seen in seen {
            let id = seen.cke.id().clone();
            told.insert(id.node.clone(), (seen.vios, id));
            if redirect.tell(seen).await.is_err() {
                return;
            }
        }
    }
}
