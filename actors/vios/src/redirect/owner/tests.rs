use std::time::Duration;

use super::super::hold::Fence;
use super::super::name::{ClientId, Holder, Identity, LuId, OwnerId};
use super::*;
use crate::block::{Extent, Request};

const MS: Duration = Duration::from_millis(1);
const A: ViosId = ViosId(1);
const B: ViosId = ViosId(2);
const IDENTITY: Identity = Identity { volume: 1, boot: 1, losses: 0 };

fn limits() -> OwnerLimits {
    OwnerLimits {
        requests_max: 4,
        under_way_first: 128,
        silence_max: 20 * MS,
        open_max: 10 * MS,
        backoff_min: 4 * MS,
        backoff_max: 16 * MS,
        hold_max: 100 * MS,
        ..OwnerLimits::default()
    }
}

fn owner(limits: OwnerLimits) -> Owner {
    owner_by(limits, vec![A, B])
}

fn owner_by(limits: OwnerLimits, entries: Vec<ViosId>) -> Owner {
    let near = entries.len();
    owner_of(limits, entries, near)
}

/// So many of the entries are of its own CEC.
fn owner_of(limits: OwnerLimits, entries: Vec<ViosId>, near: usize) -> Owner {
    let attachment = Attachment {
        lu: LuId(1),
        owner: OwnerId(3),
        holder: Holder(8),
        entries,
        near,
        is_client_new: false,
        fence: Fence::Epochs,
    };
    Owner::new(limits, attachment, 1).unwrap()
}

fn at(millis: u32) -> Moment {
    Moment::START.after(MS * millis)
}

fn epoch(seq: u64) -> Epoch {
    Epoch { owner: OwnerId(3), seq }
}

fn step(owner: &mut Owner, now: Moment, input: Input) -> Vec<Effect> {
    owner.handle(now, input);
    let is_news = |effect: &Effect| !matches!(effect, Effect::Tell(_));
    std::iter::from_fn(|| owner.poll()).filter(is_news).collect()
}

fn heard(owner: &mut Owner, now: Moment, entry: ViosId, word: Word) -> Vec<Effect> {
    step(owner, now, Input::Heard { entry, word })
}

fn open(entry: ViosId, seq: u64, avoid: Option<ViosId>) -> Effect {
    let call = Call::Open { epoch: epoch(seq), holder: Holder(8), hop: 0, avoid };
    Effect::Send { entry, call }
}

fn opened(seq: u64, life: u64) -> Word {
    let (identity, settled) = (IDENTITY, IDENTITY);
    Word::Opened { epoch: epoch(seq), life: Life(life), identity, settled, size: 64 }
}

fn flush(entry: ViosId, seq: u64, no: u64, settle: bool) -> Effect {
    Effect::Send { entry, call: Call::Flush { epoch: epoch(seq), no, settle } }
}

fn sent(entry: ViosId, seq: u64, no: u64, request: Request) -> Effect {
    Effect::Send { entry, call: Call::Request { epoch: epoch(seq), no, request } }
}

fn done(seq: u64, no: u64) -> Word {
    Word::Answer { epoch: epoch(seq), no, outcome: Ok(Reply::Done) }
}

fn asked(tag: u64, request: Request) -> Input {
    Input::Asked { client: ClientId(1), tag, request }
}

fn answered(tag: u64, outcome: Result<Reply, Failure>) -> Effect {
    Effect::Answer { client: ClientId(1), tag, outcome }
}

fn write(offset: u64, value: u8) -> Request {
    Request::Write { offset, data: vec![value; 4].into(), fua: false }
}

/// An owner that serves in its first session, through `A`.
fn serving(limits: OwnerLimits) -> Owner {
    let mut owner = owner(limits);
    assert_eq!(step(&mut owner, at(0), Input::Started), [open(A, 1, None)]);
    assert_eq!(heard(&mut owner, at(0), A, opened(1, 1)), [flush(A, 1, 1, false)]);
    assert_eq!(heard(&mut owner, at(0), A, done(1, 1)), []);
    assert!(owner.is_serving());
    owner
}

