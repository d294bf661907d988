//! Right histories pass, wrong ones do not, and every order agrees.

mod brute;
mod store;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;
use brute::{State, Timed, has_order, perform, timed};
use store::{Fault, Size, run};

const SEEDS: u64 = 300;
const SMALL: Size = Size { clients: 4, keys: 5, ops: 150, joins: true, unknown: 60 };

fn get(key: &str) -> Op {
    Op::Get { key: key.into() }
}

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: value.into() }
}

fn value(value: &str) -> Outcome {
    Outcome::Value(Some(value.into()))
}

/// Operations one after the other.
fn sequence(ops: Vec<(Op, Outcome)>) -> History {
    let recorder = Recorder::default();
    for (op, outcome) in ops {
        let id = recorder.invoke(1, op).unwrap();
        recorder.ok(id, outcome).unwrap();
    }
    recorder.history()
}

#[test]
fn the_writes_of_a_sequence_are_read() {
    let cas = |expect: Option<&str>, new: &str| Op::Cas {
        key: "a".into(),
        expect: expect.map(Into::into),
        new: new.into(),
    };
    let history = sequence(vec![
        (get("a"), Outcome::Value(None)),
        (cas(None, "1"), Outcome::Done),
        (cas(None, "2"), Outcome::RefusedAt(Some("1".into()))),
        (cas(Some("1"), "3"), Outcome::Done),
        (put("b", "4"), Outcome::Done),
        (get("a"), value("3")),
        (Op::Delete { key: "a".into() }, Outcome::Done),
        (
            Op::Scan { from: "a".into(), to: "c".into() },
            Outcome::Rows(vec![("b".into(), "4".into())]),
        ),
    ]);
    assert_eq!(check(&history), Verdict::Linearizable { ops: 8, unknown: 0, keys: 2 });
}

#[test]
fn a_stale_read_is_shown_with_what_it_contradicts() {
    let history = sequence(vec![
        (get("a"), Outcome::Value(None)),
        (put("a", "v1"), Outcome::Done),
        (put("b", "v2"), Outcome::Done),
        (put("a", "v3"), Outcome::Done),
        (get("b"), value("v2")),
        (get("a"), value("v3")),
        (get("a"), value("v1")),
        (get("a"), value("v3")),
    ]);
    let shown = "\
not linearizable: a
  at 11: whatever it held
  #5 [11, 12] c1 get a: v3
! #6 [13, 14] c1 get a: v1
  #6 fits none of the states possible at its end:
    a=v3
  what it found was written by:
    #1 [3, 4] c1 put a=v1: done";
    assert_eq!(check(&history).to_string(), shown);
}

#[test]
fn what_nobody_wrote_is_shown_back_to_the_empty_store() {
    let history = sequence(vec![(get("a"), Outcome::Value(None)), (get("a"), value("v1"))]);
    let verdict = check(&history);
    assert!(verdict.to_string().ends_with("nobody wrote what it found"), "{verdict}");
    let history = sequence(vec![(get("a"), value("v1"))]);
    assert_eq!(check(&history).violation().unwrap().from, None);
}

#[test]
fn an_unknown_write_may_land_late_or_never_but_not_twice() {
    let recorder = Recorder::default();
    let write = recorder.invoke(1, put("a", "v1")).unwrap();
    recorder.unknown(write).unwrap();
    let read = |found: Option<&str>| {
        let id = recorder.invoke(2, get("a")).unwrap();
        recorder.ok(id, Outcome::Value(found.map(Into::into))).unwrap();
        check(&recorder.history()).is_linearizable()
    };
    assert!(read(None));
    assert!(read(Some("v1")));
    assert!(!read(None));
}

#[test]
fn a_failed_write_that_is_seen_is_a_violation() {
    let recorder = Recorder::default();
    let write = recorder.invoke(1, put("a", "v1")).unwrap();
    let read = recorder.invoke(2, get("a")).unwrap();
    recorder.ok(read, value("v1")).unwrap();
    assert!(check(&recorder.history()).is_linearizable());
    recorder.fail(write).unwrap();
    assert!(check(&recorder.history()).violation().is_some());
}

