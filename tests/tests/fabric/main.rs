//! A disk over two VIOSes while a fabric is silent, half silent, flapping or slow: the requests go
//! on by the same VIOS's other adapter, or by the other VIOS. QUIC and the disk's owner would
//! notice after ten minutes: only the DSA can have noticed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what goes wrong here fails the test; stalls are printed"
)]

mod site;

use std::time::Duration;

use vioduct_tests::fault::{Direction, Faults};
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::dsa::operator::{FailPath, NotChanged, RestorePath, State};

use site::{A, B, BOUND, Site};

/// How long requests may stall on a machine that is busy with other tests.
const STALL_MAX: Duration = Duration::from_secs(10);

fn limits() -> DsaLimits {
    DsaLimits::default()
}

fn print(what: &str, stall: Duration) {
    println!("{what}: longest request {} ms", stall.as_millis());
    assert!(stall < STALL_MAX, "{what}: {stall:?}");
}

/// These directions of the fabric of the client's VIOS fall silent.
async fn falls_silent(directions: &[Direction], reason: &str) {
    let mut site = Site::start(1, limits()).await;
    site.write_and_read(50).await;
    for direction in directions {
        site.a.fabrics[0].cut(*direction);
    }
    let stall = site.write_and_read(50).await;
    print(reason, stall);
    let figures = site.figures().await;
    assert_eq!((figures.exit, figures.paths_lost), (Some(B), 1));
    let path = site.a.paths().await.remove(0);
    assert_eq!((path.adapter.as_str(), path.state, path.sessions), ("fab0", State::Lost, 0));
    assert_eq!(path.reason, reason);
    let told = async |site: &Site| site.b.listing().await.others[0].state == State::Lost;
    site.until(told).await;
    site.a.fabrics[0].heal();
    site.until(async |site| site.figures().await.exit == Some(A)).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fabric_that_is_silent_both_ways_is_left_and_come_back_to() {
    falls_silent(&Direction::BOTH, "the storage is silent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fabric_that_loses_requests_is_left_and_come_back_to() {
    let reason = "the storage is heard, but answers no heartbeat";
    falls_silent(&[Direction::ToTarget], reason).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fabric_that_loses_answers_is_left_and_come_back_to() {
    falls_silent(&[Direction::ToClient], "the storage is silent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fabric_that_flaps_is_left_once_and_not_come_back_to() {
    let steady_for = Duration::from_secs(60);
    let mut site = Site::start(1, DsaLimits { steady_for, ..limits() }).await;
    for _flap in 0..4 {
        site.a.fabrics[0].cut_both();
        let is_lost = async |site: &Site| site.a.paths().await[0].state == State::Lost;
        site.until(is_lost).await;
        site.a.fabrics[0].heal();
        site.until(async |site| !is_lost(site).await).await;
        assert_eq!(site.a.paths().await[0].state, State::Degraded);
    }
    print("flapping", site.longest());
    let figures = site.figures().await;
    assert_eq!((figures.exit, figures.paths_lost), (Some(B), 1));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_fabric_is_degraded_and_its_sessions_move_without_an_error() {
    let limits = DsaLimits {
        silence_max: Duration::from_secs(10),
        slow_for: Duration::from_millis(500),
        ..limits()
    };
    let mut site = Site::start(1, limits).await;
    let delay = Faults::none().with_delay(Duration::from_millis(300)).unwrap();
    site.a.fabrics[0].set_both(delay);
    site.until(async |site| site.figures().await.exit == Some(B)).await;
    let path = site.a.paths().await.remove(0);
    assert_eq!((path.state, path.reason.as_str()), (State::Degraded, "heartbeats take long"));
    assert!(path.round_trip > Some(Duration::from_millis(250)), "{path:?}");
    print("on the way that is not slow", site.write_and_read(50).await);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_storage_ends_is_noticed_at_once() {
    let mut site = Site::start(1, limits()).await;
    site.write_and_read(50).await;
    site.reset().await;
    site.until(async |site| site.figures().await.paths_lost == 1).await;
    print("the connection is gone", site.longest());
    assert_eq!(site.figures().await.exit, Some(B));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_adapter_of_a_vios_is_used_before_another_vios() {
    let mut site = Site::start(2, limits()).await;
    let sessions = async |site: &Site| -> Vec<u64> {
        site.a.paths().await.iter().map(|path| path.sessions).collect()
    };
    let first = sessions(&site).await.iter().position(|sessions| *sessions == 1).unwrap();
    let second = 1 - first;
    site.a.fabrics[first].cut_both();
    print("one of two adapters is silent", site.write_and_read(50).await);
    assert_eq!(site.figures().await.exit, Some(A));
    let path = &site.a.paths().await[second];
    assert_eq!((path.state, path.sessions), (State::Good, 1));
    site.a.fabrics[second].cut_both();
    print("both adapters are silent", site.write_and_read(50).await);
    assert_eq!(site.figures().await.exit, Some(B));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_is_failed_and_restored_by_hand() {
    let mut site = Site::start(1, limits()).await;
    let dsa = site.a.operated().clone();
    let stranger = FailPath { adapter: "fab1".to_owned() };
    assert_eq!(dsa.ask(stranger, BOUND).await.unwrap(), Err(NotChanged::NoSuchAdapter));
    let fail = FailPath { adapter: "fab0".to_owned() };
    assert_eq!(dsa.ask(fail, BOUND).await.unwrap(), Ok(()));
    site.until(async |site| site.figures().await.exit == Some(B)).await;
    print("failed by hand", site.write_and_read(50).await);
    let path = site.a.paths().await.remove(0);
    assert_eq!((path.state, path.reason.as_str()), (State::Lost, "failed by hand"));
    let restore = RestorePath { adapter: "fab0".to_owned() };
    assert_eq!(dsa.ask(restore, BOUND).await.unwrap(), Ok(()));
    site.until(async |site| site.figures().await.exit == Some(A)).await;
    // A heartbeat that is late on a busy machine makes it degraded for a while.
    site.until(async |site| site.a.paths().await[0].state == State::Good).await;
    site.stop().await;
}

/// 4 MiB a second, which is used to the full for four seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fabric_that_is_full_of_data_is_not_lost() {
    let mut site = Site::start(1, limits()).await;
    let narrow = Faults::none().with_rate(Some(4 << 20)).unwrap();
    site.a.fabrics[0].set_both(narrow);
    let took = site.write_at_once(64, 256 << 10).await;
    assert!(took > Duration::from_secs(3), "it was not full: {took:?}");
    let figures = site.figures().await;
    assert_eq!((figures.exit, figures.paths_lost), (Some(A), 0));
    let path = site.a.paths().await.remove(0);
    println!("a full fabric: heartbeats take {:?}", path.round_trip);
    assert_ne!(path.state, State::Lost);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fabric_that_loses_a_tenth_of_its_packets_is_not_lost() {
    let mut site = Site::start(1, limits()).await;
    site.a.fabrics[0].set_both(Faults::none().with_loss(0.1).unwrap());
    print("one packet in ten is lost", site.write_and_read(200).await);
    let figures = site.figures().await;
    assert_eq!((figures.exit, figures.paths_lost), (Some(A), 0));
    site.stop().await;
}
