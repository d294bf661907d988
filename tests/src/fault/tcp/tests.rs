//! The TCP fault proxy between real sockets on loopback.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::line::LINE_BYTES_MAX;
use crate::fault::{Direction, StreamFaults, TcpProxy, TcpProxyConfig};

/// No step of a test takes longer, or it fails.
const BOUND: Duration = Duration::from_secs(20);

async fn bounded<F: Future>(step: F) -> F::Output {
    timeout(BOUND, step).await.expect("done in time")
}

/// A target behind a proxy.
struct Wire {
    target: TcpListener,
    proxy: TcpProxy,
}

impl Wire {
    async fn new() -> Self {
        let target = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let proxy = proxy_to(target.local_addr().expect("address"));
        Self { target, proxy }
    }

    /// A connection from end to end: the client's side and the target's.
    async fn connected(&self) -> (TcpStream, TcpStream) {
        let client = bounded(TcpStream::connect(self.proxy.addr())).await.expect("connect");
        let (target, _addr) = bounded(self.target.accept()).await.expect("accept");
        (client, target)
    }

    fn set(&self, direction: Direction, faults: StreamFaults) {
        self.proxy.set(direction, faults);
    }
}

fn proxy_to(target: SocketAddr) -> TcpProxy {
    let listen = "127.0.0.1:0".parse().expect("address");
    TcpProxy::start(TcpProxyConfig { listen, target }).expect("start")
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    bounded(stream.write_all(bytes)).await.expect("write");
}

async fn receive(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    bounded(stream.read_exact(&mut bytes)).await.expect("read");
    bytes
}

/// How the next read fails.
async fn broken(stream: &mut TcpStream) -> ErrorKind {
    bounded(stream.read(&mut [0; 16])).await.expect_err("a broken stream").kind()
}

#[tokio::test]
async fn bytes_and_each_end_pass_both_ways() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    send(&mut client, b"question").await;
    client.shutdown().await.expect("finish");
    let mut got = Vec::new();
    bounded(target.read_to_end(&mut got)).await.expect("read");
    assert_eq!(got, b"question");
    send(&mut target, b"answer").await;
    drop(target);
    got.clear();
    bounded(client.read_to_end(&mut got)).await.expect("read");
    assert_eq!(got, b"answer");
    let stats = bounded(wire.proxy.stats_when(|stats| stats.open == 0)).await;
    assert_eq!((stats.accepted, stats.reset), (1, 0));
    let forwarded = |direction| stats.by_direction.at(direction).forwarded;
    assert_eq!((forwarded(Direction::ToTarget), forwarded(Direction::ToClient)), (8, 6));
}

#[tokio::test]
async fn a_one_way_stall_holds_its_bytes_until_it_heals() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    wire.proxy.cut(Direction::ToTarget);
    send(&mut client, b"held").await;
    let arrived = |stats: &super::StreamProxyStats| stats.by_direction.to_target.received == 4;
    let stats = bounded(wire.proxy.stats_when(arrived)).await;
    assert_eq!(stats.by_direction.to_target.forwarded, 0);
    send(&mut target, b"other way").await;
    assert_eq!(receive(&mut client, 9).await, b"other way");
    assert_eq!(wire.proxy.stats().by_direction.to_target.forwarded, 0);
    wire.proxy.heal().expect("heal");
    assert_eq!(receive(&mut target, 4).await, b"held");
}

#[tokio::test]
async fn a_two_way_stall_hides_a_client_that_went_away() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    wire.proxy.cut_both();
    send(&mut client, b"last words").await;
    client.set_zero_linger().expect("linger");
    let arrived = |stats: &super::StreamProxyStats| stats.by_direction.to_target.received == 10;
    bounded(wire.proxy.stats_when(arrived)).await;
    drop(client);
    send(&mut target, b"into the void").await;
    let taken = |stats: &super::StreamProxyStats| stats.by_direction.to_client.received == 13;
    let stats = bounded(wire.proxy.stats_when(taken)).await;
    assert_eq!((stats.open, stats.by_direction.to_target.forwarded), (1, 0));
    wire.proxy.heal().expect("heal");
    let stats = bounded(wire.proxy.stats_when(|stats| stats.open == 0)).await;
    assert_eq!(stats.reset, 1);
    let mut got = Vec::new();
    let end = bounded(target.read_to_end(&mut got)).await.expect_err("a broken stream");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_stalled_sender_is_held_back_and_loses_nothing() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    wire.proxy.cut(Direction::ToTarget);
    let bytes: Vec<u8> = (0..TOTAL).map(|index| (index % 251).to_le_bytes()[0]).collect();
    let sent = bytes.clone();
    let sender = tokio::spawn(async move {
        client.write_all(&sent).await.expect("write");
        client
    });
    let most = u64::try_from(LINE_BYTES_MAX).expect("small");
    let full = |stats: &super::StreamProxyStats| stats.by_direction.to_target.received >= most;
    let stats = bounded(wire.proxy.stats_when(full)).await.by_direction.to_target;
    assert_eq!((stats.received, stats.forwarded), (most, 0));
    wire.proxy.heal().expect("heal");
    assert!(receive(&mut target, TOTAL).await == bytes, "the bytes differ");
    bounded(sender).await.expect("sent");
}