#[test]
fn a_scan_with_a_row_twice_or_beside_its_range_is_a_violation() {
    for rows in [vec![("a", "1"), ("a", "1")], vec![("a", "1"), ("b", "2")]] {
        let rows = rows.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let scan = Op::Scan { from: "a".into(), to: "b".into() };
        let history = sequence(vec![
            (put("a", "1"), Outcome::Done),
            (put("b", "2"), Outcome::Done),
            (scan, Outcome::Rows(rows)),
        ]);
        assert!(check_keys(&history, WORK).violation().is_some());
    }
}

#[test]
fn a_history_survives_as_json_and_a_damaged_one_is_refused() {
    let history = run(1, SMALL, Fault::None);
    let json = serde_json::to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<History>(&json).unwrap(), history);

    let entry =
        |at, outcome| Entry { client: 1, op: get("a"), invoked: 5, end: End::Ok { at, outcome } };
    let refused = |entry| History::try_from(vec![entry]).unwrap_err();
    assert_eq!(refused(entry(6, Outcome::Done)), RecordError::Mismatch(OpId(0)));
    assert_eq!(refused(entry(5, value("v"))), RecordError::Order(OpId(0)));
    let json = serde_json::to_string(&[entry(5, value("v"))]).unwrap();
    assert!(serde_json::from_str::<History>(&json).is_err());
}

#[test]
fn the_recorder_keeps_the_first_end_of_an_operation() {
    let recorder = Recorder::default();
    let id = recorder.invoke(1, get("a")).unwrap();
    assert_eq!(recorder.ok(id, Outcome::Done), Err(RecordError::Mismatch(id)));
    recorder.ok(id, value("v")).unwrap();
    let history = recorder.history();
    assert_eq!(recorder.unknown(id), Err(RecordError::Ended(id)));
    assert_eq!(recorder.fail(OpId(9)), Err(RecordError::Stranger(OpId(9))));
    assert_eq!(recorder.history(), history);
}

#[test]
fn many_open_writes_of_one_key_end_in_an_answer_within_the_work() {
    let recorder = Recorder::default();
    let writes: Vec<OpId> = (0..40)
        .map(|number| recorder.invoke(number, put("a", &number.to_string())).unwrap())
        .collect();
    let read = recorder.invoke(90, get("a")).unwrap();
    recorder.ok(read, value("nobody's")).unwrap();
    for write in writes {
        recorder.ok(write, Outcome::Done).unwrap();
    }
    let history = recorder.history();
    let verdict = check_keys(&history, 10_000);
    assert_eq!(verdict, Verdict::Undecided { keys: vec!["a".into()], work: 10_000 });
    // Memory is the other bound.
    assert!(matches!(check(&history), Verdict::Undecided { .. }));
}

#[test]
fn long_histories_take_little_work() {
    let size = Size { clients: 10, keys: 20, ops: 20_000, joins: false, unknown: 30 };
    let history = run(1, size, Fault::None);
    let verdict = check_keys(&history, 30_000);
    assert!(verdict.is_linearizable(), "{verdict}");
    let joined = run(1, Size { joins: true, ..size }, Fault::None);
    let verdict = check_keys(&joined, 100_000);
    assert!(verdict.is_linearizable(), "{verdict}");
}

#[test]
fn a_right_store_is_never_accused() {
    for seed in 0..SEEDS {
        let verdict = check(&run(seed, SMALL, Fault::None));
        assert!(verdict.is_linearizable(), "seed {seed}: {verdict}");
    }
}

/// Of the seeds, those whose history is found wrong by keys alone, and by keys or together.
fn found(fault: Fault) -> (u64, u64) {
    let (mut by_keys, mut at_all) = (0, 0);
    for seed in 0..SEEDS {
        let history = run(seed, SMALL, fault);
        let keys = check_keys(&history, WORK).violation().is_some();
        let verdict = check(&history);
        by_keys += u64::from(keys);
        at_all += u64::from(verdict.violation().is_some());
        assert!(!matches!(verdict, Verdict::Undecided { .. }), "seed {seed}: {verdict}");
    }
    (by_keys, at_all)
}

#[test]
fn a_stale_read_is_found() {
    let found = found(Fault::StaleRead);
    assert!(found.0 > SEEDS * 9 / 10, "{found:?} of {SEEDS}");
}

#[test]
fn a_lost_write_is_found() {
    let found = found(Fault::LostWrite);
    assert!(found.0 > SEEDS * 9 / 10, "{found:?} of {SEEDS}");
}

