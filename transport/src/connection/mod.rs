//! One QUIC connection while it carries a link: its tasks, its end, its orderly retirement.
//!
//! Tasks, all ended by the connection's end: a writer per lane, a reader per lane that the peer
//! opened, the control reader and writer, the acceptor of streams, the datagram reader. The
//! [`supervise`] task waits for all of them and then tells the link's driver what is known of the
//! messages that were written.

pub(crate) mod control;
pub(crate) mod handshake;
mod streams;

pub(crate) use streams::BodyStream;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::{Notify, mpsc, watch};
use vioduct_certs::credentials::Credentials;

use crate::congestion;
use crate::endpoint::EndpointShared;
use crate::error::Violation;
use crate::event::{ConnectionInfo, DownReason};
use crate::lane::writer;
use crate::link::driver::LinkInput;
use crate::link::machine::ConnId;
use crate::link::{Link, LinkShared};
use crate::quic::DATAGRAM_BUFFER_BYTES;

/// Why a side closes a connection; the QUIC application error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCode {
    Closed = 0,
    Replaced = 1,
    Superseded = 2,
    Violation = 3,
    Rejected = 4,
    Evicted = 5,
    /// The peer has lost it already, or runs anew.
    Dropped = 6,
    /// Taken over by another connection, without having been read to its end.
    Undrained = 7,
    /// Nothing was heard for the idle time-out, while somebody waited.
    Silent = 8,
    /// No link is wanted with this run of the peer.
    Dismissed = 9,
}

impl CloseCode {
    pub(crate) fn close(self, connection: &quinn::Connection, reason: &str) {
        connection.close(VarInt::from_u32(self as u32), reason.as_bytes());
    }

    pub(crate) fn close_all(self, endpoint: &quinn::Endpoint, reason: &str) {
        endpoint.close(VarInt::from_u32(self as u32), reason.as_bytes());
    }
}

/// How long a dismissal waits for datagrams that were sent before it, and how often it looks. They
/// leave at once unless the path is full.
const DATAGRAMS_LINGER: Duration = Duration::from_millis(20);
const DATAGRAMS_PACE: Duration = Duration::from_millis(1);

/// How far a connection is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Live,
    /// Another connection takes over: end every lane after the batch under way.
    Retiring,
    /// The link closes: end every lane once its queue is empty.
    Flushing,
}

/// Messages by lane and numbers.
pub(crate) type Spans = Vec<(u8, Range<u64>)>;

/// What a connection's writers did with the messages they took.
#[derive(Debug, Default)]
struct Taken {
    written: Spans,
    /// Never begun, and not to be sent on another connection.
    dropped: Spans,
}

/// What is shared by the tasks of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    pub(crate) quinn: quinn::Connection,
    pub(crate) info: Arc<ConnectionInfo>,
    /// The run of the peer, as it named it in the handshake.
    pub(crate) peer_run: u64,
    /// Lanes that the peer opens, the control lane not counted.
    peer_lanes: u8,
    pub(crate) phase: watch::Sender<Phase>,
    spans: Mutex<Taken>,
    /// How far each of our lanes was handed over on the far side.
    acknowledged: Box<[AtomicU64]>,
    /// How far each of the peer's lanes was handed over here.
    delivered: Box<[AtomicU64]>,
    /// Something was handed over that the peer has not been told of.
    acknowledgement_due: Notify,
    /// Why this side cut the connection, if it did.
    cut: OnceLock<DownReason>,
    /// The peer's lanes that were read to the end of their stream, a bit each.
    lanes_ended: watch::Sender<u32>,
    /// Writers of our lanes that are not done, bodies included.
    writers_open: watch::Sender<usize>,
    /// Held by the body that writes: of all bodies, one at a time contends with the lanes.
    pub(crate) body_turn: tokio::sync::Mutex<()>,
}

/// A connection whose handshake is done, before any task runs on it.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) quinn: quinn::Connection,
    pub(crate) control_send: SendStream,
    pub(crate) control_recv: RecvStream,
    pub(crate) info: ConnectionInfo,
    pub(crate) instance: u64,
    /// Generation of the connection that carried the link in the peer's eyes; 0 for none.
    pub(crate) live: u64,
    pub(crate) peer_lanes: u8,
    /// What this side presented.
    pub(crate) own: Arc<Credentials>,
}

