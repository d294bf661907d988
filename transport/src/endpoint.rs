//! A node's end of all its links: one socket, one accept loop, one table of links.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::Runtime;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, oneshot, watch};
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Kind, NodeName};
use vioduct_certs::refusal::RefusalSlot;

use crate::clock::Clock;
use crate::config::TransportConfig;
use crate::connection::CloseCode;
use crate::connection::handshake::{self, Offer};
use crate::error::{DialError, EndpointError};
use crate::event::Inbound;
use crate::link::driver::{Driver, INPUTS_MAX, LinkInput};
use crate::link::machine::Dismissal;
use crate::link::{Link, LinkShared, PeerKey};
use crate::reset::ResetSecret;
use crate::seam::Surroundings;
use crate::segments::Segments;
use crate::wire::Rejection;

/// How long an endpoint that closes answers what is still sent to connections that have ended. A
/// dial that nobody answered would keep it for longer.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// How much longer than its links an endpoint waits for their ends.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Bytes kept of the reason for a dismissal: it travels in a close and in a rejection.
const DISMISSAL_BYTES_MAX: usize = 200;
/// Runs of one tool that may be linked at once.
const TOOL_RUNS_MAX: u32 = 64;

/// What every task of an endpoint can reach.
pub(crate) struct EndpointShared {
    pub(crate) config: TransportConfig,
    pub(crate) incarnation: u64,
    pub(crate) quinn: quinn::Endpoint,
    pub(crate) clock: Clock,
    pub(crate) wall_clock: Arc<dyn TimeProvider>,
    pub(crate) inbound: Arc<dyn Inbound>,
    runtime: Arc<dyn Runtime>,
    credentials: watch::Sender<Arc<Credentials>>,
    links: Mutex<HashMap<PeerKey, Link>>,
    rng: Mutex<StdRng>,
    reset_secret: ResetSecret,
    handshakes: AtomicU32,
    closing: AtomicBool,
    is_closed: AtomicBool,
}

impl fmt::Debug for EndpointShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointShared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EndpointShared {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(Box::pin(task));
    }

    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.borrow())
    }

    /// Wall-clock time. A clock that cannot be read counts as the epoch: every certificate is then
    /// not yet valid, and refused.
    pub(crate) fn wall_now(&self) -> UnixTime {
        let unreadable = UnixTime::since_unix_epoch(Duration::ZERO);
        self.wall_clock.current_time().unwrap_or(unreadable)
    }

    pub(crate) fn next_random(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    fn links(&self) -> MutexGuard<'_, HashMap<PeerKey, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn forget(&self, key: &PeerKey) {
        self.links().remove(key);
    }

    /// Every link, in an order that does not depend on the table's.
    fn sorted_links(&self) -> Vec<Link> {
        let mut links: Vec<Link> = self.links().values().cloned().collect();
        links.sort_by(|one, other| place(one).cmp(&place(other)));
        links
    }

    async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let mut ends = Vec::new();
        for link in self.sorted_links() {
            let (done, end) = oneshot::channel();
            if link.shared.inputs.send(LinkInput::Close { done }).await.is_ok() {
                ends.push(end);
            }
        }
        let bound = self.config.drain_timeout;
        let drained = async {
            for end in ends {
                // An error says that the driver has ended, which is what is waited for.
                end.await.ok();
            }
        };
        // Each link keeps to `drain_timeout` itself, but for an embedder that never ends a
        // delivery.
        self.clock.within(bound + CLOSE_GRACE, drained).await;
        CloseCode::Closed.close_all(&self.quinn, "shutting down");
        self.clock.within(bound.min(LINGER_MAX), self.quinn.wait_idle()).await;
        self.is_closed.store(true, Ordering::Release);
    }

    /// The link of this key, made if it is new.
    fn link(self: &Arc<Self>, key: PeerKey) -> Result<Link, EndpointError> {
        let mut links = self.links();
        // Under the table's lock: a close finds every link that was made before it.
        if self.closing.load(Ordering::Acquire) {
            return Err(EndpointError::Closing);
        }
        let (count, limit) = match key.kind {
            Kind::Node => (links.len(), self.config.peers_max),
            // One tool's certificate must not use up the places of all nodes.
            Kind::Tool => {
                let is_run = |other: &&PeerKey| other.kind == Kind::Tool && other.name == key.name;
                (links.keys().filter(is_run).count(), TOOL_RUNS_MAX.min(self.config.peers_max))
            }
        };
        let is_full = count >= limit as usize || links.len() >= self.config.peers_max as usize;
        match links.entry(key) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(_) if is_full => Err(EndpointError::TooManyPeers { limit }),
            Entry::Vacant(vacant) => {
                let (inputs, received) = mpsc::channel(INPUTS_MAX);
                let shared = LinkShared::new(vacant.key().clone(), &self.config, inputs);
                let link = Link { shared: Arc::new(shared) };
                vacant.insert(link.clone());
                drop(links);
                let driver = Driver::new(Arc::clone(self), link.clone());
                self.spawn(driver.run(received, self.credentials.subscribe()));
                Ok(link)
            }
        }
    }
}

