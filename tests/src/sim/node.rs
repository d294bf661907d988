//! What one simulated node runs: an endpoint, and senders on several flows to each peer.

use std::future::pending;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use vioduct_transport::seam::{ResetSecret, Runtime, Surroundings};
use vioduct_transport::{
    BoxFuture, DialError, Endpoint, Flow, Inbound, Link, LinkEvent, Message, SendError, Ticket,
    TransportConfig,
};

use super::clock::SimClock;
use super::history::{Kind, Recorder};
use super::identity::{Held, leaf_of};
use super::message::{BODY_BYTES_MAX, Bodies, MessageId, NodeId};
use super::runtime::SimRuntime;
use super::schedule::{FAULTS_END_MS, RECOVERY_MS, Setup};
use super::socket::SimSocket;
use super::weather::Weather;

/// Flows from each node to each other one: the control lane and five pairs, of which two share a
/// lane.
const FLOWS: u32 = 6;
/// How often a sender sends many messages at once, so that writers are stopped half-way.
const BURSTS: f64 = 0.04;
/// How many.
const BURST_MESSAGES: u32 = 40;
/// Messages on each flow once everything is healed.
const PROGRESS_MESSAGES: u32 = 5;
/// When they are sent, virtual milliseconds.
pub(super) const PROGRESS_MS: u64 = FAULTS_END_MS + RECOVERY_MS;
/// A node loads what it is handed within this, milliseconds.
const LOAD_MS: u64 = 200;
/// What QUIC keeps of closed connections, to answer late packets, is gone after this, milliseconds.
/// Three probe time-outs; without a measured round trip each is a second.
const ENDED_MS: u64 = 3100;
/// How long a connection may take to write and confirm what it took, milliseconds.
pub(super) const DRAIN_MS: u64 = 1000;

/// Another node, as this one knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) addr: SocketAddr,
}

/// What the world tells a node.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    /// To be used from now on.
    pub(super) held: Held,
    /// The node is to close its endpoint.
    pub(super) is_closing: bool,
}

/// Everything a node needs to run, again and again.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) setup: Setup,
    pub(super) node: NodeId,
    pub(super) addr: SocketAddr,
    pub(super) peers: Vec<Peer>,
    /// What the world tells the node; stays over its runs, as files do.
    pub(super) orders: watch::Sender<Orders>,
    pub(super) weather: Arc<Mutex<Weather>>,
    pub(super) clock: SimClock,
    /// The world's; each run records as itself.
    pub(super) recorder: Recorder,
    /// The last incarnation, as a node keeps it on disk.
    pub(super) incarnation: AtomicU64,
    pub(super) bodies: Bodies,
}

/// Times short enough for every time-out to be met within the faults of one simulation, and windows
/// small enough for lanes to be full during a cut.
fn config() -> TransportConfig {
    TransportConfig {
        keep_alive: Duration::from_millis(500),
        idle_timeout: Duration::from_secs(2),
        handshake_timeout: Duration::from_secs(2),
        drain_timeout: Duration::from_millis(DRAIN_MS),
        unreachable_after: Duration::from_millis(1500),
        backoff_max: Duration::from_secs(1),
        lane_queue_bytes_max: 64 << 10,
        stream_window_bytes: 64 << 10,
        send_window_bytes: 256 << 10,
        segmentation_offload: false,
        ..TransportConfig::default()
    }
}

/// One run of the node, until it is crashed, or told to close.
pub(super) async fn live(site: Arc<Site>) -> turmoil::Result {
    let run = site.incarnation.fetch_add(1, Ordering::Relaxed) + 1;
    let node = u64::from(site.node.0);
    let recorder = site.recorder.of_node(site.node, run);
    recorder.record(Kind::Started);
    let mut seeds = StdRng::seed_from_u64(site.setup.seed_for([2, node, run, 0]));
    let runtime = SimRuntime::start(recorder.clone());
    let surroundings = Surroundings {
        runtime: Arc::clone(&runtime) as Arc<dyn Runtime>,
        socket: SimSocket::bind(site.addr, Arc::clone(&site.weather), site.clock.clone()).await?,
        wall_clock: Arc::new(site.clock.clone()),
        seed: seeds.random(),
        reset_secret: ResetSecret::from([7; 32]),
    };
    let slowness = StdRng::seed_from_u64(site.setup.seed_for([3, node, run, 0]));
    let inbound = Receiver {
        recorder: recorder.clone(),
        bodies: site.bodies.clone(),
        slowness: Mutex::new(slowness),
    };
    let mut orders = site.orders.subscribe();
    let Held { credentials, leaf, crl } = orders.borrow_and_update().held.clone();
    recorder.record(Kind::Loaded { leaf, crl });
    let endpoint = Endpoint::new(config(), run, credentials, surroundings, Arc::new(inbound))?;
    let mut senders = JoinSet::new();
    for peer in &site.peers {
        let link = endpoint.connect(peer.node.to_string().parse()?, peer.addr).await?;
        for flow in 0..FLOWS {
            let first = MessageId { from: site.node, run, to: peer.node, flow, number: 1 };
            let purpose = [4 + run, node, peer.node.0.into(), flow.into()];
            let sender = Sender {
                site: Arc::clone(&site),
                recorder: recorder.clone(),
                link: link.clone(),
                rng: StdRng::seed_from_u64(site.setup.seed_for(purpose)),
                next: first,
                last: None,
            };
            senders.spawn(sender.run());
        }
    }
    let finish = async {
        while let Some(ended) = senders.join_next().await {
            ended?;
        }
        recorder.record(Kind::Finished);
        pending::<turmoil::Result>().await
    };
    let lags = StdRng::seed_from_u64(site.setup.seed_for([7, node, run, 0]));
    tokio::select! {
        biased;
        () = obey(&endpoint, orders, &recorder, lags) => {}
        failed = finish => return failed,
    }
    endpoint.close().await;
    recorder.record(Kind::Closed);
    drop(endpoint);
    wait_ms(ENDED_MS).await;
    recorder.record(Kind::Ended { tasks: runtime.tasks() });
    pending().await
}

