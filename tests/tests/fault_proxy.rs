//! The UDP fault proxy between real sockets on loopback.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};
use vioduct_tests::fault::plan::Schedule;
use vioduct_tests::fault::udp::FLOWS_MAX;
use vioduct_tests::fault::{
    Direction, Faults, Instant as Moment, PacketStats, ProxyStats, UdpProxy, UdpProxyConfig,
};

/// No step of a test takes longer, or it fails.
const BOUND: Duration = Duration::from_secs(20);
const SEED: u64 = 7;

async fn bounded<F: Future>(step: F) -> F::Output {
    timeout(BOUND, step).await.expect("done in time")
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).expect("small")
}

/// A client and a target with a proxy between them.
struct Wire {
    client: UdpSocket,
    target: UdpSocket,
    proxy: UdpProxy,
}

impl Wire {
    async fn new(faults: Faults) -> Self {
        let target = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let proxy = UdpProxy::start(UdpProxyConfig {
            listen: "127.0.0.1:0".parse().expect("address"),
            target: target.local_addr().expect("address"),
            seed: SEED,
        });
        let proxy = proxy.expect("start");
        proxy.set(Direction::ToTarget, faults);
        let client = client_of(&proxy).await;
        Self { client, target, proxy }
    }

    async fn send(&self, number: u32) {
        self.client.send(&number.to_be_bytes()).await.expect("send");
    }

    /// Sends the numbers below `count`, never more than a few ahead of the proxy, and gives what
    /// the target got.
    async fn send_all(&self, count: u32) -> Vec<u32> {
        let mut got = Vec::new();
        for number in 0..count {
            self.send(number).await;
            if number % 64 == 63 || number + 1 == count {
                let sent = u64::from(number) + 1;
                let stats = self.settled(sent).await;
                while as_u64(got.len()) < stats.forwarded {
                    got.push(self.received().await.0);
                }
            }
        }
        got
    }

    /// The counts once `sent` datagrams have arrived at the proxy and none is held.
    async fn settled(&self, sent: u64) -> PacketStats {
        let settled = |stats: &ProxyStats| {
            let stats = stats.by_direction.to_target;
            let gone = stats.forwarded + stats.lost + stats.dropped_by_bound + stats.failed;
            stats.received == sent && gone == stats.received + stats.duplicated
        };
        bounded(self.proxy.stats_when(settled)).await.by_direction.to_target
    }

    /// The next number at the target, and the address it came from.
    async fn received(&self) -> (u32, SocketAddr) {
        let mut buffer = [0; 4];
        let (size, from) = bounded(self.target.recv_from(&mut buffer)).await.expect("receive");
        assert_eq!(size, 4);
        (u32::from_be_bytes(buffer), from)
    }

    /// Sends a number there and another one back.
    async fn round_trip(&self, number: u32) {
        self.send(number).await;
        let (got, flow) = self.received().await;
        assert_eq!(got, number);
        self.target.send_to(&[1, 2, 3], flow).await.expect("answer");
        assert_eq!(answer(&self.client).await, [1, 2, 3]);
    }
}

async fn client_of(proxy: &UdpProxy) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    client.connect(proxy.addr()).await.expect("connect");
    client
}

async fn answer(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 64];
    let size = bounded(client.recv(&mut buffer)).await.expect("receive");
    buffer.get(..size).expect("received").to_vec()
}

/// The numbers below `count` that the plan lets through, as often as it does.
fn planned(faults: Faults, count: u32) -> Vec<u32> {
    let mut schedule = Schedule::new(SEED);
    schedule.set(Direction::ToTarget, faults);
    let mut verdict = || schedule.handle(Moment::START, Direction::ToTarget, 4);
    (0..count).flat_map(|number| verdict().departures().map(move |_at| number)).collect()
}

#[tokio::test]
async fn without_faults_all_passes_in_order_both_ways() {
    let wire = Wire::new(Faults::none()).await;
    assert_eq!(wire.send_all(5_000).await, (0..5_000).collect::<Vec<_>>());
    wire.round_trip(1).await;
    let stats = wire.proxy.shutdown().await;
    let to_target = stats.by_direction.to_target;
    assert_eq!((to_target.received, to_target.forwarded, to_target.bytes), (5_001, 5_001, 20_004));
    assert_eq!((to_target.lost, to_target.duplicated, to_target.reordered), (0, 0, 0));
    assert_eq!((stats.by_direction.to_client.bytes, stats.flows), (3, 1));
}