#[test]
fn a_session_begins_with_one_request_under_way_and_each_answer_makes_it_one_more() {
    let slow = OwnerLimits { under_way_first: 1, under_way_max: 3, requests_max: 8, ..limits() };
    let mut owner = serving(slow);
    for tag in 1..=8 {
        step(&mut owner, at(0), asked(tag, write(tag * 4, 1)));
    }
    // It has had an answer, that of its first flush.
    assert_eq!(owner.under_way(), 2);
    let down = Word::Down { epoch: epoch(1), why: Why::FabricLost };
    assert_eq!(heard(&mut owner, at(1), A, down), [open(A, 2, None)]);
    assert_eq!(heard(&mut owner, at(1), A, opened(2, 1)), [sent(A, 2, 1, write(4, 1))]);
    for (no, under_way) in [(1, 2), (2, 3), (3, 3), (4, 3)] {
        heard(&mut owner, at(1), A, done(2, no));
        assert_eq!(owner.under_way(), under_way, "after {no} answers");
    }
}

#[test]
fn what_is_replayed_begins_with_one_request_too() {
    let mut owner = serving(OwnerLimits { under_way_first: 1, ..limits() });
    for (tag, no) in [(1, 2), (2, 3), (3, 4)] {
        step(&mut owner, at(0), asked(tag, write(tag * 8, 1)));
        heard(&mut owner, at(0), A, done(1, no));
    }
    let down = Word::Down { epoch: epoch(1), why: Why::ConnectionLost };
    heard(&mut owner, at(1), A, down);
    assert_eq!(heard(&mut owner, at(1), A, opened(2, 2)), [sent(A, 2, 1, write(8, 1))]);
    heard(&mut owner, at(1), A, done(2, 1));
    assert_eq!(owner.under_way(), 2);
}

#[test]
fn a_new_owner_flushes_before_it_serves() {
    let mut owner = owner(limits());
    step(&mut owner, at(0), Input::Started);
    assert_eq!(step(&mut owner, at(0), asked(1, write(0, 1))), []);
    assert_eq!(heard(&mut owner, at(1), A, opened(1, 1)), [flush(A, 1, 1, false)]);
    assert_eq!(heard(&mut owner, at(2), A, done(1, 1)), [sent(A, 1, 2, write(0, 1))]);
    assert_eq!(heard(&mut owner, at(3), A, done(1, 2)), [answered(1, Ok(Reply::Done))]);
    assert_eq!(owner.dirty().ranges(), 1);
}

#[test]
fn after_a_word_that_it_is_over_the_next_session_goes_by_the_same_entry_at_once() {
    let mut owner = serving(limits());
    step(&mut owner, at(0), asked(1, write(0, 1)));
    let down = Word::Down { epoch: epoch(1), why: Why::FabricLost };
    heard(&mut owner, at(0), A, done(1, 2));
    step(&mut owner, at(1), asked(2, write(2, 2)));
    assert_eq!(heard(&mut owner, at(2), A, down), [open(A, 2, None)]);
    assert_eq!(heard(&mut owner, at(3), A, opened(2, 1)), [sent(A, 2, 1, write(2, 2))]);
    assert_eq!(heard(&mut owner, at(3), A, done(1, 3)), [], "of a session that is over");
}

#[test]
fn another_life_has_the_whole_map_written_again_before_anything_else() {
    let mut owner = serving(limits());
    step(&mut owner, at(0), asked(1, write(0, 1)));
    heard(&mut owner, at(0), A, done(1, 2));
    step(&mut owner, at(0), asked(2, write(2, 2)));
    let down = Word::Down { epoch: epoch(1), why: Why::ConnectionLost };
    heard(&mut owner, at(1), A, down);
    assert_eq!(heard(&mut owner, at(1), A, opened(2, 9)), [sent(A, 2, 1, write(0, 1))]);
    assert_eq!(heard(&mut owner, at(1), A, done(2, 1)), [sent(A, 2, 2, write(2, 2))]);
    assert_eq!(heard(&mut owner, at(1), A, done(2, 2)), [answered(2, Ok(Reply::Done))]);
}

