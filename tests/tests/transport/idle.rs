//! Links that are kept alive only while somebody waits: silent else, and then as quick to notice a
//! silent peer as others. In virtual time, and once through the fault proxy.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use vioduct_certs::identity::Roles;
use vioduct_tests::fault::{UdpProxy, UdpProxyConfig};
use vioduct_transport::{
    DownReason, Fate, Flow, KeptAlive, Link, LinkEvent, LinkState, TransportConfig,
};

use crate::support::ether::Ether;
use crate::support::{Node, ca, within};

const KEEP_ALIVE: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_secs(6);
/// What runs on a link once it is up, or has been used, is over by then: probes of the path's MTU,
/// late acknowledgements, the look after which it rests.
const CALM: Duration = Duration::from_secs(30);
const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

/// Two nodes in virtual time; the first has dialled.
struct Pair {
    ether: Ether,
    one: Node,
    two: Node,
    link: Link,
}

impl Pair {
    async fn new() -> Self {
        Self::with([KeptAlive::WhenAwaited; 2]).await
    }

    async fn with(kept_alive: [KeptAlive; 2]) -> Self {
        let (ether, mut ca) = (Ether::default(), ca());
        let [one, two] = [(1, kept_alive[0]), (2, kept_alive[1])].map(|(number, kept_alive)| {
            let credentials = ca.node(&format!("n{number}"), Roles::default()).unwrap();
            let config = TransportConfig { kept_alive, ..TransportConfig::default() };
            Node::start_in(credentials, config, 1, ether.surroundings(number))
        });
        let link = one.connect(&two).await;
        within(link.up()).await.unwrap();
        let pair = Self { ether, one, two, link };
        pass(CALM).await;
        pair
    }

    /// Datagrams that both send within this time.
    async fn sent_within(&self, time: Duration) -> u64 {
        let before = self.ether.sent();
        pass(time).await;
        self.ether.sent() - before
    }

    fn silence(&self) {
        self.ether.silence(self.one.addr);
        self.ether.silence(self.two.addr);
    }

    async fn message(&mut self, head: &[u8]) {
        self.link.send(Flow::Pair(1), head, &Bytes::new()).await.unwrap();
        assert_eq!(&self.two.message().await.message.head[..], head);
    }
}

