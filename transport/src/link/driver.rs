//! Carries out what the link's machine decides. One task per link.
//!
//! Inputs come from the endpoint (a peer's offer, an address, a close), from the tasks of the
//! link's connections (welcomed, started, lost) and from one timer. When the driver ends, the link
//! is closed for good.

mod handshakes;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::Kind;
use vioduct_certs::refusal::Refusal;
use vioduct_certs::{moment, rotation};

use super::machine::{ConnId, Dismissal, Effect, Input, LinkMachine};
use super::vigil::{self, Vigil};
use super::{Link, LinkState};
use crate::clock::{Instant, Timer};
use crate::config::{KeptAlive, TransportConfig};
use crate::connection::handshake::{self, Offer, OwnRun};
use crate::connection::{self, CloseCode, Connection, Established, Phase, Spans};
use crate::endpoint::EndpointShared;
use crate::error::DialError;
use crate::event::{DownReason, Fate, LinkEvent};
use crate::lane::queue::Gate;

/// Inputs that wait for a link's driver; whoever has one more waits too.
pub(crate) const INPUTS_MAX: usize = 16;
/// The soonest that a connection is replaced because a certificate nears its end.
const REPLACE_MIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum LinkInput {
    Wanted {
        addr: SocketAddr,
    },
    Redial {
        addr: SocketAddr,
    },
    Unwanted,
    Dismissed(Dismissal),
    Dialled {
        conn: ConnId,
        result: Box<Result<Established, DialError>>,
    },
    Offer(Box<Offer>),
    Started {
        conn: ConnId,
        established: Option<Box<Established>>,
    },
    /// `doubtful` were written and not acknowledged; `dropped` will never leave.
    Lost {
        conn: ConnId,
        reason: DownReason,
        doubtful: Spans,
        dropped: Spans,
    },
    Close {
        done: oneshot::Sender<()>,
    },
}

/// A connection on its way to carrying the link, or carrying it.
#[derive(Debug)]
enum Slot {
    /// Dropping the sender gives the dial up.
    Dialling {
        _abandon: oneshot::Sender<()>,
    },
    Offered(Box<Offer>),
    /// Dropping the sender gives the offer up.
    Welcomed {
        _abandon: oneshot::Sender<()>,
    },
    Ready(Box<Established>),
    Live(Arc<Connection>),
}

pub(crate) struct Driver {
    endpoint: Arc<EndpointShared>,
    link: Link,
    machine: LinkMachine,
    /// None where QUIC itself keeps every connection alive.
    vigil: Option<Vigil>,
    instance: u64,
    addr: Option<SocketAddr>,
    slots: HashMap<ConnId, Slot>,
    /// When the connection that carries the link has to be replaced, and when to be cut.
    expiry: Option<(Instant, Instant)>,
    /// The peer closed its last connection in order.
    has_left: bool,
    closed: Vec<oneshot::Sender<()>>,
}

