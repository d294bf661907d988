use bytes::BytesMut;
use proptest::prelude::*;

use super::info::{self, Info};
use super::option::{self, ContextQuery, InfoQuery, OptionHeader, OptionReply};
use super::reply::{self, ChunkKind, ReplyHeader};
use super::request::{HEADER_BYTES, RequestHeader};
use super::*;
use crate::block::{Failure, Run};
use crate::disk::{Abilities, Device};

#[test]
fn a_greeting_has_these_bytes() {
    let bytes = greeting(3);
    assert_eq!(&bytes, b"NBDMAGICIHAVEOPT\x00\x03");
    assert_eq!(read_greeting(&bytes), Ok(3));
    assert_eq!(
        read_greeting(b"NBDMAGICIHAVEOPX\x00\x03"),
        Err(WireError::Magic { found: u64::from_be_bytes(*b"IHAVEOPX") })
    );
}

#[test]
fn a_request_has_these_bytes() {
    let header = RequestHeader {
        flags: 1,
        command: 6,
        cookie: 0x0102_0304_0506_0708,
        offset: 0x1112_1314_1516_1718,
        length: 0x2122_2324,
    };
    let bytes = header.encode();
    let expected = [
        0x25, 0x60, 0x95, 0x13, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15,
        0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24,
    ];
    assert_eq!(bytes, expected);
    assert_eq!(RequestHeader::decode(&bytes), Ok(header));
}

