//! Links to the nodes, with a tool's certificate, and what arrives on them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Kind, NodeName};
use vioduct_certs::inventory::NodeAddr;
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{
    BoxFuture, DialError, Endpoint, Inbound, Link, LinkEvent, Message, TransportConfig,
};

use super::clock::Clock;
use super::ledger::Ledger;

/// Tells the runs of a tool apart together with the endpoint's own random number.
const TOOL_INCARNATION: u64 = 1;
/// How long the links' closing is waited for: a node that is down does not answer it.
const CLOSE_MAX: Duration = Duration::from_millis(250);

/// A node under load.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) link: Link,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Clock,
}

#[derive(Debug)]
struct Peer {
    ledger: Arc<Ledger>,
    /// Why a dial failed, before the link was first up.
    dial_error: watch::Sender<Option<DialError>>,
}

/// Hands what arrives to the ledgers.
#[derive(Debug)]
struct Arrivals {
    peers: HashMap<NodeName, Peer>,
    clock: Clock,
}

impl Inbound for Arrivals {
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        _lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        let messages = batch.drain(..);
        if let Some(peer) = self.peers.get(from.peer()) {
            peer.ledger.replied(messages, self.clock.now_ns());
        }
        Box::pin(std::future::ready(()))
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {}

    fn event(&self, link: &Link, event: LinkEvent) {
        let Some(peer) = self.peers.get(link.peer()) else { return };
        match event {
            LinkEvent::Undelivered { lane, numbers, fate } => {
                peer.ledger.undelivered(lane, numbers, fate, self.clock.now_ns());
            }
            LinkEvent::DialFailed { error } => drop(peer.dial_error.send_replace(Some(error))),
            LinkEvent::Up { .. }
            | LinkEvent::Down { .. }
            | LinkEvent::Unreachable
            | LinkEvent::PeerRestarted => {}
        }
    }

    fn refused(&self, _addr: SocketAddr, _error: DialError) {}
}

/// The links of a run.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) targets: Vec<Target>,
    endpoints: Vec<Endpoint>,
}

impl Nodes {
    /// Dials every node, and waits until all links are up.
    ///
    /// # Errors
    /// The certificate is no tool's, an address is not found, or a link is not up in time.
    pub(crate) async fn connect(
        certs: &Path,
        nodes: Vec<(NodeName, NodeAddr, Arc<Ledger>)>,
        clock: &Clock,
        deadline: Duration,
    ) -> Result<Self> {
        let credentials = Credentials::load(certs, UnixTime::now())
            .with_context(|| format!("certificates in {}", certs.display()))?;
        let identity = credentials.identity();
        if identity.kind != Kind::Tool {
            bail!("{identity} is a node; make a certificate with `vioduct ca issue --tool`");
        }
        let credentials = Arc::new(credentials);
        let mut addrs = Vec::with_capacity(nodes.len());
        let mut peers = HashMap::with_capacity(nodes.len());
        for (name, addr, ledger) in nodes {
            let found =
                resolve(&addr).await.with_context(|| format!("address {addr} of {name}"))?;
            addrs.push((name.clone(), found));
            peers.insert(name, Peer { ledger, dial_error: watch::Sender::new(None) });
        }
        let arrivals = Arc::new(Arrivals { peers, clock: clock.clone() });
        let (mut v4, mut v6) = (None, None);
        let mut targets = Vec::with_capacity(addrs.len());
        for (name, addr) in addrs {
            let (place, any) = match addr {
                SocketAddr::V4(_) => (&mut v4, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
                SocketAddr::V6(_) => (&mut v6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
            };
            let endpoint = match place {
                Some(endpoint) => endpoint,
                None => place.insert(open(any, &credentials, &arrivals)?),
            };
            let peer = arrivals.peers.get(&name).context("a node without a ledger")?;
            let link = endpoint.connect(name, addr).await?;
            targets.push(Target { link, ledger: Arc::clone(&peer.ledger), clock: clock.clone() });
        }
        for target in &targets {
            arrivals.up(&target.link, deadline).await?;
        }
        Ok(Self { targets, endpoints: v4.into_iter().chain(v6).collect() })
    }

    /// Closes every link, as far as that is quick.
    pub(crate) async fn close(self) {
        let all = async {
            for endpoint in &self.endpoints {
                endpoint.close().await;
            }
        };
        timeout(CLOSE_MAX, all).await.ok();
    }
}

impl Arrivals {
    async fn up(&self, link: &Link, deadline: Duration) -> Result<()> {
        let name = link.peer();
        match timeout(deadline, link.up()).await {
            Ok(up) => up.map(|_connection| ()).with_context(|| format!("link to {name}")),
            Err(_elapsed) => {
                let peer = self.peers.get(name);
                let dial_error = peer.and_then(|peer| peer.dial_error.borrow().clone());
                let late = anyhow!("no link to {name} within {} ms", deadline.as_millis());
                Err(dial_error.map_or(late, |error| anyhow!("{name}: {error}")))
            }
        }
    }
}

async fn resolve(addr: &NodeAddr) -> Result<SocketAddr> {
    if let Ok(addr) = addr.as_str().parse() {
        return Ok(addr);
    }
    lookup_host(addr.as_str()).await?.next().context("not found")
}

fn open(any: IpAddr, credentials: &Arc<Credentials>, arrivals: &Arc<Arrivals>) -> Result<Endpoint> {
    let config = TransportConfig::default();
    let bind = SocketAddr::new(any, 0);
    let surroundings = Surroundings::bind(bind, config.socket_buffer_bytes)
        .with_context(|| format!("socket on {bind}"))?;
    let (credentials, inbound) = (Arc::clone(credentials), Arc::<Arrivals>::clone(arrivals));
    Ok(Endpoint::new(config, TOOL_INCARNATION, credentials, surroundings, inbound)?)
}
