use std::time::Duration;

use bytes::Bytes;

use super::super::name::OwnerId;
use super::*;
use crate::block::{Failure, Reply, Request};
use crate::disk::Abilities;

const LU: LuId = LuId(7);
const CONN: ConnId = ConnId(1);

fn at(millis: u64) -> Moment {
    Moment::START.after(Duration::from_millis(millis))
}

fn epoch(owner: u64, seq: u64) -> Epoch {
    Epoch { owner: OwnerId(owner), seq }
}

fn initiator(is_sole: bool) -> Initiator {
    Initiator::new(InitiatorLimits::default(), [(LU, is_sole)], 1).unwrap()
}

fn device(abilities: Abilities) -> Device {
    Device { abilities, ..Device::new(1 << 20) }
}

fn effects(initiator: &mut Initiator, now: Moment, input: Input) -> Vec<Effect> {
    initiator.handle(now, input);
    std::iter::from_fn(|| initiator.poll()).collect()
}

fn call(initiator: &mut Initiator, call: Call) -> Vec<Effect> {
    effects(initiator, at(0), Input::Called { lu: LU, call })
}

fn open(initiator: &mut Initiator, epoch: Epoch, holder: u64) -> Vec<Effect> {
    let holder = Holder(holder);
    call(initiator, Call::Open { epoch, holder, hop: 0, avoid: None })
}

fn word(word: Word) -> Effect {
    Effect::Word { lu: LU, word }
}

fn connect(initiator: &mut Initiator, abilities: Abilities) -> Vec<Effect> {
    let device = device(abilities);
    effects(initiator, at(0), Input::Connected { conn: CONN, device })
}

fn opened(abilities: Abilities) -> Initiator {
    let mut initiator = initiator(false);
    open(&mut initiator, epoch(1, 1), 5);
    connect(&mut initiator, abilities);
    initiator
}

fn write(fua: bool) -> Request {
    Request::Write { offset: 0, data: Bytes::from_static(b"data"), fua }
}

fn perform(no: u64, request: Request) -> Effect {
    Effect::Perform { conn: CONN, no, request }
}

fn answered(outcome: Result<Reply, Failure>) -> Input {
    Input::Performed { conn: CONN, no: 1, fate: Fate::Answered(outcome) }
}

fn cut(cause: Cause) -> [Effect; 2] {
    [Effect::Tell(InitiatorEvent::Cut { lu: LU, cause }), Effect::Cut { conn: CONN }]
}

#[test]
fn a_session_is_above_all_before_it_and_begins_once_the_last_connection_is_closed() {
    let mut initiator = opened(Abilities::ALL);
    let refused =
        |asked| word(Word::Refused { epoch: asked, highest: epoch(1, 1), holder: Holder(5) });
    assert_eq!(open(&mut initiator, epoch(1, 1), 5), [refused(epoch(1, 1))]);
    assert_eq!(open(&mut initiator, epoch(1, 2), 6), [refused(epoch(1, 2))]);
    assert_eq!(open(&mut initiator, epoch(1, 2), 5), cut(Cause::Superseded));
    let closed = effects(&mut initiator, at(0), Input::ConnClosed { conn: CONN });
    let aborted = word(Word::Down { epoch: epoch(1, 1), why: Why::Aborted });
    assert_eq!(closed, [aborted, Effect::Connect { lu: LU, conn: ConnId(2) }]);
}

#[test]
fn a_storage_that_may_show_each_connection_something_else_has_one_exit() {
    let apart = Abilities { is_shared: false, ..Abilities::ALL };
    let mut shared = initiator(false);
    open(&mut shared, epoch(1, 1), 5);
    let unfit = Effect::Tell(InitiatorEvent::Unfit { lu: LU, unfit: Unfit::NotShared });
    assert_eq!(connect(&mut shared, apart), [unfit, Effect::Cut { conn: CONN }]);
    let closed = effects(&mut shared, at(0), Input::ConnClosed { conn: CONN });
    assert_eq!(closed, [word(Word::NoPath { epoch: epoch(1, 1) })]);
    let mut sole = initiator(true);
    open(&mut sole, epoch(1, 1), 5);
    let opened = connect(&mut sole, apart);
    assert!(matches!(opened.last(), Some(Effect::Word { word: Word::Opened { .. }, .. })));
}

#[test]
fn where_the_storage_lacks_fua_a_flush_follows_before_the_answer() {
    let mut initiator = opened(Abilities { can_fua: false, ..Abilities::ALL });
    let request = Call::Request { epoch: epoch(1, 1), no: 1, request: write(true) };
    assert_eq!(call(&mut initiator, request), [perform(1, write(false))]);
    let written = effects(&mut initiator, at(0), answered(Ok(Reply::Done)));
    assert_eq!(written, [perform(1, Request::Flush)]);
    let flushed = effects(&mut initiator, at(0), answered(Ok(Reply::Done)));
    let answer = Word::Answer { epoch: epoch(1, 1), no: 1, outcome: Ok(Reply::Done) };
    assert_eq!(flushed, [word(answer)]);
}

