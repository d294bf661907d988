//! Certificates change while messages flow: rotation, revocation, expiry.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Node, ca, node, within};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval};
use vioduct_certs::serial::Serial;
use vioduct_transport::{DownReason, Flow, Link, LinkEvent, LinkState};

/// Echoes everything a node receives, and hands on its events.
fn echo(mut node: Node) -> (vioduct_transport::Endpoint, mpsc::Receiver<LinkEvent>) {
    let endpoint = node.endpoint.clone();
    let (events, events_end) = mpsc::channel(1024);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(received) = node.messages.recv() => {
                    let link = node.endpoint.link(&received.from).expect("a link to the sender");
                    let message = received.message;
                    link.send(Flow::Pair(message.flow), &message.head, &message.body)
                        .await
                        .expect("the link takes the echo");
                }
                Some((_peer, event)) = node.events.recv() => {
                    events.try_send(event).expect("room for events");
                }
                else => return,
            }
        }
    });
    (endpoint, events_end)
}

/// Sends numbered messages and checks that each comes back, in order, once, until told to stop.
/// Gives the longest wait for one; `rounds` says how many were done.
async fn ping(
    mut one: Node,
    link: Link,
    rounds: watch::Sender<u64>,
    stop: watch::Receiver<bool>,
) -> Duration {
    let (body, mut longest) = (Bytes::from(vec![9; 100]), Duration::ZERO);
    while !*stop.borrow() {
        let (start, round) = (Instant::now(), *rounds.borrow());
        for pair in 0..4_u32 {
            link.send(Flow::Pair(pair), &round.to_le_bytes(), &body).await.unwrap();
        }
        let mut seen = BTreeSet::new();
        for _pair in 0..4 {
            let message = one.message().await.message;
            assert_eq!(message.head[..], round.to_le_bytes(), "lost or out of order");
            assert!(seen.insert(message.flow), "twice");
        }
        longest = longest.max(start.elapsed());
        rounds.send_replace(round + 1);
    }
    while let Ok((_peer, event)) = one.events.try_recv() {
        let lost = matches!(event, LinkEvent::Down { .. } | LinkEvent::Undelivered { .. });
        assert!(!lost, "a rotation lost something: {event:?}");
    }
    longest
}

/// Waits until the other side's live connection was opened with this certificate.
async fn seen_by(link: &Link, serial: Serial) {
    let mut polls = interval(Duration::from_millis(1));
    within(async {
        while !matches!(link.state(), LinkState::Up(info) if info.peer.serial == serial) {
            polls.tick().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_rotations_under_load_lose_and_reorder_nothing() {
    let mut ca = ca();
    let one = node(&mut ca, "n1");
    let (two, mut events) = echo(node(&mut ca, "n2"));
    let first = one.endpoint.clone();
    let addr = two.local_addr().unwrap();
    let link = one.endpoint.connect(two.credentials().identity().name.clone(), addr).await.unwrap();
    within(link.up()).await.unwrap();
    let (rounds, mut done) = watch::channel(0);
    let (stop, stopped) = watch::channel(false);
    let pinger = tokio::spawn(ping(one, link.clone(), rounds, stopped));

    let mut slowest = Duration::ZERO;
    for swap in 0..20 {
        let back = two.link(&first.credentials().identity().name).expect("the link from n1");
        let (rotating, seen) = if swap % 2 == 0 { (&first, &back) } else { (&two, &link) };
        let fresh = Arc::new(ca.reissue(&rotating.credentials()).unwrap());
        let (serial, start) = (fresh.serial(), Instant::now());
        rotating.set_credentials(fresh);
        seen_by(seen, serial).await;
        slowest = slowest.max(start.elapsed());
        let target = *done.borrow() + 25;
        within(done.wait_for(|rounds| *rounds >= target)).await.expect("the pinger runs");
    }
    stop.send_replace(true);
    let longest = within(pinger).await.unwrap();
    while let Ok(event) = events.try_recv() {
        assert!(matches!(event, LinkEvent::Up { .. }), "a rotation lost something: {event:?}");
    }
    let rounds = *done.borrow();
    eprintln!("{rounds} rounds, longest {longest:?}; slowest rotation {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "slowest rotation took {slowest:?}");
}

#[tokio::test]
async fn a_revoked_peer_loses_its_live_link_within_a_second_and_does_not_come_back() {
    let mut ca = ca();
    let (mut one, mut two, mut three) =
        (node(&mut ca, "n1"), node(&mut ca, "n2"), node(&mut ca, "n3"));
    let doomed = one.connect(&two).await;
    let healthy = one.connect(&three).await;
    within(doomed.up()).await.unwrap();
    within(healthy.up()).await.unwrap();
    two.event(|event| matches!(event, LinkEvent::Up { .. }).then_some(())).await;

    ca.revoke(&two.endpoint.credentials().serial()).unwrap();
    let start = Instant::now();
    let credentials = one.endpoint.credentials().with_crls(ca.crls().unwrap()).unwrap();
    one.endpoint.set_credentials(Arc::new(credentials));
    let reason = one
        .event(|event| match event {
            LinkEvent::Down { reason } => Some(reason),
            _other => None,
        })
        .await;
    assert!(matches!(&reason, DownReason::Evicted(refusal) if refusal.label() == "revoked"));
    let reason_at_two = two
        .event(|event| match event {
            LinkEvent::Down { reason } => Some(reason),
            _other => None,
        })
        .await;
    assert!(start.elapsed() < Duration::from_secs(1), "cut after {:?}", start.elapsed());
    assert!(reason_at_two.to_string().contains("is revoked"), "{reason_at_two}");

    // The evicted one dials by itself, and is refused.
    two.connect(&one).await;
    let (_addr, error) = within(one.refused.recv()).await.unwrap();
    assert_eq!(error.label(), "revoked");
    healthy.send(Flow::Pair(1), b"still here", &Bytes::new()).await.unwrap();
    assert_eq!(&three.message().await.message.head[..], b"still here");
    assert!(matches!(doomed.state(), LinkState::Unreachable | LinkState::Connecting));
}

#[tokio::test]
async fn a_link_is_replaced_before_its_certificate_ends_and_cut_when_it_has() {
    let mut ca = ca();
    ca.set_leaf_validity(Duration::from_secs(6));
    let (mut one, two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    // Only the second rotates; the first learns of it by replacing the link in time.
    ca.set_leaf_validity(Duration::from_secs(3600));
    let fresh = ca.reissue(&two.endpoint.credentials()).unwrap();
    let serial = fresh.serial();
    two.endpoint.set_credentials(Arc::new(fresh));
    one.event(|event| match event {
        LinkEvent::Up { info, replaced } if info.peer.serial == serial => {
            assert!(replaced, "make before break");
            Some(())
        }
        _other => None,
    })
    .await;
    // The first never rotates: at the end of its certificate its peer cuts it off.
    let reason = one
        .event(|event| match event {
            LinkEvent::Down { reason } => Some(reason),
            _other => None,
        })
        .await;
    assert!(reason.to_string().contains("expired"), "{reason}");
}