#[test]
fn a_replay_that_was_cut_off_begins_anew_with_all_of_the_map() {
    let mut owner = serving(limits());
    for (tag, offset) in [(1, 0), (2, 8)] {
        step(&mut owner, at(0), asked(tag, write(offset, 1)));
        heard(&mut owner, at(0), A, done(1, tag + 1));
    }
    let down = |seq| Word::Down { epoch: epoch(seq), why: Why::ConnectionLost };
    heard(&mut owner, at(0), A, down(1));
    let both = |seq| [sent(A, seq, 1, write(0, 1)), sent(A, seq, 2, write(8, 1))];
    assert_eq!(heard(&mut owner, at(0), A, opened(2, 9)), both(2));
    heard(&mut owner, at(0), A, done(2, 1));
    assert_eq!(heard(&mut owner, at(0), A, down(2)), [open(A, 3, None)]);
    assert_eq!(heard(&mut owner, at(0), A, opened(3, 9)), both(3));
}

#[test]
fn silence_changes_the_entry_and_leaves_the_exit_out() {
    let mut owner = owner(limits());
    step(&mut owner, at(0), Input::Started);
    assert_eq!(owner.deadline(), Some(at(10)));
    heard(&mut owner, at(1), A, Word::Via { epoch: epoch(1), exit: B });
    assert_eq!(step(&mut owner, at(9), Input::TimePassed), []);
    assert_eq!(step(&mut owner, at(10), Input::TimePassed), [open(B, 2, Some(B))]);
    let no_path = Word::NoPath { epoch: epoch(2) };
    assert_eq!(heard(&mut owner, at(11), B, no_path), [], "every entry was tried");
    let wait = owner.deadline().unwrap().since(at(11));
    assert!((2 * MS..=4 * MS).contains(&wait), "{wait:?}");
    assert_eq!(step(&mut owner, at(15), Input::TimePassed), [open(B, 3, None)]);
    let no_path = Word::NoPath { epoch: epoch(3) };
    assert_eq!(heard(&mut owner, at(16), B, no_path), []);
    let again = step(&mut owner, at(99), Input::TimePassed);
    assert_eq!(again, [open(A, 4, None)], "with no exit left out, the entry has none");
}

#[test]
fn an_exit_that_fell_silent_is_no_entry_while_there_is_a_third() {
    let mut owner = owner_by(limits(), vec![A, B, ViosId(3)]);
    step(&mut owner, at(0), Input::Started);
    heard(&mut owner, at(1), A, Word::Via { epoch: epoch(1), exit: B });
    let again = step(&mut owner, at(10), Input::TimePassed);
    assert_eq!(again, [open(ViosId(3), 2, Some(B))]);
}

#[test]
fn a_storage_that_drains_is_waited_for() {
    let mut owner = owner(limits());
    step(&mut owner, at(0), Input::Started);
    for now in [9, 18, 27] {
        heard(&mut owner, at(now), A, Word::Draining { epoch: epoch(1) });
        assert_eq!(owner.deadline(), Some(at(now + 10)));
    }
    let alive = Word::Alive { epoch: epoch(1), taken: 0, answered: 0 };
    let effects = heard(&mut owner, at(30), A, alive);
    assert_eq!(effects, [open(A, 2, None)], "it is open, and we were not told");
}

#[test]
fn a_message_that_was_lost_ends_the_session() {
    let alive = |taken, answered| Word::Alive { epoch: epoch(1), taken, answered };
    let mut answer_lost = serving(limits());
    step(&mut answer_lost, at(0), asked(1, write(0, 1)));
    assert_eq!(heard(&mut answer_lost, at(1), A, alive(2, 1)), []);
    assert_eq!(heard(&mut answer_lost, at(1), A, alive(2, 2)), [open(A, 2, None)]);
    let mut request_lost = serving(limits());
    step(&mut request_lost, at(0), asked(1, write(0, 1)));
    assert_eq!(heard(&mut request_lost, at(20), A, alive(1, 1)), []);
    assert_eq!(heard(&mut request_lost, at(21), A, alive(1, 1)), [open(A, 2, None)]);
    let mut slow = serving(limits());
    step(&mut slow, at(0), asked(1, write(0, 1)));
    for now in [15, 30, 45, 60] {
        assert_eq!(heard(&mut slow, at(now), A, alive(2, 1)), [], "a slow request is no loss");
    }
}

