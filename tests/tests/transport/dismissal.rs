//! A run of a node with which no link is wanted any more: cut, told so, not dialled.

use std::net::UdpSocket;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_transport::{
    DownReason, Fate, Flow, Link, LinkEvent, LinkState, SendError, TransportConfig,
};

use crate::support::ether::Ether;
use crate::support::{Node, ca, node, within};

const REASON: &str = "declared down in incarnation 1";

/// Two nodes; the second one has dialled the first.
struct Pair {
    ca: DevCa,
    credentials: Credentials,
    one: Node,
    two: Node,
    link: Link,
}

impl Pair {
    async fn new() -> Self {
        let mut ca = ca();
        let one = node(&mut ca, "n1");
        let credentials = ca.node("n2", Roles::default()).unwrap();
        let two = Node::start_with(ca.reissue(&credentials).unwrap(), short(), 1);
        let back = two.connect(&one).await;
        within(back.up()).await.unwrap();
        let link = one.endpoint.link(&two.name()).expect("the link that was dialled");
        within(link.up()).await.unwrap();
        Self { ca, credentials, one, two, link }
    }

    async fn dismiss(&self) {
        self.one.endpoint.dismiss(&self.two.name(), 1, REASON).await;
    }
}

fn short() -> TransportConfig {
    TransportConfig { backoff_max: Duration::from_secs(1), ..TransportConfig::default() }
}

async fn down(node: &mut Node) -> DownReason {
    node.event(|event| match event {
        LinkEvent::Down { reason } => Some(reason),
        _other => None,
    })
    .await
}

async fn unreachable(node: &mut Node) {
    node.event(|event| matches!(event, LinkEvent::Unreachable).then_some(())).await;
}

async fn up(node: &mut Node) {
    node.event(|event| matches!(event, LinkEvent::Up { .. }).then_some(())).await;
}