#[test]
fn a_write_that_lands_twice_is_found() {
    let found = found(Fault::DoubleApply);
    assert!(found.0 > SEEDS / 2, "{found:?} of {SEEDS}");
}

#[test]
fn a_torn_transaction_is_found() {
    let found = found(Fault::TornTransaction);
    assert!(found.1 > SEEDS / 2, "{found:?} of {SEEDS}");
}

#[test]
fn a_deleted_value_that_comes_back_is_found() {
    let found = found(Fault::Resurrection);
    assert!(found.0 > SEEDS / 2, "{found:?} of {SEEDS}");
}

#[test]
fn an_unacknowledged_write_that_was_seen_and_vanished_is_found() {
    let found = found(Fault::Vanishing);
    assert!(found.0 > SEEDS / 4, "{found:?} of {SEEDS}");
}

#[test]
fn a_scan_of_two_moments_is_seen_only_by_keys_together() {
    let recorder = Recorder::default();
    let both = vec![Cell::holds("a", "1"), Cell::holds("b", "1")];
    let both = Op::Transaction { conditions: Vec::new(), changes: both };
    let write = recorder.invoke(1, both).unwrap();
    let scan = Op::Scan { from: "a".into(), to: "c".into() };
    let read = recorder.invoke(2, scan).unwrap();
    recorder.ok(write, Outcome::Done).unwrap();
    recorder.ok(read, Outcome::Rows(vec![("a".into(), "1".into())])).unwrap();
    let history = recorder.history();
    assert!(check_keys(&history, WORK).is_linearizable());
    let verdict = check_whole(&history, WORK);
    assert_eq!(verdict.violation().unwrap().keys, ["a".into(), "b".into()]);
    assert_eq!(check(&history), verdict);
}

/// A few operations with few values, each with an outcome that was true at some moment; then, in
/// most histories, one that is changed.
fn tiny(rng: &mut StdRng, keys: &[&str]) -> History {
    let count = rng.random_range(1..=7);
    let mut moments: Vec<u64> = (1..=3 * count as u64).collect();
    let mut at: Vec<[u64; 3]> = Vec::new();
    for _ in 0..count {
        // Near each other, so that not all of them overlap.
        let from = rng.random_range(0..moments.len().min(2));
        let mut three = [0; 3].map(|_| {
            let span = (moments.len() - from.min(moments.len() - 1)).min(6);
            moments.remove(from.min(moments.len() - 1) + rng.random_range(0..span))
        });
        three.sort_unstable();
        at.push(three);
    }
    at.sort_unstable();
    let ops: Vec<Op> = (0..count).map(|_| any_op(rng, keys)).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_unstable_by_key(|op| at[*op][1]);
    let mut state = State::new();
    let mut ends = vec![End::Open; count];
    for op in order {
        let [_, _, end] = at[op];
        let skipped = rng.random_ratio(1, 12);
        let before = state.clone();
        let outcome = perform(&mut state, &ops[op]);
        if skipped {
            state = before;
        }
        ends[op] = match rng.random_range(0..8) {
            _ if skipped => {
                [End::Failed { at: end }, End::Unknown { at: end }][rng.random_range(0..2)].clone()
            }
            0 => End::Unknown { at: end },
            1 => End::Open,
            _ => End::Ok { at: end, outcome },
        };
    }
    let entries = ops.into_iter().zip(ends).zip(at);
    let mut entries: Vec<Entry> =
        entries.map(|((op, end), at)| Entry { client: 1, op, invoked: at[0], end }).collect();
    if rng.random_ratio(9, 10) {
        let place = rng.random_range(0..count);
        let Entry { op, end, .. } = &mut entries[place];
        if let End::Ok { outcome, .. } = end {
            *outcome = other_outcome(rng, op);
        }
    }
    History::try_from(entries).unwrap()
}

fn any_value(rng: &mut StdRng) -> Option<Value> {
    [None, Some("x".into()), Some("y".into()), Some("z".into())].choose(rng).unwrap().clone()
}

fn any_cell(rng: &mut StdRng, keys: &[&str]) -> Cell {
    Cell { key: (*keys.choose(rng).unwrap()).into(), value: any_value(rng) }
}