#[test]
fn a_refusal_by_its_own_life_is_gone_beyond_and_by_another_one_is_the_end() {
    let refused = |highest, holder| Word::Refused { epoch: epoch(1), highest, holder };
    let mut behind = owner(limits());
    step(&mut behind, at(0), Input::Started);
    let word = refused(epoch(7), Holder(8));
    assert_eq!(heard(&mut behind, at(0), A, word), [open(A, 8, None)]);
    let higher = refused(Epoch { owner: OwnerId(4), seq: 1 }, Holder(1));
    for word in [refused(epoch(7), Holder(9)), higher] {
        let mut over = serving(limits());
        step(&mut over, at(0), asked(1, write(0, 1)));
        assert_eq!(heard(&mut over, at(0), A, word), [Effect::HangUp]);
        assert!(matches!(over.end(), Some(End::Superseded { .. })));
        assert_eq!(over.deadline(), None);
        assert_eq!(step(&mut over, at(1), asked(2, write(0, 1))), []);
    }
}

#[test]
fn a_repair_that_fails_waits_and_the_next_flush_is_told() {
    let mut owner = serving(limits());
    step(&mut owner, at(0), asked(1, write(0, 1)));
    heard(&mut owner, at(0), A, done(1, 2));
    heard(&mut owner, at(0), A, Word::Down { epoch: epoch(1), why: Why::ConnectionLost });
    heard(&mut owner, at(0), A, opened(2, 9));
    let full = Word::Answer { epoch: epoch(2), no: 1, outcome: Err(Failure::NoSpace) };
    assert_eq!(heard(&mut owner, at(0), A, full), [open(A, 3, None)]);
    heard(&mut owner, at(0), A, opened(3, 9));
    heard(&mut owner, at(0), A, done(3, 1));
    let told = [answered(2, Err(Failure::NoSpace))];
    assert_eq!(step(&mut owner, at(0), asked(2, Request::Flush)), told);
    assert_eq!(step(&mut owner, at(0), asked(3, Request::Flush)), [flush(A, 3, 2, false)]);
}

#[test]
fn repairs_that_fail_again_and_again_back_off_and_requests_wait_no_longer_than_for_a_path() {
    let mut owner = serving(limits());
    step(&mut owner, at(0), asked(1, write(0, 1)));
    heard(&mut owner, at(0), A, done(1, 2));
    heard(&mut owner, at(1), A, Word::Down { epoch: epoch(1), why: Why::ConnectionLost });
    step(&mut owner, at(1), asked(2, write(0, 2)));
    let (mut now, mut seq, mut waits) = (at(1), 2, Vec::new());
    let told = loop {
        heard(&mut owner, now, A, opened(seq, 9));
        let outcome = Err(Failure::NoSpace);
        heard(&mut owner, now, A, Word::Answer { epoch: epoch(seq), no: 1, outcome });
        let until = owner.deadline().unwrap();
        waits.push(until.since(now));
        now = until;
        seq += 1;
        let effects = step(&mut owner, now, Input::TimePassed);
        if let Some(told) = effects.iter().find(|effect| matches!(effect, Effect::Answer { .. })) {
            break told.clone();
        }
    };
    assert_eq!((told, now), (answered(2, Err(Failure::Io)), at(101)));
    assert!(waits.iter().skip(1).any(|wait| *wait >= 8 * MS), "{waits:?}");
    assert_eq!(owner.dirty().ranges(), 1, "what was acknowledged is kept");
}

