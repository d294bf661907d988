//! What a peer can not go beyond: decoders over damaged messages, handshakes at once, a reader that
//! takes nothing.
//!
//! The damaged messages are valid ones with bits flipped, ends cut, lengths edited, parts of others
//! spliced in: the same properties as the fuzz targets, from a fixed seed.

#[path = "../../../fuzz/properties/frames.rs"]
mod frames;
#[path = "../../../fuzz/properties/handshake.rs"]
mod handshake;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::support::hostile::Stage;
use crate::support::{BOUND, Node, ca, within};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use vioduct_certs::identity::Roles;
use vioduct_transport::seam::Surroundings;
use vioduct_transport::wire::{Hello, LimitName, Rejection, VersionRange, Welcome};
use vioduct_transport::{
    BoxFuture, DialError, Endpoint, Flow, Inbound, Link, LinkEvent, Message, SendError,
    TransportConfig,
};

const SEED: u64 = 0x5eed_0fb7;
const INPUTS: usize = 200_000;

fn name(rng: &mut StdRng) -> String {
    let length = rng.random_range(0..=63);
    (0..length).map(|_letter| char::from(rng.random_range(b'a'..=b'z'))).collect()
}

fn versions(rng: &mut StdRng) -> VersionRange {
    VersionRange { min: rng.random(), max: rng.random() }
}

fn hello(rng: &mut StdRng) -> Hello {
    Hello {
        versions: versions(rng),
        capabilities: rng.random(),
        incarnation: rng.random(),
        instance: rng.random(),
        generation: rng.random(),
        live: rng.random(),
        lanes: rng.random(),
        head_bytes_max: rng.random(),
        inline_body_bytes_max: rng.random(),
        body_bytes_max: rng.random(),
        cluster: name(rng),
        node: name(rng),
    }
}

fn handshake_message(rng: &mut StdRng) -> Vec<u8> {
    let (accepting, dialling) = (rng.random(), rng.random());
    let limits =
        [LimitName::BodyBytes, LimitName::HeadBytes, LimitName::InlineBodyBytes, LimitName::Lanes];
    match rng.random_range(0..12) {
        0 => hello(rng).encode(),
        1 => Welcome { version: rng.random(), hello: hello(rng) }.encode(),
        2 => Rejection::Version { accepting: versions(rng), dialling: versions(rng) }.encode(),
        3 => {
            let limit = *limits.choose(rng).expect("four of them");
            Rejection::Limit { limit, accepting, dialling }.encode()
        }
        4 => Rejection::Identity { said: name(rng), certificate: name(rng) }.encode(),
        5 => Rejection::StaleIncarnation { dialling, known: accepting }.encode(),
        6 => Rejection::IdentityConflict { incarnation: dialling }.encode(),
        7 => Rejection::StaleGeneration { dialling, known: accepting }.encode(),
        8 => Rejection::TooManyPeers { limit: accepting }.encode(),
        9 => Rejection::Duplicate.encode(),
        _ => Rejection::Closing.encode(),
    }
}

/// One to four frames, within the limits that the property sets.
fn lane_bytes(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _frame in 0..rng.random_range(1..=4) {
        let is_detached = rng.random_bool(0.2);
        let head: u32 = rng.random_range(0..=frames::LIMITS.head_bytes_max);
        let body: u32 = rng.random_range(0..=frames::LIMITS.inline_body_bytes_max);
        bytes.push(if is_detached { 2 } else { 1 });
        bytes.extend(rng.random::<u32>().to_le_bytes());
        bytes.extend(head.to_le_bytes());
        bytes.extend(body.to_le_bytes());
        let follows = head + if is_detached { 0 } else { body };
        bytes.extend((0..follows).map(|_byte| rng.random::<u8>()));
    }
    bytes
}

