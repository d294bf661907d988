//! Commands, applied to rows in memory.

use bytes::Bytes;

use super::keys::{answer_key, event_key};
use super::*;
use crate::ShardId;
use crate::command::{
    Answer, Attempt, Change, Command, Condition, Operation, Place, TableId, WINDOW,
};
use crate::state::{MemoryState, ShardState, StateEngine};

type Rows = <MemoryState as StateEngine>::Shard;

struct Shard {
    rows: Rows,
    index: u64,
    now_ms: u64,
}

impl Shard {
    fn new() -> Self {
        let rows = MemoryState::new().open(ShardId(1)).unwrap();
        Self { rows, index: 0, now_ms: 1_000_000 }
    }

    fn apply(&mut self, attempt: Option<Attempt>, operation: Operation) -> (Answer, Vec<Event>) {
        self.index += 1;
        let mut rows = Overlay::new(self.rows.clone());
        let command = Command { attempt, operation };
        let answer = apply(&mut rows, self.index, self.now_ms, command).unwrap();
        self.rows.write(rows.into_changes()).unwrap();
        answer
    }

    fn answer(&mut self, operation: Operation) -> Answer {
        self.apply(None, operation).0
    }

    fn open_session(&mut self) -> u64 {
        match self.answer(Operation::OpenSession) {
            Answer::Opened { session } => session,
            other => panic!("{other:?}"),
        }
    }

    fn value(&self, key: &str) -> Option<Bytes> {
        let row = self.rows.get(&row_key(&place(key))).unwrap()?;
        Some(Stored::decode(row).unwrap().value)
    }
}

fn place(key: &str) -> Place {
    Place { table: TableId(7), key: Bytes::copy_from_slice(key.as_bytes()) }
}

fn put(key: &str, value: &str) -> Operation {
    leased(key, value, None)
}

fn leased(key: &str, value: &str, lease: Option<u64>) -> Operation {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let put = Change::Put { place: place(key), value, lease };
    Operation::Transact { conditions: Vec::new(), changes: vec![put] }
}

#[test]
fn a_command_that_arrives_again_is_answered_again_and_not_done_again() {
    let mut shard = Shard::new();
    let session = shard.open_session();
    let attempt = Some(Attempt { session, sequence: 0, answered_below: 0 });
    let count = Operation::Allocate { counter: Bytes::from_static(b"c"), count: 5 };
    let (first, _) = shard.apply(attempt, count.clone());
    let (again, events) = shard.apply(attempt, count.clone());
    assert_eq!((first, again), (Answer::Allocated { first: 1 }, Answer::Allocated { first: 1 }));
    assert_eq!(events, []);
    assert_eq!(shard.answer(count), Answer::Allocated { first: 6 });
}

#[test]
fn a_sequence_whose_answer_the_client_has_is_stale_and_changes_nothing() {
    let mut shard = Shard::new();
    let session = shard.open_session();
    let attempt = |sequence, answered_below| Some(Attempt { session, sequence, answered_below });
    shard.apply(attempt(0, 0), put("k", "old"));
    shard.apply(attempt(1, 1), put("k", "new"));
    let (late, _) = shard.apply(attempt(0, 0), put("k", "old"));
    assert_eq!(late, Answer::StaleSequence);
    assert_eq!(shard.value("k"), Some(Bytes::from_static(b"new")));
    assert_eq!(shard.rows.get(&answer_key(session, 0)).unwrap(), None);
}