impl Driver {
    pub(crate) fn new(endpoint: Arc<EndpointShared>, link: Link) -> Self {
        let own = endpoint.credentials().identity().name.clone();
        let is_lower = own < *link.peer();
        let seed = endpoint.next_random();
        let machine = LinkMachine::new(is_lower, endpoint.config.timing(), seed);
        let instance = endpoint.next_random();
        let TransportConfig { kept_alive, keep_alive, idle_timeout, .. } = endpoint.config;
        let vigil = match kept_alive {
            KeptAlive::Always => None,
            KeptAlive::WhenAwaited => Some(Vigil::new(keep_alive, idle_timeout)),
        };
        Self {
            endpoint,
            link,
            machine,
            vigil,
            instance,
            addr: None,
            slots: HashMap::new(),
            expiry: None,
            has_left: false,
            closed: Vec::new(),
        }
    }

    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<LinkInput>,
        mut credentials: watch::Receiver<Arc<Credentials>>,
    ) {
        let mut timer: Timer = self.endpoint.clock.timer();
        let shared = Arc::clone(&self.link.shared);
        let mut serial = credentials.borrow_and_update().serial();
        loop {
            timer.arm(self.deadline());
            tokio::select! {
                // A set order, so that a seed decides everything; what is rare comes first.
                biased;
                Ok(()) = credentials.changed() => {
                    let new_serial = credentials.borrow_and_update().serial();
                    let is_rotated = std::mem::replace(&mut serial, new_serial) != serial;
                    self.recheck();
                    if is_rotated {
                        self.replace();
                    }
                },
                () = timer.expired() => self.tick(),
                () = shared.awaited.woken() => self.watch(),
                input = inputs.recv() => match input {
                    Some(input) => self.take(input),
                    None => break,
                },
            }
            if !self.closed.is_empty() && self.slots.is_empty() {
                break;
            }
            if self.is_forgotten() {
                break;
            }
        }
        self.end();
    }

    fn end(self) {
        let dropped = self.link.shared.set_gates(Gate::Closed);
        self.report(dropped, Fate::NotDelivered);
        self.link.shared.state.send_replace(LinkState::Closed);
        self.endpoint.forget(&self.link.shared.key);
        for done in self.closed {
            // Whoever asked may have stopped waiting.
            done.send(()).ok();
        }
    }

    /// A tool that took its leave, or has been gone for long, does not come back as the same run.
    fn is_forgotten(&self) -> bool {
        let is_unreachable = *self.link.shared.state.borrow() == LinkState::Unreachable;
        self.link.peer_kind() == Kind::Tool
            && self.slots.is_empty()
            && (self.has_left || is_unreachable)
    }

    fn deadline(&self) -> Option<Instant> {
        let expiry = self.expiry.map(|(replace, cut)| replace.min(cut));
        let look = self.vigil.as_ref().and_then(Vigil::deadline);
        [self.machine.deadline(), expiry, look].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let now = self.endpoint.clock.now();
        if let Some((replace, cut)) = self.expiry {
            if cut <= now {
                self.expiry = None;
                self.recheck();
            } else if replace <= now {
                self.expiry = Some((cut, cut));
                self.replace();
            }
        }
        self.look();
        self.step(Input::Tick);
    }

    /// Watches the connection that carries the link from now on; that there is none is for the
    /// machine to mend.
    fn watch(&mut self) {
        let Some(vigil) = &mut self.vigil else { return };
        self.link.shared.awaited.set_watched(true);
        match self.link.shared.current() {
            Some(connection) => vigil.watch(self.endpoint.clock.now(), connection.signs()),
            None => vigil.rest(),
        }
    }

    fn look(&mut self) {
        let (Some(vigil), Some(connection)) = (&mut self.vigil, self.link.shared.current()) else {
            return;
        };
        let (now, is_awaited) = (self.endpoint.clock.now(), self.link.shared.is_awaited());
        match vigil.look(now, is_awaited, connection.signs()) {
            Some(vigil::Effect::Ask) => connection.ask_for_sign(),
            Some(vigil::Effect::Cut) => drop(connection.cut(CloseCode::Silent, DownReason::Silent)),
            None if vigil.deadline().is_none() => {
                self.link.shared.awaited.set_watched(false);
                // A wait that began before that has woken nobody.
                if self.link.shared.is_awaited() {
                    self.watch();
                }
            }
            None => {}
        }
    }

    /// A tool cannot be dialled: it comes again by itself.
    fn replace(&mut self) {
        if self.link.peer_kind() == Kind::Node {
            self.step(Input::Replace);
        }
    }

    fn take(&mut self, input: LinkInput) {
        match input {
            LinkInput::Wanted { addr } => {
                self.addr = Some(addr);
                self.step(Input::Wanted);
            }
            LinkInput::Redial { addr } => {
                self.addr = Some(addr);
                self.step(Input::Redial);
            }
            LinkInput::Unwanted => self.step(Input::Unwanted),
            LinkInput::Dismissed(dismissal) => {
                let Dismissal { incarnation, reason } = &dismissal;
                tracing::info!(peer = %self.link.peer(), incarnation, reason, "peer dismissed");
                self.step(Input::Dismissed(dismissal));
            }
            LinkInput::Dialled { conn, result } => self.dialled(conn, *result),
            LinkInput::Offer(offer) => self.offered(offer),
            LinkInput::Started { conn, established } => self.started(conn, established),
            LinkInput::Lost { conn, reason, doubtful, dropped } => {
                self.report(doubtful, Fate::MaybeDelivered);
                self.report(dropped, Fate::NotDelivered);
                self.lost(conn, reason);
            }
            LinkInput::Close { done } => {
                self.closed.push(done);
                for lane in &self.link.shared.out_lanes {
                    lane.queue.seal();
                }
                self.step(Input::Close);
            }
        }
    }

    /// One input, then every effect.
    fn step(&mut self, input: Input) {
        self.machine.handle(self.endpoint.clock.now(), input);
        while let Some(effect) = self.machine.poll() {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { conn, generation, live } => {
                self.dial(conn, self.own_run(generation, live));
            }
            Effect::AbandonDial { conn } => drop(self.slots.remove(&conn)),
            Effect::Welcome { conn, generation, live } => {
                self.welcome(conn, self.own_run(generation, live));
            }
            Effect::Reject { conn, rejection } => self.reject(conn, rejection),
            Effect::Adopt { conn, generation } => self.adopt(conn, generation),
            Effect::Retire { conn } => self.retire(conn),
            Effect::Drop { conn } => self.drop_connection(conn),
            Effect::Dismiss { conn, reason } => self.dismiss(conn, reason),
            Effect::Reopen => self.reopen(),
            Effect::PeerRestarted => self.peer_restarted(),
            Effect::GiveUp => self.give_up(),
        }
    }

    fn own_run(&self, generation: u64, live: u64) -> OwnRun {
        OwnRun { instance: self.instance, generation, live }
    }

    fn adopt(&mut self, conn: ConnId, generation: u64) {
        let Some(Slot::Ready(established)) = self.slots.remove(&conn) else { return };
        self.expiry = Some(self.expiry_of(&established));
        let lanes = self.endpoint.config.lanes;
        let (connection, control) = connection::adopted(conn, lanes, *established);
        let info = Arc::clone(&connection.info);
        let shared = Arc::clone(&self.link.shared);
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let predecessor = shared.set_current(Some(Arc::clone(&connection)));
        shared.set_gates(Gate::Open);
        self.watch();
        let up = LinkState::Up(Arc::clone(&info));
        let before = shared.state.send_replace(up);
        let replaced = matches!(before, LinkState::Up(_));
        let serial = &info.peer.serial;
        tracing::info!(peer = %self.link.peer(), generation, %serial, replaced, "link up");
        self.tell(LinkEvent::Up { info, replaced });
        // Only now: whoever is handed a message finds the link up, with the peer's identity.
        connection::run(&self.endpoint, &self.link, &connection, control, predecessor);
        self.slots.insert(conn, Slot::Live(connection));
    }

    /// When to have replaced the connection, and when the earlier of both certificates is over.
    fn expiry_of(&self, established: &Established) -> (Instant, Instant) {
        let (now, wall) = (self.endpoint.clock.now(), self.endpoint.wall_now());
        let own = established.own.not_after();
        let peer = established.info.peer.not_after;
        let replacement = rotation::link_replacement(wall, own, peer, self.instance);
        // The last second still counts, and the clock was rounded down.
        let cut = moment::between(wall, own.min(peer)) + Duration::from_secs(2);
        (now.after(moment::between(wall, replacement).max(REPLACE_MIN)), now.after(cut))
    }

    fn retire(&mut self, conn: ConnId) {
        if let Some(Slot::Live(connection)) = self.slots.get(&conn) {
            let phase = if self.closed.is_empty() { Phase::Retiring } else { Phase::Flushing };
            let endpoint = Arc::clone(&self.endpoint);
            let (link, connection) = (self.link.clone(), Arc::clone(connection));
            self.endpoint.spawn(connection::retire(endpoint, link, connection, phase));
        }
    }

    fn drop_connection(&mut self, conn: ConnId) {
        match self.slots.remove(&conn) {
            Some(Slot::Live(connection)) => {
                let reason = connection.cut(CloseCode::Dropped, DownReason::Reset);
                self.went_down(conn, reason);
                // It stays until its supervisor has reported it.
                self.slots.insert(conn, Slot::Live(connection));
            }
            Some(Slot::Ready(established)) => {
                CloseCode::Superseded.close(&established.quinn, "superseded");
            }
            Some(Slot::Dialling { .. } | Slot::Offered(_) | Slot::Welcomed { .. }) | None => {}
        }
    }

    fn dismiss(&mut self, conn: ConnId, reason: String) {
        let Some(Slot::Live(connection)) = self.slots.get(&conn) else { return };
        let connection = Arc::clone(connection);
        self.went_down(conn, DownReason::Dismissed { reason: reason.clone() });
        self.endpoint.spawn(connection::dismiss(Arc::clone(&self.endpoint), connection, reason));
    }

    fn reopen(&self) {
        drop(self.link.shared.set_gates(Gate::Open));
        self.link.shared.state.send_replace(LinkState::Connecting);
    }

    fn lost(&mut self, conn: ConnId, reason: DownReason) {
        self.slots.remove(&conn);
        self.has_left = matches!(reason, DownReason::ClosedByPeer { .. });
        let is_for_good = matches!(reason, DownReason::DismissedByPeer { .. });
        self.went_down(conn, reason);
        self.step(if is_for_good { Input::LostForGood { conn } } else { Input::Lost { conn } });
    }

    /// Nothing carries the link any more, if this connection did.
    fn went_down(&mut self, conn: ConnId, reason: DownReason) {
        if self.link.shared.current().is_none_or(|connection| connection.id != conn) {
            return;
        }
        drop(self.link.shared.set_current(None));
        self.watch();
        self.link.shared.state.send_if_modified(|state| {
            let is_up = matches!(state, LinkState::Up(_));
            if is_up {
                *state = LinkState::Connecting;
            }
            is_up
        });
        self.expiry = None;
        tracing::info!(peer = %self.link.peer(), reason = reason.label(), %reason, "link down");
        self.tell(LinkEvent::Down { reason });
    }

    fn peer_restarted(&self) {
        let dropped = self.link.shared.discard();
        self.report(dropped, Fate::NotDelivered);
        tracing::info!(peer = %self.link.peer(), "peer runs anew");
        self.tell(LinkEvent::PeerRestarted);
    }

    fn give_up(&self) {
        let gate = if self.closed.is_empty() { Gate::Unreachable } else { Gate::Closed };
        let dropped = self.link.shared.set_gates(gate);
        self.report(dropped, Fate::NotDelivered);
        self.link.shared.state.send_replace(LinkState::Unreachable);
        self.tell(LinkEvent::Unreachable);
    }

    /// Cuts the link if the peer's certificate is not accepted any more.
    fn recheck(&mut self) {
        let Some(connection) = self.link.shared.current() else { return };
        let Err(refusal) = self.verify(&connection.quinn) else { return };
        let reason = refusal.label();
        tracing::warn!(peer = %self.link.peer(), reason, %refusal, "peer evicted");
        connection.cut(CloseCode::Evicted, DownReason::Evicted(refusal));
        self.step(Input::Evict);
    }

    fn verify(&self, connection: &quinn::Connection) -> Result<(), Refusal> {
        let chain = handshake::peer_chain(connection).ok_or(Refusal::NoCertificate)?;
        self.endpoint.credentials().verify_peer(&chain, self.endpoint.wall_now()).map(drop)
    }

    fn report(&self, lanes: Spans, fate: Fate) {
        for (lane, numbers) in lanes {
            if let Some(out) = self.link.shared.out_lanes.get(usize::from(lane)) {
                out.settled.fetch_max(numbers.end - 1, Ordering::AcqRel);
            }
            self.tell(LinkEvent::Undelivered { lane, numbers, fate });
        }
        self.link.shared.progress.notify_waiters();
    }

    fn tell(&self, event: LinkEvent) {
        self.endpoint.inbound.event(&self.link, event);
    }
}
