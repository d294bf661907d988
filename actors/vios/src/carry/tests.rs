use proptest::prelude::*;
use vioduct_runtime::{Codec, Wire};

use super::*;
use crate::block::{Extent, Failure, Run};
use crate::redirect::Epoch;
use crate::redirect::message::Why;
use crate::redirect::name::{Holder, Identity, Life, OwnerId, ViosId};

const LU: LuId = LuId(7);
const EPOCH: Epoch = Epoch { owner: OwnerId(3), seq: 5 };

fn requests() -> Vec<Request> {
    let extent = Extent { offset: 1 << 40, length: 4096 };
    let data = Bytes::from_static(b"what is written");
    vec![
        Request::Read { extent },
        Request::Write { offset: 512, data, fua: true },
        Request::Flush,
        Request::Trim { extent, fua: false },
        Request::WriteZeroes { extent, fua: true, may_punch: false, only_fast: true },
        Request::Status { extent },
    ]
}

fn calls() -> Vec<Call> {
    let (epoch, holder) = (EPOCH, Holder(u64::MAX));
    let request = |request| Call::Request { epoch, no: 9, request };
    let mut calls: Vec<Call> = requests().into_iter().map(request).collect();
    calls.extend([
        Call::Open { epoch, holder, hop: 1, avoid: Some(ViosId(2)) },
        Call::Open { epoch, holder, hop: 0, avoid: None },
        Call::Flush { epoch, no: 10, settle: true },
        Call::Close { epoch },
        Call::Stay { epoch, beat: 3 },
    ]);
    calls
}

fn words() -> Vec<Word> {
    let epoch = EPOCH;
    let identity = Identity { volume: u128::MAX, boot: 2, losses: 3 };
    let answer = |outcome| Word::Answer { epoch, no: 4, outcome };
    let run = Run { length: 512, is_hole: true, is_zero: false };
    vec![
        Word::Via { epoch, exit: ViosId(1) },
        Word::Opened { epoch, life: Life(6), identity, settled: identity, size: 1 << 50 },
        Word::Draining { epoch },
        Word::Refused { epoch, highest: Epoch::NONE, holder: Holder(8) },
        Word::Gone { epoch },
        Word::NoPath { epoch },
        answer(Ok(Reply::Done)),
        answer(Ok(Reply::Data(Bytes::from_static(b"what was read")))),
        answer(Ok(Reply::Status(vec![run; 3]))),
        answer(Err(Failure::NoSpace)),
        Word::Alive { epoch, taken: 2, answered: 1 },
        Word::Down { epoch, why: Why::FsyncFailed },
        Word::Better { epoch },
        Word::Closed { epoch },
        Word::Lease { epoch, beat: 3 },
        Word::Void { epoch, no: 9 },
    ]
}

/// Encoded and decoded, with the data behind.
fn carried<M: Wire>(message: &M, codec: Codec) -> M {
    let mut head = Vec::new();
    codec.encode(message, &mut head).unwrap();
    let mut carried: M = codec.decode(&head).unwrap();
    carried.put_body(message.body()).unwrap();
    carried
}

#[test]
fn every_call_arrives_as_it_was_sent() {
    for codec in [Codec::Bincode, Codec::Postcard] {
        for call in calls() {
            let arrived = carried(&CarriedCall::seal(LU, call.clone()), codec);
            assert!(arrived.is_whole(), "{call:?}");
            assert_eq!((arrived.lu(), arrived.open()), (LU, Ok(call)));
        }
    }
}

#[test]
fn every_word_arrives_as_it_was_sent() {
    for codec in [Codec::Bincode, Codec::Postcard] {
        for word in words() {
            let arrived = carried(&CarriedWord::seal(LU, word.clone()), codec);
            assert!(arrived.is_whole(), "{word:?}");
            assert_eq!((arrived.lu(), arrived.open()), (LU, Ok(word)));
        }
    }
}

#[test]
fn data_that_changes_inside_of_a_vios_is_noticed_at_the_end() {
    let write = |data| Request::Write { offset: 0, data: Bytes::from_static(data), fua: false };
    let call = |data| Call::Request { epoch: EPOCH, no: 1, request: write(data) };
    let sent = CarriedCall::seal(LU, call(b"old"));
    assert!(CarriedCall::pass(LU, call(b"old"), sent.checksum()).is_whole());
    assert!(!CarriedCall::pass(LU, call(b"odd"), sent.checksum()).is_whole());

    let word = |data| {
        let outcome = Ok(Reply::Data(Bytes::from_static(data)));
        Word::Answer { epoch: EPOCH, no: 1, outcome }
    };
    let sent = CarriedWord::seal(LU, word(b"new"));
    assert!(CarriedWord::pass(LU, word(b"new"), sent.checksum()).is_whole());
    assert!(!CarriedWord::pass(LU, word(b"now"), sent.checksum()).is_whole());
}

#[test]
fn data_behind_what_has_none_is_refused() {
    let stray = Bytes::from_static(b"stray");
    for call in calls().into_iter().filter(|call| data_of_call(call).is_empty()) {
        let mut carried = CarriedCall::seal(LU, call);
        carried.data = stray.clone();
        assert_eq!(carried.open(), Err(CarryError::StrayData));
    }
    for word in words().into_iter().filter(|word| data_of_word(word).is_empty()) {
        let mut carried = CarriedWord::seal(LU, word);
        carried.data = stray.clone();
        assert_eq!(carried.open(), Err(CarryError::StrayData));
    }
}

#[test]
fn a_status_has_no_more_runs_than_it_may() {
    let run = Run { length: 1, is_hole: false, is_zero: false };
    let outcome = Ok(Reply::Status(vec![run; RUNS_MAX + 1]));
    let cut = CarriedWord::seal(LU, Word::Answer { epoch: EPOCH, no: 1, outcome });
    let Ok(Word::Answer { outcome: Ok(Reply::Status(runs)), .. }) = cut.open() else { panic!() };
    assert_eq!(runs.len(), RUNS_MAX);

    let outcome = Ok(head::ReplyHead::Status(vec![(1, false, false); RUNS_MAX + 1]));
    let head = WordHead::Answer { epoch: (3, 5), no: 1, outcome };
    let runs = RUNS_MAX + 1;
    assert_eq!(head.join(Bytes::new()), Err(CarryError::TooManyRuns { runs }));
}

#[test]
fn the_checksum_is_the_one_of_the_rfc() {
    // RFC 3720, appendix B.4: 32 bytes of zeroes.
    assert_eq!(Checksum::of(&[0; 32]), Checksum(0x8a91_36aa));
    assert_eq!(Checksum::of(&[]), Checksum(0));
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>, data: Vec<u8>) {
        for codec in [Codec::Bincode, Codec::Postcard] {
            if let Ok(mut call) = codec.decode::<CarriedCall>(&bytes) {
                call.put_body(data.clone().into()).unwrap();
                call.open().ok();
            }
            if let Ok(mut word) = codec.decode::<CarriedWord>(&bytes) {
                word.put_body(data.clone().into()).unwrap();
                word.open().ok();
            }
        }
    }
}