/// Damages a message in one to three places; sometimes not at all.
fn damage(rng: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _place in 0..rng.random_range(0..=3) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..5) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
            1 => bytes.truncate(at),
            // Lengths stand near the front, and extremes are what breaks a check.
            2 => {
                let front = at % 16;
                for byte in bytes.iter_mut().skip(front).take(rng.random_range(1..=4)) {
                    *byte = *[0, 1, 0x7f, 0x80, 0xff].choose(rng).expect("five of them");
                }
            }
            3 => {
                let from = rng.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend(other.iter().skip(from));
            }
            _ => bytes.insert(at, rng.random()),
        }
    }
}

#[test]
fn damaged_handshake_messages_are_refused_or_mean_what_their_bytes_say() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut other = handshake_message(&mut rng);
    let mut accepted = 0;
    for _input in 0..INPUTS {
        let mut bytes = handshake_message(&mut rng);
        damage(&mut rng, &mut bytes, &other);
        accepted += usize::from(handshake::check(&bytes));
        other = bytes;
    }
    // The damage must leave both kinds of input, or the run shows nothing.
    assert!((INPUTS / 4..INPUTS * 3 / 4).contains(&accepted), "{accepted} of {INPUTS} accepted");
}

#[test]
fn damaged_lanes_end_in_the_same_messages_however_they_are_cut() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut other = lane_bytes(&mut rng);
    let (mut whole, mut messages) = (0, 0);
    for _input in 0..INPUTS {
        let mut bytes = lane_bytes(&mut rng);
        damage(&mut rng, &mut bytes, &other);
        let pieces: [u8; 3] = rng.random();
        let count = frames::check(&pieces, &bytes);
        messages += count;
        whole += usize::from(count > 0);
        other = bytes;
    }
    assert!(whole > INPUTS / 4 && messages > INPUTS / 2, "{messages} messages, {whole} inputs");
}

#[tokio::test]
async fn five_hundred_handshakes_at_once_are_bounded_and_hurt_no_link() {
    const FLOOD: usize = 500;
    let config = TransportConfig {
        handshakes_max: 64,
        handshake_timeout: BOUND,
        ..TransportConfig::default()
    };
    let mut stage = Stage::with(config).await;
    let mut flood = JoinSet::new();
    for _connection in 0..FLOOD {
        flood.spawn(stage.hostile.connecting(&stage.victim).into_future());
    }
    for _echo in 0..100 {
        stage.round_trip().await;
    }
    let ends = within(flood.join_all()).await;
    let (held, refused): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    assert_eq!((held.len(), refused.len()), (64, FLOOD - 64));
    for end in refused {
        let Err(quinn::ConnectionError::ConnectionClosed(close)) = end else {
            panic!("another end: {end:?}")
        };
        assert_eq!(close.error_code, quinn_proto::TransportErrorCode::CONNECTION_REFUSED);
    }
    for _echo in 0..100 {
        stage.round_trip().await;
    }
    // With the flood gone there is room again.
    drop(held);
    for _gone in 0..64 {
        stage.refused().await;
    }
    let peer = stage.hostile.link(&stage.victim).await;
    assert!(peer.connection.close_reason().is_none());
}

/// Takes messages but for lane 1, which it holds until it is let go.
struct SlowReader {
    is_free: watch::Receiver<bool>,
    messages: mpsc::Sender<(u8, Bytes)>,
}

impl Inbound for SlowReader {
    fn deliver<'a>(
        &'a self,
        _from: &'a Link,
        lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        Box::pin(async move {
            if lane == 1 {
                self.is_free.clone().wait_for(|is_free| *is_free).await.unwrap();
            }
            for message in batch.drain(..).filter(|_message| lane != 1) {
                self.messages.send((lane, message.head)).await.unwrap();
            }
        })
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {}

    fn event(&self, _link: &Link, _event: LinkEvent) {}

    fn refused(&self, _addr: SocketAddr, _error: DialError) {}
}