#[tokio::test]
async fn exactly_the_planned_datagrams_are_lost() {
    let faults = Faults::none().with_loss(0.2).expect("share");
    let wire = Wire::new(faults).await;
    let got = wire.send_all(2_000).await;
    assert_eq!(got, planned(faults, 2_000));
    assert_eq!(wire.proxy.stats().by_direction.to_target.lost, 2_000 - as_u64(got.len()));
}

#[tokio::test]
async fn exactly_the_planned_datagrams_arrive_twice() {
    let faults = Faults::none().with_duplicate(0.3).expect("share");
    let wire = Wire::new(faults).await;
    let mut got = wire.send_all(500).await;
    got.sort_unstable();
    assert_eq!(got, planned(faults, 500));
    assert_eq!(wire.proxy.stats().by_direction.to_target.duplicated, as_u64(got.len()) - 500);
}

#[tokio::test]
async fn reordered_datagrams_arrive_late_but_all_arrive() {
    let wire = Wire::new(Faults::none().with_reorder(0.2).expect("share")).await;
    let got = wire.send_all(1_000).await;
    assert_eq!(got.iter().copied().collect::<BTreeSet<_>>(), (0..1_000).collect());
    let mut newest = 0;
    let mut late = 0;
    for number in got {
        late += u64::from(number < newest);
        newest = newest.max(number);
    }
    assert!(late > 100, "{late} of 1,000 were overtaken");
    assert_eq!(wire.proxy.stats().by_direction.to_target.reordered, late);
}

