//! Order and at-most-once delivery while the network loses packets and connections.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Node, Received, ca, within};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};
use vioduct_certs::identity::Roles;
use vioduct_tests::fault::{Direction, Faults, UdpProxy, UdpProxyConfig};
use vioduct_tests::oracle::{Ledger, Tally};
use vioduct_transport::{Flow, Link, LinkEvent, SendError, Ticket, TransportConfig};

const PAIRS: u32 = 8;
const SEED: u64 = 20_261_122;

struct Bench {
    one: Node,
    two: Node,
    proxy: UdpProxy,
    link: Link,
}

/// Two nodes with a fault proxy between them; the first dials.
async fn through_a_proxy(config: TransportConfig) -> Bench {
    let mut ca = ca();
    let mut start = |name| {
        let credentials = ca.node(name, Roles::default()).unwrap();
        Node::start_with(credentials, config.clone(), 1)
    };
    let (one, two) = (start("n1"), start("n2"));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = UdpProxy::start(UdpProxyConfig { listen, target: two.addr, seed: SEED }).unwrap();
    let link = one.endpoint.connect(two.name(), proxy.addr()).await.unwrap();
    within(link.up()).await.unwrap();
    Bench { one, two, proxy, link }
}

fn head(pair: u32, number: u64) -> Vec<u8> {
    [&pair.to_le_bytes()[..], &number.to_le_bytes()[..]].concat()
}

/// Sends `count` messages of a pair, some with a body on a stream of its own.
fn send(link: &Link, pair: u32, count: u64) -> JoinHandle<Vec<(Ticket, u64)>> {
    let link = link.clone();
    tokio::spawn(async move {
        let (small, large) = (Bytes::from(vec![1; 16]), Bytes::from(vec![2; 300_000]));
        let mut taken = Vec::new();
        for number in 0..count {
            let body = if number % 20_000 == 19_999 { &large } else { &small };
            match link.send(Flow::Pair(pair), &head(pair, number), body).await {
                Ok(ticket) => taken.push((ticket, number)),
                Err(SendError::Unreachable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        taken
    })
}

/// Writes down what arrives, until told that nothing more will.
fn receive(two: Node, mut over: oneshot::Receiver<()>) -> JoinHandle<Vec<(u32, u64)>> {
    let parse = |received: Received| {
        let (pair, number) = received.message.head.split_at(4);
        let pair = u32::from_le_bytes(pair.try_into().unwrap());
        (pair, u64::from_le_bytes(number.try_into().unwrap()))
    };
    tokio::spawn(async move {
        // The endpoint lives as long as its handle, which is part of the node.
        let mut two = two;
        let mut arrived = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(received) = two.messages.recv() => arrived.push(parse(received)),
                _over = &mut over => return arrived,
            }
        }
    })
}

/// Cuts the way between, now both ways, now one, and goes back to `faults`, until aborted.
fn chaos(proxy: UdpProxy, faults: Faults) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut beats = interval(Duration::from_millis(120));
        for beat in 0_u32.. {
            beats.tick().await;
            match beat % 36 {
                4 => proxy.cut_both(),
                16 => proxy.cut(Direction::ToTarget),
                28 => proxy.cut(Direction::ToClient),
                0 | 12 | 24 => proxy.set_both(faults),
                _ => {}
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_messages_keep_their_order_over_loss_and_forced_reconnects() {
    const COUNT: u64 = 125_000;
    let config = TransportConfig {
        idle_timeout: Duration::from_millis(300),
        keep_alive: Duration::from_millis(90),
        backoff_max: Duration::from_millis(200),
        // Larger ones are so few that all is over before there were enough cuts.
        mtu_max: 1452,
        ..TransportConfig::default()
    };
    let Bench { mut one, two, proxy, link } = through_a_proxy(config).await;
    let faults = Faults::none().with_loss(0.05).unwrap();
    proxy.set_both(faults);
    let (over, is_over) = oneshot::channel();
    let receiver = receive(two, is_over);
    let senders: Vec<_> = (0..PAIRS).map(|pair| send(&link, pair, COUNT)).collect();
    let chaos = chaos(proxy, faults);

    let mut ledger = Ledger::default();
    let mut last = Vec::new();
    for (pair, sender) in (0..).zip(senders) {
        let taken = sender.await.unwrap();
        last.extend(taken.last().map(|(ticket, _number)| *ticket));
        for (ticket, number) in taken {
            ledger.took(ticket, (pair, number));
        }
    }
    for ticket in last {
        within(link.settled(ticket)).await;
    }
    chaos.abort();
    over.send(()).expect("the receiver runs");
    for message in receiver.await.unwrap() {
        ledger.arrived(message);
    }
    let mut losses = 0;
    while let Ok((_peer, event)) = one.events.try_recv() {
        match event {
            LinkEvent::Undelivered { lane, numbers, fate } => ledger.reported(lane, numbers, fate),
            LinkEvent::Down { .. } => losses += 1,
            _other => {}
        }
    }
    let Tally { taken, arrived, maybe, not } = ledger.verify().unwrap();
    eprintln!("{taken} taken, {arrived} arrived, {maybe} maybe, {not} not; {losses} reconnects");
    assert_eq!(arrived + maybe + not, taken);
    assert!(taken > 900_000 && arrived > taken / 5, "{arrived} of {taken} arrived");
    assert!(losses >= 6, "{losses} connections were lost");
}

#[tokio::test]
async fn a_cut_of_ten_seconds_ends_in_typed_errors_and_a_reconnect() {
    let Bench { mut one, mut two, proxy, link } = through_a_proxy(TransportConfig::default()).await;
    let empty = Bytes::new();
    let before = link.send(Flow::Pair(1), b"before", &empty).await.unwrap();
    within(link.settled(before)).await;
    assert_eq!(&two.message().await.message.head[..], b"before");

    let start = Instant::now();
    proxy.cut_both();
    let written = link.send(Flow::Pair(1), b"into the cut", &empty).await.unwrap();
    let (lane, numbers, fate) = one
        .event(|event| match event {
            LinkEvent::Undelivered { lane, numbers, fate } => Some((lane, numbers, fate)),
            _other => None,
        })
        .await;
    assert_eq!((lane, numbers), (written.lane, written.number..written.number + 1));
    assert_eq!(fate, vioduct_transport::Fate::MaybeDelivered);
    let reason = one
        .event(|event| match event {
            LinkEvent::Down { reason } => Some(reason),
            _other => None,
        })
        .await;
    assert_eq!(reason.label(), "silent");
    assert!(start.elapsed() < Duration::from_secs(9), "detected after {:?}", start.elapsed());

    let queued = link.send(Flow::Pair(1), b"queued in the cut", &empty).await.unwrap();
    tokio::time::timeout_at(start + Duration::from_secs(10), link.settled(queued))
        .await
        .expect_err("nothing crosses a cut");
    proxy.heal();
    within(link.settled(queued)).await;
    assert_eq!(&two.message().await.message.head[..], b"queued in the cut");
    assert!(start.elapsed() < Duration::from_secs(18), "back after {:?}", start.elapsed());
}

#[tokio::test]
async fn without_a_way_for_long_messages_are_refused_and_then_flow_again() {
    let config = TransportConfig {
        idle_timeout: Duration::from_millis(300),
        keep_alive: Duration::from_millis(80),
        handshake_timeout: Duration::from_millis(300),
        unreachable_after: Duration::from_millis(600),
        backoff_max: Duration::from_millis(200),
        ..TransportConfig::default()
    };
    let Bench { mut one, mut two, proxy, link } = through_a_proxy(config).await;
    proxy.cut_both();
    one.event(|event| matches!(event, LinkEvent::Down { .. }).then_some(())).await;
    let empty = Bytes::new();
    let queued = link.send(Flow::Pair(1), b"queued", &empty).await.unwrap();
    let (numbers, fate) = one
        .event(|event| match event {
            LinkEvent::Undelivered { numbers, fate, .. } => Some((numbers, fate)),
            _other => None,
        })
        .await;
    assert_eq!(numbers, queued.number..queued.number + 1);
    assert_eq!(fate, vioduct_transport::Fate::NotDelivered);
    let refused = link.send(Flow::Pair(1), b"refused", &empty).await.unwrap_err();
    assert_eq!(refused, SendError::Unreachable { peer: two.name() });
    proxy.heal();
    within(link.up()).await.unwrap();
    link.send(Flow::Pair(1), b"after", &empty).await.unwrap();
    assert_eq!(&two.message().await.message.head[..], b"after");
}

/// Answers the messages of one pair, and drops what comes on the others.
fn answer(mut two: Node, pair: u32) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(received) = two.messages.recv().await {
            if received.message.flow == pair {
                let back = two.endpoint.link(&received.from).expect("the link it came on");
                back.send(Flow::Pair(pair), &received.message.head, &Bytes::new()).await.unwrap();
            }
        }
    })
}

