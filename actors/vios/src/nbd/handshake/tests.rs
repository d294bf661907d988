use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::disk::{Abilities, Device};
use crate::nbd::wire::option::{self, InfoQuery, code, put_option, reply};
use crate::nbd::wire::{STRING_BYTES_MAX, handshake_flag};

struct One {
    device: Device,
}

impl Catalog for One {
    type Export = &'static str;

    fn find(&self, name: &str) -> Option<(Self::Export, Device)> {
        (name == "lu0" || name.is_empty()).then_some(("lu0", self.device))
    }

    fn names(&self) -> Vec<String> {
        vec!["lu0".to_owned()]
    }
}

fn one() -> One {
    let abilities = Abilities { can_flush: true, can_status: true, ..Abilities::default() };
    One { device: Device { abilities, ..Device::new(1 << 20) } }
}

/// Option, type and data of a reply.
type Answer = (u32, u32, Vec<u8>);

/// What a server says to these options, after flags that are in order.
fn answers(
    options: impl FnOnce(&mut BytesMut),
) -> (Result<ServerStep<&'static str>, HandshakeError>, Vec<Answer>) {
    let (mut out, mut input) = (BytesMut::new(), BytesMut::new());
    let mut handshake = ServerHandshake::new(&mut out);
    out.clear();
    input.extend_from_slice(&3_u32.to_be_bytes());
    options(&mut input);
    let step = handshake.step(&mut input, &one(), &mut out);
    let mut replies = Vec::new();
    while let Some(header) = out.first_chunk() {
        let header = option::OptionReply::decode(header).unwrap();
        let length = usize::try_from(header.length).unwrap();
        let data = out[option::REPLY_BYTES..][..length].to_vec();
        replies.push((header.option, header.kind, data));
        drop(out.split_to(option::REPLY_BYTES + length));
    }
    (step, replies)
}

/// The types of the replies to one option.
fn kinds(option: u32, data: &[u8]) -> Vec<u32> {
    let (step, replies) = answers(|input| put_option(input, option, data));
    assert!(step.is_ok(), "{step:?}");
    assert!(replies.iter().all(|(to, ..)| *to == option));
    replies.into_iter().map(|(_, kind, _)| kind).collect()
}

fn go(name: &str) -> BytesMut {
    InfoQuery { name, infos: vec![] }.encode()
}

#[test]
fn each_option_gets_its_answer() {
    assert_eq!(kinds(code::LIST, b""), [reply::SERVER, reply::ACK]);
    assert_eq!(kinds(code::LIST, b"x"), [reply::ERR_INVALID]);
    assert_eq!(kinds(code::STRUCTURED_REPLY, b""), [reply::ACK]);
    assert_eq!(kinds(code::STRUCTURED_REPLY, b"x"), [reply::ERR_INVALID]);
    assert_eq!(kinds(code::STARTTLS, b""), [reply::ERR_POLICY]);
    assert_eq!(kinds(code::STARTTLS, b"x"), [reply::ERR_INVALID]);
    assert_eq!(kinds(code::ABORT, b"whatever"), [reply::ACK]);
    assert_eq!(kinds(code::GO, b"\0\0\x03\xe7ab\0\0"), [reply::ERR_INVALID]);
    assert_eq!(kinds(code::GO, &go("other")), [reply::ERR_UNKNOWN]);
    assert_eq!(kinds(code::INFO, &go("lu0")), [reply::INFO, reply::INFO, reply::ACK]);
    let extended_headers = 11;
    assert_eq!(kinds(extended_headers, b""), [reply::ERR_UNSUP]);
    assert_eq!(kinds(0x7777, b"xyz"), [reply::ERR_UNSUP]);
}