#[tokio::test]
async fn a_reset_reaches_both_sides_and_spares_later_connections() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    wire.proxy.reset();
    assert_eq!(broken(&mut client).await, ErrorKind::ConnectionReset);
    assert_eq!(broken(&mut target).await, ErrorKind::ConnectionReset);
    let (mut client, mut target) = wire.connected().await;
    send(&mut client, b"again").await;
    assert_eq!(receive(&mut target, 5).await, b"again");
    assert_eq!(wire.proxy.stats().reset, 1);
}

#[tokio::test]
async fn a_reset_by_one_side_reaches_the_other() {
    let wire = Wire::new().await;
    let (client, mut target) = wire.connected().await;
    client.set_zero_linger().expect("linger");
    drop(client);
    assert_eq!(broken(&mut target).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_is_reset_after_exactly_n_bytes() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    send(&mut client, b"before").await;
    assert_eq!(receive(&mut target, 6).await, b"before");
    wire.set(Direction::ToTarget, StreamFaults::none().with_reset_after(Some(5)));
    send(&mut client, b"abcdefgh").await;
    assert_eq!(receive(&mut target, 5).await, b"abcde");
    assert_eq!(broken(&mut target).await, ErrorKind::ConnectionReset);
    assert_eq!(broken(&mut client).await, ErrorKind::ConnectionReset);
    assert_eq!(wire.proxy.stats().by_direction.to_target.forwarded, 11);
}

#[tokio::test]
async fn a_delay_is_added_and_ends_when_it_heals() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    let delay = Duration::from_millis(80);
    wire.set(Direction::ToTarget, StreamFaults::none().with_delay(delay).expect("short"));
    let started = Instant::now();
    send(&mut client, b"slow").await;
    assert_eq!(receive(&mut target, 4).await, b"slow");
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());

    wire.set(Direction::ToTarget, StreamFaults::none().with_delay(BOUND * 2).expect("short"));
    send(&mut client, b"freed").await;
    let arrived = |stats: &super::StreamProxyStats| stats.by_direction.to_target.received == 9;
    bounded(wire.proxy.stats_when(arrived)).await;
    wire.proxy.heal().expect("heal");
    assert_eq!(receive(&mut target, 5).await, b"freed");
}

#[tokio::test]
async fn a_rate_limit_takes_the_time_that_its_bytes_need() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    let rate = StreamFaults::none().with_rate(Some(500_000)).expect("rate");
    wire.set(Direction::ToClient, rate);
    let started = Instant::now();
    send(&mut target, &[9; 150_000]).await;
    assert_eq!(receive(&mut client, 150_000).await, [9; 150_000]);
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn new_clients_are_refused_while_open_connections_go_on() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    for _round in 0..3 {
        wire.proxy.refuse();
        let refused = bounded(TcpStream::connect(wire.proxy.addr())).await;
        assert_eq!(refused.expect_err("refused").kind(), ErrorKind::ConnectionRefused);
        send(&mut client, b"on").await;
        assert_eq!(receive(&mut target, 2).await, b"on");
        wire.proxy.heal().expect("listen again");
        let (mut late, mut late_target) = wire.connected().await;
        send(&mut late, b"in").await;
        assert_eq!(receive(&mut late_target, 2).await, b"in");
    }
}

#[tokio::test]
async fn a_client_is_reset_when_the_target_is_away() {
    let target = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = target.local_addr().expect("address");
    drop(target);
    let proxy = proxy_to(addr);
    let mut client = bounded(TcpStream::connect(proxy.addr())).await.expect("connect");
    assert_eq!(broken(&mut client).await, ErrorKind::ConnectionReset);
    assert_eq!(bounded(proxy.stats_when(|stats| stats.open == 0)).await.reset, 1);
}

#[tokio::test]
async fn a_shut_down_proxy_ends_its_connections_and_gives_its_port_back() {
    let wire = Wire::new().await;
    let (mut client, mut target) = wire.connected().await;
    let addr = wire.proxy.addr();
    let stats = bounded(wire.proxy.shutdown()).await;
    assert_eq!((stats.accepted, stats.open), (1, 0));
    assert_eq!(bounded(client.read(&mut [0; 1])).await.expect("the end"), 0);
    assert_eq!(bounded(target.read(&mut [0; 1])).await.expect("the end"), 0);
    TcpListener::bind(addr).await.expect("the port is free");
}
