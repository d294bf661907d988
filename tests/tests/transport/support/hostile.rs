//! A peer with valid credentials and bad manners, made of bare QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{RecvStream, SendStream};
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_certs::refusal::RefusalSlot;
use vioduct_transport::seam::SystemClock;
use vioduct_transport::wire::{ALPN, Hello, HelloDecoder, Rejection, VersionRange, Welcome};
use vioduct_transport::{DialError, DownReason, Flow, Link, LinkEvent, TransportConfig, Violation};

use super::{Node, ca, within};

/// The QUIC application error code of a violation, as `docs/wire.md` has it.
const CLOSE_VIOLATION: u64 = 3;
/// That of a handshake that came to nothing.
pub(crate) const CLOSE_SUPERSEDED: u64 = 2;

/// Someone who dials nodes with certificates of their cluster.
pub(crate) struct Hostile {
    pub(crate) credentials: Credentials,
    pub(crate) endpoint: quinn::Endpoint,
}

impl Hostile {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, endpoint: quinn::Endpoint::client(any()).unwrap() }
    }

    pub(crate) fn tls(&self) -> rustls::ClientConfig {
        let clock = Arc::new(SystemClock);
        self.credentials.client_config(&[ALPN], clock, RefusalSlot::default()).unwrap()
    }

    pub(crate) fn connecting(&self, node: &Node) -> quinn::Connecting {
        let name = node.endpoint.credentials().identity().server_name();
        self.endpoint.connect_with(client(self.tls()), node.addr, &name).unwrap()
    }

    /// A connection up to the end of TLS.
    pub(crate) async fn dial(&self, node: &Node) -> quinn::Connection {
        within(self.connecting(node)).await.unwrap()
    }

    /// A hello that an honest node with default settings would say.
    pub(crate) fn hello(&self) -> Hello {
        let identity = self.credentials.identity();
        Self::said_by(identity.cluster.as_str(), identity.name.as_str())
    }

    pub(crate) fn said_by(cluster: &str, node: &str) -> Hello {
        let config = TransportConfig::default();
        Hello {
            versions: VersionRange { min: 1, max: 1 },
            capabilities: 0,
            incarnation: 1,
            instance: 77,
            generation: 1,
            live: 0,
            lanes: config.lanes,
            head_bytes_max: config.head_bytes_max,
            inline_body_bytes_max: config.inline_body_bytes_max,
            body_bytes_max: config.body_bytes_max,
            cluster: cluster.to_owned(),
            node: node.to_owned(),
        }
    }

    /// A connection up to the answer to `hello`, which may be any bytes.
    pub(crate) async fn say(&self, node: &Node, hello: &[u8]) -> Peer {
        let connection = self.dial(node).await;
        let (mut control_send, control_recv) = connection.open_bi().await.unwrap();
        control_send.write_all(hello).await.unwrap();
        Peer { connection, control_send, control_recv }
    }

    /// A connection that the node has adopted.
    pub(crate) async fn link_as(&self, node: &Node, hello: &Hello) -> Peer {
        let mut peer = self.say(node, &hello.encode()).await;
        let welcome = peer.answer().await.expect("a correct hello is welcome");
        assert_eq!((welcome.version, welcome.hello.generation), (1, hello.generation));
        peer.control_send.write_all(&[1]).await.unwrap();
        peer
    }

    pub(crate) async fn link(&self, node: &Node) -> Peer {
        self.link_as(node, &self.hello()).await
    }
}

/// A connection of a hostile peer, with its control stream.
pub(crate) struct Peer {
    pub(crate) connection: quinn::Connection,
    pub(crate) control_send: SendStream,
    pub(crate) control_recv: RecvStream,
}

impl Peer {
    /// The node's answer to a hello.
    pub(crate) async fn answer(&mut self) -> Result<Welcome, Rejection> {
        let mut opening = [0; 7];
        within(self.control_recv.read_exact(&mut opening)).await.unwrap();
        let decoder = HelloDecoder::open(opening).unwrap();
        let [.., low, high] = opening;
        let mut fields = vec![0; usize::from(u16::from_le_bytes([low, high]))];
        within(self.control_recv.read_exact(&mut fields)).await.unwrap();
        decoder.answer(&fields).unwrap()
    }

    /// A new unidirectional stream that begins with these bytes.
    pub(crate) async fn stream(&self, bytes: &[u8]) -> SendStream {
        let mut stream = within(self.connection.open_uni()).await.unwrap();
        within(stream.write_all(bytes)).await.unwrap();
        stream
    }

    /// Opens a lane and writes these bytes on it.
    pub(crate) async fn lane(&self, lane: u8, first: u64, bytes: &[u8]) -> SendStream {
        self.stream(&[&opening(1, lane, first), bytes].concat()).await
    }