#[test]
fn zeroes_that_gave_room_back_are_written_again_without_taking_it() {
    for may_punch in [true, false] {
        let extent = Extent { offset: 0, length: 8 };
        let zeroes = Request::WriteZeroes { extent, fua: false, may_punch, only_fast: false };
        let mut owner = serving(limits());
        step(&mut owner, at(0), asked(1, zeroes));
        heard(&mut owner, at(0), A, done(1, 2));
        step(&mut owner, at(0), asked(2, write(4, 1)));
        heard(&mut owner, at(0), A, done(1, 3));
        heard(&mut owner, at(1), A, Word::Down { epoch: epoch(1), why: Why::ConnectionLost });
        let extent = Extent { offset: 0, length: 4 };
        let rest = Request::WriteZeroes { extent, fua: false, may_punch, only_fast: false };
        let replayed = [sent(A, 2, 1, rest), sent(A, 2, 2, write(4, 1))];
        assert_eq!(heard(&mut owner, at(1), A, opened(2, 9)), replayed);
    }
}

#[test]
fn a_full_map_sends_writes_with_fua_and_is_flushed_in_the_background() {
    let mut owner = serving(OwnerLimits { dirty_bytes_max: 4, ..limits() });
    step(&mut owner, at(0), asked(1, write(0, 1)));
    heard(&mut owner, at(0), A, done(1, 2));
    let effects = step(&mut owner, at(0), asked(2, write(8, 2)));
    assert_eq!(effects, [flush(A, 1, 3, false), sent(A, 1, 4, write(8, 2).with_fua(true))]);
    heard(&mut owner, at(0), A, done(1, 4));
    assert_eq!((owner.dirty().ranges(), owner.dirty().bytes()), (1, 4));
    heard(&mut owner, at(0), A, done(1, 3));
    assert_eq!(step(&mut owner, at(0), asked(3, write(8, 3))), [sent(A, 1, 5, write(8, 3))]);
}

#[test]
fn a_map_is_flushed_before_it_is_full_once_at_a_time_and_writes_go_on_meanwhile() {
    let by_bytes = OwnerLimits { flush_from_bytes: 8, ..limits() };
    let by_ranges = OwnerLimits { flush_from_ranges: 2, ..limits() };
    for limits in [by_bytes, by_ranges] {
        let mut owner = serving(limits);
        for tag in 1..=3 {
            let no = tag + 1;
            let write = write(8 * tag, 1);
            assert_eq!(step(&mut owner, at(0), asked(tag, write.clone())), [sent(A, 1, no, write)]);
        }
        heard(&mut owner, at(0), A, done(1, 2));
        let flushes = heard(&mut owner, at(0), A, done(1, 3));
        assert!(flushes.contains(&flush(A, 1, 5, false)), "{flushes:?}");
        let more = heard(&mut owner, at(0), A, done(1, 4));
        assert!(!more.iter().any(|effect| matches!(effect, Effect::Send { .. })), "{more:?}");
        heard(&mut owner, at(0), A, done(1, 5));
        assert_eq!(owner.dirty().ranges(), 1, "what came after the flush began");
    }
}

#[test]
fn a_write_through_lu_keeps_nothing() {
    let mut owner = serving(OwnerLimits { is_write_through: true, ..limits() });
    let effects = step(&mut owner, at(0), asked(1, write(0, 1)));
    assert_eq!(effects, [sent(A, 1, 2, write(0, 1).with_fua(true))]);
    heard(&mut owner, at(0), A, done(1, 2));
    assert!(owner.dirty().is_empty());
}

#[test]
fn requests_wait_for_a_path_within_their_bound_and_no_longer() {
    let mut owner = serving(limits());
    for tag in 1..=4 {
        assert!(owner.has_room(4));
        step(&mut owner, at(0), asked(tag, write(8 * tag, 1)));
    }
    assert!(!owner.has_room(4), "the client's socket is not read");
    let beyond = step(&mut owner, at(0), asked(5, write(0, 1)));
    assert_eq!(beyond, [answered(5, Err(Failure::Io))]);
    step(&mut owner, at(1), Input::EntryLost { entry: A });
    let mut now = at(1);
    let mut eio = Vec::new();
    while eio.is_empty() {
        now = owner.deadline().unwrap();
        eio = step(&mut owner, now, Input::TimePassed);
        eio.retain(|effect| matches!(effect, Effect::Answer { .. }));
    }
    assert_eq!(now, at(101));
    assert_eq!(eio, [1, 2, 3, 4].map(|tag| answered(tag, Err(Failure::Io))));
    assert_eq!(owner.requests(), 4, "each was sent, and may take effect");
    assert!(!owner.has_room(0));
}

