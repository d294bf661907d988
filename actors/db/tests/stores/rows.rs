//! Rows.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use vioduct_db::state::{Change, Replacement, Row, ShardState, StateEngine, View};
use vioduct_db::{ShardId, StoreError};

use crate::{Crash, InMemory, OnDisk};

const SHARD: ShardId = ShardId(6);
const END: [u8; 9] = [u8::MAX; 9];

type Model = BTreeMap<Bytes, Bytes>;

fn row(key: u16, value: u16) -> Row {
    (key.to_be_bytes().to_vec().into(), vec![7; usize::from(value)].into())
}

fn put(rows: impl IntoIterator<Item = Row>) -> Vec<Change> {
    rows.into_iter().map(|(key, value)| Change::Put(key, value)).collect()
}

fn change(model: &mut Model, changes: &[Change]) {
    for change in changes.iter().cloned() {
        match change {
            Change::Put(key, value) => model.insert(key, value),
            Change::Delete(key) => model.remove(&key),
        };
    }
}

fn scanned(shard: &impl ShardState) -> Model {
    shard.scan(b"", &END, usize::MAX, usize::MAX).unwrap().into_iter().collect()
}

fn viewed(mut view: impl View, bytes: usize) -> Model {
    let mut found = Vec::new();
    loop {
        let rows = view.next(bytes).unwrap();
        if rows.is_empty() {
            break;
        }
        found.extend(rows);
    }
    assert!(found.is_sorted_by(|(a, _), (b, _)| a < b));
    assert_eq!(view.next(bytes), Ok(Vec::new()));
    found.into_iter().collect()
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Change>),
    Flush,
    View,
    Replace { rows: Vec<u16>, commit: bool },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0..40_u16, 0..300_u16, any::<bool>()).prop_map(|(key, value, delete)| {
        let (key, value) = row(key, value);
        if delete { Change::Delete(key) } else { Change::Put(key, value) }
    });
    prop_oneof![
        8 => vec(change, 0..8).prop_map(Step::Write),
        1 => Just(Step::Flush),
        2 => Just(Step::View),
        1 => (vec(0..60_u16, 0..20), any::<bool>())
            .prop_map(|(rows, commit)| Step::Replace { rows, commit }),
        1 => Just(Step::Crash),
    ]
}

fn keeps_what_the_model_keeps<S: Crash>(store: impl Fn() -> S) {
    let mut runner =
        TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let held = |steps: Vec<Step>| {
        let mut store = store();
        let mut shard = store.state().open(SHARD).unwrap();
        let mut views = Vec::new();
        // After each write since what a crash leaves for certain.
        let mut states = vec![Model::new()];
        for step in steps {
            let mut model = states.last().unwrap().clone();
            match step {
                Step::Write(changes) => {
                    change(&mut model, &changes);
                    shard.write(changes).unwrap();
                    states.push(model);
                }
                Step::Flush => {
                    shard.flush().unwrap();
                    states = vec![model];
                }
                Step::View => views.push((shard.view().unwrap(), model)),
                Step::Replace { mut rows, commit } => {
                    rows.sort_unstable();
                    rows.dedup();
                    let rows: Vec<_> = rows.into_iter().map(|key| row(key, 9)).collect();
                    let mut replacement = shard.replacement().unwrap();
                    for some in rows.chunks(7) {
                        replacement.put(some.to_vec()).unwrap();
                    }
                    if commit {
                        replacement.commit().unwrap();
                        states = vec![rows.into_iter().collect()];
                    }
                }
                Step::Crash => {
                    views.clear();
                    store = store.crash();
                    shard = store.state().open(SHARD).unwrap();
                    let left = scanned(&shard);
                    assert!(states.contains(&left), "not a prefix: {left:?}");
                    states = vec![left];
                }
            }
            assert_eq!(&scanned(&shard), states.last().unwrap());
        }
        for (view, model) in views {
            assert_eq!(viewed(view, 400), model);
        }
        Ok(())
    };
    runner.run(&vec(step(), 1..30), held).unwrap();
}

#[test]
fn rows_in_memory_are_those_of_the_model_and_a_crash_leaves_a_prefix() {
    keeps_what_the_model_keeps(InMemory::new);
}

#[test]
fn rows_on_disk_are_those_of_the_model_and_a_crash_leaves_a_prefix() {
    keeps_what_the_model_keeps(OnDisk::new);
}