#[test]
fn attempts_that_overtake_one_another_are_each_done_once() {
    let mut shard = Shard::new();
    let session = shard.open_session();
    let count = Operation::Allocate { counter: Bytes::from_static(b"c"), count: 1 };
    let mut done = |sequence| {
        let attempt = Some(Attempt { session, sequence, answered_below: 0 });
        match shard.apply(attempt, count.clone()).0 {
            Answer::Allocated { first } => first,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([2, 0, 1].map(&mut done), [1, 2, 3]);
    assert_eq!([0, 1, 2, 3].map(&mut done), [2, 3, 1, 4]);
}

#[test]
fn a_session_as_an_earlier_build_wrote_it_down_is_answered_again() {
    let mut shard = Shard::new();
    let session = shard.open_session();
    let attempt = Some(Attempt { session, sequence: 0, answered_below: 0 });
    let (first, _) = shard.apply(attempt, put("k", "v"));
    let key = keys::session_key(session);
    let row = shard.rows.get(&key).unwrap().unwrap();
    shard.rows.write(vec![crate::state::Change::Put(key, row.slice(..16))]).unwrap();
    assert_eq!(shard.apply(attempt, put("k", "w")).0, first);
    assert_eq!(shard.value("k"), Some(Bytes::from_static(b"v")));
}

#[test]
fn a_session_that_is_not_there_and_a_sequence_far_ahead_change_nothing() {
    let mut shard = Shard::new();
    let nobody = Some(Attempt { session: 99, sequence: 0, answered_below: 0 });
    assert_eq!(shard.apply(nobody, put("k", "v")).0, Answer::NoSession);
    let session = shard.open_session();
    let far = Some(Attempt { session, sequence: WINDOW, answered_below: 0 });
    assert_eq!(shard.apply(far, put("k", "v")).0, Answer::TooFarAhead);
    let leap = Some(Attempt { session, sequence: u64::MAX, answered_below: u64::MAX });
    assert_eq!(shard.apply(leap, put("k", "v")).0, Answer::TooFarAhead);
    assert_eq!(shard.value("k"), None);
}

#[test]
fn a_closed_session_leaves_nothing_behind() {
    let mut shard = Shard::new();
    let session = shard.open_session();
    for sequence in 0..10 {
        let attempt = Some(Attempt { session, sequence, answered_below: 0 });
        shard.apply(attempt, put("k", "v"));
    }
    let closed = shard.answer(Operation::CloseSession { session });
    assert!(matches!(closed, Answer::Done { .. }));
    for sequence in 0..10 {
        assert_eq!(shard.rows.get(&answer_key(session, sequence)).unwrap(), None);
    }
    assert_eq!(shard.answer(Operation::CloseSession { session }), Answer::NoSession);
}

#[test]
fn sessions_that_nobody_uses_make_room_for_new_ones() {
    let mut shard = Shard::new();
    let old: Vec<u64> = (0..40).map(|_| shard.open_session()).collect();
    shard.now_ms += SESSION_IDLE_MS - 1;
    let used = Some(Attempt { session: old[3], sequence: 0, answered_below: 0 });
    shard.apply(used, put("k", "v"));
    shard.now_ms += 1;
    for _ in 0..4 {
        shard.open_session();
    }
    for session in old.iter().copied() {
        let attempt = Some(Attempt { session, sequence: 1, answered_below: 0 });
        let is_gone = shard.apply(attempt, put("k", "v")).0 == Answer::NoSession;
        assert_eq!(is_gone, session != old[3], "session {session}");
    }
}

#[test]
fn the_rows_of_a_lease_go_with_it_and_only_they() {
    let mut shard = Shard::new();
    let Answer::Granted { lease } = shard.answer(Operation::Grant { ttl_ms: 10 }) else { panic!() };
    shard.answer(leased("mine", "1", Some(lease)));
    shard.answer(leased("moved", "1", Some(lease)));
    shard.answer(put("moved", "2"));
    shard.answer(put("other", "1"));
    let (done, events) = shard.apply(None, Operation::Revoke { lease });
    assert!(matches!(done, Answer::Done { .. }));
    assert_eq!(events, [Event { place: place("mine"), kind: EventKind::Expired }]);
    let left = ["mine", "moved", "other"].map(|key| shard.value(key).is_some());
    assert_eq!(left, [false, true, true]);
    assert_eq!(shard.answer(leased("k", "v", Some(lease))), Answer::NoLease { lease });
    assert_eq!(shard.answer(Operation::Revoke { lease }), Answer::NoLease { lease });
}

#[test]
fn a_lease_with_very_many_rows_ends_piece_by_piece() {
    let mut shard = Shard::new();
    let Answer::Granted { lease } = shard.answer(Operation::Grant { ttl_ms: 10 }) else { panic!() };
    for number in 0..1500 {
        shard.answer(leased(&format!("{number:05}"), "v", Some(lease)));
    }
    assert!(matches!(shard.answer(Operation::Revoke { lease }), Answer::Partly { .. }));
    assert!(shard.value("01499").is_some());
    assert!(matches!(shard.answer(Operation::Revoke { lease }), Answer::Done { .. }));
    assert!((0..1500).all(|number| shard.value(&format!("{number:05}")).is_none()));
    assert_eq!(shard.answer(Operation::Revoke { lease }), Answer::NoLease { lease });
}

#[test]
fn a_shard_has_so_many_leases_and_those_that_end_make_room() {
    let mut shard = Shard::new();
    let near = Bytes::copy_from_slice(&(LEASES_MAX - 1).to_le_bytes());
    shard.rows.write(vec![crate::state::Change::Put(system_key("leases"), near)]).unwrap();
    let grant = Operation::Grant { ttl_ms: 1000 };
    let Answer::Granted { lease: number } = shard.answer(grant.clone()) else { panic!() };
    assert_eq!(shard.answer(grant.clone()), Answer::TooManyLeases);
    let found = Lease { number, ttl_ms: 1000 };
    assert_eq!(lease(&shard.rows, number).unwrap(), Some(found));
    assert_eq!(leases_after(&shard.rows, number - 1, 9).unwrap(), [found]);
    assert_eq!(leases_after(&shard.rows, number, 9).unwrap(), []);
    shard.answer(Operation::Revoke { lease: number });
    assert!(matches!(shard.answer(grant), Answer::Granted { .. }));
}

#[test]
fn conditions_look_at_the_state_before_and_the_first_that_fails_is_named() {
    let mut shard = Shard::new();
    shard.answer(put("a", "1"));
    let revision = shard.index;
    let transact = |conditions| {
        let put = Change::Put { place: place("a"), value: Bytes::from_static(b"2"), lease: None };
        Operation::Transact { conditions, changes: vec![put] }
    };
    let holds = Condition::Revision { place: place("a"), revision };
    let fails = Condition::Revision { place: place("b"), revision: 9 };
    let refused = shard.answer(transact(vec![holds.clone(), fails]));
    assert_eq!(refused, Answer::Refused { condition: 1, found: None });
    assert!(matches!(shard.answer(transact(vec![holds.clone()])), Answer::Done { .. }));
    assert!(matches!(shard.answer(transact(vec![holds])), Answer::Refused { condition: 0, .. }));
    let absent = Condition::Revision { place: place("c"), revision: 0 };
    assert!(matches!(shard.answer(transact(vec![absent])), Answer::Done { .. }));
}

#[test]
fn a_counter_at_its_end_gives_out_nothing() {
    let mut shard = Shard::new();
    let counter = Bytes::from_static(b"c");
    let key = keys::counter_key(&counter);
    let near = Bytes::copy_from_slice(&(u64::MAX - 2).to_le_bytes());
    shard.rows.write(vec![crate::state::Change::Put(key, near)]).unwrap();
    let take = |count| Operation::Allocate { counter: counter.clone(), count };
    assert_eq!(shard.answer(take(3)), Answer::Exhausted);
    assert_eq!(shard.answer(take(2)), Answer::Allocated { first: u64::MAX - 2 });
    assert_eq!(shard.answer(take(1)), Answer::Exhausted);
}

#[test]
fn what_a_revision_changed_is_kept_for_a_while() {
    let mut shard = Shard::new();
    shard.answer(put("a", "1"));
    let first = shard.index;
    let kept = |shard: &Shard, index| {
        let found = shard.rows.get(&event_key(index)).unwrap();
        found.map(|events| decode_events(events).unwrap())
    };
    assert_eq!(kept(&shard, first), Some(vec![Event { place: place("a"), kind: EventKind::Put }]));
    shard.index = first + EVENTS_KEPT - 1;
    shard.answer(put("b", "1"));
    assert_eq!(kept(&shard, first), None);
    assert!(kept(&shard, shard.index).is_some());
}

#[test]
fn changes_that_are_not_written_yet_are_seen_by_get_and_scan() {
    let shard = Shard::new();
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let change = |key: &str| crate::state::Change::Put(bytes(key), bytes("old"));
    shard.rows.write(["a", "b", "c", "d"].map(change).to_vec()).unwrap();
    let mut rows = Overlay::new(shard.rows.clone());
    rows.delete(bytes("a"));
    rows.delete(bytes("b"));
    rows.put(bytes("bb"), bytes("new"));
    rows.put(bytes("c"), bytes("new"));
    rows.put(bytes("z"), bytes("new"));
    assert_eq!(rows.get(b"b").unwrap(), None);
    let scan = |most| rows.scan(&bytes("a"), &bytes("y"), most).unwrap();
    let all =
        [("bb", "new"), ("c", "new"), ("d", "old")].map(|(key, value)| (bytes(key), bytes(value)));
    assert_eq!(scan(10), all);
    assert_eq!(scan(1), all[..1]);
}