fn any_op(rng: &mut StdRng, keys: &[&str]) -> Op {
    let Cell { key, value } = any_cell(rng, keys);
    let new = any_value(rng).unwrap_or("x".into());
    match rng.random_range(0..if keys.len() == 1 { 10 } else { 16 }) {
        0..3 => Op::Get { key },
        3..5 => Op::Put { key, value: new },
        5 => Op::Delete { key },
        6..8 => Op::Cas { key, expect: value, new },
        8..12 => {
            let (conditions, changes) = (rng.random_range(0..3), rng.random_range(0..3));
            let mut cells = |count| (0..count).map(|_| any_cell(rng, keys)).collect::<Vec<Cell>>();
            Op::Transaction { conditions: cells(conditions), changes: cells(changes) }
        }
        _ => Op::Scan { from: "a".into(), to: "b~".into() },
    }
}

fn other_outcome(rng: &mut StdRng, op: &Op) -> Outcome {
    match op {
        Op::Get { .. } => Outcome::Value(any_value(rng)),
        Op::Put { .. } | Op::Delete { .. } => Outcome::Done,
        Op::Cas { .. } => {
            let any = [Outcome::Done, Outcome::Refused, Outcome::RefusedAt(any_value(rng))];
            any.choose(rng).unwrap().clone()
        }
        Op::Transaction { conditions, .. } if conditions.is_empty() => Outcome::Done,
        Op::Transaction { .. } => [Outcome::Done, Outcome::Refused].choose(rng).unwrap().clone(),
        Op::Scan { .. } => {
            let row = |key: &str, value: Option<Value>| value.map(|value| (key.into(), value));
            let rows = [row("a", any_value(rng)), row("b", any_value(rng))];
            Outcome::Rows(rows.into_iter().flatten().collect())
        }
    }
}

#[test]
fn trying_every_order_of_tiny_histories_comes_to_the_same() {
    let mut rng = StdRng::seed_from_u64(5);
    let (mut right, mut wrong, mut only_together) = (0, 0, 0);
    for number in 0..20_000 {
        let keys: &[&str] = if number % 2 == 0 { &["a"] } else { &["a", "b"] };
        let history = tiny(&mut rng, keys);
        let shown = || serde_json::to_string(&history).unwrap();
        let truth = has_order(&State::new(), &timed(&history));
        let (by_keys, whole) = (check_keys(&history, WORK), check_whole(&history, WORK));
        assert_eq!(whole.is_linearizable(), truth, "{number}: {whole}\n{}", shown());
        assert!(by_keys.is_linearizable() || !truth, "{number}: {by_keys}\n{}", shown());
        if keys.len() == 1 {
            assert_eq!(by_keys.is_linearizable(), truth, "{number}: {by_keys}\n{}", shown());
        }
        right += u32::from(truth);
        wrong += u32::from(!truth);
        only_together += u32::from(by_keys.is_linearizable() && !truth);
        for verdict in [by_keys, whole] {
            if let Some(violation) = verdict.violation() {
                assert!(contradicts_itself(violation), "{number}: {violation}\n{}", shown());
            }
        }
    }
    let counts = format!("{right} right, {wrong} wrong, {only_together} of them only together");
    assert!(right > 5_000 && wrong > 3_000 && only_together > 10, "{counts}");
}

/// Whether no order explains the window, whatever the keys held before it.
fn contradicts_itself(violation: &Violation) -> bool {
    let entries: Vec<Entry> = violation.window.iter().map(|(_, entry)| entry.clone()).collect();
    let stuck = violation.window.iter().find(|(id, _)| *id == violation.stuck).unwrap();
    let End::Ok { at: last, .. } = stuck.1.end else { panic!("{violation}") };
    let from = violation.from.unwrap_or(0);
    let window: Vec<Timed> = timed(&History::try_from(entries).unwrap())
        .into_iter()
        .map(|(op, invoked, end)| {
            let inside = end.filter(|(at, _)| invoked >= from && *at <= last);
            (op, invoked, inside)
        })
        .collect();
    starts(violation).iter().all(|start| !has_order(start, &window))
}

/// Every state that the keys of a window can have had before it.
fn starts(violation: &Violation) -> Vec<State> {
    if violation.from.is_none() {
        return vec![State::new()];
    }
    let mut starts = vec![State::new()];
    for key in ["a", "b"] {
        for start in starts.clone() {
            for value in ["x", "y", "z", "?"] {
                let mut start = start.clone();
                start.insert(key.into(), value.into());
                starts.push(start);
            }
        }
    }
    assert!(violation.keys.iter().all(|key| ["a".into(), "b".into()].contains(key)));
    starts
}
