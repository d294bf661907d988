use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vioduct_transport::seam::Surroundings;

use super::*;

const SOON: Duration = Duration::from_secs(10);
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Another host, as far as a relay can see.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

struct Carried {
    port: SocketAddr,
    target: UdpSocket,
    is_wanted: Arc<AtomicBool>,
    task: JoinHandle<Passed>,
}

async fn bind(ip: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind((ip, 0)).await.unwrap()
}

async fn carried() -> Carried {
    let target = bind(HOST).await;
    let socket = Surroundings::bind((HOST, 0).into(), 1 << 20).unwrap().socket;
    let port = socket.local_addr().unwrap();
    let ends = Ends::new(HOST.into(), target.local_addr().unwrap(), HOST.into());
    let is_wanted = Arc::new(AtomicBool::new(true));
    let wanted = Arc::clone(&is_wanted);
    let task =
        tokio::spawn(async move { carry(&*socket, ends, || wanted.load(Ordering::Relaxed)).await });
    Carried { port, target, is_wanted, task }
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (bytes, from) = timeout(SOON, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(bytes);
    (buffer, from)
}

#[tokio::test]
async fn packets_go_both_ways_as_they_are_and_those_of_strangers_nowhere() {
    let it = carried().await;
    let (asker, neighbour, stranger) = (bind(HOST).await, bind(HOST).await, bind(STRANGER).await);
    it.target.send_to(b"too early", it.port).await.unwrap();
    stranger.send_to(b"from another host", it.port).await.unwrap();
    asker.send_to(b"first", it.port).await.unwrap();
    assert_eq!(receive(&it.target).await, (b"first".to_vec(), it.port));
    it.target.send_to(b"back", it.port).await.unwrap();
    assert_eq!(receive(&asker).await, (b"back".to_vec(), it.port));
    // The same host, but the port is taken.
    neighbour.send_to(b"from another port", it.port).await.unwrap();
    stranger.send_to(b"once more", it.port).await.unwrap();
    asker.send_to(&vec![1; usize::from(MTU_MAX) + 1], it.port).await.unwrap();
    // Packets keep their order here: what was sent before this one has gone nowhere.
    let longest = vec![2; usize::from(MTU_MAX)];
    asker.send_to(&longest, it.port).await.unwrap();
    assert_eq!(receive(&it.target).await, (longest, it.port));
    it.task.abort();
}

#[tokio::test]
async fn a_row_that_the_kernel_joined_is_taken_apart_again() {
    let it = carried().await;
    let asker = Surroundings::bind((HOST, 0).into(), 1 << 20).unwrap().socket;
    let (destination, segment_size) = (it.port, Some(1200));
    let row = |contents| Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
    let whole: Vec<u8> = (0..10_u8).flat_map(|packet| [packet; 1200]).chain([10; 7]).collect();
    asker.try_send(&row(&whole)).unwrap();
    for packet in 0..10 {
        assert_eq!(receive(&it.target).await.0, [packet; 1200]);
    }
    assert_eq!(receive(&it.target).await.0, [10; 7]);
    it.task.abort();
}

/// Virtual time passes at once when nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_pair_that_is_silent_or_not_wanted_is_over() {
    let began = Instant::now();
    let it = carried().await;
    assert_eq!(it.task.await.unwrap(), Passed::default());
    assert_eq!(began.elapsed().as_secs(), QUIET_MAX.as_secs());

    let began = Instant::now();
    let it = carried().await;
    it.is_wanted.store(false, Ordering::Relaxed);
    assert_eq!(it.task.await.unwrap(), Passed::default());
    assert_eq!(began.elapsed().as_secs(), LOOK_EVERY.as_secs());
}

#[test]
fn addresses_of_ipv4_are_the_same_in_a_socket_of_both() {
    let target = SocketAddr::from(([10, 0, 0, 4], 7400));
    let mut ends = Ends::new(HOST.into(), target, Ipv6Addr::UNSPECIFIED.into());
    let mapped = |ip: Ipv4Addr, port| SocketAddr::from((ip.to_ipv6_mapped(), port));
    let from = |addr| RecvMeta { addr, dst_ip: Some(STRANGER.into()), ..RecvMeta::default() };
    let there = mapped(Ipv4Addr::new(10, 0, 0, 4), 7400);
    let asker = mapped(HOST, 5000);
    assert_eq!(ends.onward(&from(there)), None, "nobody has asked yet");
    assert_eq!(ends.onward(&from(mapped(STRANGER, 5000))), None);
    assert_eq!(ends.onward(&from(asker)), Some((there, None)));
    assert_eq!(ends.onward(&from(mapped(HOST, 5001))), None, "the port is taken");
    // By the address that the asker knows.
    assert_eq!(ends.onward(&from(there)), Some((asker, Some(STRANGER.into()))));
}