#[test]
fn a_reply_that_does_not_fit_its_request_ends_the_session() {
    let read = Request::Read { extent: Extent { offset: 0, length: 4 } };
    let wrong =
        [Ok(Reply::Done), Ok(Reply::Data(vec![0; 3].into())), Ok(Reply::Status(Vec::new()))];
    for outcome in wrong {
        let mut owner = serving(limits());
        step(&mut owner, at(0), asked(1, read.clone()));
        let word = Word::Answer { epoch: epoch(1), no: 2, outcome };
        assert_eq!(heard(&mut owner, at(0), A, word), [open(A, 2, None)]);
        assert_eq!(owner.requests(), 1, "it goes again");
    }
}

#[test]
fn a_session_number_that_cannot_be_exceeded_is_the_end() {
    let mut owner = owner(limits());
    step(&mut owner, at(0), Input::Started);
    let word = Word::Refused { epoch: epoch(1), highest: epoch(u64::MAX), holder: Holder(8) };
    heard(&mut owner, at(0), A, word);
    assert_eq!(owner.end(), Some(End::Exhausted));
}

/// The session lasts.
fn alive(owner: &mut Owner, now: Moment, entry: ViosId, seq: u64) {
    let word = Word::Alive { epoch: epoch(seq), taken: 0, answered: 0 };
    assert_eq!(heard(owner, now, entry, word), []);
}

/// An owner that serves through `B`, of another CEC, since `A` was lost at 0.
fn away() -> Owner {
    let limits = OwnerLimits {
        silence_max: 10_000 * MS,
        home_after: 50 * MS,
        home_after_max: 200 * MS,
        ..limits()
    };
    let mut owner = owner_of(limits, vec![A, B], 1);
    for entry in [A, B] {
        step(&mut owner, at(0), Input::EntryFound { entry });
    }
    assert_eq!(step(&mut owner, at(0), Input::Started), [open(A, 1, None)]);
    assert_eq!(step(&mut owner, at(0), Input::EntryLost { entry: A }), [open(B, 2, None)]);
    heard(&mut owner, at(0), B, opened(2, 1));
    heard(&mut owner, at(0), B, done(2, 1));
    alive(&mut owner, at(0), B, 2);
    assert!(owner.is_serving() && owner.is_away());
    owner
}

#[test]
fn an_owner_that_is_away_goes_home_in_order_once_its_vios_has_been_back_for_long_enough() {
    let mut owner = away();
    step(&mut owner, at(0), asked(1, write(0, 1)));
    heard(&mut owner, at(0), B, done(2, 2));
    step(&mut owner, at(5), Input::EntryFound { entry: A });
    step(&mut owner, at(5), asked(2, write(8, 2)));
    assert_eq!(owner.deadline(), Some(at(55)));
    assert_eq!(step(&mut owner, at(54), Input::TimePassed), []);
    assert_eq!(step(&mut owner, at(55), Input::TimePassed), [], "a write is under way");
    assert_eq!(step(&mut owner, at(56), asked(3, write(16, 3))), [], "it waits for the move");
    let last = heard(&mut owner, at(57), B, done(2, 3));
    assert_eq!(last, [answered(2, Ok(Reply::Done)), flush(B, 2, 4, false)]);
    assert_eq!(heard(&mut owner, at(58), B, done(2, 4)), [open(A, 3, None)]);
    assert_eq!(heard(&mut owner, at(59), A, opened(3, 1)), [sent(A, 3, 1, write(16, 3))]);
    assert!(!owner.is_away());
}