/// Held by every task of a connection; the supervisor waits until none is left.
pub(crate) type Alive = mpsc::Sender<()>;

impl Connection {
    /// Cuts the connection for a reason of this side's own. The first reason stays, and is given.
    pub(crate) fn cut(&self, code: CloseCode, reason: DownReason) -> DownReason {
        let text = reason.to_string();
        self.cut_saying(code, reason, &text)
    }

    /// As [`cut`](Self::cut), in these words.
    fn cut_saying(&self, code: CloseCode, reason: DownReason, words: &str) -> DownReason {
        if self.cut.set(reason.clone()).is_ok() {
            code.close(&self.quinn, words);
        }
        self.cut.get().cloned().unwrap_or(reason)
    }

    /// Asks the peer's QUIC for an acknowledgement. It takes no place on any stream.
    pub(crate) fn ask_for_sign(&self) {
        // A peer that takes no datagrams, as none of ours does, gives no sign: it is found silent.
        self.quinn.send_datagram(Bytes::new()).ok();
    }

    /// Packets that the peer has acknowledged. What else arrives proves less: it may have been sent
    /// while nothing of ours gets through, with acknowledgements of long ago, or by anybody who can
    /// send a datagram.
    pub(crate) fn signs(&self) -> u64 {
        congestion::acknowledged(&self.quinn)
    }

    pub(crate) fn violated(&self, violation: Violation) {
        drop(self.cut(CloseCode::Violation, DownReason::Violation(violation)));
    }

    /// Notes which messages a lane writer has written, and which it took in vain.
    pub(crate) fn record(&self, lane: u8, written: Range<u64>, dropped: Range<u64>) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.written.push((lane, written));
        if !dropped.is_empty() {
            spans.dropped.push((lane, dropped));
        }
    }

    fn take_dropped(&self) -> Spans {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut spans.dropped)
    }

    /// Everything on one of the peer's lanes was handed over.
    pub(crate) fn lane_ended(&self, lane: u8) {
        self.lanes_ended.send_modify(|ended| *ended |= 1 << lane);
    }

    /// Waits until nothing more can come on one of the peer's lanes: what the connection that took
    /// over carries may follow. Cancel-safe.
    pub(crate) async fn lane_over(&self, lane: u8) {
        tokio::select! {
            biased;
            () = wait_until(&self.lanes_ended, |ended| ended & (1 << lane) != 0) => {}
            _closed = self.quinn.closed() => {}
        }
    }

    pub(crate) fn writer_opened(&self) {
        self.writers_open.send_modify(|open| *open += 1);
    }

    pub(crate) fn writer_ended(&self) {
        self.writers_open.send_modify(|open| *open = open.saturating_sub(1));
    }

    /// Waits until the phase is no longer live. Cancel-safe.
    pub(crate) async fn retirement(&self) -> Phase {
        let mut phases = self.phase.subscribe();
        let retired = phases.wait_for(|phase| *phase != Phase::Live).await;
        retired.map_or(Phase::Retiring, |phase| *phase)
    }

    /// Messages of one of the peer's lanes were handed over, all up to this number.
    pub(crate) fn handed_over(&self, lane: u8, through: u64) {
        if let Some(delivered) = self.delivered.get(usize::from(lane)) {
            delivered.fetch_max(through, Ordering::AcqRel);
            self.acknowledgement_due.notify_one();
        }
    }

    /// The peer says how far one of our lanes was handed over. `false` when there is no such lane.
    pub(crate) fn acknowledged(&self, link: &LinkShared, lane: u8, through: u64) -> bool {
        let index = usize::from(lane);
        let (Some(known), Some(out)) = (self.acknowledged.get(index), link.out_lanes.get(index))
        else {
            return false;
        };
        // A peer cannot acknowledge what was never written.
        let through = through.min(out.queue.next_number() - 1);
        known.fetch_max(through, Ordering::AcqRel);
        out.settled.fetch_max(through, Ordering::AcqRel);
        true
    }

    fn acknowledged_through(&self, lane: u8) -> u64 {
        let known = self.acknowledged.get(usize::from(lane));
        known.map_or(0, |known| known.load(Ordering::Acquire))
    }

    /// The peer has handed over everything that was written.
    fn confirm(&self, link: &LinkShared) {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for (lane, numbers) in &spans.written {
            self.acknowledged(link, *lane, numbers.end.saturating_sub(1));
        }
    }

    /// Written messages that the peer has not acknowledged.
    fn doubtful(&self) -> Vec<(u8, Range<u64>)> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = spans.written.iter().map(|(lane, numbers)| {
            let start = numbers.start.max(self.acknowledged_through(*lane) + 1);
            (*lane, start..numbers.end)
        });
        rest.filter(|(_lane, numbers)| !numbers.is_empty()).collect()
    }

    fn is_acknowledged(&self) -> bool {
        self.doubtful().is_empty()
    }
}