#[test]
fn a_simple_reply_has_these_bytes() {
    let mut out = BytesMut::new();
    reply::put_simple(&mut out, 7, 22);
    assert_eq!(&out[..], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(ReplyHeader::decode(&out), Ok(ReplyHeader::Simple { cookie: 7, error: 22 }));
}

#[test]
fn a_data_chunk_has_these_bytes() {
    let mut out = BytesMut::new();
    reply::put_data(&mut out, 7, 4096, 512);
    let head = [0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 2, 8];
    assert_eq!(&out[..20], head);
    assert_eq!(&out[20..], 4096_u64.to_be_bytes());
    let (kind, is_last) = (ChunkKind::Data, true);
    let expected = ReplyHeader::Chunk { cookie: 7, kind, is_last, length: 520 };
    assert_eq!(ReplyHeader::decode(&out[..20]), Ok(expected));
}

#[test]
fn an_error_chunk_carries_its_value_and_a_text_cut_to_size() {
    let mut out = BytesMut::new();
    reply::put_error(&mut out, 1, code::NOSPC, &"ü".repeat(3000));
    let header = ReplyHeader::decode(&out[..reply::CHUNK_BYTES]).unwrap();
    let (kind, is_last) = (ChunkKind::Error, true);
    assert_eq!(header, ReplyHeader::Chunk { cookie: 1, kind, is_last, length: 6 + 4096 });
    assert_eq!(reply::read_error(&out[reply::CHUNK_BYTES..]), Ok(code::NOSPC));
}

#[test]
fn a_chunk_whose_length_cannot_be_is_refused() {
    let chunk = |kind: u16, is_last: u16, length: u32| {
        let mut bytes = vec![0x66, 0x8e, 0x33, 0xef];
        bytes.extend(is_last.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(length.to_be_bytes());
        ReplyHeader::decode(&bytes)
    };
    for (kind, is_last, length) in
        [(0, 1, 1), (0, 0, 0), (1, 1, 8), (2, 1, 11), (5, 1, 4), (5, 1, 13), (0x8001, 1, 5)]
    {
        assert_eq!(chunk(kind, is_last, length), Err(WireError::Length), "{kind} {length}");
    }
    assert_eq!(chunk(3, 1, 0), Err(WireError::Unexpected { code: 3 }));
    assert!(chunk(0x8777, 1, 6).is_ok(), "an unknown error is still an error");
}

#[test]
fn a_count_that_does_not_fit_its_data_is_refused() {
    let mut data = BytesMut::new();
    option::put_text(&mut data, "lu0");
    data.extend_from_slice(&[0xff, 0xff, 0, 3]);
    assert_eq!(InfoQuery::decode(&data), Err(WireError::Length));
    let mut data = BytesMut::new();
    option::put_text(&mut data, "lu0");
    data.extend_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(ContextQuery::decode(&data), Err(WireError::Length));
    let long = [&999_u32.to_be_bytes()[..], b"ab", &[0, 0]].concat();
    assert_eq!(InfoQuery::decode(&long), Err(WireError::Length));
}

#[test]
fn a_name_that_is_no_string_of_the_protocol_is_refused() {
    let with_name = |name: &[u8]| {
        let length = u32::try_from(name.len()).unwrap().to_be_bytes();
        InfoQuery::decode(&[&length, name, &[0, 0]].concat()).map(|query| query.name.len())
    };
    assert_eq!(with_name(&[b'a'; 4096]), Ok(4096));
    assert_eq!(with_name(&[b'a'; 4097]), Err(WireError::Text));
    assert_eq!(with_name(b"a\0b"), Err(WireError::Text));
    assert_eq!(with_name(b"a\xffb"), Err(WireError::Text));
}

#[test]
fn the_context_that_a_client_selects_is_read_as_such() {
    let query = option::allocation_query("lu0");
    let read = ContextQuery::decode(&query).unwrap();
    assert_eq!((read.name, read.names_allocation, read.is_empty), ("lu0", true, false));
}

#[test]
fn a_failure_keeps_its_meaning_over_the_wire() {
    for failure in [
        Failure::Io,
        Failure::NoSpace,
        Failure::Invalid,
        Failure::ReadOnly,
        Failure::NotSupported,
        Failure::ShuttingDown,
    ] {
        assert_eq!(code::failure(code::of(failure)), failure);
    }
    assert_eq!(code::failure(777), Failure::Invalid, "as the protocol asks of clients");
}

/// Decoding came to an end, whatever it was.
fn survives<T>(_decoded: T) {}

fn abilities() -> impl Strategy<Value = Abilities> {
    any::<[bool; 8]>().prop_map(|[read_only, rotational, shared, flush, fua, trim, zero, fast]| {
        Abilities {
            is_read_only: read_only,
            is_rotational: rotational,
            is_shared: shared,
            can_flush: flush,
            can_fua: fua,
            can_trim: trim && !read_only,
            can_write_zeroes: zero && !read_only,
            can_zero_fast: fast && zero && !read_only,
            can_status: false,
        }
    })
}

proptest! {
    #[test]
    fn abilities_survive_the_transmission_flags(can in abilities(), is_structured: bool) {
        let device = Device { abilities: can, ..Device::new(1 << 20) };
        prop_assert_eq!(info::abilities_of(info::flags_of(&device, is_structured)), can);
    }

    #[test]
    fn requests_survive_the_wire(
        (flags, command, cookie) in any::<(u16, u16, u64)>(),
        (offset, length) in any::<(u64, u32)>(),
    ) {
        let header = RequestHeader { flags, command, cookie, offset, length };
        prop_assert_eq!(RequestHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn runs_survive_the_wire(
        runs in prop::collection::vec((1..=u32::MAX, any::<bool>(), any::<bool>()), 1..50),
        context: u32,
    ) {
        let runs: Vec<Run> = runs
            .into_iter()
            .map(|(length, is_hole, is_zero)| Run { length, is_hole, is_zero })
            .collect();
        let mut out = BytesMut::new();
        reply::put_status(&mut out, 9, context, &runs);
        let read = reply::read_status(&out[reply::CHUNK_BYTES..]);
        prop_assert_eq!(read, Ok((context, runs)));
    }

    #[test]
    fn queries_survive_the_wire(
        name in "[a-z0-9./-]{0,40}",
        infos in prop::collection::vec(any::<u16>(), 0..20),
    ) {
        let query = InfoQuery { name: &name, infos };
        let data = query.encode();
        prop_assert_eq!(InfoQuery::decode(&data), Ok(query.clone()));
    }

    #[test]
    fn any_bytes_decode_to_something_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(query) = InfoQuery::decode(&bytes) {
            prop_assert!(query.infos.len() * 2 <= bytes.len());
        }
        if let Ok((_, runs)) = reply::read_status(&bytes) {
            prop_assert!(runs.len() * 8 <= bytes.len());
        }
        survives((ContextQuery::decode(&bytes), Info::decode(&bytes), reply::read_hole(&bytes)));
        survives((reply::read_error(&bytes), ReplyHeader::decode(&bytes)));
        survives(bytes.first_chunk().map(OptionHeader::decode));
        survives(bytes.first_chunk().map(OptionReply::decode));
        if let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>()
            && let Ok(header) = RequestHeader::decode(bytes)
        {
            prop_assert_eq!(header.encode(), *bytes);
        }
    }
}
