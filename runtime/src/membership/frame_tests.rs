use foca::State;

use super::*;
use crate::membership::member::Profile;
use vioduct_certs::identity::{NodeName, Role, Roles};

fn id(name: &str, incarnation: u64) -> MemberId {
    let name: NodeName = name.parse().unwrap();
    let roles = Roles::none().with(Role::Db).with(Role::Vios);
    let addr = "10.1.2.3:7401".parse().unwrap();
    let profile = Some(Profile { addr, roles, has_left: false });
    MemberId { key: Key::from(&name), incarnation, profile }
}

fn reference(name: &str, incarnation: u64) -> MemberId {
    MemberId { profile: None, ..id(name, incarnation) }
}

fn ping() -> Vec<u8> {
    let (src, dst) = (id("a", 5), id("bc", 6));
    let header = Header { src, src_incarnation: 7, dst, message: Message::Ping(9) };
    let mut bytes = Vec::new();
    Codec.encode_header(&header, &mut bytes).unwrap();
    bytes.put_u16(1);
    let mut left = id("d", 8);
    left.profile = left.profile.map(|profile| Profile { has_left: true, ..profile });
    Codec.encode_member(&foca::Member::new(left, 0, State::Down), &mut bytes).unwrap();
    bytes
}

#[rustfmt::skip]
const PING: &[u8] = &[
    1, 0, 0, 200,                                                     // Version, kind, active.
    1, b'a', 0, 0, 0, 0, 0, 0, 0, 5, 0b1001, 4, 10, 1, 2, 3, 28, 233, // The sender.
    0, 7,                                                             // Its refutations.
    2, b'b', b'c', 0, 0, 0, 0, 0, 0, 0, 6,                            // The target.
    1, 9,                                                             // A ping.
    0, 1,                                                             // One update:
    1, b'd', 0, 0, 0, 0, 0, 0, 0, 8, 0b1000_1001, 4, 10, 1, 2, 3, 28, 233, 0, 0, 2,
];

#[rustfmt::skip]
const PAGE_OF_ONE: &[u8] = &[
    1, 3, 0, 3,
    1, b'a', 0, 0, 0, 0, 0, 0, 0, 5, 0b1001, 4, 10, 1, 2, 3, 28, 233,
    1, b'b',                                                          // What follows b:
    1,                                                                // not the last page,
    0, 1,                                                             // one member.
    1, b'c', 0, 0, 0, 0, 0, 0, 0, 6, 0b1001, 4, 10, 1, 2, 3, 28, 233,
];

fn key(name: &str) -> Key {
    id(name, 0).key
}

fn read(bytes: &[u8]) -> Result<Frame, FrameError> {
    Frame::read(&Bytes::copy_from_slice(bytes), 1150)
}

fn error(bytes: &[u8]) -> FrameError {
    read(bytes).unwrap_err()
}

#[test]
fn a_ping_has_these_bytes() {
    assert_eq!(Frame::gossip(200, &ping()), PING);
    let frame = read(PING).unwrap();
    assert_eq!(frame.active, 200);
    let Body::Gossip(gossip) = frame.body else { panic!("a ping is gossip") };
    assert_eq!(gossip.header.src, id("a", 5));
    assert_eq!(gossip.header.src.profile, id("a", 5).profile);
    assert_eq!(gossip.header.dst, reference("bc", 6));
    assert_eq!(gossip.header.message, Message::Ping(9));
    let update = &gossip.updates[0].member;
    assert_eq!((update.id(), update.state()), (&reference("d", 8), State::Down));
    assert!(update.id().profile.unwrap().has_left);
}

#[test]
fn a_page_has_these_bytes_and_says_whether_more_follow() {
    let members = [id("c", 6), id("d", 6)];
    let page = Frame::page(3, &id("a", 5), Some(&key("b")), members.into_iter(), 50);
    assert_eq!(page, PAGE_OF_ONE);
    let Body::Page(sender, page) = read(PAGE_OF_ONE).unwrap().body else { panic!("no page") };
    let expected = Page { after: Some(key("b")), has_more: true, members: vec![id("c", 6)] };
    assert_eq!((sender, page), (id("a", 5), expected));
}