/// A counter for the control lane and each ordered one.
fn counters(lanes: u8) -> Box<[AtomicU64]> {
    (0..=lanes).map(|_lane| AtomicU64::new(0)).collect()
}

/// The control stream of a connection on which no task runs yet.
pub(crate) struct ControlStream {
    send: SendStream,
    recv: RecvStream,
}

/// A connection that was adopted. Nothing is read or written before [`run`].
pub(crate) fn adopted(
    id: ConnId,
    own_lanes: u8,
    established: Established,
) -> (Arc<Connection>, ControlStream) {
    let Established { quinn, control_send, control_recv, info, instance, peer_lanes, .. } =
        established;
    let connection = Connection {
        id,
        quinn,
        info: Arc::new(info),
        peer_run: instance,
        peer_lanes,
        phase: watch::Sender::new(Phase::Live),
        spans: Mutex::new(Taken::default()),
        acknowledged: counters(own_lanes),
        delivered: counters(peer_lanes),
        acknowledgement_due: Notify::new(),
        cut: OnceLock::new(),
        lanes_ended: watch::Sender::new(0),
        writers_open: watch::Sender::new(0),
        body_turn: tokio::sync::Mutex::new(()),
    };
    (Arc::new(connection), ControlStream { send: control_send, recv: control_recv })
}

/// Starts every task of a connection; its lanes go on where `predecessor`'s end.
pub(crate) fn run(
    endpoint: &Arc<EndpointShared>,
    link: &Link,
    connection: &Arc<Connection>,
    control: ControlStream,
    predecessor: Option<Arc<Connection>>,
) {
    let (alive, ended) = mpsc::channel::<()>(1);
    let tasks = Tasks { endpoint, link, connection, alive };
    for lane in 0..=endpoint.config.lanes {
        connection.writer_opened();
        tasks.spawn(|task| writer::run(task, lane));
    }
    let peer_lanes = connection.peer_lanes;
    tasks.spawn(|task| streams::accept(task, peer_lanes, predecessor));
    tasks.spawn(streams::datagrams);
    tasks.spawn(|task| control::read(task, control.recv));
    tasks.spawn(|task| control::write(task, control.send));
    drop(tasks);
    endpoint.spawn(supervise(link.clone(), Arc::clone(connection), ended));
}

/// What a task of a connection works with.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) endpoint: Arc<EndpointShared>,
    pub(crate) link: Link,
    pub(crate) connection: Arc<Connection>,
    _alive: Alive,
}

impl Task {
    /// Runs more work of the same connection.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let alive = self._alive.clone();
        self.endpoint.spawn(async move {
            work.await;
            drop(alive);
        });
    }
}

struct Tasks<'a> {
    endpoint: &'a Arc<EndpointShared>,
    link: &'a Link,
    connection: &'a Arc<Connection>,
    alive: Alive,
}

impl Tasks<'_> {
    fn spawn<F>(&self, work: impl FnOnce(Task) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.endpoint.spawn(work(Task {
            endpoint: Arc::clone(self.endpoint),
            link: self.link.clone(),
            connection: Arc::clone(self.connection),
            _alive: self.alive.clone(),
        }));
    }
}

