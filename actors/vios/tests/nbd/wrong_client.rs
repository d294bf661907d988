//! Clients that break the protocol, or off.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use vioduct_vios::block::Request;
use vioduct_vios::nbd::server::Config;

use crate::raw::{DISC, FLUSH, READ, Raw, WRITE, request};
use crate::served::{SIZE, Served};
use crate::stuck::StuckDisk;

const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

/// The server still serves.
async fn is_served(served: &Served) {
    let mut raw = Raw::go(&served.socket()).await;
    raw.request(READ, 1, 0, 512).await;
    assert_eq!(raw.reply().await, (0, 1));
    assert_eq!(raw.bytes(512).await.len(), 512);
}

#[tokio::test]
async fn garbage_in_place_of_a_handshake_ends_that_connection_only() {
    let served = Served::file();
    let mut raw = Raw::connect(&served.socket()).await;
    raw.socket.write_all(&[0xff; 5000]).await.unwrap();
    assert_eq!(raw.closed().await, b"NBDMAGICIHAVEOPT\0\x03");
    let mut raw = Raw::connect(&served.socket()).await;
    raw.greet().await;
    raw.socket.write_all(&[0xff; 16]).await.unwrap();
    assert_eq!(raw.closed().await, b"");
    is_served(&served).await;
}

#[tokio::test]
async fn garbage_in_place_of_a_request_ends_that_connection_only() {
    let served = Served::file();
    let mut raw = Raw::go(&served.socket()).await;
    raw.socket.write_all(&[0xff; 28]).await.unwrap();
    assert_eq!(raw.closed().await, b"");
    is_served(&served).await;
}

#[tokio::test]
async fn a_client_that_dies_within_a_payload_has_written_nothing() {
    let served = Served::file();
    for (sent, length) in [(0, 4096), (1000, 65_536), (1 << 20, 8 << 20)] {
        let mut raw = Raw::go(&served.socket()).await;
        raw.write(1, 0, &vec![b'A'; length as usize]).await;
        assert_eq!(raw.reply().await, (0, 1));
        raw.request(WRITE, 2, 0, length).await;
        raw.socket.write_all(&vec![b'B'; sent]).await.unwrap();
        raw.socket.shutdown().await.unwrap();
        assert_eq!(raw.closed().await, b"", "no answer to half a request");
        assert!(served.stored(0, length as usize) == vec![b'A'; length as usize]);
    }
    is_served(&served).await;
}

#[tokio::test]
async fn a_refused_write_is_passed_over_to_the_byte() {
    let served = Served::file();
    let mut raw = Raw::go(&served.socket()).await;
    raw.write(1, SIZE - 1, &[1; 4096]).await;
    assert_eq!(raw.reply().await, (ENOSPC, 1));
    let too_long = (32 << 20) + 4096;
    raw.write(2, 0, &vec![1; too_long]).await;
    assert_eq!(raw.reply().await, (EINVAL, 2));
    raw.request(99, 3, 0, 0).await;
    assert_eq!(raw.reply().await, (EINVAL, 3));
    raw.request(FLUSH, 4, 1, 0).await;
    assert_eq!(raw.reply().await, (EINVAL, 4));
    raw.request(READ, 5, 0, 64 << 20).await;
    assert_eq!(raw.reply().await, (EINVAL, 5));
    raw.request(READ, 6, 0, 4).await;
    assert_eq!((raw.reply().await, raw.bytes(4).await), ((0, 6), vec![0; 4]));
}