#[test]
fn contexts_need_structured_replies_and_the_right_export() {
    let query = option::allocation_query("lu0");
    assert_eq!(kinds(code::SET_META_CONTEXT, &query), [reply::ERR_INVALID]);
    let selected = |select: &'static str, gone_to: &str| {
        let (step, _) = answers(|input| {
            put_option(input, code::STRUCTURED_REPLY, b"");
            put_option(input, code::SET_META_CONTEXT, &option::allocation_query(select));
            put_option(input, code::GO, &go(gone_to));
        });
        let Ok(ServerStep::Go("lu0", agreed)) = step else { panic!("{step:?}") };
        assert!(agreed.is_structured);
        agreed.context
    };
    assert_eq!(selected("lu0", "lu0"), Some(1));
    assert_eq!(selected("", "lu0"), None);
    assert_eq!(selected("other", "lu0"), None);
}

#[test]
fn a_selection_that_fails_takes_the_one_before_away() {
    let (step, replies) = answers(|input| {
        put_option(input, code::STRUCTURED_REPLY, b"");
        put_option(input, code::SET_META_CONTEXT, &option::allocation_query("lu0"));
        put_option(input, code::SET_META_CONTEXT, b"junk");
        put_option(input, code::GO, &go("lu0"));
    });
    let Ok(ServerStep::Go(_, agreed)) = step else { panic!("{step:?}") };
    assert_eq!(agreed.context, None);
    assert!(replies.iter().any(|(_, kind, _)| *kind == reply::ERR_INVALID));
}

#[test]
fn data_that_is_too_long_is_passed_over_and_refused() {
    let (step, replies) = answers(|input| {
        put_option(input, code::INFO, &vec![b'x'; 1 << 20]);
        put_option(input, code::ABORT, b"");
    });
    assert_eq!(step, Ok(ServerStep::End));
    let kinds: Vec<u32> = replies.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!(kinds, [reply::ERR_TOO_BIG, reply::ACK]);
}

#[test]
fn a_handshake_does_not_last_for_ever() {
    let (step, replies) = answers(|input| {
        for _ in 0..100 {
            put_option(input, code::LIST, b"x");
        }
    });
    assert_eq!(step, Err(HandshakeError::TooMany));
    assert_eq!(replies.len(), 64);
}

#[test]
fn flags_that_nobody_offered_end_the_connection() {
    let (mut out, mut input) = (BytesMut::new(), BytesMut::from(&[0, 0, 0, 7][..]));
    let step = ServerHandshake::new(&mut out).step(&mut input, &one(), &mut out);
    assert_eq!(step, Err(HandshakeError::Flags { flags: 7 }));
}

#[test]
fn the_oldest_option_is_answered_with_its_zeroes_and_knows_no_refusal() {
    let ask = |flags: u32, name: &[u8]| {
        let (mut out, mut input) = (BytesMut::new(), BytesMut::new());
        let mut handshake = ServerHandshake::new(&mut out);
        out.clear();
        input.extend_from_slice(&flags.to_be_bytes());
        put_option(&mut input, code::EXPORT_NAME, name);
        (handshake.step(&mut input, &one(), &mut out).map(|_| ()), out.len())
    };
    assert_eq!(ask(1, b"lu0"), (Ok(()), 8 + 2 + 124));
    assert_eq!(ask(3, b""), (Ok(()), 8 + 2));
    assert_eq!(ask(3, b"other"), (Err(HandshakeError::UnknownExport), 0));
}

/// Both machines against each other, the bytes cut into pieces of `piece`.
fn shake_hands(wanted: Wanted, piece: usize) -> (Remote, Agreed) {
    let (mut to_client, mut to_server) = (BytesMut::new(), BytesMut::new());
    let mut server = ServerHandshake::new(&mut to_client);
    let mut client = ClientHandshake::new(wanted);
    let (mut client_input, mut server_input) = (BytesMut::new(), BytesMut::new());
    let mut agreed = None;
    loop {
        let cut = to_client.len().min(piece);
        client_input.unsplit(to_client.split_to(cut));
        match client.step(&mut client_input, &mut to_server).unwrap() {
            ClientStep::Go(remote) => return (remote, agreed.unwrap()),
            ClientStep::More => {}
        }
        let cut = to_server.len().min(piece);
        server_input.unsplit(to_server.split_to(cut));
        if agreed.is_none()
            && let ServerStep::Go("lu0", both) =
                server.step(&mut server_input, &one(), &mut to_client).unwrap()
        {
            agreed = Some(both);
        }
    }
}