/// Waits for the end of a connection and all its tasks, then reports it.
async fn supervise(link: Link, connection: Arc<Connection>, mut ended: mpsc::Receiver<()>) {
    let error = connection.quinn.closed().await;
    // Nothing is ever sent: this ends when the last task has dropped its sender.
    while ended.recv().await.is_some() {}
    let reason = connection.cut.get().cloned().unwrap_or_else(|| down_reason(&error));
    // The peer says so only once it has read every lane to its end.
    let is_handed_over = is_closed_with(&error, CloseCode::Replaced);
    if is_handed_over {
        connection.confirm(&link.shared);
    }
    let doubtful = connection.doubtful();
    let dropped = connection.take_dropped();
    link.shared.progress.notify_waiters();
    let lost = LinkInput::Lost { conn: connection.id, reason, doubtful, dropped };
    if link.shared.inputs.send(lost).await.is_err() {
        tracing::debug!(peer = %link.peer(), "the link's driver ended before its connection");
    }
}

fn is_closed_with(error: &ConnectionError, code: CloseCode) -> bool {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            close.error_code == VarInt::from_u32(code as u32)
        }
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => false,
    }
}

fn down_reason(error: &ConnectionError) -> DownReason {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            if is_closed_with(error, CloseCode::Dismissed) {
                DownReason::DismissedByPeer { reason }
            } else {
                DownReason::ClosedByPeer { reason }
            }
        }
        ConnectionError::LocallyClosed => DownReason::Closed,
        ConnectionError::TimedOut => DownReason::Silent,
        ConnectionError::Reset => DownReason::Reset,
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::CidsExhausted => DownReason::Transport(error.to_string()),
    }
}

/// Closes a connection with a run of the peer that no link is wanted with. Datagrams that wait to
/// be sent may leave first: one of them may tell the peer what has become of it.
pub(crate) async fn dismiss(
    endpoint: Arc<EndpointShared>,
    connection: Arc<Connection>,
    reason: String,
) {
    connection.phase.send_replace(Phase::Retiring);
    let mut timer = endpoint.clock.timer();
    let until = endpoint.clock.now().after(DATAGRAMS_LINGER);
    while connection.quinn.datagram_send_buffer_space() < DATAGRAM_BUFFER_BYTES
        && connection.quinn.close_reason().is_none()
        && endpoint.clock.now() < until
    {
        timer.arm(Some(endpoint.clock.now().after(DATAGRAMS_PACE)));
        timer.expired().await;
    }
    let words = reason.clone();
    drop(connection.cut_saying(CloseCode::Dismissed, DownReason::Dismissed { reason }, &words));
}

/// Ends a connection once everything written on it is acknowledged, or `drain_timeout` is over.
///
/// With `Retiring`, the peer's lanes are read to their ends too: it retires the connection as well.
pub(crate) async fn retire(
    endpoint: Arc<EndpointShared>,
    link: Link,
    connection: Arc<Connection>,
    phase: Phase,
) {
    connection.phase.send_replace(phase);
    let drained = async {
        wait_until(&connection.writers_open, |open: usize| open == 0).await;
        loop {
            let progress = link.shared.progress.notified();
            if connection.is_acknowledged() {
                break;
            }
            progress.await;
        }
        if phase == Phase::Retiring {
            let all = (1 << (u32::from(connection.peer_lanes) + 1)) - 1;
            wait_until(&connection.lanes_ended, |ended| ended == all).await;
        }
    };
    let bound = endpoint.config.drain_timeout;
    let is_drained = tokio::select! {
        biased;
        _closed = connection.quinn.closed() => return,
        done = endpoint.clock.within(bound, drained) => done.is_some(),
    };
    if !is_drained {
        tracing::warn!(peer = %link.peer(), ?bound, "a connection did not drain in time");
    }
    match phase {
        Phase::Flushing => drop(connection.cut(CloseCode::Closed, DownReason::Closed)),
        Phase::Retiring | Phase::Live if is_drained => {
            CloseCode::Replaced.close(&connection.quinn, "replaced");
        }
        Phase::Retiring | Phase::Live => {
            CloseCode::Undrained.close(&connection.quinn, "replaced before it was drained");
        }
    }
}

async fn wait_until<T: Copy>(watched: &watch::Sender<T>, reached: impl Fn(T) -> bool) {
    let mut values = watched.subscribe();
    // The sender lives in the connection, which the caller holds.
    if values.wait_for(|value| reached(*value)).await.is_err() {
        tracing::debug!("a connection's counter went away");
    }
}
