//! The node's side: answers questions and keeps what a status tells.

use std::collections::{HashMap, VecDeque};
use std::iter::Peekable;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;
use vioduct_certs::UnixTime;
use vioduct_certs::identity::{Kind as HolderKind, NodeName};
use vioduct_certs::moment::{between, text};
use vioduct_transport::{
    BoxFuture, ConnectionInfo, DialError, Endpoint, Flow, Inbound, Link, LinkEvent, LinkState,
    Message,
};

use super::head::{Head, Kind};
use super::sinks::Sinks;
use super::status::{
    ConnectionStatus, LinkCondition, LinkStatus, NodeStatus, RefusedDial, SCHEMA, ServiceCounts,
};
use crate::reload::TrustState;

/// Refused connections that a status tells of.
const REFUSED_SHOWN_MAX: usize = 16;
/// Peers whose last trouble is kept; links have the same bound.
const TROUBLES_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Counts {
    echoes: AtomicU64,
    statuses: AtomicU64,
    sunk: AtomicU64,
    malformed: AtomicU64,
    sinks_refused: AtomicU64,
    replies_dropped: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Why a link is not up.
#[derive(Debug, Clone, Default)]
struct Trouble {
    down_reason: Option<String>,
    dial_error: Option<String>,
}

/// What went wrong lately.
#[derive(Debug, Default)]
struct Troubles {
    /// By the node's name; an entry goes when its link is up.
    by_peer: HashMap<NodeName, Trouble>,
    refused: VecDeque<RefusedDial>,
    refused_count: u64,
}

/// Takes the messages of a node's peers.
#[derive(Debug)]
pub struct Service {
    incarnation: u64,
    started: Instant,
    trust: Arc<Mutex<TrustState>>,
    /// `None` until the node listens, and once it is closed.
    endpoint: Mutex<Option<Endpoint>>,
    sinks: Mutex<Sinks>,
    troubles: Mutex<Troubles>,
    counts: Counts,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    pub(crate) fn new(incarnation: u64, trust: Arc<Mutex<TrustState>>) -> Self {
        Self {
            incarnation,
            #[expect(clippy::disallowed_methods, reason = "the edge: when this process started")]
            started: std::time::Instant::now().into(),
            trust,
            endpoint: Mutex::default(),
            sinks: Mutex::default(),
            troubles: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// Gives the service the endpoint it tells of; `None` at the end, as the two hold each other.
    pub(crate) fn set_endpoint(&self, endpoint: Option<Endpoint>) {
        *locked(&self.endpoint) = endpoint;
    }

    /// How the node is; `None` before it listens and once it is closed.
    pub fn status(&self, now: UnixTime) -> Option<NodeStatus> {
        let endpoint = locked(&self.endpoint).clone()?;
        let credentials = endpoint.credentials();
        let identity = credentials.identity();
        // A tool that has gone does not come back on its link.
        let is_shown =
            |link: &LinkStatus| link.kind == HolderKind::Node || link.state == LinkCondition::Up;
        let links = endpoint.links();
        let links = links.iter().map(|link| self.link_status(link, now)).filter(is_shown).collect();
        let troubles = locked(&self.troubles);
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(NodeStatus {
            schema: SCHEMA,
            cluster: identity.cluster.clone(),
            node: identity.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.incarnation,
            uptime_ms,
            listen: endpoint.local_addr().map_or_else(|_error| String::new(), |a| a.to_string()),
            roles: identity.roles,
            trust: locked(&self.trust).status(&credentials, now),
            service: self.counts(),
            links,
            refused_dials: troubles.refused.iter().cloned().collect(),
            refused_dials_count: troubles.refused_count,
        })
    }

    fn counts(&self) -> ServiceCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServiceCounts {
            echoes: read(&self.counts.echoes),
            statuses: read(&self.counts.statuses),
            sunk: read(&self.counts.sunk),
            malformed: read(&self.counts.malformed),
            sinks_refused: read(&self.counts.sinks_refused),
            replies_dropped: read(&self.counts.replies_dropped),
        }
    }

    fn link_status(&self, link: &Link, now: UnixTime) -> LinkStatus {
        let stats = link.stats();
        let rtt_us = u64::try_from(stats.rtt.as_micros()).unwrap_or(u64::MAX);
        let connection = |info: &ConnectionInfo| ConnectionStatus {
            generation: info.generation,
            incarnation: info.incarnation,
            serial: info.peer.serial,
            expires_in_s: between(now, info.peer.not_after).as_secs(),
            roles: info.peer.identity.roles,
            addr: info.addr.to_string(),
            dialled: info.dialled,
            rtt_us,
            packets_lost: stats.packets_lost,
        };
        let (state, connection) = match link.state() {
            LinkState::Connecting => (LinkCondition::Connecting, None),
            LinkState::Up(info) => (LinkCondition::Up, Some(connection(&info))),
            LinkState::Unreachable => (LinkCondition::Unreachable, None),
            LinkState::Closed => (LinkCondition::Closed, None),
        };
        let trouble = locked(&self.troubles).by_peer.get(link.peer()).cloned();
        let Trouble { down_reason, dial_error } = trouble.unwrap_or_default();
        LinkStatus {
            peer: link.peer().clone(),
            kind: link.peer_kind(),
            state,
            connection,
            down_reason,
            dial_error,
            queued_messages: stats.queued_messages,
            queued_bytes: stats.queued_bytes,
            messages_sent: stats.messages_sent,
            messages_received: stats.messages_received,
            connections: stats.connections,
        }
    }

    /// Notes what went wrong with a link to a node; tools' links are not told of when down.
    fn note_trouble(&self, link: &Link, note: impl FnOnce(&mut Trouble)) {
        let mut troubles = locked(&self.troubles);
        let by_peer = &mut troubles.by_peer;
        let has_room = by_peer.len() < TROUBLES_MAX || by_peer.contains_key(link.peer());
        if link.peer_kind() == HolderKind::Node && has_room {
            note(by_peer.entry(link.peer().clone()).or_default());
        }
    }

    /// Answers the messages of one lane, in their order.
    async fn serve(&self, from: &Link, lane: u8, batch: &mut Vec<Message>) {
        let mut messages = batch.drain(..).peekable();
        while let Some(message) = messages.next() {
            let Ok(head) = Head::decode(&message.head) else {
                count(&self.counts.malformed);
                continue;
            };
            let (kind, body) = match head.kind {
                Kind::EchoRequest => {
                    count(&self.counts.echoes);
                    (Kind::EchoReply, message.body)
                }
                Kind::StatusRequest => {
                    let Some(body) = self.status_body() else { continue };
                    count(&self.counts.statuses);
                    (Kind::StatusReply, body)
                }
                Kind::SinkQuery => {
                    let counted = locked(&self.sinks).count(from.peer_kind(), from.peer());
                    (Kind::SinkReply, Bytes::copy_from_slice(&counted.encode()))
                }
                Kind::Sink => {
                    self.sink(from, lane, (message.flow, head.number), &mut messages);
                    continue;
                }
                Kind::EchoReply | Kind::StatusReply | Kind::SinkReply => {
                    count(&self.counts.malformed); // A node asks nothing.
                    continue;
                }
            };
            let flow = if lane == 0 { Flow::Control } else { Flow::Pair(message.flow) };
            let reply = Head { kind, number: head.number }.encode();
            if from.send(flow, &reply, &body).await.is_err() {
                count(&self.counts.replies_dropped);
            }
        }
    }

    /// Counts a sink message and those that follow it directly.
    fn sink(
        &self,
        from: &Link,
        lane: u8,
        first: (u32, u64),
        messages: &mut Peekable<impl Iterator<Item = Message>>,
    ) {
        let mut sinks = locked(&self.sinks);
        let mut peer = sinks.peer(from.peer_kind(), from.peer());
        let mut next = Some(first);
        while let Some((flow, sequence)) = next {
            let is_counted = peer.as_mut().is_some_and(|peer| peer.take(lane, flow, sequence));
            count(if is_counted { &self.counts.sunk } else { &self.counts.sinks_refused });
            let sequence_of = |message: &Message| match Head::decode(&message.head) {
                Ok(Head { kind: Kind::Sink, number }) => Some((message.flow, number)),
                _other => None,
            };
            next = messages.peek().and_then(sequence_of);
            if next.is_some() {
                messages.next();
            }
        }
    }

    fn status_body(&self) -> Option<Bytes> {
        let status = self.status(UnixTime::now())?;
        match serde_json::to_vec(&status) {
            Ok(json) => Some(json.into()),
            Err(error) => {
                tracing::error!(%error, "status can't be written");
                None
            }
        }
    }
}

impl Inbound for Service {
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        Box::pin(self.serve(from, lane, batch))
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {
        count(&self.counts.malformed); // Nobody sends any yet.
    }

    /// The transport logs connections and dials; this logs what it means for messages.
    fn event(&self, link: &Link, event: LinkEvent) {
        let peer = link.peer();
        match event {
            LinkEvent::Up { .. } if link.peer_kind() == HolderKind::Node => {
                locked(&self.troubles).by_peer.remove(peer);
            }
            LinkEvent::Up { .. } => {}
            LinkEvent::Down { reason } => {
                let reason = reason.to_string();
                self.note_trouble(link, |trouble| trouble.down_reason = Some(reason));
            }
            LinkEvent::DialFailed { error } => {
                let error = error.to_string();
                self.note_trouble(link, |trouble| trouble.dial_error = Some(error));
            }
            LinkEvent::Undelivered { lane, numbers, fate } => {
                let messages = numbers.end - numbers.start;
                match link.peer_kind() {
                    HolderKind::Node => {
                        tracing::warn!(%peer, lane, messages, ?fate, "messages undelivered");
                    }
                    // A tool leaves as soon as it has its answer.
                    HolderKind::Tool => {
                        tracing::debug!(%peer, lane, messages, ?fate, "tool gone");
                    }
                }
            }
            LinkEvent::Unreachable if link.peer_kind() == HolderKind::Node => {
                tracing::warn!(%peer, "link unreachable, messages are refused");
            }
            LinkEvent::Unreachable => {}
            LinkEvent::PeerRestarted => tracing::info!(%peer, "peer runs anew"),
        }
    }

    fn refused(&self, addr: SocketAddr, error: DialError) {
        let refused = RefusedDial {
            addr: addr.to_string(),
            reason: error.label().to_owned(),
            message: error.to_string(),
            at: text(UnixTime::now()),
        };
        let mut troubles = locked(&self.troubles);
        troubles.refused_count += 1;
        if troubles.refused.len() >= REFUSED_SHOWN_MAX {
            troubles.refused.pop_front();
        }
        troubles.refused.push_back(refused);
    }
}