/// Where a link stands among an endpoint's others.
fn place(link: &Link) -> (&NodeName, Kind, u64) {
    let PeerKey { kind, name, instance } = &link.shared.key;
    (name, *kind, *instance)
}

/// One node's links to all its peers.
///
/// Clones share the endpoint. It lives until [`close`](Self::close), or until the last clone is
/// dropped, which does the same without waiting. Links alone do not keep it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    owner: Arc<Owner>,
}

/// What ends when the last [`Endpoint`] handle does; the endpoint's own tasks hold no handle.
#[derive(Debug)]
struct Owner {
    shared: Arc<EndpointShared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.shared.is_closed.load(Ordering::Acquire) {
            let shared = Arc::clone(&self.shared);
            self.shared.spawn(async move { shared.close().await });
        }
    }
}

impl Endpoint {
    /// Starts accepting connections.
    ///
    /// `incarnation` must rise with each start of the node: write it to disk, synced, before.
    ///
    /// # Errors
    /// [`EndpointError`] when a setting is out of its range, or the socket does not work.
    pub fn new(
        config: TransportConfig,
        incarnation: u64,
        credentials: Arc<Credentials>,
        surroundings: Surroundings,
        inbound: Arc<dyn Inbound>,
    ) -> Result<Self, EndpointError> {
        config.validate()?;
        let Surroundings { runtime, socket, wall_clock, seed, reset_secret } = surroundings;
        let quic = crate::quic::endpoint(&config, seed, &reset_secret, socket.local_addr()?);
        let datagram_bytes_max = u16::try_from(quic.get_max_udp_payload_size()).unwrap_or(u16::MAX);
        let socket = Arc::new(Segments::new(socket, datagram_bytes_max));
        // A server configuration makes the endpoint accept; each handshake then gets its own.
        let server = match credentials.identity().kind {
            Kind::Tool => None,
            Kind::Node => {
                let (clock, slot) = (Arc::clone(&wall_clock), RefusalSlot::default());
                Some(crate::quic::server(&config, &credentials, clock, slot)?)
            }
        };
        let quinn =
            quinn::Endpoint::new_with_abstract_socket(quic, server, socket, Arc::clone(&runtime))?;
        let shared = Arc::new(EndpointShared {
            config,
            incarnation,
            quinn,
            clock: Clock::new(Arc::clone(&runtime)),
            wall_clock,
            inbound,
            runtime,
            credentials: watch::Sender::new(credentials),
            links: Mutex::new(HashMap::new()),
            rng: Mutex::new(StdRng::from_seed(seed)),
            reset_secret,
            handshakes: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        });
        shared.spawn(accept(Arc::clone(&shared)));
        Ok(Self { owner: Arc::new(Owner { shared }) })
    }

    fn shared(&self) -> &Arc<EndpointShared> {
        &self.owner.shared
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// When the socket cannot say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.shared().quinn.local_addr()
    }

