//! Addresses of peers that are given by name, looked up again and again.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{interval, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::NodeAddr;
use vioduct_runtime::Node;
use vioduct_runtime::membership::Seed;

use crate::config::PeerConfig;

/// How often names are looked up.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);
/// A look-up that takes longer is given up until the next.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);

/// Where the peers of a node are, as far as that is known.
#[derive(Debug)]
pub(crate) struct Addresses {
    listen: SocketAddr,
    known: BTreeMap<NodeName, SocketAddr>,
    named: Vec<(NodeName, NodeAddr)>,
}

/// The address of a host that may be given by name, of the family that the node listens in.
///
/// # Errors
/// When there is none, or the look-up takes too long.
pub(crate) async fn find(addr: &NodeAddr, listen: SocketAddr) -> io::Result<SocketAddr> {
    let late = |_late| io::Error::new(io::ErrorKind::TimedOut, "the look-up takes too long");
    let mut found = timeout(LOOKUP_TIMEOUT, lookup_host(addr.as_str())).await.map_err(late)??;
    let none = || {
        let family = if listen.is_ipv4() { "IPv4" } else { "IPv6" };
        io::Error::new(io::ErrorKind::NotFound, format!("the name has no {family} address"))
    };
    found.find(|found| found.is_ipv4() == listen.is_ipv4()).ok_or_else(none)
}

impl Addresses {
    /// Peers whose address is known, and those that are given by name.
    pub(crate) fn split(peers: &[PeerConfig]) -> (Vec<Seed>, Vec<(NodeName, NodeAddr)>) {
        let (mut known, mut named) = (Vec::new(), Vec::new());
        for PeerConfig { name, addr } in peers {
            match addr.as_str().parse() {
                Ok(addr) => known.push(Seed { node: name.clone(), addr }),
                Err(_host_name) => named.push((name.clone(), addr.clone())),
            }
        }
        (known, named)
    }

    /// For a node that listens there.
    pub(crate) fn new(
        listen: SocketAddr,
        known: Vec<Seed>,
        named: Vec<(NodeName, NodeAddr)>,
    ) -> Self {
        let known = known.into_iter().map(|seed| (seed.node, seed.addr)).collect();
        Self { listen, known, named }
    }

    /// Tells the node where its peers are, whenever that changes, until it is dropped.
    pub(crate) async fn keep(mut self, node: Node) {
        let mut rounds = interval(LOOKUP_INTERVAL);
        loop {
            rounds.tick().await;
            if self.look_up(&node).await {
                let known = self.known.iter();
                let seeds = known.map(|(node, addr)| Seed { node: node.clone(), addr: *addr });
                node.set_seeds(seeds.collect()).await;
            }
        }
    }

    /// Looks every name up once, and has the node dial what is new. True if anything is.
    async fn look_up(&mut self, node: &Node) -> bool {
        let mut has_changed = false;
        for (peer, addr) in &self.named {
            let found = match find(addr, self.listen).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%peer, %addr, %error, "address of a peer not found");
                    continue;
                }
            };
            if self.known.insert(peer.clone(), found) == Some(found) {
                continue;
            }
            has_changed = true;
            tracing::info!(%peer, %addr, %found, "address of a peer found");
            if let Err(error) = node.connect(peer.clone(), found).await {
                tracing::warn!(%peer, %error, "peer not dialled");
            }
        }
        has_changed
    }
}