#[tokio::test]
async fn delayed_datagrams_keep_their_order_and_take_their_time() {
    let faults = Faults::none()
        .with_delay(Duration::from_millis(60))
        .and_then(|faults| faults.with_jitter(Duration::from_millis(20)));
    let wire = Wire::new(faults.expect("short")).await;
    let started = Instant::now();
    assert_eq!(wire.send_all(64).await, (0..64).collect::<Vec<_>>());
    assert!(started.elapsed() >= Duration::from_millis(60), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_rate_limit_takes_the_time_that_its_bytes_need() {
    let wire = Wire::new(Faults::none().with_rate(Some(100_000)).expect("rate")).await;
    let started = Instant::now();
    for _datagram in 0..30 {
        wire.client.send(&[0; 1_000]).await.expect("send");
    }
    let stats = wire.settled(30).await;
    assert_eq!((stats.forwarded, stats.bytes), (30, 30_000));
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn beyond_the_queue_of_a_rate_limit_datagrams_are_dropped_and_counted() {
    let wire = Wire::new(Faults::none().with_rate(Some(1)).expect("rate")).await;
    for _datagram in 0..30 {
        wire.client.send(&[0; 10_000]).await.expect("send");
    }
    let all = |stats: &ProxyStats| stats.by_direction.to_target.received == 30;
    let stats = bounded(wire.proxy.stats_when(all)).await.by_direction.to_target;
    // 256 KiB hold 26 datagrams of 10,000 bytes; none leaves within the test.
    assert_eq!((stats.dropped_by_bound, stats.forwarded, stats.lost), (4, 0, 0));
}

#[tokio::test]
async fn a_one_way_cut_leaves_the_other_way_open() {
    let wire = Wire::new(Faults::none()).await;
    wire.send(0).await;
    let (_number, flow) = wire.received().await;

    wire.proxy.cut(Direction::ToTarget);
    wire.send(1).await;
    assert_eq!(wire.settled(2).await.lost, 1);
    wire.target.send_to(b"still here", flow).await.expect("send");
    assert_eq!(answer(&wire.client).await, b"still here");

    wire.proxy.heal();
    wire.proxy.cut(Direction::ToClient);
    wire.target.send_to(b"gone", flow).await.expect("send");
    let lost = |stats: &ProxyStats| stats.by_direction.to_client.lost == 1;
    bounded(wire.proxy.stats_when(lost)).await;
    wire.send(2).await;
    assert_eq!(wire.received().await.0, 2);

    wire.proxy.heal();
    wire.round_trip(3).await;
}

#[tokio::test]
async fn a_two_way_cut_drops_everything_until_it_heals() {
    let wire = Wire::new(Faults::none()).await;
    wire.round_trip(0).await;
    wire.proxy.cut_both();
    for number in 1..=100 {
        wire.send(number).await;
    }
    assert_eq!(wire.settled(101).await.lost, 100);
    wire.proxy.heal();
    wire.round_trip(101).await;
}

#[tokio::test]
async fn a_cut_drops_what_is_held_as_well() {
    let wire = Wire::new(Faults::none().with_delay(BOUND * 2).expect("short")).await;
    for number in 0..10 {
        wire.send(number).await;
    }
    let arrived = |stats: &ProxyStats| stats.by_direction.to_target.received == 10;
    assert_eq!(bounded(wire.proxy.stats_when(arrived)).await.by_direction.to_target.lost, 0);
    wire.proxy.cut(Direction::ToTarget);
    assert_eq!(wire.proxy.stats().by_direction.to_target.lost, 10);
    wire.proxy.heal();
    wire.round_trip(10).await;
}

#[tokio::test]
async fn clients_have_flows_of_their_own_up_to_a_bound() {
    let wire = Wire::new(Faults::none()).await;
    let mut clients = Vec::new();
    for number in 0..u32::try_from(FLOWS_MAX).expect("small") {
        let client = client_of(&wire.proxy).await;
        client.send(&number.to_be_bytes()).await.expect("send");
        let (got, flow) = wire.received().await;
        assert_eq!(got, number);
        clients.push((client, flow));
    }
    for (index, (_client, flow)) in clients.iter().enumerate() {
        wire.target.send_to(&index.to_be_bytes(), flow).await.expect("answer");
    }
    for (index, (client, _flow)) in clients.iter().enumerate() {
        assert_eq!(answer(client).await, index.to_be_bytes());
    }
    wire.send(0).await;
    let dropped = |stats: &ProxyStats| stats.by_direction.to_target.dropped_by_bound == 1;
    assert_eq!(bounded(wire.proxy.stats_when(dropped)).await.flows, FLOWS_MAX);
}

#[tokio::test]
async fn a_target_that_was_away_is_reached_again() {
    let wire = Wire::new(Faults::none()).await;
    wire.round_trip(0).await;
    let Wire { client, target, proxy } = wire;
    let addr = target.local_addr().expect("address");
    drop(target);
    for number in 1..=10_u32 {
        client.send(&number.to_be_bytes()).await.expect("send");
    }
    let tried = |stats: &ProxyStats| stats.by_direction.to_target.received == 11;
    bounded(proxy.stats_when(tried)).await;
    let target = UdpSocket::bind(addr).await.expect("bind again");
    Wire { client, target, proxy }.round_trip(11).await;
}

#[tokio::test]
async fn a_shut_down_proxy_gives_its_port_back() {
    let wire = Wire::new(Faults::none()).await;
    wire.round_trip(0).await;
    let addr = wire.proxy.addr();
    assert_eq!(wire.proxy.shutdown().await.by_direction.to_client.forwarded, 1);
    UdpSocket::bind(addr).await.expect("the port is free");
}

#[test]
fn the_program_answers_each_line_of_control() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_fault-proxy"))
        .args(["udp", "--target", "127.0.0.1:9", "--loss", "0.05", "--seed", "3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let mut control = program.stdin.take().expect("piped");
    let mut lines = BufReader::new(program.stdout.take().expect("piped")).lines();
    let mut next = || -> serde_json::Value {
        serde_json::from_str(&lines.next().expect("a line").expect("readable")).expect("JSON")
    };
    assert!(next()["listening"].as_str().expect("address").starts_with("127.0.0.1:"));
    for (line, answer) in [
        ("cut to-target", r#"{"ok":true}"#),
        ("loss 2", r#"{"error":"loss is 2, not a share between 0 and 1"}"#),
        ("refuse", r#"{"error":"this kind of proxy has no Refuse"}"#),
        ("heal", r#"{"ok":true}"#),
    ] {
        writeln!(control, "{line}").expect("write");
        assert_eq!(next(), serde_json::from_str::<serde_json::Value>(answer).expect("JSON"));
    }
    writeln!(control, "stats").expect("write");
    assert_eq!(next()["to_target"]["received"], 0);
    drop(control);
    assert!(program.wait().expect("end").success());
}
