//! The handle on a link, and what its tasks share.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use vioduct_certs::identity::{Kind, NodeName};

use super::awaited::{Awaited, Hold};
use super::driver::LinkInput;
use crate::config::{LANES_MAX, TransportConfig};
use crate::connection::Connection;
use crate::error::{DatagramError, SendError};
use crate::event::ConnectionInfo;
use crate::lane::order::LaneOrder;
use crate::lane::queue::{Gate, LaneQueue, PushError};

/// Which peer a link is to. A node has one link whatever its run; each run of a tool has its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    pub(crate) kind: Kind,
    pub(crate) name: NodeName,
    /// Zero for a node.
    pub(crate) instance: u64,
}

/// Which messages stay in order among each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// The control lane: small, urgent messages, before all others.
    Control,
    /// A sender–target pair. Pairs that share a number, or a lane, only share a queue.
    Pair(u32),
}

/// Names one message that a link took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Its lane; 0 is the control lane.
    pub lane: u8,
    /// Its number on the lane, from 1, over all connections.
    pub number: u64,
}

/// Whether a link carries messages now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Messages are queued until there is a connection.
    Connecting,
    /// Messages flow.
    Up(Arc<ConnectionInfo>),
    /// Messages are refused until there is a connection.
    Unreachable,
    /// The link is shut down for good.
    Closed,
}

/// Figures of one link. Counts rise over its whole life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Messages taken from senders.
    pub messages_sent: u64,
    /// Messages acknowledged by the peer, or reported undelivered.
    pub messages_settled: u64,
    /// Messages handed to the embedder.
    pub messages_received: u64,
    /// Messages queued now, over all lanes.
    pub queued_messages: u64,
    /// Bytes queued now, over all lanes.
    pub queued_bytes: u64,
    /// Connections that have carried the link.
    pub connections: u64,
    /// UDP datagrams lost on the current connection, as QUIC counts them.
    pub packets_lost: u64,
    /// Bytes sent on the current connection, headers included.
    pub udp_bytes_sent: u64,
    /// Bytes received on the current connection, headers included.
    pub udp_bytes_received: u64,
    /// Smoothed round-trip time of the current connection; zero without one.
    pub rtt: Duration,
    /// Largest UDP payload that the path of the current connection is known to carry; zero without
    /// one.
    pub mtu: u16,
}

/// A lane towards the peer.
#[derive(Debug)]
pub(crate) struct OutLane {
    pub(crate) queue: LaneQueue,
    /// Held by the connection that writes the lane: the next one waits its turn.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Messages up to this number were handed over on the far side, or reported; for those who
    /// wait, and for figures.
    pub(crate) settled: AtomicU64,
}

impl OutLane {
    /// Every message that was taken has been handed over on the far side, or reported.
    fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire) >= self.queue.last_number()
    }
}

/// A lane from the peer.
#[derive(Debug)]
pub(crate) struct InLane {
    /// Held by the connection that reads the lane: the next one waits its turn.
    pub(crate) order: tokio::sync::Mutex<LaneOrder>,
}

#[derive(Debug)]
pub(crate) struct LinkShared {
    pub(crate) key: PeerKey,
    pub(crate) out_lanes: Box<[OutLane]>,
    pub(crate) in_lanes: Box<[InLane]>,
    pub(crate) state: watch::Sender<LinkState>,
    pub(crate) inputs: mpsc::Sender<LinkInput>,
    pub(crate) awaited: Awaited,
    /// The connection that carries the link; for datagrams and figures.
    pub(crate) current: Mutex<Option<Arc<Connection>>>,
    /// An acknowledgement came, or a task of a connection ended.
    pub(crate) progress: Notify,
    pub(crate) received: AtomicU64,
    pub(crate) connections: AtomicU64,
}

impl LinkShared {
    pub(crate) fn new(
        key: PeerKey,
        config: &TransportConfig,
        inputs: mpsc::Sender<LinkInput>,
    ) -> Self {
        let in_lane = |_lane| InLane { order: tokio::sync::Mutex::new(LaneOrder::new()) };
        let out_lane = |_lane| OutLane {
            queue: LaneQueue::new(config.queue_limits()),
            turn: tokio::sync::Mutex::new(()),
            settled: AtomicU64::new(0),
        };
        Self {
            key,
            out_lanes: (0..=config.lanes).map(out_lane).collect(),
            in_lanes: (0..=LANES_MAX).map(in_lane).collect(),
            state: watch::Sender::new(LinkState::Connecting),
            inputs,
            awaited: Awaited::new(),
            current: Mutex::new(None),
            progress: Notify::new(),
            received: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    pub(crate) fn current(&self) -> Option<Arc<Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the connection that carries the link, and gives the one that did.
    pub(crate) fn set_current(
        &self,
        connection: Option<Arc<Connection>>,
    ) -> Option<Arc<Connection>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, connection)
    }