#[tokio::test]
async fn options_that_are_too_long_or_unknown_are_refused_and_the_next_is_answered() {
    let served = Served::file();
    let mut raw = Raw::connect(&served.socket()).await;
    raw.greet().await;
    let too_big = (1 << 31) + 9;
    raw.option(6, &vec![0; 1 << 20]).await;
    assert_eq!(raw.option_reply().await.0, too_big);
    let unsupported = (1 << 31) + 1;
    let extended_headers = 11;
    raw.option(extended_headers, b"").await;
    assert_eq!(raw.option_reply().await.0, unsupported);
    let policy = (1 << 31) + 2;
    let start_tls = 5;
    raw.option(start_tls, b"").await;
    assert_eq!(raw.option_reply().await.0, policy);
    raw.option(3, b"").await;
    assert_eq!(raw.option_reply().await, (2, b"\0\0\0\x03lu0".to_vec()));
    assert_eq!(raw.option_reply().await.0, 1);
}

#[tokio::test]
async fn what_a_client_left_unread_is_not_begun_once_it_hung_up() {
    let disk = Arc::new(StuckDisk::new_writable());
    let config = Config { requests_max: 1, connections_max: 1, ..Config::default() };
    let served = Served::disk(Arc::clone(&disk), config);
    let mut raw = Raw::go(&served.socket()).await;
    raw.write(1, 0, b"first").await;
    disk.has_begun(1).await;
    raw.write(2, 0, b"second").await;
    raw.request(READ, 3, 0, 512).await;
    drop(raw);
    disk.let_go(10);
    // The only place is free again once the first client's session has ended.
    let mut raw = Raw::go(&served.socket()).await;
    raw.write(1, 0, b"third").await;
    assert_eq!(raw.reply().await, (0, 1));
    let written: Vec<Request> = disk.begun();
    let write = |data: &'static [u8]| Request::Write { offset: 0, data: data.into(), fua: false };
    assert_eq!(written, [write(b"first"), write(b"third")]);
}

#[tokio::test]
async fn what_was_never_read_is_not_begun_once_its_client_hung_up() {
    let disk = Arc::new(StuckDisk::new_writable());
    let config = Config { connections_max: 1, ..Config::default() };
    let served = Served::disk(Arc::clone(&disk), config);
    let raw = Raw::go(&served.socket()).await;
    // On one thread: the server does not run between the two.
    let bytes = [&request(WRITE, 1, 0, 5)[..], b"first"].concat();
    assert_eq!(raw.socket.try_write(&bytes).unwrap(), bytes.len());
    drop(raw);
    disk.let_go(10);
    let mut raw = Raw::go(&served.socket()).await;
    raw.write(1, 0, b"second").await;
    assert_eq!(raw.reply().await, (0, 1));
    let second = Request::Write { offset: 0, data: b"second"[..].into(), fua: false };
    assert_eq!(disk.begun(), [second]);
}

#[tokio::test]
async fn what_waited_for_room_is_not_begun_once_its_client_ended_its_side() {
    let disk = Arc::new(StuckDisk::new_writable());
    let config = Config { requests_max: 1, ..Config::default() };
    let served = Served::disk(Arc::clone(&disk), config);
    let mut raw = Raw::go(&served.socket()).await;
    let both = [request(WRITE, 1, 0, 1), b"1".to_vec(), request(WRITE, 2, 0, 1), b"2".to_vec()];
    raw.socket.write_all(&both.concat()).await.unwrap();
    disk.has_begun(1).await;
    raw.socket.shutdown().await.unwrap();
    disk.let_go(10);
    assert_eq!(raw.reply().await, (0, 1));
    assert_eq!(raw.closed().await, b"");
    assert_eq!(disk.begun().len(), 1);
}

#[tokio::test]
async fn a_client_that_takes_its_leave_has_its_requests_finished_first() {
    let disk = Arc::new(StuckDisk::new_writable());
    let served = Served::disk(Arc::clone(&disk), Config::default());
    let mut raw = Raw::go(&served.socket()).await;
    raw.write(1, 0, b"data").await;
    raw.request(DISC, 2, 0, 0).await;
    disk.has_begun(1).await;
    disk.let_go(1);
    assert_eq!(raw.reply().await, (0, 1));
    assert_eq!(raw.closed().await, b"");
}