/// Loads what the world hands out, a moment later, until it says to close.
async fn obey(
    endpoint: &Endpoint,
    mut orders: watch::Receiver<Orders>,
    recorder: &Recorder,
    mut lags: StdRng,
) {
    while orders.changed().await.is_ok() {
        if orders.borrow().is_closing {
            break;
        }
        wait_ms(lags.random_range(0..LOAD_MS)).await;
        let Held { credentials, leaf, crl } = orders.borrow_and_update().held.clone();
        recorder.record(Kind::Loaded { leaf, crl });
        endpoint.set_credentials(credentials);
    }
    recorder.record(Kind::Closing);
}

/// Sends on one flow.
struct Sender {
    site: Arc<Site>,
    recorder: Recorder,
    link: Link,
    rng: StdRng,
    next: MessageId,
    last: Option<Ticket>,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let pause_ms = self.rng.random_range(2..160);
            wait_ms(pause_ms).await;
            if self.site.clock.now_ms() >= FAULTS_END_MS {
                break;
            }
            let messages = if self.rng.random_bool(BURSTS) { BURST_MESSAGES } else { 1 };
            for _message in 0..messages {
                if self.send().await.is_break() {
                    return;
                }
            }
        }
        wait_ms(PROGRESS_MS.saturating_sub(self.site.clock.now_ms())).await;
        for _message in 0..PROGRESS_MESSAGES {
            if self.send().await.is_break() {
                return;
            }
        }
        if let Some(ticket) = self.last {
            self.link.settled(ticket).await;
        }
    }

    /// Breaks when the link is closed for good.
    async fn send(&mut self) -> ControlFlow<()> {
        let message = self.next;
        self.next.number += 1;
        let body_bytes = self.body_bytes(message.flow);
        let body = self.site.bodies.body(message, body_bytes);
        let flow = match message.flow {
            0 => Flow::Control,
            pair => Flow::Pair(pair),
        };
        match self.link.send(flow, &message.head(&body), &body).await {
            Ok(ticket) => {
                self.last = Some(ticket);
                self.recorder.record(Kind::Taken { message, ticket });
            }
            Err(error) => {
                self.recorder.record(Kind::Refused { message });
                if let SendError::Closed { .. } = error {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Mostly small; one in sixty travels on a stream of its own. None of that on the control lane.
    fn body_bytes(&mut self, flow: u32) -> usize {
        let drawn = self.rng.random_range(0..60);
        match drawn {
            0..20 => 0,
            20..44 => 64,
            _ if flow == 0 => 64,
            44..59 => 5 << 10,
            _ => BODY_BYTES_MAX,
        }
    }
}

async fn wait_ms(wait_ms: u64) {
    sleep_until(Instant::now() + Duration::from_millis(wait_ms)).await;
}

/// Writes down what the endpoint tells, and is now and then slow to take a batch.
struct Receiver {
    recorder: Recorder,
    bodies: Bodies,
    slowness: Mutex<StdRng>,
}

impl Receiver {
    fn pause_ms(&self) -> Option<u64> {
        let mut rng = self.slowness.lock().unwrap_or_else(PoisonError::into_inner);
        rng.random_bool(0.1).then(|| rng.random_range(1..60))
    }
}

impl Inbound for Receiver {
    fn deliver<'a>(
        &'a self,
        _from: &'a Link,
        _lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        Box::pin(async move {
            if let Some(pause_ms) = self.pause_ms() {
                wait_ms(pause_ms).await;
            }
            for message in batch.drain(..) {
                self.recorder.record(match MessageId::read(&self.bodies, &message) {
                    Some((message, is_intact)) => Kind::Delivered { message, is_intact },
                    None => Kind::Unreadable,
                });
            }
        })
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {
        // Nobody sends any.
        self.recorder.record(Kind::Unreadable);
    }

    fn event(&self, link: &Link, event: LinkEvent) {
        let Some(peer) = NodeId::of(link.peer().as_str()) else {
            return self.recorder.record(Kind::Unreadable);
        };
        self.recorder.record(match event {
            LinkEvent::Up { info, replaced } => {
                let (generation, dialled) = (info.generation, info.dialled);
                let leaf = leaf_of(info.peer.serial);
                Kind::Up { peer, generation, dialled, replaced, leaf }
            }
            LinkEvent::Down { reason } => Kind::Down { peer, reason: reason.label() },
            LinkEvent::Undelivered { lane, numbers, fate } => {
                Kind::Undelivered { peer, lane, numbers, fate }
            }
            LinkEvent::Unreachable => Kind::Unreachable { peer },
            LinkEvent::DialFailed { error } => Kind::DialFailed { peer, reason: error.label() },
            LinkEvent::PeerRestarted => Kind::PeerRestarted { peer },
        });
    }

    fn refused(&self, _addr: SocketAddr, error: DialError) {
        self.recorder.record(Kind::TurnedDown { reason: error.label() });
    }
}