    /// Somebody waits for the peer: an embedder, or a message that is not acknowledged.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.is_held() || self.out_lanes.iter().any(|lane| !lane.is_settled())
    }

    /// Opens or closes every lane; gives what was dropped.
    pub(crate) fn set_gates(&self, gate: Gate) -> Vec<(u8, std::ops::Range<u64>)> {
        self.each_lane(|lane| lane.queue.set_gate(gate))
    }

    /// Drops what is queued on every lane; gives what was dropped.
    pub(crate) fn discard(&self) -> Vec<(u8, std::ops::Range<u64>)> {
        self.each_lane(|lane| lane.queue.discard())
    }

    fn each_lane(
        &self,
        act: impl Fn(&OutLane) -> std::ops::Range<u64>,
    ) -> Vec<(u8, std::ops::Range<u64>)> {
        let dropped = (0..).zip(&self.out_lanes).map(|(index, lane)| (index, act(lane)));
        dropped.filter(|(_lane, numbers)| !numbers.is_empty()).collect()
    }
}

/// A link to one peer. Cheap to clone; lives until its endpoint is closed.
#[derive(Debug, Clone)]
pub struct Link {
    pub(crate) shared: Arc<LinkShared>,
}

/// Handles on the same link are equal.
impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Link {}

impl Hash for Link {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.shared).hash(state);
    }
}

impl Link {
    /// The peer's name.
    pub fn peer(&self) -> &NodeName {
        &self.shared.key.name
    }

    /// Whether the peer is a node or a tool.
    pub fn peer_kind(&self) -> Kind {
        self.shared.key.kind
    }

    /// Queues a message, waiting while the lane is full. The head is copied, the body is not.
    ///
    /// `Ok` says that the link took the message, not that it arrived: what becomes of it is told by
    /// [`LinkEvent::Undelivered`](crate::LinkEvent::Undelivered) when it goes wrong.
    ///
    /// Cancel-safe: when the future is dropped, the message was not taken.
    ///
    /// # Errors
    /// [`SendError`]; the message was not taken, and will not be delivered.
    pub async fn send(&self, flow: Flow, head: &[u8], body: &Bytes) -> Result<Ticket, SendError> {
        let (lane, number, out) = self.lane(flow);
        let pushed = out.queue.push_wait(number, head, body).await;
        self.taken(lane, pushed)
    }

    /// Queues a message if there is room now.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::Full`].
    pub fn try_send(&self, flow: Flow, head: &[u8], body: &Bytes) -> Result<Ticket, SendError> {
        let (lane, number, out) = self.lane(flow);
        self.taken(lane, out.queue.push(number, head, body))
    }

    fn taken(&self, lane: u8, pushed: Result<u64, PushError>) -> Result<Ticket, SendError> {
        let number = pushed.map_err(|error| self.send_error(error))?;
        self.shared.awaited.begun();
        Ok(Ticket { lane, number })
    }

    /// Keeps the link alive while the hold lives, and with [`KeptAlive::WhenAwaited`] only then, or
    /// while a message is not acknowledged. Costs two changes of a count, and is cheap enough for
    /// every question that waits for an answer.
    ///
    /// A peer that is silent is noticed `idle_timeout` after the hold was taken; that the link is
    /// down is told as always. A hold outlasts connections, and makes none: it does not dial.
    ///
    /// [`KeptAlive::WhenAwaited`]: crate::KeptAlive::WhenAwaited
    pub fn hold(&self) -> Hold {
        Hold::new(Arc::clone(&self.shared))
    }