/// The path carries 40 MB/s, so 4 MiB take 100 ms of it and the 512 KiB that may wait on it 13 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_hold_up_no_small_message_of_another_pair() {
    const SMALL: u32 = 1;
    let Bench { mut one, two, proxy, link } = through_a_proxy(TransportConfig::default()).await;
    let answering = answer(two, SMALL);
    proxy.set_both(Faults::none().with_rate(Some(40_000_000)).unwrap());
    let bulk: Vec<_> = [0, 2, 4, 6]
        .map(|pair| {
            let (link, body) = (link.clone(), Bytes::from(vec![3; 4 << 20]));
            tokio::spawn(async move {
                while link.send(Flow::Pair(pair), b"bulk", &body).await.is_ok() {}
            })
        })
        .into();
    let moving = proxy.stats_when(|stats| stats.by_direction.to_target.bytes > 8 << 20);
    within(moving).await;
    let mut waits = Vec::new();
    for number in 0..100 {
        let start = Instant::now();
        link.send(Flow::Pair(SMALL), &head(SMALL, number), &Bytes::new()).await.unwrap();
        assert_eq!(one.message().await.message.head[..], head(SMALL, number));
        waits.push(start.elapsed());
    }
    for task in bulk {
        task.abort();
    }
    answering.abort();
    waits.sort();
    let (median, longest) = (waits[50], waits[99]);
    eprintln!("median {median:?}, longest {longest:?}");
    assert!(median < Duration::from_millis(40), "median {median:?}");
    assert!(longest < Duration::from_millis(200), "longest {longest:?}");
}