    /// The [real surroundings](Surroundings::bind) of another endpoint of the same node, with this
    /// one's secret.
    ///
    /// # Errors
    /// [`io::Error`](std::io::Error) when the socket cannot be bound.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind_beside(&self, addr: SocketAddr, bytes: u32) -> std::io::Result<Surroundings> {
        let reset_secret = self.shared().reset_secret.clone();
        Ok(Surroundings { reset_secret, ..Surroundings::bind(addr, bytes)? })
    }

    /// Keeps a link to this node from now on, dialling whenever there is none.
    ///
    /// Calling it again changes the address that the next dial uses. Cancel-safe.
    ///
    /// # Errors
    /// [`EndpointError::TooManyPeers`] and [`EndpointError::Closing`].
    pub async fn connect(&self, node: NodeName, addr: SocketAddr) -> Result<Link, EndpointError> {
        self.want(node, LinkInput::Wanted { addr }).await
    }

    /// As [`connect`](Self::connect), and dials this address now: a dial to another one is given
    /// up, and a connection that is up carries the link until one to here takes over, make before
    /// break. Until then it is tried again and again, as rarely as `backoff_max` says. Cancel-safe.
    ///
    /// # Errors
    /// [`EndpointError::TooManyPeers`] and [`EndpointError::Closing`].
    pub async fn redial(&self, node: NodeName, addr: SocketAddr) -> Result<Link, EndpointError> {
        self.want(node, LinkInput::Redial { addr }).await
    }

    async fn want(&self, node: NodeName, input: LinkInput) -> Result<Link, EndpointError> {
        let link = self.shared().link(PeerKey { kind: Kind::Node, name: node, instance: 0 })?;
        let wanted = link.shared.inputs.send(input).await;
        wanted.map_err(|_ended| EndpointError::Closing)?;
        Ok(link)
    }

    /// Dials this node no more. A connection that is up stays, and the peer may still dial.
    pub async fn disconnect(&self, node: &NodeName) {
        if let Some(link) = self.link(node) {
            // Fails only when the link is closed, which is more than was asked.
            link.shared.inputs.send(LinkInput::Unwanted).await.ok();
        }
    }

    /// Ends the link to this run of a node, or to an earlier one: it is known to be dead, or no
    /// member any more. Nothing happens without a link, or when a later run is known on it.
    ///
    /// The connection is closed at once; datagrams sent before may still leave. What is queued is
    /// reported as not delivered, what was written and not acknowledged as maybe delivered, and
    /// messages are refused as unreachable. The peer is told `reason`, of which 200 bytes are kept,
    /// as [`DownReason::DismissedByPeer`](crate::DownReason::DismissedByPeer), and dials as rarely
    /// as it may.
    ///
    /// This side does not dial until [`connect`](Self::connect). The peer may, in whatever run: so
    /// the two can learn which of them is wrong. A run that is not wanted then is dismissed again.
    /// Cancel-safe.
    pub async fn dismiss(&self, node: &NodeName, incarnation: u64, reason: &str) {
        if let Some(link) = self.link(node) {
            let end = reason.floor_char_boundary(DISMISSAL_BYTES_MAX);
            let reason = reason.get(..end).unwrap_or_default().to_owned();
            let dismissed = LinkInput::Dismissed(Dismissal { incarnation, reason });
            // Fails only when the link is closed, which is more than was asked.
            link.shared.inputs.send(dismissed).await.ok();
        }
    }

    /// The link to this node, if there is one, up or not.
    pub fn link(&self, node: &NodeName) -> Option<Link> {
        let key = PeerKey { kind: Kind::Node, name: node.clone(), instance: 0 };
        self.shared().links().get(&key).cloned()
    }

    /// Every link, up or not, by name; runs of one tool in the same order each time.
    pub fn links(&self) -> Vec<Link> {
        self.shared().sorted_links()
    }

    /// The credentials in use.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.shared().credentials()
    }

    /// Uses these credentials from now on. Every live link is verified again, and cut if its peer
    /// no longer passes; with a new leaf every link moves to a new connection, make before break.
    pub fn set_credentials(&self, credentials: Arc<Credentials>) {
        self.shared().credentials.send_replace(credentials);
    }

    /// Closes every link, in order of names: what was taken is written and acknowledged first, for
    /// `drain_timeout` at most. No link tells anything afterwards, unless a delivery outlasts that
    /// time and a second more. Once no handle is left, all that runs is QUIC's answer to late
    /// packets, for three probe time-outs at most.
    ///
    /// Not cancel-safe: call it again when it was dropped.
    pub async fn close(&self) {
        self.shared().close().await;
    }
}

/// Takes connections from outside until the endpoint is closed.
async fn accept(endpoint: Arc<EndpointShared>) {
    while let Some(incoming) = endpoint.quinn.accept().await {
        let under_way = endpoint.handshakes.load(Ordering::Acquire);
        let limit = endpoint.config.handshakes_max;
        if under_way >= limit || endpoint.closing.load(Ordering::Acquire) {
            incoming.refuse();
            continue;
        }
        let is_unproven = !incoming.remote_address_validated() && incoming.may_retry();
        if under_way >= limit / 2 && is_unproven {
            // Fails only when a retry is not allowed, which was just checked.
            incoming.retry().ok();
            continue;
        }
        endpoint.handshakes.fetch_add(1, Ordering::AcqRel);
        let shared = Arc::clone(&endpoint);
        endpoint.spawn(async move {
            shake_hands(&shared, incoming).await;
            shared.handshakes.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

async fn shake_hands(endpoint: &Arc<EndpointShared>, incoming: quinn::Incoming) {
    let addr = incoming.remote_address();
    let bound = endpoint.config.handshake_timeout;
    let offered = endpoint.clock.within(bound, handshake::accept(endpoint, incoming)).await;
    match offered.unwrap_or(Err(DialError::TimedOut { addr })) {
        Ok(offer) => hand_over(endpoint, offer).await,
        Err(error) => {
            tracing::warn!(%addr, reason = error.label(), %error, "connection refused");
            endpoint.inbound.refused(addr, error);
        }
    }
}

/// Gives an offer to the link that it is for.
async fn hand_over(endpoint: &Arc<EndpointShared>, offer: Offer) {
    let identity = &offer.peer.identity;
    let instance = match identity.kind {
        Kind::Node => 0,
        Kind::Tool => offer.hello.instance,
    };
    let key = PeerKey { kind: identity.kind, name: identity.name.clone(), instance };
    let rejection = match endpoint.link(key) {
        Ok(link) => {
            // Fails when the link's driver has just ended; the peer dials again.
            link.shared.inputs.send(LinkInput::Offer(Box::new(offer))).await.ok();
            return;
        }
        Err(EndpointError::TooManyPeers { limit }) => {
            Rejection::TooManyPeers { limit: limit.into() }
        }
        Err(_closing) => Rejection::Closing,
    };
    let addr = offer.quinn.remote_address();
    tracing::warn!(%addr, %rejection, "connection turned down");
    let error = DialError::Rejected { addr, rejection: rejection.clone() };
    endpoint.inbound.refused(addr, error);
    handshake::reject(Arc::clone(endpoint), offer, rejection).await;
}