    /// Ends when the lane of this flow has got more room, or refuses messages, since the call: take
    /// it before [`try_send`](Self::try_send), await it after [`SendError::Full`]. Cancel-safe.
    pub fn room(&self, flow: Flow) -> impl Future<Output = ()> + Send + '_ {
        let (_lane, _number, out) = self.lane(flow);
        out.queue.more_room()
    }

    /// Whether the peer has handed this message over, or it was reported undelivered.
    pub fn is_settled(&self, ticket: Ticket) -> bool {
        let lane = self.shared.out_lanes.get(usize::from(ticket.lane));
        lane.is_some_and(|lane| lane.settled.load(Ordering::Acquire) >= ticket.number)
    }

    /// The lane of a flow, and the number that the flow has there.
    #[expect(
        clippy::indexing_slicing,
        reason = "0 and 1 ..= lanes all exist, lanes being 1 or more"
    )]
    fn lane(&self, flow: Flow) -> (u8, u32, &OutLane) {
        let lanes = &self.shared.out_lanes;
        match flow {
            Flow::Control => (0, 0, &lanes[0]),
            Flow::Pair(number) => {
                let ordered = u32::try_from(lanes.len() - 1).unwrap_or(1);
                let lane = u8::try_from(1 + number % ordered).unwrap_or(1);
                (lane, number, &lanes[usize::from(lane)])
            }
        }
    }

    fn send_error(&self, error: PushError) -> SendError {
        let peer = self.peer().clone();
        match error {
            PushError::Full => SendError::Full { peer },
            PushError::Unreachable => SendError::Unreachable { peer },
            PushError::Closed => SendError::Closed { peer },
            PushError::HeadTooLong { bytes, limit } => SendError::HeadTooLong { bytes, limit },
            PushError::BodyTooLong { bytes, limit } => SendError::BodyTooLong { bytes, limit },
        }
    }

    /// Sends a datagram, unordered and without acknowledgement; it may be dropped on the way. An
    /// empty one is not handed over: links probe each other with those.
    ///
    /// # Errors
    /// [`DatagramError`] when there is no connection, or the datagram does not fit the path.
    pub fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        let not_connected = || DatagramError::NotConnected { peer: self.peer().clone() };
        let connection = self.shared.current().ok_or_else(not_connected)?;
        let bytes = datagram.len();
        connection.quinn.send_datagram(datagram).map_err(|error| match error {
            quinn::SendDatagramError::TooLarge => DatagramError::TooLong {
                bytes,
                limit: connection.quinn.max_datagram_size().unwrap_or(0),
            },
            quinn::SendDatagramError::UnsupportedByPeer
            | quinn::SendDatagramError::Disabled
            | quinn::SendDatagramError::ConnectionLost(_) => not_connected(),
        })
    }

    /// The state now.
    pub fn state(&self) -> LinkState {
        self.shared.state.borrow().clone()
    }

    /// Waits until a connection carries the link. Cancel-safe.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the link was shut down.
    pub async fn up(&self) -> Result<Arc<ConnectionInfo>, SendError> {
        let mut states = self.shared.state.subscribe();
        let closed = || SendError::Closed { peer: self.peer().clone() };
        let over = |state: &LinkState| matches!(state, LinkState::Up(_) | LinkState::Closed);
        let state = states.wait_for(over).await.map_err(|_ended| closed())?;
        match &*state {
            LinkState::Up(info) => Ok(Arc::clone(info)),
            LinkState::Connecting | LinkState::Unreachable | LinkState::Closed => Err(closed()),
        }
    }

    /// Waits until no connection with this run of the peer, or an earlier one, carries the link.
    /// Cancel-safe.
    pub async fn without(&self, incarnation: u64) {
        let is_over = |state: &LinkState| match state {
            LinkState::Up(info) => info.incarnation > incarnation,
            LinkState::Connecting | LinkState::Unreachable | LinkState::Closed => true,
        };
        // Fails only when the link is gone.
        self.shared.state.subscribe().wait_for(is_over).await.ok();
    }

    /// Waits until the peer has handed over every message up to `ticket` on its lane, or it was
    /// reported undelivered. The report itself may come a moment later. Cancel-safe.
    pub async fn settled(&self, ticket: Ticket) {
        let Some(lane) = self.shared.out_lanes.get(usize::from(ticket.lane)) else { return };
        loop {
            let progress = self.shared.progress.notified();
            if lane.settled.load(Ordering::Acquire) >= ticket.number {
                return;
            }
            progress.await;
        }
    }

    /// The address of the peer on the current connection.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.shared.current().map(|connection| connection.quinn.remote_address())
    }

    /// Figures of now.
    pub fn stats(&self) -> LinkStats {
        let mut stats = LinkStats {
            messages_received: self.shared.received.load(Ordering::Relaxed),
            connections: self.shared.connections.load(Ordering::Relaxed),
            ..LinkStats::default()
        };
        for lane in &self.shared.out_lanes {
            let (messages, bytes) = lane.queue.depth();
            stats.queued_messages += messages;
            stats.queued_bytes += bytes as u64;
            stats.messages_sent += lane.queue.last_number();
            stats.messages_settled += lane.settled.load(Ordering::Relaxed);
        }
        if let Some(connection) = self.shared.current() {
            let quic = connection.quinn.stats();
            stats.packets_lost = quic.path.lost_packets;
            stats.udp_bytes_sent = quic.udp_tx.bytes;
            stats.udp_bytes_received = quic.udp_rx.bytes;
            stats.rtt = quic.path.rtt;
            stats.mtu = quic.path.current_mtu;
        }
        stats
    }
}
