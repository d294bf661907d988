use std::time::Duration;

use super::super::name::{Holder, OwnerId, ViosId};
use super::*;
use crate::block::{Extent, Failure, Reply, Request};

const LU: LuId = LuId(1);
const CONN: ConnId = ConnId(1);
const IDENTITY: Identity = Identity { volume: 1, boot: 1, losses: 0 };

fn epoch(owner: u64, seq: u64) -> Epoch {
    Epoch { owner: OwnerId(owner), seq }
}

fn limits() -> StoreLimits {
    StoreLimits {
        lus_max: 2,
        requests_max: 3,
        device_depth: 2,
        request_bytes_max: 8,
        alive_every: Duration::from_millis(1),
    }
}

fn store() -> Store {
    let start = Start { identity: IDENTITY, was_syncing: false, seed: 1 };
    let record = Record::new(16, IDENTITY, Epoch::NONE);
    Store::new(limits(), start, [(LU, record)]).unwrap()
}

fn step(store: &mut Store, input: Input) -> Vec<Effect> {
    store.handle(Moment::START, input);
    std::iter::from_fn(|| store.poll()).collect()
}

fn call(conn: ConnId, call: Call) -> Input {
    Input::Received { conn, exit: ViosId(0), lu: LU, call }
}

fn open(epoch: Epoch, holder: u64) -> Call {
    Call::Open { epoch, holder: Holder(holder), hop: 0, avoid: None }
}

fn words(effects: &[Effect]) -> Vec<Word> {
    let word = |effect: &Effect| match effect {
        Effect::Send { word, .. } => Some(word.clone()),
        _ => None,
    };
    effects.iter().filter_map(word).collect()
}

fn sync_of(effects: &[Effect]) -> SyncId {
    let sync = |effect: &Effect| match effect {
        Effect::StoreRecord { sync, .. } | Effect::StoreIdentity { sync, .. } => Some(*sync),
        _ => None,
    };
    effects.iter().find_map(sync).expect("something is stored")
}

fn ops(effects: &[Effect]) -> Vec<OpId> {
    let op = |effect: &Effect| match effect {
        Effect::Perform { op, .. } | Effect::Flush { op } => Some(*op),
        _ => None,
    };
    effects.iter().filter_map(op).collect()
}

fn refused(epoch: Epoch, highest: Epoch, holder: u64) -> Word {
    Word::Refused { epoch, highest, holder: Holder(holder) }
}

/// A store with this session open on `CONN`.
fn opened(epoch: Epoch) -> Store {
    let mut store = store();
    let effects = step(&mut store, call(CONN, open(epoch, 7)));
    let sync = sync_of(&effects);
    let words = words(&step(&mut store, Input::Stored { sync }));
    assert!(matches!(words[..], [Word::Opened { .. }]), "{words:?}");
    store
}

fn request(epoch: Epoch, no: u64, request: Request) -> Input {
    call(CONN, Call::Request { epoch, no, request })
}

fn write(offset: u64, fua: bool) -> Request {
    Request::Write { offset, data: vec![1; 4].into(), fua }
}

fn trim(offset: u64) -> Request {
    Request::Trim { extent: Extent { offset, length: 4 }, fua: false }
}

fn down(epoch: Epoch, why: Why) -> Word {
    Word::Down { epoch, why }
}