#[test]
fn both_sides_agree_however_the_bytes_are_cut() {
    for piece in [1, 3, 7, 1000] {
        for structured in [false, true] {
            let wanted = Wanted { export: "lu0".to_owned(), structured };
            let (remote, agreed) = shake_hands(wanted, piece);
            assert_eq!(remote.is_structured, structured);
            assert_eq!(agreed.is_structured, structured);
            assert_eq!(remote.context, structured.then_some(1));
            assert_eq!(agreed.context, structured.then_some(1));
            let can_status = structured;
            let abilities = Abilities { can_status, ..agreed.device.abilities };
            assert_eq!(remote.device, Device { abilities, ..agreed.device });
        }
    }
}

/// What a client makes of a server's replies to its `GO`, without structured replies.
fn client_makes_of(replies: &[u8]) -> Result<ClientStep, HandshakeError> {
    let wanted = Wanted { export: "lu0".to_owned(), structured: false };
    let mut client = ClientHandshake::new(wanted);
    let mut input = BytesMut::from(&crate::nbd::wire::greeting(3)[..]);
    input.extend_from_slice(replies);
    client.step(&mut input, &mut BytesMut::new())
}

#[test]
fn a_client_takes_no_nonsense_from_a_server() {
    let reply = |option, kind, data: &[u8]| {
        let mut out = BytesMut::new();
        option::put_reply(&mut out, option, kind, data);
        client_makes_of(&out)
    };
    assert_eq!(reply(code::GO, reply::ACK, b""), Err(HandshakeError::NotDescribed));
    assert_eq!(
        reply(code::GO, reply::ERR_UNKNOWN, b"no such"),
        Err(HandshakeError::Refused { refusal: Refusal::Unknown })
    );
    assert_eq!(
        reply(code::LIST, reply::ACK, b""),
        Err(WireError::Unexpected { code: code::LIST }.into())
    );
    let (bytes, limit) = (1 << 20, REPLY_BYTES_MAX);
    assert_eq!(
        reply(code::GO, reply::INFO, &[0; 1 << 20]),
        Err(WireError::TooLong { bytes, limit }.into())
    );
    assert_eq!(
        client_makes_of(&[0xff; 20]).map(|_| ()),
        Err(WireError::Magic { found: u64::MAX }.into())
    );
    let mut many = BytesMut::new();
    for _ in 0..2000 {
        option::put_reply(&mut many, code::GO, reply::INFO, &[0xff, 0xff]);
    }
    assert_eq!(client_makes_of(&many), Err(HandshakeError::TooMany));
}

#[test]
fn a_server_that_knows_no_go_is_asked_in_the_old_way() {
    let wanted = Wanted { export: "lu0".to_owned(), structured: false };
    let mut client = ClientHandshake::new(wanted);
    let flags = handshake_flag::FIXED_NEWSTYLE;
    let mut input = BytesMut::from(&crate::nbd::wire::greeting(flags)[..]);
    option::put_reply(&mut input, code::GO, reply::ERR_UNSUP, &[]);
    crate::nbd::wire::info::put_size_and_flags(&mut input, 4096, 3);
    let mut out = BytesMut::new();
    assert_eq!(client.step(&mut input, &mut out), Ok(ClientStep::More), "zeroes are due");
    input.resize(input.len() + 124, 0);
    let Ok(ClientStep::Go(remote)) = client.step(&mut input, &mut out) else { panic!() };
    assert_eq!((remote.device.size, remote.device.abilities.is_read_only), (4096, true));
    assert!(input.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_error_or_wait_for_more(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        with_magic: bool,
    ) {
        let mut input = BytesMut::new();
        if with_magic {
            input.extend_from_slice(&[0, 0, 0, 3]);
            input.extend_from_slice(b"IHAVEOPT\0\0\0");
        }
        input.extend_from_slice(&bytes);
        let mut out = BytesMut::new();
        drop(ServerHandshake::new(&mut out).step(&mut input, &one(), &mut out));
        prop_assert!(out.len() < 64 * STRING_BYTES_MAX);
        drop(client_makes_of(&bytes));
    }
}
