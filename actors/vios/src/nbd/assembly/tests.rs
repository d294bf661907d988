use proptest::prelude::*;

use super::*;
use crate::disk::{Abilities, Device};
use crate::nbd::wire::reply::{put_data, put_error, put_none, put_simple, put_status};

fn remote(is_structured: bool) -> Remote {
    let abilities = Abilities {
        can_flush: true,
        can_fua: true,
        can_status: is_structured,
        ..Abilities::default()
    };
    let context = is_structured.then_some(5);
    Remote { device: Device { abilities, ..Device::new(1 << 30) }, is_structured, context }
}

fn read(offset: u64, length: u32) -> Request {
    Request::Read { extent: Extent { offset, length } }
}

/// What comes of one request, which has cookie 1, and these bytes.
fn outcome(
    is_structured: bool,
    request: Request,
    bytes: &BytesMut,
) -> Result<Option<Result<Reply, Failure>>, ReplyError> {
    let mut assembly = Assembly::new(remote(is_structured));
    let mut outgoing = Outgoing::new();
    assembly.send(request, (), &mut outgoing).unwrap();
    let ended = assembly.receive(&mut Intake::new(bytes.clone()))?;
    Ok(ended.map(|ended| ended.result))
}

/// A data chunk that is not the last.
fn piece(out: &mut BytesMut, offset: u64, data: &[u8]) {
    let at = out.len();
    put_data(out, 1, offset, u32::try_from(data.len()).unwrap());
    out[at + 5] = 0;
    out.extend_from_slice(data);
}

