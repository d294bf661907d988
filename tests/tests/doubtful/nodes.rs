//! What both kinds of site have: nodes, and two VIOSes of one host.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::timeout;

use vioduct_certs::credentials::Credentials;
use vioduct_runtime::{ActorName, Node};
use vioduct_vios::redirect::name::{LuId, ViosId};
use vioduct_vios::roles::layout::{Layout, Place};
use vioduct_vios::vsa::{Adapter, VSA_NAME};

use super::client::BOUND;

/// An even number: its client enters by the first VIOS.
pub(crate) const LU: LuId = LuId(8);
/// The VIOS by which the client enters, and the other one.
pub(crate) const A: ViosId = ViosId(1);
pub(crate) const B: ViosId = ViosId(2);

pub(crate) fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn layout() -> Layout {
    let place = |(vios, node): (ViosId, &str)| Place { vios, node: node.parse().unwrap(), cec: 1 };
    Layout::new([(A, "a"), (B, "b")].map(place).into()).unwrap()
}

pub(crate) async fn node(credentials: &Arc<Credentials>) -> Node {
    Node::builder(Arc::clone(credentials)).workers(1).start().await.unwrap()
}

pub(crate) async fn link(one: &Node, other: &Node) {
    one.connect(other.name().clone(), other.local_addr().unwrap()).await.unwrap();
}

/// Waits until both VIOSes are known here: a client that knows one enters by it and stays.
pub(crate) async fn know_vioses(phyp: &Node) {
    let name = ActorName::new(VSA_NAME).unwrap();
    let mut names = phyp.names_changed();
    let known = async {
        while phyp.find_all::<Adapter>(&name).len() < 2 {
            names.changed().await.unwrap();
        }
    };
    timeout(BOUND, known).await.expect("both VIOSes are known");
}
