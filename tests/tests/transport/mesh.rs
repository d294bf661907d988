//! What a link costs in a large mesh while nothing is said on it.
//!
//! `cargo test -p vioduct-tests --test transport -- --exact --nocapture
//! mesh::a_silent_connection_takes_little_memory` prints the figures.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fs;

use vioduct_certs::identity::Roles;
use vioduct_transport::{KeptAlive, TransportConfig};

use crate::allocation::live_bytes;
use crate::support::{Node, ca, within};

/// Each linked to each: 276 connections, with two ends each.
const NODES: usize = 24;
/// For one end of a connection: link, tasks, QUIC and TLS.
const SILENT_BYTES_MAX: usize = 128 << 10;

/// Memory of this process that is not on disk, bytes.
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Everything runs on this test's thread, so what the thread has allocated is all of it.
#[tokio::test]
async fn a_silent_connection_takes_little_memory() {
    let config =
        TransportConfig { kept_alive: KeptAlive::WhenAwaited, ..TransportConfig::default() };
    let mut ca = ca();
    let nodes: Vec<Node> = (0..NODES)
        .map(|number| {
            let credentials = ca.node(&format!("n{number}"), Roles::default()).unwrap();
            Node::start_with(credentials, config.clone(), 1)
        })
        .collect();
    let before = (live_bytes(), resident_bytes());
    let mut ends = 0;
    for (number, one) in nodes.iter().enumerate() {
        for two in nodes.iter().skip(number + 1) {
            let link = one.connect(two).await;
            within(link.up()).await.unwrap();
            let back = within(async {
                loop {
                    match two.endpoint.link(&one.name()) {
                        Some(back) => break back,
                        None => tokio::task::yield_now().await,
                    }
                }
            });
            within(back.await.up()).await.unwrap();
            ends += 2;
        }
    }
    let live = (live_bytes() - before.0) / ends;
    let resident = resident_bytes().saturating_sub(before.1) / ends;
    println!("{ends} ends of connections: {live} bytes each live, {resident} resident");
    assert!(live <= SILENT_BYTES_MAX, "{live} bytes for one end of a connection");
}