#[test]
fn a_flush_that_fails_ends_the_session_after_its_answer() {
    let mut initiator = opened(Abilities::ALL);
    call(&mut initiator, Call::Flush { epoch: epoch(1, 1), no: 1, settle: false });
    let failed = effects(&mut initiator, at(0), answered(Err(Failure::Io)));
    let answer = Word::Answer { epoch: epoch(1, 1), no: 1, outcome: Err(Failure::Io) };
    assert_eq!(failed, [&[word(answer)][..], &cut(Cause::SyncFailed)].concat());
}

#[test]
fn an_owner_that_does_not_answer_has_its_session_until_the_lease_is_over() {
    let mut initiator = opened(Abilities::ALL);
    let alive = effects(&mut initiator, at(250), Input::TimePassed);
    let lease = word(Word::Lease { epoch: epoch(1, 1), beat: 1 });
    assert_eq!(alive.last(), Some(&lease));
    let stay = Call::Stay { epoch: epoch(1, 1), beat: 1 };
    let allowed = effects(&mut initiator, at(900), Input::Called { lu: LU, call: stay });
    // It counts from when the word was sent, not from when its answer came.
    assert_eq!(allowed, [Effect::Allow { conn: CONN, until: at(2250) }]);
    let before = effects(&mut initiator, at(2249), Input::TimePassed);
    assert!(!before.iter().any(|effect| matches!(effect, Effect::Cut { .. })));
    let over = effects(&mut initiator, at(2250), Input::TimePassed);
    assert_eq!(over, cut(Cause::LeaseOver));
}

#[test]
fn what_was_not_sent_is_void_and_what_was_sent_is_not() {
    let mut initiator = opened(Abilities::ALL);
    for no in 1..=2 {
        call(&mut initiator, Call::Request { epoch: epoch(1, 1), no, request: write(false) });
    }
    effects(&mut initiator, at(0), Input::PathLost);
    let fate = |no, fate| Input::Performed { conn: CONN, no, fate };
    assert_eq!(effects(&mut initiator, at(0), fate(1, Fate::Unanswered)), []);
    assert_eq!(effects(&mut initiator, at(0), Input::ConnClosed { conn: CONN }), []);
    let last = effects(&mut initiator, at(0), fate(2, Fate::NotSent));
    let void = word(Word::Void { epoch: epoch(1, 1), no: 2 });
    let down = word(Word::Down { epoch: epoch(1, 1), why: Why::Aborted });
    assert_eq!(last, [void, down]);
}

#[test]
fn a_session_is_closed_in_order() {
    let mut initiator = opened(Abilities::ALL);
    let close = call(&mut initiator, Call::Close { epoch: epoch(1, 1) });
    assert_eq!(close, [Effect::Cut { conn: CONN }]);
    let closed = effects(&mut initiator, at(0), Input::ConnClosed { conn: CONN });
    assert_eq!(closed, [word(Word::Closed { epoch: epoch(1, 1) })]);
}

#[test]
fn an_lu_that_is_withdrawn_is_cut_and_not_opened_until_it_is_reached_again() {
    let mut initiator = opened(Abilities::ALL);
    let reaches =
        |lus: &[LuId]| Input::Reaches { lus: lus.iter().map(|lu| (*lu, false)).collect() };
    let cut = Effect::Tell(InitiatorEvent::Cut { lu: LU, cause: Cause::Withdrawn });
    let other = LuId(8);
    let said = effects(&mut initiator, at(0), reaches(&[other]));
    assert_eq!(said, [cut, Effect::Cut { conn: CONN }]);
    let down = Word::Down { epoch: epoch(1, 1), why: Why::Aborted };
    let closed = effects(&mut initiator, at(0), Input::ConnClosed { conn: CONN });
    assert_eq!(closed, [word(down)]);
    let none = open(&mut initiator, epoch(1, 2), 5);
    assert_eq!(none, [word(Word::NoPath { epoch: epoch(1, 2) })]);
    // What had the number before it is not mistaken for what has it now.
    assert_eq!(effects(&mut initiator, at(0), reaches(&[LU, other])), []);
    let late = open(&mut initiator, epoch(1, 1), 5);
    assert!(matches!(late[..], [Effect::Word { word: Word::Refused { .. }, .. }]), "{late:?}");
    let again = open(&mut initiator, epoch(1, 3), 5);
    assert_eq!(again, [Effect::Connect { lu: LU, conn: ConnId(2) }]);
}

#[test]
fn what_waits_for_an_lu_that_is_withdrawn_is_told_that_there_is_no_path() {
    let mut initiator = opened(Abilities::ALL);
    open(&mut initiator, epoch(2, 1), 6);
    let said = effects(&mut initiator, at(0), Input::Reaches { lus: BTreeMap::new() });
    assert_eq!(said, [word(Word::NoPath { epoch: epoch(2, 1) })]);
    let down = Word::Down { epoch: epoch(1, 1), why: Why::Aborted };
    let closed = effects(&mut initiator, at(0), Input::ConnClosed { conn: CONN });
    assert_eq!(closed, [word(down)]);
}
