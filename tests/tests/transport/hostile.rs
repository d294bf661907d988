//! Peers with a valid certificate that break the protocol: each is cut with a typed reason, and a
//! healthy link of the same endpoint goes on.

use std::future::ready;
use std::time::Duration;

use crate::support::hostile::{
    CLOSE_SUPERSEDED, Hostile, Peer, Stage, closed, header, listener, message, opening,
};
use crate::support::{Node, ca, within};
use bytes::Bytes;
use tokio::task::JoinSet;
use vioduct_certs::identity::Roles;
use vioduct_transport::wire::{
    FrameError, Hello, LimitName, Rejection, VersionRange, Welcome, WireError,
};
use vioduct_transport::{
    DialError, DownReason, Fate, Flow, LinkEvent, OrderError, TransportConfig, Violation,
};

/// What the node says to a peer that opens a lane, sends these bytes on it and ends it.
async fn assert_lane_is_cut(bytes: &[u8], expected: Violation) {
    let stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    let mut stream = peer.lane(1, 1, bytes).await;
    stream.finish().unwrap();
    stage.assert_cut(&peer, expected).await;
}

#[tokio::test]
async fn bytes_that_are_no_hello_are_refused() {
    let cases = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), WireError::Magic),
        (b"VDCT\x01\xff\xff".to_vec(), WireError::TooLong { bytes: 65535 }),
        (b"VDCT\x09\x00\x00".to_vec(), WireError::UnknownHandshake { kind: 9 }),
        (b"VDCT\x01\x02\x00ab".to_vec(), WireError::Truncated),
        (Rejection::Closing.encode(), WireError::UnknownHandshake { kind: 3 }),
    ];
    let mut stage = Stage::new().await;
    for (bytes, expected) in cases {
        let peer = stage.hostile.say(&stage.victim, &bytes).await;
        let DialError::Wire { error, .. } = stage.refused().await else { panic!("another error") };
        assert_eq!(error, expected);
        let told = (CLOSE_SUPERSEDED, expected.to_string());
        assert_eq!(peer.closed().await, told, "the peer is told as well");
    }
    stage.round_trip().await;
    let evil = stage.hostile.credentials.identity().name.clone();
    assert!(stage.victim.endpoint.link(&evil).is_none(), "a link was made for no hello");
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_answered_with_both_values() {
    let mut stage = Stage::new().await;
    let good = stage.hostile.hello();
    let limit = |limit, accepting, dialling| Rejection::Limit { limit, accepting, dialling };
    let cases = [
        (
            Hello { node: "healthy".to_owned(), ..good.clone() },
            Rejection::Identity {
                said: "test/healthy".to_owned(),
                certificate: "test/evil".to_owned(),
            },
        ),
        (
            Hello { cluster: "other".to_owned(), ..good.clone() },
            Rejection::Identity {
                said: "other/evil".to_owned(),
                certificate: "test/evil".to_owned(),
            },
        ),
        (Hello { head_bytes_max: 1, ..good.clone() }, limit(LimitName::HeadBytes, 65536, 1)),
        (
            Hello { inline_body_bytes_max: 5, ..good.clone() },
            limit(LimitName::InlineBodyBytes, 262_144, 5),
        ),
        (
            Hello { body_bytes_max: u32::MAX, ..good.clone() },
            limit(LimitName::BodyBytes, 16 << 20, u32::MAX.into()),
        ),
        (Hello { lanes: 0, ..good.clone() }, limit(LimitName::Lanes, 4, 0)),
        (Hello { lanes: 17, ..good.clone() }, limit(LimitName::Lanes, 4, 17)),
        (
            Hello { versions: VersionRange { min: 2, max: 9 }, ..good.clone() },
            Rejection::Version {
                accepting: VersionRange { min: 1, max: 1 },
                dialling: VersionRange { min: 2, max: 9 },
            },
        ),
    ];
    for (hello, expected) in cases {
        let mut peer = stage.hostile.say(&stage.victim, &hello.encode()).await;
        assert_eq!(peer.answer().await.unwrap_err(), expected);
        let error = stage.refused().await;
        let DialError::Rejected { rejection, .. } = error else { panic!("another end: {error}") };
        assert_eq!(rejection, expected);
        peer.connection.close(0_u32.into(), b"read it");
    }
    stage.round_trip().await;
}

