//! Links over loopback: delivery, order, large bodies, simultaneous dials, close and restart.

use crate::support::{Node, ca, node, within};
use bytes::Bytes;
use vioduct_certs::identity::Roles;
use vioduct_transport::{DownReason, Fate, Flow, LinkEvent, LinkState, SendError, TransportConfig};

#[tokio::test]
async fn a_message_and_its_reply_cross_a_link_that_one_side_dialled() {
    let mut ca = ca();
    let (mut one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.connect(&two).await;
    let body = Bytes::from_static(b"body");
    let ticket = link.send(Flow::Pair(7), b"head", &body).await.unwrap();
    assert_eq!((ticket.lane, ticket.number), (4, 1));

    let received = two.message().await;
    assert_eq!(received.from, one.name());
    assert_eq!((received.lane, received.message.flow), (4, 7));
    assert_eq!(&received.message.head[..], b"head");
    assert_eq!(received.message.body, body);
    let back = two.endpoint.link(&one.name()).expect("the link that was dialled");
    back.send(Flow::Control, b"reply", &Bytes::new()).await.unwrap();
    assert_eq!(&one.message().await.message.head[..], b"reply");

    within(link.settled(ticket)).await;
    assert_eq!(link.stats().messages_settled, 1);
    let info = within(link.up()).await.unwrap();
    assert_eq!((info.generation, info.incarnation, info.dialled), (1, 1, true));
    assert_eq!(info.peer.identity.name, two.name());
}

#[tokio::test]
async fn datagrams_cross_a_link() {
    let mut ca = ca();
    let (one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    link.send_datagram(Bytes::from_static(b"probe")).unwrap();
    assert_eq!(within(two.datagrams.recv()).await.unwrap(), "probe");
    let error = link.send_datagram(Bytes::from(vec![0; 10_000])).unwrap_err();
    assert!(error.to_string().starts_with("datagram of 10000 bytes; the path takes"), "{error}");
}

#[tokio::test]
async fn a_large_body_holds_back_its_own_pair_only() {
    let mut ca = ca();
    let (one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.connect(&two).await;
    let large = Bytes::from_iter((0..=250_u8).cycle().take(8 << 20));
    let empty = Bytes::new();
    link.send(Flow::Pair(4), b"large", &large).await.unwrap();
    link.send(Flow::Pair(4), b"after it", &empty).await.unwrap();
    // 4 and 8 share a lane.
    link.send(Flow::Pair(8), b"other pair", &empty).await.unwrap();

    let mut order = Vec::new();
    for _message in 0..3 {
        let message = two.message().await.message;
        if message.head == "large" {
            assert_eq!(message.body, large);
        }
        order.push(message.head);
    }
    assert_eq!(order, ["other pair", "large", "after it"]);
}

#[tokio::test]
async fn messages_of_every_size_and_pair_keep_their_order() {
    let mut ca = ca();
    let (one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.connect(&two).await;
    let sizes = [0, 1, 900, 1025, 5000, 200_000, 262_144, 262_145, 400_000];
    let sender = tokio::spawn(async move {
        for number in 0_u32..600 {
            let size = sizes[number as usize % sizes.len()];
            let body = Bytes::from(vec![number.to_le_bytes()[0]; size]);
            link.send(Flow::Pair(number % 7), &number.to_le_bytes(), &body).await.unwrap();
        }
    });
    let mut next = [0, 1, 2, 3, 4, 5, 6];
    for _message in 0..600 {
        let message = two.message().await.message;
        let number = u32::from_le_bytes(message.head[..].try_into().unwrap());
        assert_eq!(number, next[message.flow as usize], "pair {}", message.flow);
        next[message.flow as usize] += 7;
        assert_eq!(message.body.len(), sizes[number as usize % sizes.len()]);
        assert!(message.body.iter().all(|byte| *byte == number.to_le_bytes()[0]));
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn two_nodes_that_dial_at_once_end_with_one_connection() {
    for _round in 0..10 {
        let mut ca = ca();
        let (one, two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
        let (a, b) = tokio::join!(one.connect(&two), two.connect(&one));
        let (mut one, mut two) = (one, two);
        let empty = Bytes::new();
        a.send(Flow::Pair(1), b"from one", &empty).await.unwrap();
        b.send(Flow::Pair(1), b"from two", &empty).await.unwrap();
        assert_eq!(&two.message().await.message.head[..], b"from one");
        assert_eq!(&one.message().await.message.head[..], b"from two");
        let (at_one, at_two) = (within(a.up()).await.unwrap(), within(b.up()).await.unwrap());
        assert_eq!(at_one.generation, at_two.generation);
        assert_ne!(at_one.dialled, at_two.dialled);
    }
}

#[tokio::test]
async fn a_close_flushes_what_was_taken_and_says_why() {
    let mut ca = ca();
    let (one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    let body = Bytes::from(vec![5; 300_000]);
    for number in 0_u32..20 {
        link.send(Flow::Pair(number), &number.to_le_bytes(), &body).await.unwrap();
    }
    let close = tokio::spawn(async move {
        one.endpoint.close().await;
        one
    });
    for _message in 0..20 {
        assert_eq!(two.message().await.message.body.len(), 300_000);
    }
    let reason = two
        .event(|event| match event {
            LinkEvent::Down { reason } => Some(reason),
            LinkEvent::Undelivered { .. } => panic!("nothing was lost: {event:?}"),
            _other => None,
        })
        .await;
    assert!(matches!(reason, DownReason::ClosedByPeer { .. }), "{reason}");
    let mut one = within(close).await.unwrap();
    assert_eq!(link.state(), LinkState::Closed);
    let refused = link.send(Flow::Pair(1), b"late", &Bytes::new()).await.unwrap_err();
    assert_eq!(refused, SendError::Closed { peer: two.name() });
    while let Ok((_peer, event)) = one.events.try_recv() {
        assert!(!matches!(event, LinkEvent::Undelivered { .. }), "nothing was lost: {event:?}");
    }
}

#[tokio::test]
async fn an_endpoint_is_closed_in_order_when_its_last_handle_is_dropped() {
    let mut ca = ca();
    let (one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    let last = one.endpoint.clone();
    drop(one);
    link.send(Flow::Pair(1), b"a handle is left", &Bytes::new()).await.unwrap();
    assert_eq!(&two.message().await.message.head[..], b"a handle is left");
    link.send(Flow::Pair(1), b"none is left", &Bytes::new()).await.unwrap();
    drop(last);
    assert_eq!(&two.message().await.message.head[..], b"none is left");
    let reason = two
        .event(|event| match event {
            LinkEvent::Down { reason } => Some(reason),
            _other => None,
        })
        .await;
    assert!(matches!(reason, DownReason::ClosedByPeer { .. }), "{reason}");
    within(async {
        while link.state() != LinkState::Closed {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_runs_anew_gets_nothing_of_what_was_queued_for_its_old_run() {
    let mut ca = ca();
    let credentials = ca.node("n2", Roles::default()).unwrap();
    let again = ca.reissue(&credentials).unwrap();
    let config = TransportConfig {
        idle_timeout: std::time::Duration::from_secs(1),
        keep_alive: std::time::Duration::from_millis(200),
        ..TransportConfig::default()
    };
    let mut one = Node::start_with(ca.node("n1", Roles::default()).unwrap(), config.clone(), 1);
    let two = Node::start_with(credentials, config.clone(), 1);
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    two.endpoint.close().await;
    let closed = |event| matches!(event, LinkEvent::Down { .. }).then_some(());
    one.event(closed).await;
    let ticket = link.send(Flow::Pair(1), b"for the old run", &Bytes::new()).await.unwrap();

    let mut two = Node::start_with(again, config, 2);
    let back = two.connect(&one).await;
    let (numbers, fate) = one
        .event(|event| match event {
            LinkEvent::Undelivered { numbers, fate, .. } => Some((numbers, fate)),
            _other => None,
        })
        .await;
    assert_eq!((numbers, fate), (ticket.number..ticket.number + 1, Fate::NotDelivered));
    within(back.up()).await.unwrap();
    within(link.up()).await.unwrap();
    link.send(Flow::Pair(1), b"for the new run", &Bytes::new()).await.unwrap();
    assert_eq!(&two.message().await.message.head[..], b"for the new run");
}

/// What waits for a link is sent the moment it is up, and the receiver may ask who it is from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_up_with_its_identity_before_its_first_message_is_handed_over() {
    let mut ca = ca();
    for round in 0..40 {
        let (one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
        let link = one.connect(&two).await;
        link.send(Flow::Pair(1), b"at once", &Bytes::new()).await.unwrap();
        let received = two.message().await;
        let LinkState::Up(info) = received.state else { panic!("round {round}: not up") };
        assert_eq!(info.peer.identity.name, one.name());
    }
}

/// The second body waits behind the first, of its own flow, and takes up the room that the third
/// needs; the third stalls, and must not keep the first from being sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_the_receiver_has_no_room_for_stops_no_other() {
    let mut ca = ca();
    let (one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.connect(&two).await;
    within(link.up()).await.unwrap();
    for round in 0..5 {
        let sizes = [10 << 20, 5 << 20, 3 << 20, 3 << 20];
        for bytes in sizes {
            link.send(Flow::Pair(1), b"", &Bytes::from(vec![round; bytes])).await.unwrap();
        }
        for bytes in sizes {
            let body = two.message().await.message.body;
            assert_eq!((body.len(), body.first()), (bytes, Some(&round)));
        }
    }
}
