//! Asks nodes over links of its own, with a tool's certificate.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Kind as HolderKind, NodeName};
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{
    BoxFuture, ConnectionInfo, DialError, Endpoint, EndpointError, Fate, Flow, Inbound, Link,
    LinkEvent, Message, SendError, Ticket, TransportConfig,
};

use super::error::{AskError, ClientError};
use super::head::{Head, HeadError, Kind, Request, SinkCount};
use super::pending::{Lost, Pending};
use super::status::NodeStatus;

/// How far apart deadlines are looked at: one ends this much late, at most.
const TICK: Duration = Duration::from_millis(20);
/// Tells the runs of a tool apart together with the endpoint's own random number.
const TOOL_INCARNATION: u64 = 1;

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Settings of its links.
    pub transport: TransportConfig,
    /// Address of its socket. Default: any of IPv4, any port.
    pub bind: SocketAddr,
    /// How long [`ServicePeer::echo`] and [`ServicePeer::sink_count`] wait. Default 10 s.
    pub deadline: Duration,
    /// Questions to one peer that may wait at once; further ones are refused. Default 65 536.
    pub outstanding_max: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            transport: TransportConfig::default(),
            bind: SocketAddr::from(([0, 0, 0, 0], 0)),
            deadline: Duration::from_secs(10),
            outstanding_max: 65_536,
        }
    }
}

/// What is kept for one peer.
#[derive(Debug)]
struct Peer {
    pending: Pending,
    /// Why the latest dial failed, when another one would fail too.
    turned_down: watch::Sender<Option<DialError>>,
}

#[derive(Debug)]
struct Shared {
    config: ClientConfig,
    peers: RwLock<HashMap<NodeName, Arc<Peer>>>,
    /// Ticks since the start.
    now: AtomicU64,
    strays: AtomicU64,
}

impl Shared {
    fn peer(&self, name: &NodeName) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn due(&self, deadline: Duration) -> u64 {
        let ticks = deadline.as_millis().div_ceil(TICK.as_millis()).saturating_add(1);
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        self.now.load(Ordering::Relaxed).saturating_add(ticks)
    }

    fn sweep(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().for_each(|peer| peer.pending.sweep(now));
    }
}

impl Inbound for Shared {
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        _lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        // Answers only; nothing waits.
        let strays = match self.peer(from.peer()) {
            Some(peer) => {
                let mut malformed = 0;
                let strays = peer.pending.answered(batch.drain(..).filter_map(|message| {
                    let head = Head::decode(&message.head).ok();
                    malformed += u64::from(head.is_none());
                    head.map(|head| (head, message.body))
                }));
                strays + malformed
            }
            None => batch.drain(..).count() as u64,
        };
        self.strays.fetch_add(strays, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {}

    fn event(&self, link: &Link, event: LinkEvent) {
        let Some(peer) = self.peer(link.peer()) else { return };
        match event {
            LinkEvent::Undelivered { lane, numbers, fate } => {
                peer.pending.undelivered(lane, numbers, fate);
            }
            LinkEvent::DialFailed { error } if is_lasting(&error) => {
                peer.turned_down.send_replace(Some(error));
            }
            LinkEvent::Up { .. } => drop(peer.turned_down.send_replace(None)),
            LinkEvent::DialFailed { .. }
            | LinkEvent::Down { .. }
            | LinkEvent::Unreachable
            | LinkEvent::PeerRestarted => {}
        }
    }

    fn refused(&self, _addr: SocketAddr, _error: DialError) {}
}

/// Whether the next dial would fail too.
const fn is_lasting(error: &DialError) -> bool {
    match error {
        DialError::Refused { .. }
        | DialError::RefusedByPeer { .. }
        | DialError::Rejected { .. }
        | DialError::Wire { .. }
        | DialError::Alpn { .. }
        | DialError::Tls(_) => true,
        DialError::TimedOut { .. } | DialError::Superseded | DialError::Broken { .. } => false,
    }
}

/// A tool's end of its links to any number of nodes.
#[derive(Debug)]
pub struct ServiceClient {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    sweeper: JoinHandle<()>,
}

impl ServiceClient {
    /// Opens the client's socket. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`]; nothing was started.
    pub fn start(credentials: Arc<Credentials>, config: ClientConfig) -> Result<Self, ClientError> {
        if credentials.identity().kind != HolderKind::Tool {
            return Err(ClientError::NotATool(credentials.identity().clone()));
        }
        let addr = config.bind;
        let surroundings = Surroundings::bind(addr, config.transport.socket_buffer_bytes)
            .map_err(|source| ClientError::Bind { addr, source })?;
        let transport = config.transport.clone();
        let shared = Arc::new(Shared {
            config,
            peers: RwLock::default(),
            now: AtomicU64::new(0),
            strays: AtomicU64::new(0),
        });
        let inbound: Arc<dyn Inbound> = Arc::<Shared>::clone(&shared);
        let endpoint =
            Endpoint::new(transport, TOOL_INCARNATION, credentials, surroundings, inbound)?;
        let sweeper = tokio::spawn(sweep(Arc::downgrade(&shared)));
        Ok(Self { endpoint, shared, sweeper })
    }

    /// Keeps a link to this node from now on. Gives the same peer for the same name.
    ///
    /// # Errors
    /// There are too many peers, or the client is closed.
    pub async fn connect(
        &self,
        node: NodeName,
        addr: SocketAddr,
    ) -> Result<ServicePeer, EndpointError> {
        let peer = {
            let mut peers = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner);
            let made = || {
                let pending = Pending::new(self.shared.config.outstanding_max);
                Arc::new(Peer { pending, turned_down: watch::Sender::new(None) })
            };
            Arc::clone(peers.entry(node.clone()).or_insert_with(made))
        };
        let link = self.endpoint.connect(node, addr).await?;
        Ok(ServicePeer { link, peer, shared: Arc::clone(&self.shared) })
    }

