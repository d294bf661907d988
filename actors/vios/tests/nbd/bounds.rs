//! Every bound of the server, and what happens there.

use std::sync::Arc;
use std::time::Duration;

use vioduct_vios::disk::{Abilities, Device, Disk};
use vioduct_vios::nbd::server::Config;

use crate::raw::{READ, Raw};
use crate::served::Served;
use crate::stuck::StuckDisk;

#[tokio::test]
async fn no_more_requests_are_taken_than_may_be_under_way() {
    let disk = Arc::new(StuckDisk::new());
    let config = Config { requests_max: 2, ..Config::default() };
    let served = Served::disk(Arc::clone(&disk), config);
    let mut raw = Raw::go(&served.socket()).await;
    for cookie in 0..5 {
        raw.request(READ, cookie, 0, 512).await;
    }
    disk.has_begun(2).await;
    for cookie in 0..5 {
        let begun = disk.begun().len() as u64;
        assert!(begun <= cookie + 2, "{begun} begun, {cookie} answered");
        disk.let_go(1);
        assert_eq!(raw.reply().await, (0, cookie));
        raw.bytes(512).await;
    }
}

#[tokio::test]
async fn no_more_bytes_are_taken_than_may_be_under_way() {
    let device = Device { payload_max: 32 << 20, ..Device::new(1 << 30) };
    let disk = Arc::new(StuckDisk::with(device));
    let config = Config { request_bytes_max: 32 << 20, ..Config::default() };
    let served = Served::disk(Arc::clone(&disk), config);
    let mut raw = Raw::go(&served.socket()).await;
    for cookie in 0..3 {
        raw.request(READ, cookie, 0, 20 << 20).await;
    }
    for cookie in 0..3 {
        disk.has_begun(1).await;
        assert_eq!(disk.begun().len() as u64, cookie + 1, "one at a time has room");
        disk.let_go(1);
        assert_eq!(raw.reply().await, (0, cookie));
        raw.bytes(20 << 20).await;
        if cookie < 2 {
            disk.has_begun(usize::try_from(cookie).unwrap() + 2).await;
        }
    }
}

#[tokio::test]
async fn no_payload_is_longer_than_what_a_connection_may_hold() {
    let abilities = Abilities::default();
    let device = Device { payload_max: u32::MAX, abilities, ..Device::new(1 << 40) };
    let disk = Arc::new(StuckDisk::with(device));
    let config = Config { request_bytes_max: 32 << 20, ..Config::default() };
    let served = Served::disk(Arc::clone(&disk), config);
    assert_eq!(served.connect().await.device().payload_max, 32 << 20);
    let mut raw = Raw::go(&served.socket()).await;
    let invalid = 22;
    raw.request(READ, 1, 0, (32 << 20) + 1).await;
    assert_eq!(raw.reply().await, (invalid, 1));
    raw.write(2, 0, &vec![0; (32 << 20) + 1]).await;
    assert_eq!(raw.reply().await, (invalid, 2));
    assert_eq!(disk.begun(), []);
}

#[tokio::test]
async fn a_client_too_many_waits_until_another_leaves() {
    let disk = Arc::new(StuckDisk::new());
    let config = Config { connections_max: 1, ..Config::default() };
    let served = Served::disk(Arc::clone(&disk), config);
    let mut first = Raw::go(&served.socket()).await;
    let mut second = Raw::connect(&served.socket()).await;
    // The first client is answered while the second is not even greeted.
    disk.let_go(1);
    first.request(READ, 1, 0, 512).await;
    assert_eq!(first.reply().await, (0, 1));
    let mut nothing = [0; 18];
    let early = second.socket.try_read(&mut nothing);
    assert_eq!(early.map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
    drop(first);
    second.greet().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_cut() {
    let served = Served::disk(Arc::new(StuckDisk::new()), Config::default());
    let mut raw = Raw::connect(&served.socket()).await;
    raw.greet().await;
    assert_eq!(raw.closed().await, b"");
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_under_way() {
    let disk = Arc::new(StuckDisk::new());
    let served = Served::disk(Arc::clone(&disk), Config::default());
    let mut raw = Raw::go(&served.socket()).await;
    raw.request(READ, 1, 0, 512).await;
    disk.has_begun(1).await;
    let client = async {
        disk.let_go(1);
        assert_eq!(raw.reply().await, (0, 1));
        raw.bytes(512).await;
        assert_eq!(raw.closed().await, b"");
    };
    tokio::join!(served.stop(), client);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_does_not_wait_for_ever() {
    let disk = Arc::new(StuckDisk::new());
    let config = Config { drain_timeout: Duration::from_secs(3600), ..Config::default() };
    let served = Served::disk(Arc::clone(&disk), config);
    let mut raw = Raw::go(&served.socket()).await;
    raw.request(READ, 1, 0, 512).await;
    disk.has_begun(1).await;
    served.stop().await;
    assert_eq!(raw.closed().await, b"");
}