#[test]
fn a_vios_that_comes_and_goes_is_gone_back_to_less_and_less_often() {
    let mut owner = away();
    let (mut now, mut seq, mut waits) = (at(0), 2, Vec::new());
    for _round in 0..4 {
        step(&mut owner, now, Input::EntryFound { entry: A });
        let due = owner.deadline().unwrap();
        waits.push(due.since(now));
        assert_eq!(step(&mut owner, due, Input::TimePassed), [open(A, seq + 1, None)]);
        heard(&mut owner, due, A, opened(seq + 1, 1));
        alive(&mut owner, due, A, seq + 1);
        now = due.after(MS);
        assert_eq!(step(&mut owner, now, Input::EntryLost { entry: A }), [open(B, seq + 2, None)]);
        heard(&mut owner, now, B, opened(seq + 2, 1));
        alive(&mut owner, now, B, seq + 2);
        seq += 2;
    }
    assert_eq!(waits, [50, 100, 200, 200].map(|wait| wait * MS));
    step(&mut owner, now, Input::EntryFound { entry: A });
    now = owner.deadline().unwrap();
    step(&mut owner, now, Input::TimePassed);
    heard(&mut owner, now, A, opened(seq + 1, 1));
    now = now.after(200 * MS);
    step(&mut owner, now, Input::EntryLost { entry: A });
    heard(&mut owner, now, B, opened(seq + 2, 1));
    step(&mut owner, now, Input::EntryFound { entry: A });
    assert_eq!(owner.deadline(), Some(now.after(50 * MS)), "it had lasted");
}

#[test]
fn a_vios_that_is_lost_again_before_the_move_keeps_nobody_waiting() {
    let mut owner = away();
    step(&mut owner, at(0), Input::EntryFound { entry: A });
    step(&mut owner, at(0), asked(1, write(0, 1)));
    step(&mut owner, at(50), Input::TimePassed);
    assert_eq!(step(&mut owner, at(51), asked(2, write(8, 2))), []);
    let on = step(&mut owner, at(52), Input::EntryLost { entry: A });
    assert_eq!(on, [sent(B, 2, 3, write(8, 2))]);
    assert!(owner.is_away() && owner.is_serving());
    step(&mut owner, at(60), Input::EntryFound { entry: A });
    step(&mut owner, at(61), Input::EntryLost { entry: A });
    assert_eq!(owner.deadline(), Some(at(10_000)), "nowhere to go");
}

#[test]
fn home_that_does_not_answer_is_left_for_where_the_owner_came_from() {
    let mut owner = away();
    step(&mut owner, at(0), Input::EntryFound { entry: A });
    assert_eq!(step(&mut owner, at(50), Input::TimePassed), [open(A, 3, None)]);
    assert_eq!(step(&mut owner, at(60), Input::TimePassed), [open(B, 4, None)]);
    heard(&mut owner, at(60), B, opened(4, 1));
    assert_eq!(owner.deadline(), Some(at(160)), "and tried later than before");
}

#[test]
fn an_end_before_the_beginning_is_clean_only_if_nothing_of_an_earlier_owner_can_land() {
    let fenced = |is_clear| {
        let fence = Fence::None { lease: 20 * MS, request_life: Some(30 * MS), is_clear };
        let (holder, entries) = (Holder(8), vec![A, B]);
        let (lu, owner, near) = (LuId(1), OwnerId(3), 2);
        let is_client_new = false;
        let attachment = Attachment { lu, owner, holder, entries, near, is_client_new, fence };
        Owner::new(limits(), attachment, 1).unwrap()
    };
    let mut clear = fenced(true);
    step(&mut clear, at(0), Input::CloseAsked);
    assert_eq!(clear.end(), Some(End::Closed));
    let mut doubtful = fenced(false);
    step(&mut doubtful, at(0), Input::CloseAsked);
    step(&mut doubtful, at(1), Input::Started);
    assert_eq!((doubtful.end(), doubtful.is_clearing()), (None, true));
    step(&mut doubtful, at(50), Input::TimePassed);
    assert!(doubtful.is_clearing(), "one more may land");
    assert_eq!(step(&mut doubtful, at(51), Input::TimePassed).len(), 1, "it opens");
    assert_eq!(doubtful.end(), None);
}