#[test]
fn every_message_is_read_as_it_was_written() {
    let (target, origin, probe_number) = (reference("t", 3), reference("o", 4), 200);
    let messages = [
        Message::Ping(1),
        Message::Ack(255),
        Message::PingReq { target, probe_number },
        Message::IndirectPing { origin, probe_number },
        Message::IndirectAck { target, probe_number },
        Message::ForwardedAck { origin, probe_number },
        Message::Announce,
        Message::Feed,
        Message::Gossip,
        Message::TurnUndead,
    ];
    for message in messages {
        let (src, dst) = (id("a", u64::MAX), reference("b", 0));
        let header = Header { src, src_incarnation: u16::MAX, dst, message };
        let mut bytes = Vec::new();
        Codec.encode_header(&header, &mut bytes).unwrap();
        let Body::Gossip(gossip) = read(&Frame::gossip(0, &bytes)).unwrap().body else {
            panic!("{header:?} was read as something else")
        };
        assert_eq!(gossip.header, header);
    }
}

#[test]
fn what_no_node_writes_is_refused_with_its_reason() {
    let with = |at: usize, byte: u8| {
        let mut bytes = PING.to_vec();
        bytes[at] = byte;
        error(&bytes)
    };
    assert_eq!(with(0, 2), FrameError::Version(2));
    assert_eq!(with(1, 4), FrameError::Kind(4));
    assert_eq!(with(4, 0), CodecError::NameLength(0).into());
    assert_eq!(with(4, 64), CodecError::NameLength(64).into());
    assert_eq!(with(5, b'A'), CodecError::Name.into());
    assert_eq!(with(5, 0xff), CodecError::Name.into());
    assert_eq!(with(14, 0x10), CodecError::Marks(0x10).into());
    assert_eq!(with(14, 0b1000_1001), CodecError::LeftAlive.into());
    assert_eq!(with(15, 5), CodecError::Family(5).into());
    assert_eq!(with(35, 11), CodecError::Tag(11).into());
    assert_eq!(with(PING.len() - 1, 3), CodecError::State(3).into());
    assert_eq!(with(PING.len() - 1, 0), CodecError::LeftAlive.into());
    assert_eq!(with(38, 2), CodecError::Short.into());
    assert_eq!(with(38, 0), CodecError::Trailing(21).into());
    assert_eq!(error(&[PING, &[0]].concat()), CodecError::Trailing(1).into());
    assert_eq!(error(&[PAGE_OF_ONE, &[0]].concat()), CodecError::Trailing(1).into());
    assert_eq!(
        Frame::read(&Bytes::from_static(PING), PING.len() - 1).unwrap_err(),
        FrameError::TooLong(PING.len())
    );
}

#[test]
fn bytes_that_end_early_are_refused_wherever_they_end() {
    for whole in [PING, PAGE_OF_ONE] {
        for len in 0..whole.len() {
            // Before the count of updates foca's messages may end.
            if whole == PING && len == 37 {
                continue;
            }
            assert_eq!(error(&whole[..len]), CodecError::Short.into(), "{len} bytes");
        }
    }
}

#[test]
fn a_message_without_some_of_its_updates_is_whole() {
    let mut bytes = ping();
    for name in ["e", "f"] {
        Codec.encode_member(&foca::Member::alive(id(name, 1)), &mut bytes).unwrap();
    }
    bytes[34] = 3;
    let Body::Gossip(gossip) = read(&Frame::gossip(0, &bytes)).unwrap().body else {
        panic!("a ping is gossip")
    };
    let fewer = gossip.only(|member| member.id().key != key("e"));
    let Body::Gossip(again) = read(&Frame::gossip(0, fewer.bytes())).unwrap().body else {
        panic!("a ping is gossip")
    };
    let names: Vec<Key> = again.updates.iter().map(|update| update.member.id().key).collect();
    assert_eq!(names, [key("d"), key("f")]);
}

#[test]
fn foca_is_told_when_there_is_no_room_and_nothing_is_written() {
    let mut bytes = Vec::new();
    let member = foca::Member::alive(id("a", 1));
    let result = Codec.encode_member(&member, (&mut bytes).limit(20));
    assert_eq!((result, bytes.len()), (Err(CodecError::NoRoom(21)), 0));
}