/// Sends bodies of this size to a reader that takes none, and gives how many bytes the link took
/// until it says that it is full for good.
async fn fill(link: &Link, messages: &mut mpsc::Receiver<(u8, Bytes)>, body: &Bytes) -> usize {
    let (mut taken, mut full) = (0, 0);
    while full < 100 {
        // Flow 4 is on lane 1.
        match link.try_send(Flow::Pair(4), b"stuck", body) {
            Ok(_ticket) => (taken, full) = (taken + body.len(), 0),
            Err(SendError::Full { .. }) => full += 1,
            Err(error) => panic!("{error}"),
        }
        // Meanwhile every other lane delivers.
        for flow in [Flow::Control, Flow::Pair(1), Flow::Pair(2), Flow::Pair(3)] {
            link.send(flow, b"other lane", &Bytes::new()).await.unwrap();
            let (lane, head) = within(messages.recv()).await.unwrap();
            assert_ne!(lane, 1);
            assert_eq!(head, "other lane");
        }
    }
    taken
}

#[tokio::test]
async fn a_reader_that_takes_nothing_fills_its_lane_to_the_bound_and_no_other() {
    let config = TransportConfig {
        body_bytes_max: 1 << 20,
        detached_bytes_max: 2 << 20,
        drain_timeout: Duration::from_millis(300),
        ..TransportConfig::default()
    };
    // On the lane: its queue, the batch being written, and what QUIC holds for one stream.
    let inline_max = 2 * config.lane_queue_bytes_max + config.stream_window_bytes + (1 << 20);
    // Beside it: those that wait to be sent, those under way, and those that were read.
    let detached_max = 2 * config.detached_bytes_max + 5 * config.stream_window_bytes;
    for (body_bytes, bound) in [(64 << 10, inline_max), (512 << 10, detached_max)] {
        let mut ca = ca();
        let sender = Node::start_with(ca.node("n1", Roles::default()).unwrap(), config.clone(), 1);
        let mut sender = sender;
        let (free, is_free) = watch::channel(false);
        let (messages, mut received) = mpsc::channel(16);
        let credentials = Arc::new(ca.node("n2", Roles::default()).unwrap());
        let surroundings = Surroundings::bind(([127, 0, 0, 1], 0).into(), 1 << 20).unwrap();
        let inbound = Arc::new(SlowReader { is_free, messages });
        let name = credentials.identity().name.clone();
        let slow = Endpoint::new(config.clone(), 1, credentials, surroundings, inbound).unwrap();
        let link = sender.endpoint.connect(name, slow.local_addr().unwrap()).await.unwrap();
        within(link.up()).await.unwrap();

        let taken = fill(&link, &mut received, &Bytes::from(vec![7; body_bytes])).await;
        assert!(taken >= body_bytes && taken <= bound as usize, "{taken} bytes taken");
        assert!(link.stats().queued_bytes <= u64::from(config.lane_queue_bytes_max));

        // The link can be closed all the same, and says what became of the messages.
        within(sender.endpoint.close()).await;
        let lost = |event| match event {
            LinkEvent::Undelivered { lane: 1, fate, .. } => Some(fate),
            _other => None,
        };
        sender.event(lost).await;
        free.send(true).unwrap();
        within(slow.close()).await;
    }
}

#[tokio::test]
async fn runs_of_one_tool_do_not_take_the_places_of_nodes() {
    const RUNS_MAX: usize = 64;
    let mut ca = ca();
    let victim = crate::support::node(&mut ca, "n1");
    let tool = ca.tool("admin").unwrap();
    let mut runs = Vec::new();
    for _run in 0..RUNS_MAX {
        let run = Node::start(tool.clone());
        within(run.connect(&victim).await.up()).await.unwrap();
        runs.push(run);
    }
    let mut late = Node::start(tool);
    late.connect(&victim).await;
    let error = late
        .event(|event| match event {
            LinkEvent::DialFailed { error } => Some(error),
            _other => None,
        })
        .await;
    let DialError::Rejected { rejection, .. } = error else { panic!("{error}") };
    assert_eq!(rejection, Rejection::TooManyPeers { limit: 64 });
    let node = crate::support::node(&mut ca, "n2");
    within(node.connect(&victim).await.up()).await.unwrap();
    // Whoever leaves in order makes room at once.
    runs.pop().unwrap().endpoint.close().await;
    within(late.endpoint.link(&victim.name()).unwrap().up()).await.unwrap();
}
