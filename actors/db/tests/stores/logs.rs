//! Logs.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use vioduct_db::ShardId;
use vioduct_db::log::{LogEngine, LogOp, MetaTag};

use crate::{Crash, InMemory, OnDisk};

const SHARDS: [ShardId; 3] = [ShardId(0), ShardId(1), ShardId(u32::MAX)];
const TAGS: [MetaTag; 4] = [MetaTag::Vote, MetaTag::Committed, MetaTag::Purged, MetaTag::Replica];

/// What a log is, said as simply as possible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    records: BTreeMap<(u32, u64), Bytes>,
    meta: BTreeMap<(u32, MetaTag), Bytes>,
}

impl Model {
    fn add(&mut self, op: &LogOp) {
        match op.clone() {
            LogOp::Append { shard, first, records } => {
                self.records.extend((first..).zip(records).map(|(at, new)| ((shard.0, at), new)));
            }
            LogOp::TruncateFrom { shard, index } => {
                self.records.retain(|(of, at), _| *of != shard.0 || *at < index);
            }
            LogOp::PurgeThrough { shard, index } => {
                self.records.retain(|(of, at), _| *of != shard.0 || *at > index);
            }
            LogOp::SetMeta { shard, tag, value } => {
                self.meta.insert((shard.0, tag), value);
            }
            LogOp::Forget { shard } => {
                self.records.retain(|(of, _), _| *of != shard.0);
                self.meta.retain(|(of, _), _| *of != shard.0);
            }
        }
    }

    fn of(engine: &impl LogEngine) -> Self {
        let mut model = Self::default();
        for shard in SHARDS {
            if let Some(bounds) = engine.bounds(shard).unwrap() {
                let (first, last) = bounds.into_inner();
                let records = engine.read(shard, first..last + 1, usize::MAX).unwrap();
                assert_eq!(records.len() as u64, last + 1 - first, "a gap in {shard}");
                model.records.extend((first..).zip(records).map(|(at, r)| ((shard.0, at), r)));
            }
            for tag in TAGS {
                if let Some(value) = engine.meta(shard, tag).unwrap() {
                    model.meta.insert((shard.0, tag), value);
                }
            }
        }
        model
    }

    fn next(&self, shard: ShardId) -> u64 {
        let last = self.records.range((shard.0, 0)..=(shard.0, u64::MAX)).next_back();
        last.map_or(5, |((_, at), _)| at + 1)
    }
}

/// One write of some shards, whether it is synced, and what is drawn for a crash after it.
type Round = (Vec<(usize, Step)>, bool, u8);

/// What is done to a log, whatever is in it.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Bytes>),
    Truncate(u64),
    Purge(u64),
    Set(usize, Bytes),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    prop_oneof![
        6 => vec(bytes(), 0..5).prop_map(Step::Append),
        1 => (0_u64..40).prop_map(Step::Truncate),
        1 => (0_u64..40).prop_map(Step::Purge),
        2 => (0..TAGS.len(), bytes()).prop_map(|(tag, value)| Step::Set(tag, value)),
        1 => Just(Step::Forget),
    ]
}

fn op(step: Step, shard: ShardId, model: &Model) -> LogOp {
    match step {
        Step::Append(records) => LogOp::Append { shard, first: model.next(shard), records },
        Step::Truncate(index) => LogOp::TruncateFrom { shard, index },
        Step::Purge(index) => LogOp::PurgeThrough { shard, index },
        Step::Set(tag, value) => LogOp::SetMeta { shard, tag: TAGS[tag], value },
        Step::Forget => LogOp::Forget { shard },
    }
}