fn reads_up_to_the_limits<S: Crash>(store: &S) {
    let shard = store.state().open(SHARD).unwrap();
    let rows: Vec<_> = (0..10).map(|key| row(key, 98)).collect();
    shard.write(put(rows.clone())).unwrap();
    assert_eq!(shard.get(&rows[3].0), Ok(Some(rows[3].1.clone())));
    assert_eq!(shard.get(b"none"), Ok(None));
    let scan = |from: &[u8], to: &[u8], rows, bytes| shard.scan(from, to, rows, bytes).unwrap();
    assert_eq!(scan(b"", &END, 99, usize::MAX), rows);
    assert_eq!(scan(&rows[2].0, &rows[4].0, 99, usize::MAX), rows[2..4]);
    assert_eq!(scan(b"", &END, 3, usize::MAX), rows[..3]);
    let bytes = rows[0].0.len() + rows[0].1.len();
    assert_eq!(scan(b"", &END, 99, 3 * bytes), rows[..3]);
    assert_eq!(scan(b"", &END, 99, 3 * bytes + 1), rows[..4]);
    assert_eq!(scan(b"", &END, 99, 0), rows[..1]);
    assert_eq!(scan(b"", &END, 0, 99), Vec::new());
    assert_eq!(scan(&END, b"", 99, 99), Vec::new());
}

#[test]
fn rows_are_read_in_order_up_to_the_limits() {
    reads_up_to_the_limits(&InMemory::new());
    reads_up_to_the_limits(&OnDisk::new());
}

fn a_view_stays_as_it_was<S: Crash>(store: &S) {
    let shard = store.state().open(SHARD).unwrap();
    let before: Model = (0..500).map(|key| row(key, 50)).collect();
    shard.write(put(before.clone())).unwrap();
    let mut view = shard.view().unwrap();
    let mut found = Vec::new();
    for at in 0..1000_u16 {
        shard
            .write(vec![
                Change::Delete(row(at, 0).0),
                Change::Put(row(at + 600, 0).0, END.to_vec().into()),
            ])
            .unwrap();
        found.extend(view.next(100).unwrap());
        if at == 50 {
            shard.flush().unwrap();
        }
        if at == 100 {
            let mut other = shard.replacement().unwrap();
            other.put(vec![row(1, 1)]).unwrap();
            other.commit().unwrap();
        }
    }
    assert_eq!(found.into_iter().collect::<Model>(), before);
    assert_eq!(view.get(&row(400, 0).0), Ok(Some(row(0, 50).1)));
    assert_eq!(view.get(&row(700, 0).0), Ok(None));
}

#[test]
fn a_view_stays_as_it_was_while_rows_are_written_flushed_and_replaced() {
    a_view_stays_as_it_was(&InMemory::new());
    a_view_stays_as_it_was(&OnDisk::new());
}

fn a_replacement_shows_at_once<S: Crash>(store: &S) {
    let shard = store.state().open(SHARD).unwrap();
    let reader = shard.clone();
    let old: Model = (0..50).map(|key| row(key, 5)).collect();
    let new: Model = (25..90).map(|key| row(key, 8)).collect();
    shard.write(put(old.clone())).unwrap();
    let mut dropped = shard.replacement().unwrap();
    dropped.put(new.clone().into_iter().collect()).unwrap();
    drop(dropped);
    assert_eq!(scanned(&reader), old);
    let mut replacement = shard.replacement().unwrap();
    replacement.put(new.clone().into_iter().collect()).unwrap();
    let backwards = replacement.put(vec![row(89, 1)]);
    assert!(matches!(backwards, Err(StoreError::Failed { .. })));
    assert_eq!(scanned(&reader), old);
    // A crash before the commit: the rows are as before, or never reached the disk.
    let left = scanned(&store.crash().state().open(SHARD).unwrap());
    assert!(left == old || left.is_empty());
    replacement.commit().unwrap();
    assert_eq!(scanned(&reader), new);
    assert_eq!(scanned(&store.crash().state().open(SHARD).unwrap()), new);
    shard.replacement().unwrap().commit().unwrap();
    assert_eq!(scanned(&reader), Model::new());
}

#[test]
fn a_replacement_shows_when_it_commits_and_survives_a_crash_from_then_on() {
    a_replacement_shows_at_once(&InMemory::new());
    a_replacement_shows_at_once(&OnDisk::new());
}

fn shards_are_apart<S: Crash>(store: &S) {
    let state = store.state();
    let other = state.open(ShardId(7)).unwrap();
    let shard = state.open(SHARD).unwrap();
    shard.write(put([row(1, 1)])).unwrap();
    other.write(put([row(2, 2)])).unwrap();
    shard.flush().unwrap();
    other.flush().unwrap();
    assert_eq!(scanned(&other), Model::from([row(2, 2)]));
    drop(shard);
    state.forget(SHARD).unwrap();
    state.forget(SHARD).unwrap();
    let next = store.crash();
    assert_eq!(scanned(&next.state().open(SHARD).unwrap()), Model::new());
    assert_eq!(scanned(&next.state().open(ShardId(7)).unwrap()), Model::from([row(2, 2)]));
}

#[test]
fn a_shard_that_is_forgotten_takes_no_other_with_it() {
    shards_are_apart(&InMemory::new());
    shards_are_apart(&OnDisk::new());
}