#[test]
fn the_record_is_stored_before_the_session_is_said_to_be_open() {
    let mut store = store();
    let effects = step(&mut store, call(CONN, open(epoch(1, 1), 7)));
    let [Effect::StoreRecord { sync, record, .. }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!((record.highest, record.holder), (epoch(1, 1), Holder(7)));
    assert_eq!(store.open_epoch(LU), None);
    step(&mut store, Input::Stored { sync });
    assert_eq!(store.open_epoch(LU), Some(epoch(1, 1)));
}

#[test]
fn a_session_that_is_not_above_the_record_or_of_another_life_of_the_owner_is_refused() {
    let mut store = opened(epoch(2, 5));
    for (epoch_asked, holder) in [(epoch(2, 5), 7), (epoch(1, 9), 7), (epoch(2, 6), 8)] {
        let effects = step(&mut store, call(ConnId(2), open(epoch_asked, holder)));
        assert_eq!(words(&effects), [refused(epoch_asked, epoch(2, 5), 7)]);
    }
    assert_eq!(store.open_epoch(LU), Some(epoch(2, 5)));
}

#[test]
fn a_request_of_another_session_connection_or_order_is_not_carried_out() {
    let at = epoch(2, 5);
    let mut store = opened(at);
    let stale = step(&mut store, request(epoch(2, 4), 1, write(0, false)));
    assert_eq!(words(&stale), [down(epoch(2, 4), Why::NotOpen)]);
    let older = step(&mut store, request(epoch(1, 9), 1, write(0, false)));
    assert_eq!(words(&older), [refused(epoch(1, 9), at, 7)]);
    let other = Call::Request { epoch: at, no: 1, request: write(0, false) };
    let other = step(&mut store, call(ConnId(2), other));
    assert_eq!(words(&other), [down(at, Why::NotOpen)]);
    assert_eq!(ops(&step(&mut store, request(at, 1, write(0, false)))).len(), 1);
    assert_eq!(step(&mut store, request(at, 1, write(0, false))), [], "it came twice");
    let gap = step(&mut store, request(at, 3, write(0, false)));
    assert_eq!(words(&gap), [down(at, Why::OutOfStep)]);
    assert_eq!(store.open_epoch(LU), None);
}

#[test]
fn a_session_waits_for_the_requests_of_the_last_one_and_says_so() {
    let mut store = opened(epoch(1, 1));
    let op = ops(&step(&mut store, request(epoch(1, 1), 1, write(0, false))))[0];
    let effects = step(&mut store, call(CONN, open(epoch(1, 2), 7)));
    let draining = Word::Draining { epoch: epoch(1, 2) };
    assert_eq!(words(&effects), [down(epoch(1, 1), Why::Superseded), draining.clone()]);
    let sync = sync_of(&effects);
    assert_eq!(step(&mut store, Input::Stored { sync }), []);
    assert_eq!(words(&step(&mut store, Input::TimePassed)), [draining], "it is said again");
    let effects = step(&mut store, Input::Performed { op, outcome: Ok(Reply::Done) });
    assert!(matches!(words(&effects)[..], [Word::Opened { .. }]), "and nobody is answered");
}

#[test]
fn a_trim_is_alone_with_its_bytes_in_the_device() {
    let at = epoch(1, 1);
    let mut store = opened(at);
    let first = ops(&step(&mut store, request(at, 1, trim(0))));
    assert_eq!(first.len(), 1);
    assert_eq!(step(&mut store, request(at, 2, write(2, false))), []);
    assert_eq!(step(&mut store, request(at, 3, write(8, false))), [], "they keep their order");
    let done = Input::Performed { op: first[0], outcome: Ok(Reply::Done) };
    assert_eq!(ops(&step(&mut store, done)).len(), 2);
}

#[test]
fn a_request_that_does_not_lie_on_the_disk_or_is_too_long_is_answered_and_not_carried_out() {
    let at = epoch(1, 1);
    let mut store = opened(at);
    let long = Request::Read { extent: Extent { offset: 0, length: 9 } };
    let outside = Request::Read { extent: Extent { offset: u64::MAX, length: 1 } };
    for (no, wrong) in [(1, long), (2, outside), (3, write(13, false))] {
        let effects = step(&mut store, request(at, no, wrong));
        let answer = Word::Answer { epoch: at, no, outcome: Err(Failure::Invalid) };
        assert_eq!(words(&effects), [answer]);
        assert!(ops(&effects).is_empty());
    }
}

#[test]
fn a_failed_flush_is_told_only_after_the_new_identity_is_stored_and_ends_every_session() {
    let at = epoch(1, 1);
    let mut store = opened(at);
    let effects = step(&mut store, call(CONN, Call::Flush { epoch: at, no: 1, settle: false }));
    assert_eq!(effects[0], Effect::Note { is_syncing: true });
    let op = ops(&effects)[0];
    let second = step(&mut store, call(CONN, Call::Flush { epoch: at, no: 2, settle: false }));
    assert_eq!(second, [], "one at a time");
    let effects = step(&mut store, Input::Performed { op, outcome: Err(Failure::Io) });
    let [Effect::StoreIdentity { sync, identity }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(identity, Identity { losses: 1, ..IDENTITY });
    let waiting = step(&mut store, call(CONN, open(epoch(1, 2), 7)));
    let record = sync_of(&waiting);
    assert_eq!(words(&step(&mut store, Input::Stored { sync: record })), [], "not before");
    let effects = step(&mut store, Input::Stored { sync });
    let words = words(&effects);
    let answer = Word::Answer { epoch: at, no: 1, outcome: Err(Failure::Io) };
    assert_eq!(words[..2], [answer, down(at, Why::FsyncFailed)]);
    let Word::Opened { life, identity: now, settled, .. } = &words[2] else { panic!() };
    assert_eq!((*now, *settled), (identity, IDENTITY));
    assert_ne!(*life, Life(Chance::from_seed(1).draw()), "it is the life of before");
    assert_eq!(effects.last(), Some(&Effect::Note { is_syncing: false }));
}

#[test]
fn a_start_in_the_midst_of_a_sync_counts_as_one_that_failed() {
    let start = Start { identity: IDENTITY, was_syncing: true, seed: 1 };
    let record = Record::new(16, IDENTITY, Epoch::NONE);
    let mut store = Store::new(limits(), start, [(LU, record)]).unwrap();
    let effects: Vec<Effect> = std::iter::from_fn(|| store.poll()).collect();
    let [Effect::StoreIdentity { sync: identity, .. }] = effects[..] else { panic!() };
    let record = sync_of(&step(&mut store, call(CONN, open(epoch(1, 1), 7))));
    assert_eq!(step(&mut store, Input::Stored { sync: record }), []);
    let words = words(&step(&mut store, Input::Stored { sync: identity }));
    let [Word::Opened { identity, settled, .. }] = words[..] else { panic!("{words:?}") };
    assert_ne!(identity, settled);
}

#[test]
fn a_settling_flush_is_answered_once_its_record_is_stored() {
    let at = epoch(1, 1);
    let mut store = opened(at);
    let flush = call(CONN, Call::Flush { epoch: at, no: 1, settle: true });
    let op = ops(&step(&mut store, flush))[0];
    let effects = step(&mut store, Input::Performed { op, outcome: Ok(Reply::Done) });
    assert_eq!(words(&effects), []);
    let answer = Word::Answer { epoch: at, no: 1, outcome: Ok(Reply::Done) };
    let sync = sync_of(&effects);
    assert_eq!(words(&step(&mut store, Input::Stored { sync })), [answer]);
}

#[test]
fn a_record_that_cannot_be_stored_closes_its_lu_for_good() {
    let mut store = store();
    let sync = sync_of(&step(&mut store, call(CONN, open(epoch(1, 1), 7))));
    let effects = step(&mut store, Input::NotStored { sync });
    assert!(effects.contains(&Effect::Tell(StoreEvent::RecordLost { lu: LU })));
    let effects = step(&mut store, call(CONN, open(epoch(1, 2), 7)));
    assert_eq!(words(&effects), [Word::NoPath { epoch: epoch(1, 2) }]);
}

#[test]
fn more_requests_than_the_bound_end_the_session() {
    let at = epoch(1, 1);
    let mut store = opened(at);
    for no in 1..=3 {
        step(&mut store, request(at, no, write(0, false)));
    }
    assert_eq!(store.requests(LU), 3);
    let effects = step(&mut store, request(at, 4, write(0, false)));
    assert_eq!(words(&effects), [down(at, Why::OutOfStep)]);
}

#[test]
fn records_beyond_the_bound_are_an_error_since_a_forgotten_lu_would_look_deleted() {
    let start = Start { identity: IDENTITY, was_syncing: false, seed: 1 };
    let record = Record::new(16, IDENTITY, Epoch::NONE);
    let records = (0..3).map(|lu| (LuId(lu), record));
    let error = Store::new(limits(), start, records).unwrap_err();
    assert_eq!(error.name, "records");
}

#[test]
fn a_larger_size_is_the_lu_s_once_it_is_stored_and_ends_no_session() {
    let (one, beyond) = (epoch(1, 1), |no| request(epoch(1, 1), no, write(16, false)));
    let mut store = opened(one);
    let grown = step(&mut store, Input::Grown { lu: LU, size: 32 });
    let sync = sync_of(&grown);
    assert_eq!((store.size(LU), store.record(LU).unwrap().size), (Some(16), 32));
    let outcome = Err(Failure::Invalid);
    let refused = Word::Answer { epoch: one, no: 1, outcome };
    assert_eq!(words(&step(&mut store, beyond(1))), [refused]);
    assert_eq!(words(&step(&mut store, Input::Stored { sync })), []);
    assert_eq!((store.size(LU), store.open_epoch(LU)), (Some(32), Some(one)));
    assert_eq!(ops(&step(&mut store, beyond(2))).len(), 1);
    // A smaller one is none.
    assert_eq!(step(&mut store, Input::Grown { lu: LU, size: 24 }), []);
    assert_eq!(store.size(LU), Some(32));
}