fn hole(out: &mut BytesMut, offset: u64, length: u32) {
    out.extend_from_slice(&[0x66, 0x8e, 0x33, 0xef, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    out.extend_from_slice(&12_u32.to_be_bytes());
    out.extend_from_slice(&offset.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
}

#[test]
fn a_simple_reply_brings_data_only_to_a_read() {
    let mut bytes = BytesMut::new();
    put_simple(&mut bytes, 1, 0);
    bytes.extend_from_slice(b"abcd");
    let data = Reply::Data(Bytes::from_static(b"abcd"));
    assert_eq!(outcome(false, read(0, 4), &bytes), Ok(Some(Ok(data))));
    assert_eq!(outcome(false, Request::Flush, &bytes), Ok(Some(Ok(Reply::Done))));
    assert_eq!(outcome(true, read(0, 4), &bytes), Err(ReplyError::Kind { cookie: 1 }));
}

#[test]
fn pieces_and_holes_in_any_order_make_a_read() {
    let mut bytes = BytesMut::new();
    piece(&mut bytes, 106, b"gh");
    hole(&mut bytes, 102, 4);
    assert_eq!(outcome(true, read(100, 8), &bytes), Ok(None), "not whole yet");
    piece(&mut bytes, 100, b"ab");
    put_none(&mut bytes, 1);
    let data = Reply::Data(Bytes::from_static(b"ab\0\0\0\0gh"));
    assert_eq!(outcome(true, read(100, 8), &bytes), Ok(Some(Ok(data))));
}

#[test]
fn data_that_was_not_asked_for_ends_the_connection() {
    let refused = |put: &dyn Fn(&mut BytesMut)| {
        let mut bytes = BytesMut::new();
        put(&mut bytes);
        outcome(true, read(100, 8), &bytes)
    };
    let extent = Err(ReplyError::Extent { cookie: 1 });
    assert_eq!(refused(&|out| piece(out, 99, b"ab")), extent, "before");
    assert_eq!(refused(&|out| piece(out, 107, b"ab")), extent, "behind");
    assert_eq!(refused(&|out| piece(out, u64::MAX, b"ab")), extent, "beyond all counting");
    assert_eq!(refused(&|out| hole(out, 100, 9)), extent, "a hole too large");
    assert_eq!(refused(&|out| hole(out, 100, 0)), extent, "a hole of nothing");
    let twice = |out: &mut BytesMut| {
        piece(out, 100, b"abcd");
        piece(out, 103, b"de");
    };
    assert_eq!(refused(&twice), extent, "twice");
    let missing = |out: &mut BytesMut| {
        piece(out, 100, b"abcd");
        put_none(out, 1);
    };
    assert_eq!(refused(&missing), extent, "too little");
    assert_eq!(refused(&|out| put_none(out, 1)), extent, "nothing");
    let long = |out: &mut BytesMut| piece(out, 100, b"123456789");
    let too_long = WireError::TooLong { bytes: 17, limit: 16 };
    assert_eq!(refused(&long), Err(too_long.into()), "longer than the read");
}

#[test]
fn a_reply_that_fits_no_request_ends_the_connection() {
    let mut stray = BytesMut::new();
    put_simple(&mut stray, 2, 0);
    assert_eq!(outcome(true, Request::Flush, &stray), Err(ReplyError::Stray { cookie: 2 }));
    let mut status = BytesMut::new();
    put_status(&mut status, 1, 5, &[Run { length: 4, is_hole: false, is_zero: false }]);
    assert_eq!(outcome(true, read(0, 4), &status), Err(ReplyError::Kind { cookie: 1 }));
    let request = Request::Status { extent: Extent { offset: 0, length: 4 } };
    assert!(matches!(outcome(true, request.clone(), &status), Ok(Some(Ok(Reply::Status(_))))));
    let mut other = BytesMut::new();
    put_status(&mut other, 1, 6, &[Run { length: 4, is_hole: false, is_zero: false }]);
    assert_eq!(outcome(true, request, &other), Err(ReplyError::Kind { cookie: 1 }));
    let mut unasked = BytesMut::new();
    put_none(&mut unasked, 1);
    assert_eq!(outcome(false, Request::Flush, &unasked), Err(ReplyError::Kind { cookie: 1 }));
}

#[test]
fn an_error_makes_the_whole_request_fail() {
    let mut bytes = BytesMut::new();
    piece(&mut bytes, 0, b"abcd");
    put_error(&mut bytes, 1, code::NOSPC, "full");
    assert_eq!(outcome(true, read(0, 8), &bytes), Ok(Some(Err(Failure::NoSpace))));
    let mut simple = BytesMut::new();
    put_simple(&mut simple, 1, code::PERM);
    assert_eq!(outcome(false, read(0, 8), &simple), Ok(Some(Err(Failure::ReadOnly))));
}

#[test]
fn what_the_disk_does_not_admit_is_not_sent() {
    let mut assembly = Assembly::new(remote(false));
    let mut outgoing = Outgoing::new();
    let extent = Extent { offset: 0, length: 8 };
    let far = Extent { offset: 1 << 30, length: 8 };
    let past = assembly.send(Request::Read { extent: far }, (), &mut outgoing).unwrap_err();
    assert_eq!(past.result, Err(Failure::Invalid));
    for request in [Request::Trim { extent, fua: false }, Request::Status { extent }] {
        let ended = assembly.send(request, (), &mut outgoing).unwrap_err();
        assert_eq!(ended.result, Err(Failure::NotSupported));
    }
    assert!(outgoing.is_empty() && assembly.len() == 0);
}

#[test]
fn who_still_waits_learns_whether_a_byte_was_sent() {
    let left = |written| {
        let mut assembly = Assembly::new(remote(false));
        let mut outgoing = Outgoing::new();
        for name in ["first", "second", "third"] {
            assembly.send(Request::Flush, name, &mut outgoing).unwrap();
        }
        let mut left: Vec<_> = assembly.abandon(written).collect();
        left.sort_unstable();
        left.into_iter().map(|(_name, is_sent)| is_sent).collect::<Vec<_>>()
    };
    assert_eq!(left(0), [false, false, false]);
    assert_eq!(left(1), [true, false, false]);
    assert_eq!(left(28), [true, false, false], "the first, to its last byte");
    assert_eq!(left(29), [true, true, false]);
    assert_eq!(left(84), [true, true, true]);
}

proptest! {
    #[test]
    fn any_bytes_end_in_replies_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0..6_u8,
        is_structured: bool,
    ) {
        let mut assembly = Assembly::new(remote(is_structured));
        let mut outgoing = Outgoing::new();
        assembly.send(read(0, 64), (), &mut outgoing).unwrap();
        assembly.send(Request::Flush, (), &mut outgoing).unwrap();
        let mut input = BytesMut::new();
        if is_structured {
            input.extend_from_slice(&[0x66, 0x8e, 0x33, 0xef, 0, 0, 0, kind]);
            input.extend_from_slice(&1_u64.to_be_bytes());
        }
        input.extend_from_slice(&bytes);
        let mut intake = Intake::new(input);
        for _message in 0..bytes.len() + 2 {
            match assembly.receive(&mut intake) {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        prop_assert!(assembly.len() <= 2);
    }

    #[test]
    fn a_read_survives_any_cutting_into_pieces(
        cuts in prop::collection::btree_set(1_usize..255, 0..20),
        seed: u64,
    ) {
        let data: Vec<u8> = (0..=255).collect();
        let mut edges: Vec<usize> = cuts.into_iter().collect();
        edges.insert(0, 0);
        edges.push(256);
        let mut parts: Vec<(usize, usize)> =
            edges.windows(2).map(|edge| (edge[0], edge[1])).collect();
        parts.sort_by_key(|(start, _)| seed.rotate_left(u32::try_from(*start % 64).unwrap()));
        let mut bytes = BytesMut::new();
        for (start, end) in parts {
            piece(&mut bytes, 1000 + start as u64, &data[start..end]);
        }
        put_none(&mut bytes, 1);
        let expected = Ok(Some(Ok(Reply::Data(data.into()))));
        prop_assert_eq!(outcome(true, read(1000, 256), &bytes), expected);
    }
}