#[tokio::test]
async fn a_dismissed_run_is_cut_told_why_and_dials_as_rarely_as_it_may() {
    let mut pair = Pair::new().await;
    up(&mut pair.two).await;
    let begin = Instant::now();
    pair.dismiss().await;
    let reason = down(&mut pair.one).await;
    assert!(matches!(&reason, DownReason::Dismissed { reason } if reason == REASON), "{reason}");
    unreachable(&mut pair.one).await;
    let refused = pair.link.try_send(Flow::Pair(1), b"late", &Bytes::new()).unwrap_err();
    assert_eq!(refused, SendError::Unreachable { peer: pair.two.name() });

    let reason = down(&mut pair.two).await;
    let told = matches!(&reason, DownReason::DismissedByPeer { reason } if reason == REASON);
    assert!(told, "{reason}");
    for _dial in 0..2 {
        // It may tell the dismissing side that it is wrong, and be told again that it is not; once
        // the other side is up as well, for an offer is only dropped.
        up(&mut pair.two).await;
        up(&mut pair.one).await;
        pair.dismiss().await;
        down(&mut pair.two).await;
    }
    // Each of the two waits is the longest that there is, or half of that.
    assert!(begin.elapsed() >= short().backoff_max, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_later_run_of_a_dismissed_node_is_taken() {
    let mut pair = Pair::new().await;
    pair.dismiss().await;
    unreachable(&mut pair.one).await;
    pair.two.endpoint.close().await;
    let again = pair.ca.reissue(&pair.credentials).unwrap();
    let mut two = Node::start_with(again, short(), 2);
    let back = two.connect(&pair.one).await;
    within(back.up()).await.unwrap();
    assert_eq!(within(pair.link.up()).await.unwrap().incarnation, 2);
    pair.link.send(Flow::Pair(1), b"welcome", &Bytes::new()).await.unwrap();
    assert_eq!(&two.message().await.message.head[..], b"welcome");
}

#[tokio::test]
async fn a_dismissed_link_that_is_connected_anew_takes_messages_at_once() {
    let mut pair = Pair::new().await;
    pair.dismiss().await;
    unreachable(&mut pair.one).await;
    let link = pair.one.connect(&pair.two).await;
    assert_eq!(link, pair.link);
    while link.state() == LinkState::Unreachable {
        tokio::task::yield_now().await;
    }
    link.send(Flow::Pair(1), b"again", &Bytes::new()).await.unwrap();
    assert_eq!(&pair.two.message().await.message.head[..], b"again");
}

#[tokio::test]
async fn a_dismissal_of_an_earlier_run_changes_nothing() {
    let mut pair = Pair::new().await;
    pair.one.endpoint.dismiss(&pair.two.name(), 0, "late news").await;
    pair.link.send(Flow::Pair(1), b"still here", &Bytes::new()).await.unwrap();
    assert_eq!(&pair.two.message().await.message.head[..], b"still here");
    assert_eq!(pair.link.stats().connections, 1);
}

/// Two nodes in virtual time; the first has dialled.
async fn over_the_ether() -> (Ether, Node, Node, Link) {
    let (ether, mut ca) = (Ether::default(), ca());
    let [one, two] = [1, 2].map(|number| {
        let credentials = ca.node(&format!("n{number}"), Roles::default()).unwrap();
        Node::start_in(credentials, TransportConfig::default(), 1, ether.surroundings(number))
    });
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    (ether, one, two, link)
}

/// So many do not fit the window of a new connection: most of them wait when it is dismissed.
#[tokio::test(start_paused = true)]
async fn datagrams_sent_before_a_dismissal_still_leave() {
    let (_ether, one, mut two, link) = over_the_ether().await;
    let datagrams = (0..50_u8).map(|number| Bytes::from(vec![number; 1000]));
    for datagram in datagrams.clone() {
        link.send_datagram(datagram).unwrap();
    }
    one.endpoint.dismiss(&two.name(), 1, REASON).await;
    for datagram in datagrams {
        assert_eq!(within(two.datagrams.recv()).await.unwrap(), datagram);
    }
}

#[tokio::test]
async fn a_link_that_is_only_dialling_is_given_up_and_dials_no_more() {
    let mut ca = ca();
    let mut one = node(&mut ca, "n1");
    let silent = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let name: vioduct_certs::identity::NodeName = "n2".parse().unwrap();
    let link = one.endpoint.connect(name.clone(), silent.local_addr().unwrap()).await.unwrap();
    let ticket = link.send(Flow::Pair(1), b"queued", &Bytes::new()).await.unwrap();
    one.endpoint.dismiss(&name, 7, REASON).await;
    let (numbers, fate) = one
        .event(|event| match event {
            LinkEvent::Undelivered { numbers, fate, .. } => Some((numbers, fate)),
            other => panic!("unexpected {other:?}"),
        })
        .await;
    assert_eq!((numbers, fate), (ticket.number..ticket.number + 1, Fate::NotDelivered));
    unreachable(&mut one).await;
    assert_eq!(link.state(), LinkState::Unreachable);
}

/// A node that was declared dead does not answer, and is told nothing.
#[tokio::test(start_paused = true)]
async fn a_dismissal_ends_the_wait_for_a_peer_that_is_silent() {
    let (ether, mut one, two, link) = over_the_ether().await;
    ether.silence(two.addr);
    let written = link.send(Flow::Pair(1), b"lost", &Bytes::new()).await.unwrap();
    tokio::task::yield_now().await;
    let begin = Instant::now();
    one.endpoint.dismiss(&two.name(), 1, REASON).await;
    within(link.settled(written)).await;
    assert!(begin.elapsed() <= Duration::from_millis(50), "{:?}", begin.elapsed());
    sleep_until(begin + Duration::from_secs(600)).await;
    let fate = one.event(|event| match event {
        LinkEvent::Undelivered { fate, .. } => Some(fate),
        LinkEvent::DialFailed { error } => panic!("dialled: {error}"),
        _other => None,
    });
    assert_eq!(fate.await, Fate::MaybeDelivered);
    while let Ok((_peer, event)) = one.events.try_recv() {
        assert!(!matches!(event, LinkEvent::DialFailed { .. }), "dialled: {event:?}");
    }
}