    /// Sends bytes as the body of a message.
    pub(crate) async fn body(&self, lane: u8, number: u64, bytes: &[u8]) {
        let mut stream = self.stream(&[&opening(2, lane, number), bytes].concat()).await;
        stream.finish().unwrap();
    }

    pub(crate) async fn closed(&self) -> (u64, String) {
        closed(&self.connection).await
    }
}

/// The code and the words that a node closed a connection with.
pub(crate) async fn closed(connection: &quinn::Connection) -> (u64, String) {
    match within(connection.closed()).await {
        quinn::ConnectionError::ApplicationClosed(close) => {
            let words = String::from_utf8_lossy(&close.reason).into_owned();
            (close.error_code.into_inner(), words)
        }
        other => panic!("not closed by the node: {other}"),
    }
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn client(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut quic = quinn::TransportConfig::default();
    quic.keep_alive_interval(Some(Duration::from_secs(1)));
    config.transport_config(Arc::new(quic));
    config
}

/// A listener that completes TLS as the holder of these credentials.
pub(crate) fn listener(credentials: &Credentials) -> quinn::Endpoint {
    let clock = Arc::new(SystemClock);
    let tls = credentials.server_config(&[ALPN], clock, RefusalSlot::default()).unwrap();
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(crypto)), any()).unwrap()
}

/// The first ten bytes of a unidirectional stream.
pub(crate) fn opening(kind: u8, lane: u8, number: u64) -> Vec<u8> {
    let mut bytes = vec![kind, lane];
    bytes.extend(number.to_le_bytes());
    bytes
}

/// The 13 bytes before a message's head.
pub(crate) fn header(kind: u8, flow: u32, head_bytes: u32, body_bytes: u32) -> Vec<u8> {
    let mut bytes = vec![kind];
    for number in [flow, head_bytes, body_bytes] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// A whole message without a body.
pub(crate) fn message(flow: u32, head: &[u8]) -> Vec<u8> {
    let head_bytes = u32::try_from(head.len()).unwrap();
    [&header(1, flow, head_bytes, 0), head].concat()
}

/// A node, a healthy link to it from another node, and a hostile peer.
pub(crate) struct Stage {
    pub(crate) ca: DevCa,
    pub(crate) victim: Node,
    pub(crate) healthy: Node,
    pub(crate) link: Link,
    pub(crate) hostile: Hostile,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(TransportConfig::default()).await
    }

    pub(crate) async fn with(config: TransportConfig) -> Self {
        let mut ca = ca();
        let mut credentials = |name| ca.node(name, Roles::default()).unwrap();
        let hostile = Hostile::new(credentials("evil"));
        let victim = Node::start_with(credentials("victim"), config.clone(), 1);
        let healthy = Node::start_with(credentials("healthy"), config, 1);
        let link = healthy.connect(&victim).await;
        within(link.up()).await.unwrap();
        Self { ca, victim, healthy, link, hostile }
    }

    /// A message to the node and one back.
    pub(crate) async fn round_trip(&mut self) {
        let empty = Bytes::new();
        self.link.send(Flow::Pair(1), b"ping", &empty).await.unwrap();
        loop {
            let received = self.victim.message().await;
            if received.from == self.healthy.name() {
                assert_eq!(&received.message.head[..], b"ping");
                break;
            }
        }
        let back = self.victim.endpoint.link(&self.healthy.name()).unwrap();
        back.send(Flow::Pair(1), b"pong", &empty).await.unwrap();
        assert_eq!(&self.healthy.message().await.message.head[..], b"pong");
    }

    /// Why the node turned the hostile peer down.
    pub(crate) async fn refused(&mut self) -> DialError {
        let (addr, error) = within(self.victim.refused.recv()).await.unwrap();
        assert_eq!(addr, self.hostile.endpoint.local_addr().unwrap());
        error
    }

    /// Why the node's link to the hostile peer went down.
    pub(crate) async fn down(&mut self) -> DownReason {
        let evil = self.hostile.credentials.identity().name.clone();
        within(async {
            loop {
                let (peer, event) = self.victim.events.recv().await.unwrap();
                match event {
                    LinkEvent::Down { reason } if peer == evil => return reason,
                    event if peer != evil => {
                        assert!(matches!(event, LinkEvent::Up { .. }), "{peer}: {event:?}");
                    }
                    _other => {}
                }
            }
        })
        .await
    }

    /// The node cut the connection for this reason, said so to both sides, and serves others.
    pub(crate) async fn assert_cut(mut self, peer: &Peer, expected: Violation) {
        let reason = self.down().await;
        let DownReason::Violation(violation) = &reason else { panic!("another end: {reason}") };
        assert_eq!(*violation, expected);
        assert_eq!(peer.closed().await, (CLOSE_VIOLATION, reason.to_string()));
        self.round_trip().await;
    }
}