async fn pass(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

async fn down(node: &mut Node) -> DownReason {
    node.event(|event| match event {
        LinkEvent::Down { reason } => Some(reason),
        _other => None,
    })
    .await
}

fn assert_after(begin: Instant, least: Duration, most: Duration) {
    let elapsed = begin.elapsed();
    assert!(elapsed >= least && elapsed <= most, "{elapsed:?} is not {least:?} to {most:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_on_which_nobody_waits_sends_nothing_and_stays_open() {
    let mut pair = Pair::new().await;
    pair.message(b"before").await;
    pass(CALM).await;
    assert_eq!(pair.sent_within(HALF_AN_HOUR).await, 0);
    let before = Instant::now();
    pair.message(b"after").await;
    assert_eq!(pair.link.stats().connections, 1);
    assert_after(before, Duration::ZERO, Duration::from_millis(50));
    pass(CALM).await;
    assert_eq!(pair.sent_within(HALF_AN_HOUR).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_held_link_is_probed_until_it_is_let_go() {
    let mut pair = Pair::new().await;
    let hold = pair.link.hold();
    let sent = pair.sent_within(Duration::from_secs(600)).await;
    // A probe, and an acknowledgement of it, every other `keep_alive`.
    assert!((290..=310).contains(&sent), "{sent} datagrams in ten minutes");
    assert!(matches!(pair.link.state(), LinkState::Up(_)));
    drop(hold);
    pass(CALM).await;
    assert_eq!(pair.sent_within(HALF_AN_HOUR).await, 0);
    // Probes are the transport's own.
    assert!(pair.one.datagrams.try_recv().is_err() && pair.two.datagrams.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hold_notices_a_silent_peer_as_soon_as_one_that_is_always_kept_alive() {
    let mut pair = Pair::new().await;
    pair.silence();
    // Nobody waits, so nobody notices.
    assert_eq!(pair.sent_within(HALF_AN_HOUR).await, 0);
    assert!(matches!(pair.link.state(), LinkState::Up(_)));
    let begin = Instant::now();
    let _hold = pair.link.hold();
    assert!(matches!(down(&mut pair.one).await, DownReason::Silent));
    assert_after(begin, IDLE_TIMEOUT, IDLE_TIMEOUT + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_while_it_is_held_is_noticed_in_time() {
    let mut pair = Pair::new().await;
    let _hold = pair.link.hold();
    for beat in 0..20 {
        pass(KEEP_ALIVE + Duration::from_millis(137 * beat)).await;
        assert!(matches!(pair.link.state(), LinkState::Up(_)));
    }
    pair.silence();
    let begin = Instant::now();
    assert!(matches!(down(&mut pair.one).await, DownReason::Silent));
    assert_after(begin, IDLE_TIMEOUT - KEEP_ALIVE, IDLE_TIMEOUT + KEEP_ALIVE);
}

/// The peer still talks, so datagrams come in; but nothing of ours gets through.
#[tokio::test(start_paused = true)]
async fn a_peer_that_hears_nothing_is_noticed_though_it_talks() {
    let mut pair = Pair::new().await;
    pair.ether.silence(pair.one.addr);
    let back = pair.two.endpoint.link(&pair.one.name()).unwrap();
    let begin = Instant::now();
    let _hold = pair.link.hold();
    let talk = async {
        loop {
            back.send_datagram(Bytes::from_static(b"talk")).unwrap();
            pass(Duration::from_millis(100)).await;
        }
    };
    let reason = tokio::select! {
        reason = down(&mut pair.one) => reason,
        () = talk => unreachable!("it talks for ever"),
    };
    assert!(matches!(reason, DownReason::Silent), "{reason}");
    assert_after(begin, IDLE_TIMEOUT, IDLE_TIMEOUT + Duration::from_millis(10));
    assert!(pair.one.datagrams.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_message_into_a_dead_link_is_reported_in_time() {
    let mut pair = Pair::new().await;
    pair.silence();
    let begin = Instant::now();
    let ticket = pair.link.send(Flow::Pair(1), b"lost", &Bytes::new()).await.unwrap();
    let lost = pair
        .one
        .event(|event| match event {
            LinkEvent::Undelivered { lane, numbers, fate } => Some((lane, numbers, fate)),
            _other => None,
        })
        .await;
    let numbers = ticket.number..ticket.number + 1;
    assert_eq!(lost, (ticket.lane, numbers, Fate::MaybeDelivered));
    assert_after(begin, IDLE_TIMEOUT, IDLE_TIMEOUT + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn holds_that_come_and_go_keep_no_dead_link_and_cut_no_live_one() {
    let mut pair = Pair::new().await;
    for _wait in 0..200 {
        drop(pair.link.hold());
        pass(Duration::from_millis(310)).await;
        let _hold = pair.link.hold();
        pass(Duration::from_millis(170)).await;
    }
    assert_eq!(pair.link.stats().connections, 1);
    pair.silence();
    let begin = Instant::now();
    pair.link.send(Flow::Control, b"lost", &Bytes::new()).await.unwrap();
    for _wait in 0..8 {
        drop(pair.link.hold());
        pass(Duration::from_millis(500)).await;
    }
    assert!(matches!(down(&mut pair.one).await, DownReason::Silent));
    assert_after(begin, IDLE_TIMEOUT - KEEP_ALIVE, IDLE_TIMEOUT + KEEP_ALIVE);
}

/// QUIC takes the shorter time-out, and one side that probes is enough for both.
#[tokio::test(start_paused = true)]
async fn two_sides_that_choose_differently_both_keep_the_link_and_both_notice_its_end() {
    let mut pair = Pair::with([KeptAlive::WhenAwaited, KeptAlive::Always]).await;
    let sent = pair.sent_within(HALF_AN_HOUR).await;
    assert!(sent >= 900, "{sent} datagrams in half an hour");
    assert_eq!(pair.link.stats().connections, 1);
    pair.silence();
    let begin = Instant::now();
    for node in [&mut pair.one, &mut pair.two] {
        assert!(matches!(down(node).await, DownReason::Silent));
        assert_after(begin, IDLE_TIMEOUT - KEEP_ALIVE, IDLE_TIMEOUT + KEEP_ALIVE);
    }
}

#[tokio::test]
async fn a_hold_notices_a_cut_of_real_datagrams() {
    let config = TransportConfig {
        kept_alive: KeptAlive::WhenAwaited,
        keep_alive: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(800),
        ..TransportConfig::default()
    };
    let mut ca = ca();
    let mut start = |name| {
        let credentials = ca.node(name, Roles::default()).unwrap();
        Node::start_with(credentials, config.clone(), 1)
    };
    let (mut one, two) = (start("n1"), start("n2"));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = UdpProxy::start(UdpProxyConfig { listen, target: two.addr, seed: 1 }).unwrap();
    let link = one.endpoint.connect(two.name(), proxy.addr()).await.unwrap();
    within(link.up()).await.unwrap();
    proxy.cut_both();
    let begin = Instant::now();
    let _hold = link.hold();
    assert!(matches!(down(&mut one).await, DownReason::Silent));
    // The wait may begin in the look that follows the handshake.
    assert_after(begin, config.idle_timeout - config.keep_alive, Duration::from_secs(5));
}
