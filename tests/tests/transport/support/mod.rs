//! Nodes of a test cluster, in one process, over loopback.

pub(crate) mod ether;
pub(crate) mod hostile;
pub(crate) mod tap;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{NodeName, Roles};
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{
    BoxFuture, DialError, Endpoint, Inbound, Link, LinkEvent, LinkState, Message, TransportConfig,
};

/// Longer than anything a passing test waits for.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) from: NodeName,
    /// The link's state when the message was handed over.
    pub(crate) state: LinkState,
    pub(crate) lane: u8,
    pub(crate) message: Message,
}

struct Channels {
    messages: mpsc::Sender<Received>,
    datagrams: mpsc::Sender<Bytes>,
    events: mpsc::Sender<(NodeName, LinkEvent)>,
    refused: mpsc::Sender<(SocketAddr, DialError)>,
}

impl Inbound for Channels {
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        Box::pin(async move {
            for message in batch.drain(..) {
                let (from, state) = (from.peer().clone(), from.state());
                let received = Received { from, state, lane, message };
                if self.messages.send(received).await.is_err() {
                    return; // The test has ended.
                }
            }
        })
    }

    fn datagram(&self, _from: &Link, datagram: Bytes) {
        self.datagrams.try_send(datagram).expect("room for datagrams");
    }

    fn event(&self, link: &Link, event: LinkEvent) {
        if self.events.try_send((link.peer().clone(), event)).is_err() {
            assert!(self.events.is_closed(), "room for events");
        }
    }

    fn refused(&self, addr: SocketAddr, error: DialError) {
        if self.refused.try_send((addr, error)).is_err() {
            assert!(self.refused.is_closed(), "room for refusals");
        }
    }
}

/// One node and what it was told.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) addr: SocketAddr,
    pub(crate) messages: mpsc::Receiver<Received>,
    pub(crate) datagrams: mpsc::Receiver<Bytes>,
    pub(crate) events: mpsc::Receiver<(NodeName, LinkEvent)>,
    pub(crate) refused: mpsc::Receiver<(SocketAddr, DialError)>,
}

impl Node {
    pub(crate) fn start(credentials: Credentials) -> Self {
        Self::start_with(credentials, TransportConfig::default(), 1)
    }

    pub(crate) fn start_with(
        credentials: Credentials,
        config: TransportConfig,
        incarnation: u64,
    ) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let surroundings = Surroundings::bind(any, config.socket_buffer_bytes).unwrap();
        Self::start_in(credentials, config, incarnation, surroundings)
    }

    pub(crate) fn start_in(
        credentials: Credentials,
        config: TransportConfig,
        incarnation: u64,
        surroundings: Surroundings,
    ) -> Self {
        let (messages, messages_end) = mpsc::channel(1024);
        let (datagrams, datagrams_end) = mpsc::channel(1024);
        let (events, events_end) = mpsc::channel(4096);
        let (refused, refused_end) = mpsc::channel(1024);
        let inbound = Arc::new(Channels { messages, datagrams, events, refused });
        let credentials = Arc::new(credentials);
        let endpoint =
            Endpoint::new(config, incarnation, credentials, surroundings, inbound).unwrap();
        Self {
            addr: endpoint.local_addr().unwrap(),
            endpoint,
            messages: messages_end,
            datagrams: datagrams_end,
            events: events_end,
            refused: refused_end,
        }
    }

    pub(crate) fn name(&self) -> NodeName {
        self.endpoint.credentials().identity().name.clone()
    }

    pub(crate) async fn connect(&self, peer: &Self) -> Link {
        self.endpoint.connect(peer.name(), peer.addr).await.unwrap()
    }

    pub(crate) async fn message(&mut self) -> Received {
        within(self.messages.recv()).await.expect("the endpoint lives")
    }

    /// The next event that `pick` takes; others are passed over.
    pub(crate) async fn event<T>(&mut self, mut pick: impl FnMut(LinkEvent) -> Option<T>) -> T {
        within(async {
            loop {
                let (_peer, event) = self.events.recv().await.expect("the endpoint lives");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        })
        .await
    }
}

pub(crate) fn now() -> UnixTime {
    UnixTime::now()
}

pub(crate) fn ca() -> DevCa {
    DevCa::new("test", now()).unwrap()
}

pub(crate) fn node(ca: &mut DevCa, name: &str) -> Node {
    Node::start(ca.node(name, Roles::default()).unwrap())
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, work).await.expect("done within the bound")
}