#[tokio::test]
async fn two_nodes_with_different_limits_both_learn_both_values() {
    let mut ca = ca();
    let short = TransportConfig { head_bytes_max: 1000, ..TransportConfig::default() };
    let mut one = Node::start_with(ca.node("n1", Roles::default()).unwrap(), short, 1);
    let mut two = Node::start(ca.node("n2", Roles::default()).unwrap());
    one.connect(&two).await;
    let expected =
        Rejection::Limit { limit: LimitName::HeadBytes, accepting: 65536, dialling: 1000 };
    let failed = |event| match event {
        LinkEvent::DialFailed { error: DialError::Rejected { rejection, .. } } => Some(rejection),
        _other => None,
    };
    assert_eq!(one.event(failed).await, expected);
    let (_addr, error) = within(two.refused.recv()).await.unwrap();
    let DialError::Rejected { rejection, .. } = error else { panic!("another end: {error}") };
    assert_eq!(rejection, expected);
}

/// The bytes of a healthy listener's welcome, changed by `change`.
fn welcome(hostile: &Hostile, change: impl FnOnce(&mut Welcome)) -> Vec<u8> {
    let mut welcome = Welcome { version: 1, hello: hostile.hello() };
    change(&mut welcome);
    welcome.encode()
}

#[tokio::test]
async fn an_answer_that_is_none_fails_the_dial_with_its_reason() {
    let hostile = Hostile::new(ca().node("evil", Roles::default()).unwrap());
    let wrong_node = Rejection::Identity {
        said: "test/healthy".to_owned(),
        certificate: "test/evil".to_owned(),
    };
    let cases = [
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), Err(WireError::Magic)),
        (b"VDCT\x02\x01\x04".to_vec(), Err(WireError::TooLong { bytes: 1025 })),
        (hostile.hello().encode(), Err(WireError::UnknownHandshake { kind: 1 })),
        (welcome(&hostile, |said| said.hello.node = "healthy".to_owned()), Ok(wrong_node)),
        // A version that was not offered, and the number of another connection.
        (welcome(&hostile, |said| said.version = 2), {
            Err(WireError::Welcome { version: 2, generation: 1 })
        }),
        (welcome(&hostile, |said| said.hello.generation = 7), {
            Err(WireError::Welcome { version: 1, generation: 7 })
        }),
    ];
    for (answer, expected) in cases {
        let mut stage = Stage::new().await;
        let listener = listener(&stage.hostile.credentials);
        let evil = stage.hostile.credentials.identity().name.clone();
        let addr = listener.local_addr().unwrap();
        stage.victim.endpoint.connect(evil, addr).await.unwrap();
        let connection = within(listener.accept()).await.unwrap().await.unwrap();
        let (mut send, mut recv) = within(connection.accept_bi()).await.unwrap();
        within(recv.read_exact(&mut [0; 7])).await.unwrap();
        send.write_all(&answer).await.unwrap();
        let failed = |event| match event {
            LinkEvent::DialFailed { error } => Some(error),
            _other => None,
        };
        let words = match (stage.victim.event(failed).await, expected) {
            (DialError::Wire { error, .. }, Err(expected)) => {
                assert_eq!(error, expected);
                expected.to_string()
            }
            (DialError::Rejected { rejection, .. }, Ok(expected)) => {
                assert_eq!(rejection, expected);
                expected.to_string()
            }
            (error, expected) => panic!("{error} instead of {expected:?}"),
        };
        assert_eq!(closed(&connection).await, (CLOSE_SUPERSEDED, words));
        stage.round_trip().await;
    }
}