fn keeps_what_the_model_keeps<S: Crash>(store: impl Fn() -> S) {
    let round = (vec((0..SHARDS.len(), step()), 1..6), any::<bool>(), 0..8_u8);
    let mut runner =
        TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let rounds = vec(round, 1..24);
    let held = |rounds: Vec<Round>| {
        let mut store = store();
        // After each write, and which of them the last synced one is.
        let mut states = vec![Model::default()];
        let mut synced = 0;
        for (steps, sync, crash) in rounds {
            let mut model = states.last().unwrap().clone();
            let mut ops = Vec::new();
            for (shard, step) in steps {
                let op = op(step, SHARDS[shard], &model);
                model.add(&op);
                ops.push(op);
            }
            store.log().write(&ops, sync).unwrap();
            assert_eq!(Model::of(&store.log()), model);
            states.push(model);
            if sync {
                synced = states.len() - 1;
            }
            if crash == 0 {
                store = store.crash();
                let left = Model::of(&store.log());
                assert!(states[synced..].contains(&left), "not a prefix: {left:?}");
                states = vec![left];
                synced = 0;
            }
        }
        Ok(())
    };
    runner.run(&rounds, held).unwrap();
}

#[test]
fn a_log_in_memory_keeps_what_the_model_keeps_and_a_crash_leaves_a_prefix() {
    keeps_what_the_model_keeps(InMemory::new);
}

#[test]
fn a_log_on_disk_keeps_what_the_model_keeps_and_a_crash_leaves_a_prefix() {
    keeps_what_the_model_keeps(OnDisk::new);
}

fn reads_up_to_the_limits<S: Crash>(store: &S) {
    let log = store.log();
    let shard = ShardId(4);
    let records: Vec<_> = (0..10_u8).map(|at| Bytes::from(vec![at; 100])).collect();
    let write = |op| log.write(&[op], false).unwrap();
    write(LogOp::Append { shard, first: 3, records: records.clone() });
    assert_eq!(log.bounds(shard), Ok(Some(3..=12)));
    let read = |range, bytes| log.read(shard, range, bytes).unwrap();
    assert_eq!(read(3..13, usize::MAX), records);
    assert_eq!(read(5..7, usize::MAX), records[2..4]);
    assert_eq!(read(11..99, usize::MAX), records[8..]);
    assert_eq!(read(3..13, 250), records[..2]);
    assert_eq!(read(3..13, 0), records[..1]);
    assert_eq!(read(2..13, usize::MAX), Vec::<Bytes>::new());
    assert_eq!(read(7..7, usize::MAX), Vec::<Bytes>::new());
    write(LogOp::PurgeThrough { shard, index: 5 });
    write(LogOp::TruncateFrom { shard, index: 9 });
    assert_eq!(log.bounds(shard), Ok(Some(6..=8)));
    assert_eq!(read(6..13, usize::MAX), records[3..6]);
    assert_eq!(log.bounds(ShardId(5)), Ok(None));
    write(LogOp::PurgeThrough { shard, index: u64::MAX });
    assert_eq!(log.bounds(shard), Ok(None));
    write(LogOp::Append { shard, first: u64::MAX - 1, records: records[..1].to_vec() });
    assert_eq!(log.bounds(shard), Ok(Some(u64::MAX - 1..=u64::MAX - 1)));
}

#[test]
fn a_log_is_read_without_gaps_up_to_the_limits() {
    reads_up_to_the_limits(&InMemory::new());
    reads_up_to_the_limits(&OnDisk::new());
}

fn a_sync_covers_the_writes_before_it<S: Crash>(store: &S) {
    let log = store.log();
    let shard = ShardId(1);
    let append = |first| LogOp::Append { shard, first, records: vec![Bytes::from_static(b"x")] };
    log.write(&[append(0)], false).unwrap();
    log.write(&[append(1)], false).unwrap();
    log.write(&[], true).unwrap();
    assert_eq!(store.crash().log().bounds(shard), Ok(Some(0..=1)));
}

#[test]
fn a_sync_without_operations_covers_the_writes_before_it() {
    a_sync_covers_the_writes_before_it(&InMemory::new());
    a_sync_covers_the_writes_before_it(&OnDisk::new());
}
