//! The VIOS of a node that belongs to a cluster: it serves once the cluster knows its number, and
//! ceases when it is taken out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use vioduct_certs::credentials::Credentials;
use vioduct_runtime::Node;
use vioduct_transport::Endpoint;

use super::layout::Layout;
use super::vios::{ViosConfig, ViosRole};
use crate::cluster::cm::ClusterSight;
use crate::cluster::row::ViosRow;
use crate::cluster::view::View;
use crate::redirect::name::ViosId;

/// A node's ends of fabrics, which show its certificate. A clone has the same.
#[derive(Debug, Clone, Default)]
pub struct Fabrics(Arc<Mutex<Vec<Endpoint>>>);

impl Fabrics {
    /// And these. They show what the node shows now.
    pub fn add(&self, node: &Node, ends: &[Endpoint]) {
        let mut all = self.lock();
        // It may have changed since they were made.
        ends.iter().for_each(|end| end.set_credentials(node.endpoint().credentials()));
        all.extend_from_slice(ends);
    }

    /// All of them show these from now on, as the node does already.
    pub fn show(&self, credentials: &Arc<Credentials>) {
        self.lock().iter().for_each(|end| end.set_credentials(Arc::clone(credentials)));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Endpoint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's VIOS in a cluster.
#[derive(Debug)]
pub struct ClusterVios {
    stop: watch::Sender<bool>,
    keeper: JoinHandle<()>,
}

impl ClusterVios {
    /// Serves clients from this node as soon as, and as long as, the cluster has its VIOS. Its ends
    /// of the fabric are added to `fabrics`.
    #[must_use]
    pub fn start(node: &Node, cluster: ClusterSight, config: ViosConfig, fabrics: Fabrics) -> Self {
        let (stop, stopped) = watch::channel(false);
        let keeper = tokio::spawn(keep(node.clone(), cluster, config, fabrics, stopped));
        Self { stop, keeper }
    }

    /// Closes its ends of the fabric in order. Not cancel-safe.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        // Fails only when it panicked.
        drop((&mut self.keeper).await);
    }
}

impl Drop for ClusterVios {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(
    node: Node,
    mut cluster: ClusterSight,
    config: ViosConfig,
    fabrics: Fabrics,
    mut stop: watch::Receiver<bool>,
) {
    let (mut vioses, mut may_serve) = (cluster.layouts.clone(), cluster.may_serve.clone());
    let begin = async {
        may_serve.wait_for(|may_serve| *may_serve).await.ok()?;
        Some(vioses.until(|layout| own(&node, layout)).await)
    };
    let vios = tokio::select! {
        biased;
        _stop = stop.wait_for(|is_stopped| *is_stopped) => return,
        vios = begin => match vios {
            Some(vios) => vios,
            None => return,
        },
    };
    let mut role = match ViosRole::start(&node, &vioses, config).await {
        Ok(role) => role,
        Err(error) => {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            return tracing::error!(%error, why, "no client is served until the node starts anew");
        }
    };
    tracing::info!(vios = vios.0, "clients are served");
    role.join(&node, &cluster).await;
    fabrics.add(&node, role.fabrics());
    let is_another = |view: &View| {
        let is_own = own(&node, &Layout::of(view)) == Some(vios);
        (!is_own && !view.is_unreadable::<ViosRow>(node.name())).then_some(())
    };
    let ended = tokio::select! {
        biased;
        _stop = stop.wait_for(|is_stopped| *is_stopped) => None,
        Some(()) = cluster.until(is_another) => Some("the cluster has this VIOS no more"),
        Ok(_refused) = may_serve.wait_for(|may| !*may) => Some("the cluster refuses it"),
    };
    match ended {
        None => role.close().await,
        Some(why) => {
            tracing::warn!(vios = vios.0, why, "no client is served until the node starts anew");
            role.leave().await;
        }
    }
}

fn own(node: &Node, layout: &Layout) -> Option<ViosId> {
    layout.on(node.name()).map(|place| place.vios)
}