#[tokio::test]
async fn lengths_past_their_limits_and_unknown_kinds_end_the_connection() {
    let long = |bytes, limit| Violation::Frame(FrameError::BodyTooLong { bytes, limit });
    let cases = [
        (
            header(1, 1, u32::MAX, 0),
            Violation::Frame(FrameError::HeadTooLong { bytes: u32::MAX, limit: 65536 }),
        ),
        (header(1, 1, 0, 262_145), long(262_145, 262_144)),
        (header(2, 1, 0, (16 << 20) + 1), long((16 << 20) + 1, 16 << 20)),
        (header(7, 1, 0, 0), Violation::Frame(FrameError::UnknownKind { kind: 7 })),
        // Good messages before do not help.
        ([message(1, b"good"), vec![0; 13]].concat(), {
            Violation::Frame(FrameError::UnknownKind { kind: 0 })
        }),
    ];
    for (bytes, expected) in cases {
        assert_lane_is_cut(&bytes, expected).await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_in_the_middle_ends_the_connection() {
    assert_lane_is_cut(&message(1, b"whole head")[..16], Violation::Cut).await;
    assert_lane_is_cut(&[1], Violation::Cut).await;

    let stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    let mut stream = peer.stream(&opening(1, 1, 1)[..4]).await;
    stream.finish().unwrap();
    stage.assert_cut(&peer, Violation::Cut).await;
}

#[tokio::test]
async fn a_lane_that_is_taken_back_ends_the_connection() {
    let mut stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    let mut stream = peer.lane(1, 1, &message(1, b"taken")).await;
    assert_eq!(&stage.victim.message().await.message.head[..], b"taken");
    stream.reset(0_u32.into()).unwrap();
    stage.assert_cut(&peer, Violation::Cut).await;
}

#[tokio::test]
async fn a_peer_that_will_not_read_a_lane_is_cut_once_there_is_something_to_read() {
    let mut stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    for _lane in 0..5 {
        let mut stream = within(peer.connection.accept_uni()).await.unwrap();
        stream.stop(0_u32.into()).unwrap();
    }
    // Longer than the way of the refusals.
    stage.round_trip().await;
    let evil = stage.hostile.credentials.identity().name.clone();
    let link = stage.victim.endpoint.link(&evil).unwrap();
    link.send(Flow::Pair(1), b"unread", &Bytes::new()).await.unwrap();
    stage.assert_cut(&peer, Violation::Cut).await;
}

#[tokio::test]
async fn streams_of_no_agreed_use_end_the_connection() {
    let unknown = Violation::Wire(WireError::UnknownStream { kind: 9 });
    let cases = [
        (opening(9, 1, 1), unknown),
        // Four ordered lanes and the control lane were agreed on.
        (opening(1, 5, 1), Violation::Lane { lane: 5 }),
        (opening(1, 255, 1), Violation::Lane { lane: 255 }),
        (opening(2, 5, 1), Violation::Lane { lane: 5 }),
        (opening(1, 1, 0), Violation::Order(OrderError::Replay { first: 0, next: 1 })),
    ];
    for (bytes, expected) in cases {
        let stage = Stage::new().await;
        let peer = stage.hostile.link(&stage.victim).await;
        let _open = peer.stream(&bytes).await;
        stage.assert_cut(&peer, expected).await;
    }
}

#[tokio::test]
async fn a_lane_opened_twice_ends_the_connection() {
    let stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    let _first = peer.lane(2, 1, &message(2, b"first")).await;
    let _second = peer.lane(2, 2, &message(2, b"second")).await;
    stage.assert_cut(&peer, Violation::Lane { lane: 2 }).await;
}

#[tokio::test]
async fn a_lane_that_begins_at_a_received_message_ends_the_connection() {
    let mut stage = Stage::new().await;
    let first = stage.hostile.link(&stage.victim).await;
    let messages = [message(1, b"one"), message(1, b"two"), message(1, b"three")].concat();
    let _lane = first.lane(1, 1, &messages).await;
    for _message in 0..3 {
        stage.victim.message().await;
    }
    first.connection.close(0_u32.into(), b"");
    let reason = stage.down().await;
    assert!(matches!(reason, DownReason::ClosedByPeer { .. }), "{reason}");

    let again = Hello { generation: 2, ..stage.hostile.hello() };
    let second = stage.hostile.link_as(&stage.victim, &again).await;
    let _lane = second.lane(1, 3, &message(1, b"three")).await;
    let replay = OrderError::Replay { first: 3, next: 4 };
    stage.assert_cut(&second, Violation::Order(replay)).await;
}

#[tokio::test]
async fn a_lane_that_begins_at_the_end_of_all_numbers_ends_the_connection() {
    let stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    let messages = [message(1, b"last"), message(1, b"beyond")].concat();
    let _lane = peer.lane(1, u64::MAX, &messages).await;
    let beyond = OrderError::Beyond { first: u64::MAX };
    stage.assert_cut(&peer, Violation::Order(beyond)).await;
}

#[tokio::test]
async fn a_body_for_nobody_ends_the_connection_with_the_next_announced_one() {
    let stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    peer.body(1, 1, b"of a message without one").await;
    let lane = [message(1, b"no body"), header(2, 1, 0, 5)].concat();
    let _lane = peer.lane(1, 1, &lane).await;
    let stray = OrderError::StrayBody { number: 1 };
    stage.assert_cut(&peer, Violation::Order(stray)).await;
}

#[tokio::test]
async fn a_second_body_of_one_message_ends_the_connection() {
    let stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    // Message 1 announces a body that does not come, so that both of message 2 wait.
    let heads = [header(2, 1, 0, 5), header(2, 2, 0, 5)].concat();
    let _lane = peer.lane(1, 1, &heads).await;
    peer.body(1, 2, b"first").await;
    peer.body(1, 2, b"again").await;
    let stray = OrderError::StrayBody { number: 2 };
    stage.assert_cut(&peer, Violation::Order(stray)).await;
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_ends_the_connection() {
    for body in [&b"four"[..], b"sixsix", b""] {
        let stage = Stage::new().await;
        let peer = stage.hostile.link(&stage.victim).await;
        let _lane = peer.lane(1, 1, &header(2, 1, 0, 5)).await;
        peer.body(1, 1, body).await;
        let expected = Violation::BodyLength { number: 1, bytes: 5 };
        stage.assert_cut(&peer, expected).await;
    }
}

#[tokio::test]
async fn a_body_that_is_taken_back_ends_the_connection() {
    let stage = Stage::new().await;
    let peer = stage.hostile.link(&stage.victim).await;
    let _lane = peer.lane(1, 1, &header(2, 1, 0, 5)).await;
    let mut body = peer.stream(&[&opening(2, 1, 1)[..], b"fo"].concat()).await;
    body.reset(0_u32.into()).unwrap();
    stage.assert_cut(&peer, Violation::Cut).await;
}

#[tokio::test]
async fn control_frames_that_are_none_end_the_connection() {
    let delivered = |lane| [&[2, lane][..], &1_u64.to_le_bytes()].concat();
    let cases = [
        (vec![200], Violation::Wire(WireError::UnknownControl { kind: 200 })),
        ([delivered(0), vec![0]].concat(), {
            Violation::Wire(WireError::UnknownControl { kind: 0 })
        }),
        (delivered(5), Violation::Lane { lane: 5 }),
        (delivered(255), Violation::Lane { lane: 255 }),
    ];
    for (bytes, expected) in cases {
        let stage = Stage::new().await;
        let mut peer = stage.hostile.link(&stage.victim).await;
        peer.control_send.write_all(&bytes).await.unwrap();
        stage.assert_cut(&peer, expected).await;
    }
}

#[tokio::test]
async fn a_control_stream_that_ends_before_its_connection_ends_the_connection() {
    let end = |peer: &mut Peer| peer.control_send.finish().unwrap();
    let take_back = |peer: &mut Peer| peer.control_send.reset(0_u32.into()).unwrap();
    let cases: [fn(&mut Peer); 2] = [end, take_back];
    for case in cases {
        let stage = Stage::new().await;
        let mut peer = stage.hostile.link(&stage.victim).await;
        // Taken back before, it would be a handshake that came to nothing.
        let evil = &stage.hostile.credentials.identity().name;
        within(stage.victim.endpoint.link(evil).unwrap().up()).await.unwrap();
        case(&mut peer);
        stage.assert_cut(&peer, Violation::Cut).await;
    }
    // Not reading it counts as well, once there is something to read.
    let stage = Stage::new().await;
    let mut peer = stage.hostile.link(&stage.victim).await;
    peer.control_recv.stop(0_u32.into()).unwrap();
    let _lane = peer.lane(1, 1, &message(1, b"to be acknowledged")).await;
    stage.assert_cut(&peer, Violation::Cut).await;
}

#[tokio::test]
async fn a_hello_that_ends_early_is_told_from_one_that_is_taken_back() {
    let mut stage = Stage::new().await;
    let hello = stage.hostile.hello().encode();
    let mut ended = stage.hostile.say(&stage.victim, &hello[..30]).await;
    ended.control_send.finish().unwrap();
    let DialError::Wire { error, .. } = stage.refused().await else { panic!("another error") };
    assert_eq!(error, WireError::Truncated);
    assert_eq!(ended.closed().await, (CLOSE_SUPERSEDED, WireError::Truncated.to_string()));

    let mut reset = stage.hostile.say(&stage.victim, &hello[..30]).await;
    reset.control_send.reset(0_u32.into()).unwrap();
    let error = stage.refused().await;
    assert!(matches!(error, DialError::Broken { .. }), "{error:?}");
    assert!(error.to_string().contains("took its stream back"), "{error}");
    assert_eq!(reset.closed().await, (CLOSE_SUPERSEDED, "handshake given up".to_owned()));
}

#[tokio::test]
async fn a_peer_that_goes_in_mid_handshake_is_reported_as_gone() {
    let mut stage = Stage::new().await;
    let half = stage.hostile.say(&stage.victim, &stage.hostile.hello().encode()[..30]).await;
    // Once the first half is there.
    half.connection.close(9_u32.into(), b"lost interest");
    let error = stage.refused().await;
    assert!(matches!(error, DialError::Broken { .. }), "{error:?}");
    assert!(error.to_string().contains("lost interest"), "{error}");

    let listener = listener(&stage.hostile.credentials);
    let evil = stage.hostile.credentials.identity().name.clone();
    stage.victim.endpoint.connect(evil, listener.local_addr().unwrap()).await.unwrap();
    let connection = within(listener.accept()).await.unwrap().await.unwrap();
    let (_send, _recv) = within(connection.accept_bi()).await.unwrap();
    connection.close(9_u32.into(), b"wrong door");
    let failed = |event| match event {
        LinkEvent::DialFailed { error } => Some(error),
        _other => None,
    };
    let error = stage.victim.event(failed).await;
    assert!(matches!(error, DialError::Broken { .. }), "{error:?}");
    assert!(error.to_string().contains("wrong door"), "{error}");
    stage.round_trip().await;
}

#[tokio::test]
async fn an_acknowledgement_ahead_of_the_messages_settles_none_of_them() {
    let mut stage = Stage::new().await;
    let hello = stage.hostile.hello().encode();
    let mut peer = stage.hostile.say(&stage.victim, &hello).await;
    peer.answer().await.unwrap();
    let start_and_all = [&[1, 2, 1][..], &u64::MAX.to_le_bytes()].concat();
    peer.control_send.write_all(&start_and_all).await.unwrap();
    // The acknowledgement lies beside the start: it is read long before this ends.
    stage.round_trip().await;
    let evil = stage.hostile.credentials.identity().name.clone();
    let link = stage.victim.endpoint.link(&evil).unwrap();
    let ticket = link.send(Flow::Pair(4), b"doubtful", &Bytes::new()).await.unwrap();
    // Lanes are opened in no fixed order; the one with a message is long enough.
    let mut streams = JoinSet::new();
    for _lane in 0..5 {
        let mut stream = within(peer.connection.accept_uni()).await.unwrap();
        streams.spawn(async move { stream.read_exact(&mut [0; 23]).await.is_ok() });
    }
    assert!(within(streams.join_next()).await.unwrap().unwrap());
    peer.connection.close(0_u32.into(), b"");
    let undelivered = |event| match event {
        LinkEvent::Undelivered { lane, numbers, fate } => Some((lane, numbers, fate)),
        _other => None,
    };
    let expected = (ticket.lane, ticket.number..ticket.number + 1, Fate::MaybeDelivered);
    assert_eq!(stage.victim.event(undelivered).await, expected);
    stage.round_trip().await;
}

#[tokio::test]
async fn no_stream_but_the_control_stream_can_be_opened_before_the_handshake() {
    let mut stage = Stage::new().await;
    let connection = stage.hostile.dial(&stage.victim).await;
    let (mut control_send, control_recv) = connection.open_bi().await.unwrap();
    assert_no_credit(&connection).await;
    tokio::select! {
        biased;
        _opened = connection.open_bi() => panic!("a second control stream was granted"),
        () = ready(()) => {}
    }
    control_send.write_all(&stage.hostile.hello().encode()).await.unwrap();
    let mut peer = Peer { connection, control_send, control_recv };
    peer.answer().await.unwrap();
    peer.control_send.write_all(&[1]).await.unwrap();
    // Five lanes, each with four bodies on their way; no more.
    let mut open = Vec::new();
    for _stream in 0..25 {
        open.push(within(peer.connection.open_uni()).await.unwrap());
    }
    assert_no_credit(&peer.connection).await;
    stage.round_trip().await;
}

async fn assert_no_credit(connection: &quinn::Connection) {
    tokio::select! {
        biased;
        _opened = connection.open_uni() => panic!("a stream too many was granted"),
        () = ready(()) => {}
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_dropped_when_the_handshake_is_over() {
    let config = TransportConfig {
        handshake_timeout: Duration::from_millis(300),
        ..TransportConfig::default()
    };
    let mut stage = Stage::with(config).await;
    let silent = stage.hostile.dial(&stage.victim).await;
    let error = stage.refused().await;
    assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
    within(silent.closed()).await;

    let half = stage.hostile.say(&stage.victim, &stage.hostile.hello().encode()[..30]).await;
    let error = stage.refused().await;
    assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
    half.closed().await;

    // Welcomed, and then no start: it never carries the link.
    let hello = stage.hostile.hello().encode();
    let mut unstarted = stage.hostile.say(&stage.victim, &hello).await;
    unstarted.answer().await.unwrap();
    unstarted.closed().await;
    let evil = stage.hostile.credentials.identity().name.clone();
    assert_eq!(stage.victim.endpoint.link(&evil).unwrap().stats().connections, 0);
    stage.round_trip().await;
}

#[tokio::test]
async fn a_peer_that_claims_the_last_generation_can_be_replaced_by_its_next_run() {
    // Nobody listens there, so that a dial takes this long.
    let config = TransportConfig {
        handshake_timeout: Duration::from_millis(300),
        ..TransportConfig::default()
    };
    let mut stage = Stage::with(config).await;
    let evil = stage.hostile.credentials.identity().name.clone();
    let addr = stage.hostile.endpoint.local_addr().unwrap();
    let last = Hello { generation: u64::MAX, ..stage.hostile.hello() };
    let peer = stage.hostile.link_as(&stage.victim, &last).await;
    // The node wants the link from now on, and has no number to dial with.
    let link = stage.victim.endpoint.connect(evil.clone(), addr).await.unwrap();
    within(link.up()).await.unwrap();
    peer.connection.close(0_u32.into(), b"");
    stage.down().await;
    let failed = |event| matches!(event, LinkEvent::DialFailed { .. }).then_some(());
    stage.victim.event(failed).await;

    let again = stage.ca.reissue(&stage.hostile.credentials).unwrap();
    let next = Node::start_with(again, TransportConfig::default(), 2);
    let back = next.connect(&stage.victim).await;
    within(back.up()).await.unwrap();
    back.send(Flow::Pair(1), b"new run", &Bytes::new()).await.unwrap();
    let received = stage.victim.message().await;
    assert_eq!((received.from, &received.message.head[..]), (evil, &b"new run"[..]));
    stage.round_trip().await;
}