    /// The links' endpoint, for its credentials and figures.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Messages that answered no question, or were none. Counted over all peers.
    pub fn strays(&self) -> u64 {
        self.shared.strays.load(Ordering::Relaxed)
    }

    /// Closes every link; what was sent is acknowledged first. Questions that wait are ended by
    /// their links' reports.
    pub async fn close(&self) {
        self.endpoint.close().await;
    }
}

impl Drop for ServiceClient {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

/// Ends late questions until the client is dropped.
async fn sweep(shared: Weak<Shared>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        match shared.upgrade() {
            Some(shared) => shared.sweep(),
            None => return,
        }
    }
}

/// A node to ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ServicePeer {
    link: Link,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
}

impl ServicePeer {
    /// The link that carries the questions.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Waits until the link is up. Cancel-safe.
    ///
    /// # Errors
    /// [`AskError::Turned`] as soon as it is clear that the two sides don't accept each other,
    /// [`AskError::Deadline`] when nothing is clear by then.
    pub async fn up(&self, deadline: Duration) -> Result<Arc<ConnectionInfo>, AskError> {
        let mut turned_down = self.peer.turned_down.subscribe();
        let turned = async {
            match turned_down.wait_for(Option::is_some).await {
                Ok(error) => error.clone(),
                Err(_gone) => None,
            }
        };
        let either = async {
            tokio::select! {
                biased;
                up = self.link.up() => up.map_err(AskError::Refused),
                Some(error) = turned => Err(AskError::Turned(error)),
            }
        };
        let late = || AskError::Deadline { peer: self.name(), deadline, fate: Fate::NotDelivered };
        timeout(deadline, either).await.map_err(|_elapsed| late())?
    }

    /// Asks, and waits for the answer. When the future is dropped, the question may have been sent.
    ///
    /// No task and no timer is made for it: many thousands may wait at once.
    ///
    /// # Errors
    /// [`AskError`], whose fate says whether the node may have got the question.
    pub async fn ask(
        &self,
        flow: Flow,
        request: Request,
        body: &Bytes,
        deadline: Duration,
    ) -> Result<Bytes, AskError> {
        let pending = &self.peer.pending;
        let due = self.shared.due(deadline);
        let Some((id, mut answered)) = pending.register(request, due) else {
            let limit = self.shared.config.outstanding_max;
            return Err(AskError::TooManyOutstanding { peer: self.name(), limit });
        };
        let head = Head { kind: request.kind(), number: id }.encode();
        let sent = tokio::select! {
            biased;
            sent = self.link.send(flow, &head, body) => sent,
            // Only the deadline ends a question that is not sent; the link did not take it.
            _late = &mut answered => {
                let fate = Fate::NotDelivered;
                return Err(AskError::Deadline { peer: self.name(), deadline, fate });
            }
        };
        match sent {
            Ok(ticket) => pending.sent(id, ticket),
            Err(error) => {
                pending.forget(id);
                return Err(error.into());
            }
        }
        let lost = match answered.await {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(lost)) => lost,
            // The table drops an entry only after it has answered it.
            Err(_dropped) => Lost::Undelivered(Fate::MaybeDelivered),
        };
        Err(match lost {
            Lost::Undelivered(Fate::NotDelivered) => AskError::NotDelivered { peer: self.name() },
            Lost::Undelivered(Fate::MaybeDelivered) => {
                AskError::MaybeDelivered { peer: self.name() }
            }
            Lost::Deadline => {
                AskError::Deadline { peer: self.name(), deadline, fate: Fate::MaybeDelivered }
            }
        })
    }

    /// Sends a body and gets it back.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), with the client's deadline.
    pub async fn echo(&self, flow: Flow, body: &Bytes) -> Result<Bytes, AskError> {
        self.ask(flow, Request::Echo, body, self.shared.config.deadline).await
    }

    /// How the node is.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and [`AskError::BadAnswer`].
    pub async fn status(&self, deadline: Duration) -> Result<NodeStatus, AskError> {
        let body = self.ask(Flow::Control, Request::Status, &Bytes::new(), deadline).await?;
        serde_json::from_slice(&body).map_err(|error| self.bad_answer(error.to_string()))
    }

    /// Sends a message that the node counts. `sequence` begins at 1 in each flow.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub async fn sink(&self, flow: Flow, sequence: u64, body: &Bytes) -> Result<Ticket, SendError> {
        let head = Head { kind: Kind::Sink, number: sequence }.encode();
        self.link.send(flow, &head, body).await
    }

    /// What came of the sink messages; those sent before on the same flow are counted.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), with the client's deadline, and [`AskError::BadAnswer`].
    pub async fn sink_count(&self, flow: Flow) -> Result<SinkCount, AskError> {
        let deadline = self.shared.config.deadline;
        let body = self.ask(flow, Request::SinkQuery, &Bytes::new(), deadline).await?;
        SinkCount::decode(&body).map_err(|error: HeadError| self.bad_answer(error.to_string()))
    }

    fn name(&self) -> NodeName {
        self.link.peer().clone()
    }

    fn bad_answer(&self, detail: String) -> AskError {
        AskError::BadAnswer { peer: self.name(), detail }
    }
}
