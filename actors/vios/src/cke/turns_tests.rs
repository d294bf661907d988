use crate::block::{Extent, Failure, Reply, Request};
use crate::redirect::message::Why;
use crate::redirect::name::OwnerId;

use super::*;

const A: ViosId = ViosId(1);
const B: ViosId = ViosId(2);
/// Nothing goes on.
const NONE: [u64; 0] = [];
const FIRST: Epoch = Epoch { owner: OwnerId(1), seq: 1 };

fn at(wait: Duration) -> Moment {
    Moment::START.after(wait)
}

fn carried(vios: ViosId, lu: u64, call: Call) -> Carried {
    let (lu, checksum) = (LuId(lu), crate::carry::CarriedCall::seal(LuId(lu), call.clone()));
    Carried { vios, lu, call, checksum: checksum.checksum() }
}

fn request(no: u64) -> Call {
    let extent = Extent { offset: 0, length: 4 };
    Call::Request { epoch: FIRST, no, request: Request::Read { extent } }
}

fn answer(no: u64) -> Word {
    Word::Answer { epoch: FIRST, no, outcome: Ok(Reply::Done) }
}

/// Those that go on now, by their numbers.
fn going(turns: &mut Turns, now: Moment) -> Vec<u64> {
    let number = |carried: Carried| match carried.call {
        Call::Request { no, .. } | Call::Flush { no, .. } => no,
        other => panic!("{other:?} has no turn"),
    };
    std::iter::from_fn(|| turns.next(now)).map(number).collect()
}

/// As many as may be under way, numbered from 1, and so many that wait.
fn full(waiting: u64) -> Turns {
    let mut turns = Turns::default();
    let first = UNDER_WAY_MAX as u64;
    for no in 1..=first + waiting {
        turns.came(Moment::START, carried(A, 1, request(no)));
    }
    assert_eq!(going(&mut turns, Moment::START), (1..=first).collect::<Vec<_>>());
    turns
}

#[test]
fn a_few_carried_requests_are_under_way_and_each_answer_lets_the_next_go() {
    let mut turns = full(3);
    let next = UNDER_WAY_MAX as u64 + 1;
    for (answered, goes) in [(7, next), (2, next + 1), (next, next + 2)] {
        turns.said(A, LuId(1), &answer(answered));
        turns.said(A, LuId(1), &answer(answered));
        assert_eq!(going(&mut turns, Moment::START), [goes]);
    }
    turns.said(B, LuId(1), &answer(1));
    turns.said(A, LuId(2), &answer(1));
    turns.came(Moment::START, carried(B, 1, request(99)));
    assert_eq!(going(&mut turns, Moment::START), NONE, "these were answers of other sessions");
}

#[test]
fn a_flush_passes_no_request_and_is_not_counted() {
    let mut turns = full(1);
    let last = UNDER_WAY_MAX as u64 + 1;
    turns.came(Moment::START, carried(A, 1, Call::Flush { epoch: FIRST, no: 90, settle: false }));
    turns.came(Moment::START, carried(A, 1, request(91)));
    assert_eq!(going(&mut turns, Moment::START), NONE);
    turns.said(A, LuId(1), &answer(1));
    assert_eq!(going(&mut turns, Moment::START), [last, 90]);
    turns.said(A, LuId(1), &answer(90));
    assert_eq!(going(&mut turns, Moment::START), NONE);
}

#[test]
fn a_session_that_is_over_or_replaced_leaves_its_places_and_so_does_a_vios_that_is_lost() {
    let next = UNDER_WAY_MAX as u64 + 1;
    let down = Word::Down { epoch: FIRST, why: Why::FabricLost };
    let mut turns = full(1);
    turns.said(A, LuId(1), &down);
    assert_eq!(going(&mut turns, Moment::START), [next]);
    let second = Epoch { seq: 2, ..FIRST };
    let mut turns = full(1);
    turns.said(A, LuId(1), &Word::NoPath { epoch: second });
    assert_eq!(going(&mut turns, Moment::START), NONE, "the first session is open");
    let outcome = Err(Failure::Io);
    turns.said(A, LuId(1), &Word::Answer { epoch: second, no: 1, outcome });
    assert_eq!(going(&mut turns, Moment::START), NONE);
    let mut turns = full(1);
    turns.came(Moment::START, carried(B, 1, request(99)));
    turns.lost(A);
    assert_eq!(going(&mut turns, Moment::START), [99], "what A has brought is of use to nobody");
}

#[test]
fn nothing_waits_for_too_long_and_what_is_too_much_does_not_wait() {
    let mut turns = full(2);
    let next = UNDER_WAY_MAX as u64 + 1;
    assert_eq!(turns.deadline(), Some(at(WAIT_MAX)));
    assert_eq!(going(&mut turns, at(WAIT_MAX - Duration::from_nanos(1))), NONE);
    assert_eq!(going(&mut turns, at(WAIT_MAX)), [next, next + 1]);
    assert_eq!(turns.deadline(), None);

    let mut turns = full(WAITING_MAX as u64);
    assert_eq!(going(&mut turns, Moment::START), NONE);
    turns.came(Moment::START, carried(A, 1, request(9999)));
    assert_eq!(going(&mut turns, Moment::START), [next]);

    let mut turns = full(0);
    for no in 100..103 {
        let data = vec![0; WAITING_BYTES_MAX / 2].into();
        let request = Request::Write { offset: 0, data, fua: false };
        turns.came(Moment::START, carried(A, 1, Call::Request { epoch: FIRST, no, request }));
    }
    assert_eq!(going(&mut turns, Moment::START), [100]);
}
