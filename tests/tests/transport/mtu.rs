//! Packets as large as the path carries: found, used in batches, and given up when a path carries
//! less from then on.

use bytes::Bytes;
use vioduct_certs::identity::Roles;
use vioduct_transport::{Flow, Link, TransportConfig};

use crate::support::ether::Ether;
use crate::support::{Node, ca, within};

/// What is left of Ethernet's 1500 bytes.
const ETHERNET: u16 = 1472;
/// What QUIC takes for granted.
const LEAST: u16 = 1200;
const BODY_BYTES: usize = 1 << 20;

/// Sends messages, one after another, until the path is known to carry what `is_it` wants.
async fn known(link: &Link, is_it: impl Fn(u16) -> bool) -> u16 {
    within(async {
        loop {
            let mtu = link.stats().mtu;
            if is_it(mtu) {
                return mtu;
            }
            let ticket = link.send(Flow::Pair(1), b"", &Bytes::new()).await.unwrap();
            link.settled(ticket).await;
        }
    })
    .await
}

async fn bulk(link: &Link, bodies: usize) {
    let body = Bytes::from(vec![7; BODY_BYTES]);
    for _body in 0..bodies {
        let ticket = within(link.send(Flow::Pair(1), b"", &body)).await.unwrap();
        within(link.settled(ticket)).await;
    }
}

/// Takes what arrives, so that more can.
fn drain(node: Node) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut node = node;
        while node.messages.recv().await.is_some() {}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_grow_to_what_the_path_carries_and_batches_of_them_arrive() {
    let mut ca = ca();
    let [one, two] = ["n1", "n2"].map(|name| {
        let credentials = ca.node(name, Roles::default()).unwrap();
        Node::start_with(credentials, TransportConfig::default(), 1)
    });
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    let back = within(async {
        loop {
            match two.endpoint.link(&one.name()) {
                Some(link) => break link,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let (one, two) = (drain(one), drain(two));
    let wanted = TransportConfig::default().mtu_max;
    assert!(wanted > 6 * ETHERNET, "{wanted}");
    // Loopback carries 64 KiB.
    for link in [&link, &back] {
        known(link, |mtu| mtu == wanted).await;
        let before = link.stats();
        bulk(link, 16).await;
        // A batch of ten goes beyond what the kernel takes at once: none of it may be lost.
        let after = link.stats();
        let lost = after.packets_lost - before.packets_lost;
        assert!(lost < 16, "{lost} packets lost");
        assert_eq!(after.mtu, wanted);
    }
    one.abort();
    two.abort();
}

#[tokio::test(start_paused = true)]
async fn a_path_of_plain_ethernet_is_used_to_the_full_although_larger_packets_are_tried() {
    let (ether, mut ca) = (Ether::default(), ca());
    ether.carries(ETHERNET.into());
    let [one, two] = [1, 2].map(|number| {
        let credentials = ca.node(&format!("n{number}"), Roles::default()).unwrap();
        Node::start_in(credentials, TransportConfig::default(), 1, ether.surroundings(number))
    });
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    let two = drain(two);
    let mtu = known(&link, |mtu| mtu > 1430).await;
    assert!(mtu <= ETHERNET, "{mtu}");
    bulk(&link, 4).await;
    assert!(link.stats().mtu >= mtu);
    two.abort();
}

#[tokio::test(start_paused = true)]
async fn a_link_lives_on_when_its_path_carries_less_than_it_did() {
    let (ether, mut ca) = (Ether::default(), ca());
    let [one, two] = [1, 2].map(|number| {
        let credentials = ca.node(&format!("n{number}"), Roles::default()).unwrap();
        Node::start_in(credentials, TransportConfig::default(), 1, ether.surroundings(number))
    });
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    let two = drain(two);
    let wanted = TransportConfig::default().mtu_max;
    known(&link, |mtu| mtu == wanted).await;
    ether.carries(ETHERNET.into());
    let begin = tokio::time::Instant::now();
    bulk(&link, 4).await;
    let elapsed = begin.elapsed();
    assert!(elapsed.as_millis() < 1000, "{elapsed:?}");
    assert_eq!((link.stats().mtu, link.stats().connections), (LEAST, 1));
    two.abort();
}
